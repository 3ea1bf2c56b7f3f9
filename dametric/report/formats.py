"""A report as a page that loads nothing, and as Markdown."""

from __future__ import annotations

import base64
import hashlib
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined

from dametric.report.page import Report
from dametric.report.svg import inline_svg, key_svg


def _data_uri(text: str) -> str:
    return "data:text/csv;charset=utf-8," + quote(text)


def _line(text: object) -> str:
    """A text as Markdown shows it literally, within one cell of a table."""
    plain = " ".join(str(text).split())
    for letter in "\\`*_{}[]<>#|":
        plain = plain.replace(letter, f"\\{letter}" if letter not in "<>" else {"<": "&lt;", ">": "&gt;"}[letter])
    return plain


def _environment(html: bool) -> Environment:
    environment = Environment(
        loader=PackageLoader("dametric.report", "templates"),
        autoescape=html,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"data_uri": _data_uri, "line": _line}
    return environment


def html(report: Report) -> str:
    """The report as one page that loads nothing.

    Parameters
    ----------
    report : Report

    Returns
    -------
    str
        Its content security policy forbids every request and every script but its own.
    """
    environment = _environment(True)
    assert environment.loader is not None
    script = environment.loader.get_source(environment, "report.html.j2")[0]
    script = script.partition("<script>")[2].partition("</script>")[0]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    drawn = {
        chart.key: [inline_svg(panel, f"{chart.key}{place}") for place, panel in enumerate(chart.panels)]
        for chart in report.charts
    }
    keys = {chart.key: [(key_svg(mark), name) for name, mark in chart.marks.items()] for chart in report.charts}
    return environment.get_template("report.html.j2").render(report=report, drawn=drawn, keys=keys, digest=digest)


def markdown(report: Report, folder: str | None = None) -> str:
    """The report as Markdown.

    Parameters
    ----------
    report : Report
    folder : str, optional
        Where the figures are, seen from the file: ``{folder}/{key}.svg`` and their data as ``.csv``. Without it only
        words and tables are there.

    Returns
    -------
    str
    """
    place = None if folder is None else quote(folder)
    return _environment(False).get_template("report.md.j2").render(report=report, folder=place)
