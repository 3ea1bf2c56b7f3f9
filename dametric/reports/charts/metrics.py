"""Metrics beside each other."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pandas as pd
from matplotlib.axes import Axes

from dametric.analysis import Analysis
from dametric.analysis.joined import expected_sign
from dametric.reports.cells import Cell, Table, chance, number, table_of, word
from dametric.reports.chart import Chart, Panel
from dametric.reports.drawing import COLOURS, LINE, coefficient_rows, rounded
from dametric.stats.result import Result

PLACE = 60


@dataclass(frozen=True)
class Row:
    """A metric's tau-b with the test loss.

    Attributes
    ----------
    metric, direction : str
    confirmatory : bool
        Whether it was fixed in advance.
    tau_b, low, high, p : float
        As measured; settings taken as independent.
    p_adjusted, p_families : float
        Holm or Benjamini-Hochberg; whole families permuted, Holm (NaN where exploratory).
    turned : float
        tau-b turned so that a good metric is positive; as measured where no direction was stated.
    """

    metric: str
    direction: str
    confirmatory: bool
    tau_b: float
    low: float
    high: float
    p: float
    p_adjusted: float
    p_families: float
    turned: float


def metrics_rows(analysis: Analysis) -> list[Row]:
    """Every metric's tau-b with the test loss, best first in the direction that was stated for it."""

    def row(metric: str, fixed: bool, result: Result, adjusted: float, families: float) -> Row:
        direction = analysis.metrics[metric]
        values = (result.statistic, result.low, result.high, result.pvalue, adjusted, families)
        return Row(metric, direction, fixed, *values, expected_sign(direction, "test_loss") * result.statistic)

    rows = [row(test.metric, True, test.result, test.p_holm, test.families.p_holm) for test in analysis.confirmatory]
    rows += [
        row(test.metric, False, test.result, test.p_bh, math.nan)
        for test in analysis.exploratory
        if (test.endpoint, test.coefficient) == ("test_loss", "kendall")
    ]
    return sorted(rows, key=lambda row: -math.inf if math.isnan(row.turned) else row.turned, reverse=True)


def chart(analysis: Analysis) -> Chart | None:
    """Kendall's tau-b of every metric, those that were fixed in advance marked; None where there are not two."""
    rows = metrics_rows(analysis)
    if len(rows) < 2 or not any(math.isfinite(row.turned) for row in rows):
        return None

    def draw(axes: Axes) -> Axes:
        for place, row in enumerate(rows):
            turn = expected_sign(row.direction, "test_loss")
            colour = COLOURS[1] if row.confirmatory else LINE
            if math.isfinite(row.low) and math.isfinite(row.high):
                axes.plot(sorted((turn * row.low, turn * row.high)), [place, place], color=colour, linewidth=1.6)
            if math.isfinite(row.turned):
                shape = "D" if row.confirmatory else "o"
                face = colour if row.direction != "open" else "white"
                axes.plot(row.turned, place, marker=shape, color=colour, mfc=face, markersize=7, clip_on=False)
        axes.set_xlabel(f"Kendall's tau-b with the {analysis.outcome.name}, in the stated direction")
        return coefficient_rows(axes, [row.metric for row in rows])

    listed = "; ".join(
        f"{row.metric} {rounded(row.turned)}{' (fixed in advance)' if row.confirmatory else ''}" for row in rows
    )
    ends = any(math.isfinite(row.low) for row in rows)
    note = (
        "Diamonds: metrics that were fixed in advance; circles: exploratory. Hollow: no direction was stated for the"
        " metric, so the sign is as measured. Everywhere else a positive value is as stated."
        f"{' Intervals: from the law of tau for a normal copula.' if ends else ''}"
    )
    panel = Panel(f"Kendall's tau-b of each metric: {listed}.", draw, (4.6, 1.4 + 0.25 * len(rows)))
    tables = tuple(table for table in (metrics_table(analysis, rows), williams_table(analysis)) if table)
    return Chart("metrics", "Metrics compared", note, (panel,), pd.DataFrame(rows), tables=tables)


def metrics_table(analysis: Analysis, rows: Sequence[Row]) -> Table:
    """Kendall's tau-b of each metric, with the tests of the first metric against the others."""
    against = {entry.second: entry for entry in analysis.comparisons}
    chances = ("p", "p adjusted", "p (families, Holm)")
    names = ("Direction", "Fixed in advance", "tau-b", "low", "high", *chances, "Difference", "p (swap, Holm)")

    def cells() -> Iterator[Sequence[Cell]]:
        for row in rows:
            test = against.get(row.metric)
            gap = (number(test.bootstrap.statistic), chance(test.p_holm)) if test else (word(None), word(None))
            fixed = word("yes" if row.confirmatory else "no, exploratory")
            values = (number(row.tau_b), number(row.low), number(row.high))
            tests = (chance(row.p), chance(row.p_adjusted), chance(row.p_families))
            yield word(row.metric), word(row.direction), fixed, *values, *tests, *gap

    caption = (
        f"Kendall's tau-b with the {analysis.outcome.name}. Metrics that were fixed in advance: one-sided where a"
        " direction was stated, Holm; others: two-sided, Benjamini-Hochberg; settings count as independent of their"
        f" family but in p (families), by which the verdict goes. Difference: tau-b of {analysis.metric} minus that of"
        " the row's metric, in the stated directions"
    )
    return table_of("metrics", caption, ("Metric", *names), cells())


def williams_table(analysis: Analysis) -> Table | None:
    """Williams' test of the first metric against each other one, a row for each unit; None without rivals."""

    def rows() -> Iterator[Sequence[Cell]]:
        for entry in analysis.comparisons:
            for unit, result in entry.williams.items():
                values = (number(result.statistic, ".2f"), chance(result.pvalue), number(result.n, "d"))
                yield word(entry.second), word(unit), *values, word(result.note)

    caption = (
        f"Williams' test of the Pearson correlations with the {analysis.outcome.name}, {analysis.metric} against each"
        " other metric (t above 0: the first is better); two-sided, of each unit by itself and not adjusted"
    )
    table = table_of("williams", caption, ("Against", "Unit", "t", "p", "n", "Note"), rows(), ("Unit",))
    return table if table.rows else None
