"""What stands in a report, in its order, and its forms: a page that loads nothing, and Markdown."""

from __future__ import annotations

import base64
import hashlib
import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from urllib.parse import quote

import matplotlib
import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape
from matplotlib.figure import Figure

from dametric.analysis import Analysis
from dametric.reports import tables
from dametric.reports.cells import Table
from dametric.reports.chart import Chart, Panel
from dametric.reports.charts import Maker, drawn
from dametric.reports.drawing import GLYPHS, style
from dametric.reports.provenance import provenance
from dametric.reports.words import WORDS, explained


@dataclass(frozen=True)
class Lead:
    """The table that a page begins with.

    Attributes
    ----------
    key, title, note : str
    table : Table
    """

    key: str
    title: str
    note: str
    table: Table


class Page(ABC):
    """What a page holds, in its order, and the forms that it is written in."""

    charts: tuple[Chart, ...]
    runs: Table | None
    provenance: list[tuple[str, str]]

    @property
    @abstractmethod
    def title(self) -> str:
        """Of the page."""

    @property
    @abstractmethod
    def answer(self) -> list[str]:
        """Sentences that it opens with."""

    @property
    @abstractmethod
    def reasons(self) -> list[str]:
        """What is to be known besides."""

    @property
    @abstractmethod
    def leads(self) -> list[Lead]:
        """The first tables."""

    @property
    def notes(self) -> Sequence[str]:
        """What was done in reading."""
        return ()

    @property
    def table(self) -> pd.DataFrame:
        """What is written as CSV; nothing where the page is none of scores alone."""
        return pd.DataFrame()

    @property
    def figures(self) -> tuple[Chart, ...]:
        """The sections that have a figure."""
        return tuple(chart for chart in self.charts if chart.panels)

    def html(self) -> str:
        """The report as one page that loads nothing: its policy forbids every request and every script but its own."""
        environment = _environment(True)
        assert environment.loader is not None
        script = environment.loader.get_source(environment, "report.html.j2")[0]
        script = script.partition("<script>")[2].partition("</script>")[0]
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        return environment.get_template("report.html.j2").render(report=self, digest=digest)

    def markdown(self, folder: str | None = None) -> str:
        """The report as Markdown.

        Parameters
        ----------
        folder : str, optional
            Where the figures are, seen from the file: ``{folder}/{key}.svg`` and their data as ``.csv``. Without it
            only words and tables are there.
        """
        place = None if folder is None else quote(folder)
        return _environment(False).get_template("report.md.j2").render(report=self, folder=place)

    def __repr__(self) -> str:
        return f"<Report of {len(self.charts)} sections: {self.answer[0]}>"


@dataclass(frozen=True, repr=False)
class Report(Page):
    """A page on scores and students.

    Attributes
    ----------
    analysis : Analysis
        Whose ``answer`` and ``reasons`` the page opens with.
    take : Table
        What to take in each unit.
    charts : tuple of Chart
        The sections.
    runs : Table or None
    provenance : list of (str, str)
        How each number was made.
    """

    analysis: Analysis
    take: Table
    charts: tuple[Chart, ...]
    runs: Table | None
    provenance: list[tuple[str, str]]

    @property
    def title(self) -> str:
        """Of the page."""
        return f"Which augmentation to distil with: {self.analysis.metric} and its students"

    @property
    def answer(self) -> list[str]:
        """Sentences that it opens with."""
        return list(self.analysis.answer)

    @property
    def reasons(self) -> list[str]:
        """What is to be known besides."""
        return list(self.analysis.reasons)

    @property
    def leads(self) -> list[Lead]:
        """What to take."""
        note = (
            f"Cost: {self.analysis.outcome.name} of the students of the augmentation with the best score above the"
            " lowest of all. – : not known. Click a column's head to sort by it."
        )
        return [Lead("take", "What to take", note, self.take)]

    @property
    def notes(self) -> Sequence[str]:
        """What was done in reading."""
        return self.analysis.notes

    def _repr_html_(self) -> str:
        return self.analysis._repr_html_()


def build(analysis: Analysis, own: Sequence[str | Maker] = (), made_by: str = "") -> Report:
    """Put a report together.

    Parameters
    ----------
    analysis : Analysis
    own : sequence of str or callable
        Charts of the user's own: see :func:`dametric.reports.charts.drawn`.
    made_by : str
        The command or call that makes it.
    """
    runs = analysis.study.runs
    return Report(
        analysis=analysis,
        take=tables.advice_table(analysis),
        charts=drawn(analysis, own),
        runs=None if runs is None else tables.runs_table(runs),
        provenance=provenance(analysis, made_by),
    )


def _environment(html: bool) -> Environment:
    environment = Environment(
        loader=PackageLoader("dametric.reports", "templates"),
        autoescape=html,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "whole": _whole,
        "breakable": _breakable,
        "csv_uri": _csv_uri,
        "svg_uri": _svg_uri,
        "line": _line,
    }
    environment.globals |= {"glyphs": GLYPHS, "explained": explained, "meanings": WORDS}
    return environment


def _whole(text: str) -> Markup:
    """A head of a column that is broken at spaces alone, not within tau-b and top-1."""
    span = Markup('<span class="whole">{}</span>')
    return Markup(" ").join(span.format(word) if "-" in word else escape(word) for word in text.split())


def _breakable(text: str) -> Markup:
    """A name that a narrow table breaks after a sign, not within a word; what is copied from it is the name."""
    return Markup(re.sub("([:,=+/])", r"\1<wbr>", str(escape(text))))


def _csv_uri(text: str) -> str:
    return "data:text/csv;charset=utf-8," + quote(text)


def _svg_uri(panel: Panel) -> str:
    """The panel as an image of its own, whose ids meet those of no other."""
    buffer = BytesIO()
    with style(), matplotlib.rc_context({"svg.hashsalt": panel.alt}):
        figure = Figure(figsize=panel.size, layout="constrained")
        panel.draw(figure.subplots())
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return "data:image/svg+xml;base64," + base64.b64encode(buffer.getvalue()).decode()


def _line(text: object) -> str:
    """A text as Markdown shows it literally, within one cell of a table."""
    plain = " ".join(str(text).split())
    for letter in "\\`*_{}[]#|":
        plain = plain.replace(letter, f"\\{letter}")
    return plain.replace("<", "&lt;").replace(">", "&gt;")
