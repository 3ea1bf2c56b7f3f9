"""How far the correlation hangs on which augmentations and units were looked at."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from dametric.report.chart import Chart, Panel
from dametric.report.drawing import GREY, LINE, finish, rounded


def subpools(found: Mapping[str, Any]) -> Chart | None:
    """Quantiles of tau-b over sub-pools of the augmentations, and of the units where there are several.

    Parameters
    ----------
    found : mapping
        From :func:`dametric.stats.analyse`.

    Returns
    -------
    Chart or None
        None where there are too few augmentations for sub-pools.
    """
    data = pd.DataFrame(found["subpools"])
    if data.empty:
        return None
    shown = [of for of in ("augmentations", "units") if (data["of"] == of).sum() > 1]
    panels = tuple(_panel(data[data["of"] == of], of) for of in shown)
    note = (
        f"Had only some of the {' or of the '.join(shown)} been looked at: median of Kendall's tau-b (line), half of"
        " the sub-pools (dark band), nine in ten (pale band), and all (dotted). Turned so that a good metric is"
        " positive. Sub-pools overlap, so this is no confidence interval; it says which conclusions another study with"
        " fewer candidates could have come to."
    )
    title = f"Another choice of {' or '.join(shown)}"
    return Chart("subpools", title, note, panels, data[data["of"].isin(shown)], {}) if panels else None


def _panel(rows: pd.DataFrame, of: str) -> Panel:
    table = rows.astype(dict.fromkeys(("least", "low", "q1", "median", "q3", "high", "most"), float))

    def draw(axes: Axes) -> Axes:
        at = table["size"]
        axes.fill_between(at, table["low"], table["high"], color=LINE, alpha=0.13, linewidth=0)
        axes.fill_between(at, table["q1"], table["q3"], color=LINE, alpha=0.25, linewidth=0)
        for name in ("least", "most"):
            axes.plot(at, table[name], color=GREY, linewidth=1, linestyle=":")
        axes.plot(at, table["median"], color=LINE, marker="o", markersize=4)
        axes.axhline(0, color=GREY, linewidth=1, linestyle="--")
        axes.set_ylim(-1.05, 1.05)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel(f"{of} in the sub-pool")
        axes.set_ylabel("Kendall's tau-b")
        return finish(axes)

    picked = table.iloc[[0, len(table) // 2, -1]].drop_duplicates("size")
    said = "; ".join(
        f"{row['size']} {of}: median {rounded(row['median'])}, from {rounded(row['least'])} to {rounded(row['most'])}"
        for row in picked.to_dict("records")
    )
    return Panel(f"Kendall's tau-b over sub-pools of {of}. {said}.", draw, (4.6, 3.4))
