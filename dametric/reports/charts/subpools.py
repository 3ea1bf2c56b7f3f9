"""How far the correlation hangs on which augmentations and units were looked at."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from dametric.analysis import Analysis
from dametric.analysis.beyond import Subpools
from dametric.reports.cells import Cell, Table, number, table_of, word
from dametric.reports.chart import Chart, Panel
from dametric.reports.drawing import GREY, LINE, finish, rounded

PLACE = 40


def chart(analysis: Analysis) -> Chart | None:
    """Quantiles of tau-b over sub-pools of the augmentations, and of the units where there are several."""
    pools = {kind: [each for each in analysis.subpools if each.of == kind] for kind in ("augmentations", "units")}
    shown = [kind for kind, sizes in pools.items() if len(sizes) > 1]
    if not shown:
        return None
    panels = tuple(_panel(pools[kind], kind) for kind in shown)
    data = pd.DataFrame([each for each in analysis.subpools if each.of in shown])
    note = (
        f"Had only some of the {' or of the '.join(shown)} been looked at: median of Kendall's tau-b (line), half of"
        " the sub-pools (dark band), nine in ten (pale band), and all (dotted). Turned so that a good metric is"
        " positive. Sub-pools overlap, so this is no confidence interval; it says which conclusions another study with"
        " fewer candidates could have come to."
    )
    title = f"Another choice of {' or '.join(shown)}"
    return Chart("subpools", title, note, panels, data, tables=(subpools_table(analysis),))


def _panel(pools: Sequence[Subpools], kind: str) -> Panel:
    def draw(axes: Axes) -> Axes:
        at = [pool.size for pool in pools]
        nine_in_ten = [pool.low for pool in pools], [pool.high for pool in pools]
        half = [pool.q1 for pool in pools], [pool.q3 for pool in pools]
        axes.fill_between(at, *nine_in_ten, color=LINE, alpha=0.13, linewidth=0)
        axes.fill_between(at, *half, color=LINE, alpha=0.25, linewidth=0)
        for ends in ([pool.least for pool in pools], [pool.most for pool in pools]):
            axes.plot(at, ends, color=GREY, linewidth=1, linestyle=":")
        axes.plot(at, [pool.median for pool in pools], color=LINE, marker="o", markersize=4)
        axes.axhline(0, color=GREY, linewidth=1, linestyle="--")
        axes.set_ylim(-1.05, 1.05)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel(f"{kind} in the sub-pool")
        axes.set_ylabel("Kendall's tau-b")
        return finish(axes)

    named = dict.fromkeys((pools[0], pools[len(pools) // 2], pools[-1]))
    listed = "; ".join(
        f"{pool.size} {kind}: median {rounded(pool.median)}, from {rounded(pool.least)} to {rounded(pool.most)}"
        for pool in named
    )
    return Panel(f"Kendall's tau-b over sub-pools of {kind}. {listed}.", draw, (4.6, 3.4))


def subpools_table(analysis: Analysis) -> Table:
    """Quantiles of tau-b over sub-pools."""

    def rows() -> Iterator[Sequence[Cell]]:
        for pool in analysis.subpools:
            if pool.of == "units" and len(analysis.units) == 1:
                continue
            counts = (number(pool.size, "d"), number(pool.pools, "d"), word("yes" if pool.all else "drawn"))
            values = (pool.least, pool.low, pool.q1, pool.median, pool.q3, pool.high, pool.most)
            shown = (number(value, ".2f") for value in values)
            yield word(pool.of), *counts, *shown, number(100 * pool.positive, ".0f")

    names = ("least", "5 %", "25 %", "median", "75 %", "95 %", "most", "above 0 (%)")
    caption = "Kendall's tau-b over sub-pools, mean over units, turned so that a good metric is positive"
    return table_of("subpools", caption, ("Pools of", "Size", "Pools", "All of them", *names), rows())
