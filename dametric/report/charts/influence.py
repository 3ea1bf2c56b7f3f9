"""What the correlation hangs on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from dametric.report.chart import Chart, Panel
from dametric.report.drawing import COLOURS, LINE, coefficient_rows, rounded


def influence(found: Mapping[str, Any], metric: str) -> Chart:
    """How far tau-b moves when one augmentation, or one family of them, is left out.

    Parameters
    ----------
    found : mapping
        From :func:`dametric.stats.analyse`.
    metric : str

    Returns
    -------
    Chart
    """
    rows = []
    for unit, metrics in found["units"].items():
        if metric not in metrics:
            continue
        for by, ranges in metrics[metric]["influence"]["kendall"].items():
            known = {name: value for name, value in ranges["values"].items() if value is not None}
            ends = {"lowest_without": min(known, key=known.__getitem__) if known else None}
            rows.append({"unit": unit, "left_out": by, **{k: ranges[k] for k in ("full", "low", "high")}, **ends})
    data = pd.DataFrame(rows)
    note = (
        "The bar spans the values that Kendall's tau-b takes when one part is left out; the dot is the value with"
        " everything. A bar that reaches 0 means that the correlation hangs on one part alone."
    )
    words = {"aug": "one augmentation left out", "family": "one family left out"}
    panels = tuple(_range_panel(data[data["left_out"] == by], f"tau-b, {word}") for by, word in words.items())
    return Chart("influence", "What the correlation hangs on", note, panels, data, {})


def _range_panel(rows: pd.DataFrame, title: str) -> Panel:
    table = rows.reset_index(drop=True)

    def draw(axes: Axes) -> Axes:
        for place, row in enumerate(table.to_dict("records")):
            if pd.notna(row["low"]):
                axes.plot([row["low"], row["high"]], [place, place], color=COLOURS[5], linewidth=6, alpha=0.7)
            if pd.notna(row["full"]):
                axes.plot(row["full"], place, marker="o", color=LINE, markersize=6, clip_on=False)
        axes.set_title(title, fontsize="small", loc="left")
        return coefficient_rows(axes, list(table["unit"]))

    said = "; ".join(
        f"{row['unit']} {rounded(row['full'])}, from {rounded(row['low'])} (without {row['lowest_without']})"
        f" to {rounded(row['high'])}"
        for row in table.to_dict("records")
    )
    return Panel(f"Ranges of {title}: {said}.", draw, (4.6, 1.3 + 0.25 * len(table)))
