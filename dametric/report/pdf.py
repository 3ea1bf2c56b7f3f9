"""A report as pages of paper."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from io import BytesIO

from matplotlib.backends.backend_pdf import PdfPages
from matplotlib.figure import Figure

from dametric.report.drawing import style
from dametric.report.page import Report
from dametric.report.sheets import pages


def pdf(report: Report) -> bytes:
    """The report as A4 pages: the words, then the figures."""
    buffer = BytesIO()
    with PdfPages(buffer, metadata={"Title": report.title, "CreationDate": None}) as book:
        for page in _words(report):
            book.savefig(page)
        for chart, _ in report.charts:
            for page in pages(chart):
                with style():
                    book.savefig(page)
    return buffer.getvalue()


def _words(report: Report, per_page: int = 44) -> Iterator[Figure]:
    """Pages of text: the answer, what to take, how the numbers were made."""
    said = [*report.lead, "", *(f"• {text}" for text in report.material.found["verdict"]), ""]
    for row in report.take.rows:
        cells = (f"{name} {cell.text}" for name, cell in zip(report.take.columns[1:], row[1:], strict=True))
        said.append(f"{row[0].text}: {'; '.join(cells)}")
    said += ["", *(f"{name}: {text}" for name, text in report.provenance)]
    lines = [line for text in said for line in (textwrap.wrap(text, 150) or [""])]
    for start in range(0, len(lines), per_page):
        with style():
            figure = Figure(figsize=(11.69, 8.27))
            figure.text(0.05, 0.93, report.title if start == 0 else "", fontsize="x-large", weight="bold")
            text = "\n".join(lines[start : start + per_page])
            figure.text(0.05, 0.9, text, va="top", fontsize=9, linespacing=1.35)
        yield figure
