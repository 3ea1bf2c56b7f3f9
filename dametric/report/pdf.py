"""A report as pages of paper: the words, the figures, the tables."""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO

from matplotlib.backends.backend_pdf import PdfPages

from dametric.report.drawing import style
from dametric.report.page import Report
from dametric.report.typeset import Block, figures, flow, tabular, words


def pdf(report: Report) -> bytes:
    """The report as landscape A4 pages: the answer, what to take, every figure with its tables, every run.

    Parameters
    ----------
    report : Report

    Returns
    -------
    bytes
    """
    buffer = BytesIO()
    with PdfPages(buffer, metadata={"Title": report.title, "CreationDate": None}) as book, style():
        for page in flow(_blocks(report)):
            book.savefig(page)
    return buffer.getvalue()


def _blocks(report: Report) -> Iterator[Block]:
    yield from words(report.title, 15, weight="bold", keep=True)
    yield from words(report.lead[0], 12, weight="bold", keep=True)
    for text in report.lead[1:]:
        yield from words(text, 10)
    for text in report.reasons:
        yield from words(f"• {text}")
    yield from words("")
    yield from tabular(report.take)
    for section in report.sections:
        yield from words(section.title, 12, weight="bold", keep=True)
        yield from words(section.note, keep=True)
        if section.chart is not None:
            yield from figures(section.chart)
        for table in section.tables:
            yield from tabular(table)
    if report.runs is not None:
        yield from words("Every run", 12, weight="bold", keep=True)
        yield from tabular(report.runs)
    yield from words("How each number was made", 12, weight="bold", keep=True)
    for name, text in report.provenance:
        yield from words(f"{name}: {text}")
