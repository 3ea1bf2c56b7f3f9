"""A page of two score files beside each other: what agrees, every rank and difference, and how it was made."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import pandas as pd

from dametric.analysis.comparing import Comparison
from dametric.base.arguments import voice
from dametric.reports.cells import Cell, Table, number, table_of, word
from dametric.reports.chart import Chart, Panel
from dametric.reports.charts import own_charts
from dametric.reports.comparison import MARKS, comparison_chart, height_of
from dametric.reports.page import Lead, Page
from dametric.reports.provenance import score_provenance
from dametric.reports.score_tables import column


@dataclass(frozen=True, repr=False)
class ComparisonReport(Page):
    """A page on two score files.

    Attributes
    ----------
    comparison : Comparison
    charts : tuple of Chart
    provenance : list of (str, str)
    runs : None
    """

    comparison: Comparison
    charts: tuple[Chart, ...]
    provenance: list[tuple[str, str]]
    runs: Table | None = None

    @property
    def title(self) -> str:
        """Of the page."""
        return f"Augmentations by {self.comparison.metric}: {' beside '.join(self.comparison.names)}"

    @property
    def answer(self) -> list[str]:
        """What is best in each, and how far the orders agree."""
        return self.comparison.answer[:2]

    @property
    def reasons(self) -> list[str]:
        """Which pairs are reversed, how errors were made, and what only one of the files has."""
        return self.comparison.answer[2:]

    @property
    def leads(self) -> list[Lead]:
        """Ranks, values and differences."""
        first, second = self.comparison.names
        note = (
            f"a: {first}; b: {second}. Rank 1 is the best. Gained: ranks gained in b. low, high: 95 % interval of the"
            " difference b - a. – : not known. Click a column's head to sort by it."
        )
        return [Lead("augmentations", "The augmentations in both", note, _table(self.comparison))]

    @property
    def table(self) -> pd.DataFrame:
        """One row an augmentation, as numbers."""
        return self.comparison.table

    def _repr_html_(self) -> str:
        return self.comparison._repr_html_()


def build(
    comparison: Comparison, own: Sequence[str | Callable[[Any], Chart | None]] = (), made_by: str = ""
) -> ComparisonReport:
    """Put a page of a comparison together.

    Parameters
    ----------
    comparison : Comparison
    own : sequence of str or callable
        Charts of the user's own, from a Comparison to a :class:`dametric.reports.Chart`.
    made_by : str
        The command or call that makes it; the one that makes the comparison by default.
    """
    charts = [_ranks(comparison)]
    charts += own_charts(comparison, own, {chart.key for chart in charts})
    provenance = score_provenance(comparison.scores, comparison.files, made_by or _call(comparison))
    return ComparisonReport(comparison, tuple(charts), provenance)


def _table(comparison: Comparison) -> Table:
    pairs = comparison.pairs
    values = [column([(pair.values[side], pair.errors[side]) for pair in pairs]) for side in (0, 1)]
    values.append(column([(pair.difference.value, pair.difference.se) for pair in pairs]))
    rows = [
        (
            word(pair.aug),
            word(None if pair.other == pair.aug else pair.other),
            *(number(rank, "d") for rank in pair.ranks),
            Cell(f"{pair.change:+d}" if pair.change else "0", float(pair.change)),
            *cells,
            number(pair.difference.low, "#.3g"),
            number(pair.difference.high, "#.3g"),
            word("destroyed" if pair.destroyed else None),
        )
        for pair, *cells in zip(pairs, *values, strict=True)
    ]
    heads = ("Augmentation", "In b", "Rank in a", "Rank in b", "Gained", "a", "b", "b - a", "low", "high", "Images")
    caption = f"{comparison.metric} ± standard error, in the order of a"
    return table_of("comparison", caption, heads, rows)


def _ranks(comparison: Comparison) -> Chart:
    first, second = comparison.names
    listed = "; ".join(f"{pair.aug} {pair.ranks[0]} and {pair.ranks[1]}" for pair in comparison.pairs)
    alt = f"Ranks by {comparison.metric} in {first} (left) and {second} (right), joined by lines: {listed}."
    note = (
        f"Every augmentation's rank, 1 for the best: left {first}, right {second}. Lines that cross are orders that"
        " differ; an order is shown to be reversed where both files tell the two apart."
    )
    panel = Panel(alt, partial(comparison_chart, comparison), (7.0, height_of(comparison)))
    return Chart("ranks", "Ranks in both", note, (panel,), comparison.table, MARKS)


def _call(comparison: Comparison) -> str:
    """What makes the comparison again, as whoever asked for it would write it; nothing where it was not of files."""
    paths, metric = [path for path, _ in comparison.files], comparison.metric
    if "scores" in paths:
        return ""
    if voice() == "python":
        return f"dametric.compare({', '.join(map(repr, paths))}, metric={metric!r})"
    return shlex.join(["dametric", "compare", *paths, "--metric", metric])
