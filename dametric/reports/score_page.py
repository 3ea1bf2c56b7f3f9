"""A page of scores alone: what the teacher says, how sure that is, and how it was made."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from html import escape
from pathlib import Path
from typing import Any

import pandas as pd

from dametric.analysis.score_words import NOT_COMPARABLE, answer, reasons, subject
from dametric.records.scores import Scores
from dametric.reports import score_charts
from dametric.reports.cells import Table
from dametric.reports.chart import Chart
from dametric.reports.charts import makers_in, own_charts
from dametric.reports.page import Lead, Page
from dametric.reports.provenance import score_provenance
from dametric.reports.score_tables import csv_table, every_metric, main_table

NOTE = "– : not known. Click a column's head to sort by it."


@dataclass(frozen=True, repr=False)
class ScoreReport(Page):
    """A page on scores without students.

    Attributes
    ----------
    scores : tuple of Scores
        One for each file.
    names : tuple of str
        What was scored in each: teacher and images, and the file where these are the same.
    charts : tuple of Chart
        The sections.
    provenance : list of (str, str)
        How each number was made.
    """

    scores: tuple[Scores, ...]
    names: tuple[str, ...]
    charts: tuple[Chart, ...]
    provenance: list[tuple[str, str]]
    runs: Table | None = None

    @property
    def title(self) -> str:
        """Of the page."""
        return f"Augmentations scored for {'; '.join(dict.fromkeys(map(subject, self.scores)))}"

    @property
    def answer(self) -> list[str]:
        """What is best, what cannot be told apart from it, and the teacher's confidence, of each file."""
        lines = [line for each in zip(self.scores, self.names, strict=True) for line in answer(*each)]
        several = len({scores.settings.scored.sha256 for scores in self.scores}) > 1
        return [*lines, *([NOT_COMPARABLE] if several else [])]

    @property
    def reasons(self) -> list[str]:
        """What else is to be known before the tables are used."""
        return list(dict.fromkeys(line for scores in self.scores for line in reasons(scores)))

    @property
    def leads(self) -> list[Lead]:
        """The table of each file."""
        leads = []
        for number, (scores, name) in enumerate(zip(self.scores, self.names, strict=True)):
            title = "The scores" + (f": {name}" if len(self.scores) > 1 else "")
            table = main_table(scores)
            leads.append(Lead(f"scores{_end(number)}", title, NOTE, replace(table, key=f"{table.key}{_end(number)}")))
        return leads

    @property
    def table(self) -> pd.DataFrame:
        """All numbers, a row for each augmentation of each file."""
        tables = [csv_table(scores) for scores in self.scores]
        if len(tables) == 1:
            return tables[0]
        named = [table.assign(scored=name) for table, name in zip(tables, self.names, strict=True)]
        return pd.concat(named, ignore_index=True)

    def _repr_html_(self) -> str:
        return "".join(f"<p>{escape(line)}</p>" for line in self.answer) + self.table.to_html(index=False)


def build(
    scores: Sequence[Scores],
    files: Sequence[tuple[str, str]],
    own: Sequence[str | Callable[[Any], Chart | None]] = (),
    made_by: str = "",
) -> ScoreReport:
    """Put a page of scores together.

    Parameters
    ----------
    scores : sequence of Scores
    files : sequence of (str, str)
        Name and SHA-256 of each.
    own : sequence of str or callable
        Charts of the user's own, from Scores to a :class:`dametric.reports.Chart`.
    made_by : str
        The command or call that makes it.
    """
    names = [subject(each) for each in scores]
    if len({*names}) < len(names):
        names = [f"{name} ({Path(path).name})" for name, (path, _) in zip(names, files, strict=True)]
    where = [f": {name}" if len(scores) > 1 else "" for name in names]
    charts = [chart for number, each in enumerate(scores) for chart in _charts(each, own, number, where[number])]
    return ScoreReport(tuple(scores), tuple(names), tuple(charts), score_provenance(scores, files, made_by))


def _charts(scores: Scores, own: Sequence[Any], number: int, where: str) -> list[Chart]:
    charts = [chart for make in makers_in(score_charts) if (chart := make(scores)) is not None]
    others = every_metric(scores)
    if others is not None:
        charts.append(Chart("metrics", "Other metrics", "The same images under the other metrics.", tables=(others,)))
    charts += own_charts(scores, own, {chart.key for chart in charts})
    return [
        replace(
            chart,
            key=f"{chart.key}{_end(number)}",
            title=f"{chart.title}{where}",
            tables=tuple(replace(table, key=f"{table.key}{_end(number)}") for table in chart.tables),
        )
        for chart in charts
    ]


def _end(number: int) -> str:
    """What tells the keys of later files from those of the first."""
    return f"-{number + 1}" if number else ""
