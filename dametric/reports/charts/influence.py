"""What the correlation hangs on."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pandas as pd
from matplotlib.axes import Axes

from dametric.analysis import Analysis
from dametric.reports.cells import Cell, Table, number, table_of, word
from dametric.reports.chart import Chart, Panel
from dametric.reports.drawing import COLOURS, LINE, coefficient_rows, rounded

PLACE = 30


@dataclass(frozen=True)
class Row:
    """tau-b with everything, its range with one part left out, and the part without which it is lowest."""

    unit: str
    left_out: str
    full: float
    low: float
    high: float
    lowest_without: str | None


def chart(analysis: Analysis) -> Chart | None:
    """How far tau-b moves when one augmentation, or one family of them, is left out; None where it is not defined."""
    rows = influence_rows(analysis)
    if not any(math.isfinite(row.full) for row in rows):
        return None
    title = "What the correlation hangs on"
    if len(analysis.of_metric) == 1:
        note = "Kendall's tau-b with everything, and with one part left out: the wide bars of the figure above."
        return Chart("influence", title, note, data=pd.DataFrame(rows), tables=(influence_table(rows),))
    note = (
        "The bar spans the values that Kendall's tau-b takes when one part is left out; the dot is the value with"
        " everything. A bar that reaches 0 means that the correlation hangs on one part alone."
    )
    words = {"aug": "one augmentation left out", "family": "one family left out"}
    panels = tuple(_panel([row for row in rows if row.left_out == by], f"tau-b, {text}") for by, text in words.items())
    return Chart("influence", title, note, panels, pd.DataFrame(rows), tables=(influence_table(rows),))


def influence_rows(analysis: Analysis) -> list[Row]:
    """tau-b of every unit, and its range when one augmentation, and when one family, is left out."""
    rows = []
    for unit, about in analysis.of_metric.items():
        for ranges in (about.influence.kendall.aug, about.influence.kendall.family):
            known = {name: value for name, value in ranges.values.items() if not math.isnan(value)}
            lowest = min(known, key=known.__getitem__) if known else None
            rows.append(Row(unit, ranges.by, ranges.full, ranges.low, ranges.high, lowest))
    return rows


def _panel(rows: Sequence[Row], title: str) -> Panel:
    def draw(axes: Axes) -> Axes:
        for place, row in enumerate(rows):
            if math.isfinite(row.low):
                axes.plot([row.low, row.high], [place, place], color=COLOURS[5], linewidth=6, alpha=0.7)
            if math.isfinite(row.full):
                axes.plot(row.full, place, marker="o", color=LINE, markersize=6, clip_on=False)
        axes.set_title(title, fontsize="small", loc="left")
        return coefficient_rows(axes, [row.unit for row in rows])

    listed = "; ".join(
        f"{row.unit} {rounded(row.full)}, from {rounded(row.low)} (without {row.lowest_without}) to {rounded(row.high)}"
        for row in rows
    )
    return Panel(f"Ranges of {title}: {listed}.", draw, (4.6, 1.3 + 0.25 * len(rows)))


def influence_table(ranges: Sequence[Row]) -> Table:
    """The ranges of the leave-one-out figure."""

    def rows() -> Iterator[Sequence[Cell]]:
        for row in ranges:
            what = "one family" if row.left_out == "family" else "one augmentation"
            yield word(row.unit), word(what), *map(number, (row.full, row.low, row.high)), word(row.lowest_without)

    names = ("Unit", "Left out", "tau-b", "lowest", "highest", "Lowest without")
    return table_of("influence", "Kendall's tau-b with everything, and with one part left out", names, rows())
