"""What it costs to trust the score."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from dametric import stats
from dametric.analysis import Analysis
from dametric.analysis.joined import Unit, by_unit
from dametric.reports.chart import Chart, Panel
from dametric.reports.drawing import COLOURS, LINE, finish

PLACE = 80
_LEAST = 2  # augmentations of which there is no curve


def chart(analysis: Analysis) -> Chart | None:
    """What is lost by training only the k augmentations with the best scores, beside k taken at random.

    None where no direction is stated for the metric, which then has no best score, and for two augmentations or one:
    what there is to lose stands in the first table.
    """
    if analysis.decision.direction == "open" or max(about.n for about in analysis.of_metric.values()) <= _LEAST:
        return None
    curves, units = [], by_unit(analysis.rows[analysis.rows.metric == analysis.metric])
    for unit, about in analysis.of_metric.items():
        here = Unit.of(units[unit])
        top1 = here.top1 if np.isfinite(here.top1).all() else None
        for own in about.regret:
            random = stats.regret(np.zeros(here.n), here.loss, own.k, accuracy=top1)  # all orders are alike
            at_random = {"random_loss": random.loss, "random_points": random.points}
            curves.append({"unit": unit, **asdict(own), **at_random})
    data = pd.DataFrame(curves)
    panels = [_panel(data, "loss", f"{analysis.outcome.name} above the best ({analysis.outcome.unit})")]
    if data.points.notna().any():
        label = "accuracy below the best (percentage points)"
        panels.append(_panel(data.dropna(subset="points"), "points", label))
    note = (
        "Train the k augmentations with the best scores and keep the best student: how far it is from the best of all."
        " Solid: by score; dashed: k taken at random. 0 is the best that can be had."
    )
    return Chart("regret", "What it costs to trust the score", note, tuple(panels), data)


def _panel(data: pd.DataFrame, name: str, label: str) -> Panel:
    mean = data.groupby("k")[[name, f"random_{name}"]].mean()
    units = data.unit.nunique()
    kind = f"mean of {units} units" if units > 1 else "by score"

    def draw(axes: Axes) -> Axes:
        if units > 1:
            for _, part in data.groupby("unit", sort=False):
                axes.plot(part.k, part[name], color="#AAAAAA", linewidth=0.8, zorder=1)
            axes.plot([], [], color="#AAAAAA", linewidth=0.8, label="each unit")
        axes.plot(mean.index, mean[name], color=LINE, marker="o", markersize=5, label=kind, zorder=3)
        axes.plot(
            mean.index, mean[f"random_{name}"], color=COLOURS[1], marker="s", markersize=4, ls="--", label="at random"
        )
        axes.set_xlabel("k, augmentations that are trained")
        axes.set_ylabel(label.replace(" (", "\n("))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]))
        axes.legend(frameon=False, fontsize="small")
        return finish(axes)

    listed = "; ".join(f"k = {k}: {own:.3g} (at random {random:.3g})" for k, own, random in mean.head(4).itertuples())
    return Panel(f"Regret curve, {label}, {kind}: {listed}.", draw, (4.6, 3.4))
