"""What it costs to trust the score."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from dametric import stats
from dametric.report.chart import Chart, Panel
from dametric.report.drawing import COLOURS, LINE, finish
from dametric.stats.outcome import outcome_of


def regret(frame: pd.DataFrame, found: Mapping[str, Any], metric: str) -> Chart | None:
    """What is lost by training only the k augmentations with the best scores, beside k taken at random.

    Parameters
    ----------
    frame : pandas.DataFrame
        From :func:`dametric.stats.joined.prepare`.
    found : mapping
        From :func:`dametric.stats.analyse`.
    metric : str

    Returns
    -------
    Chart or None
        None where no direction is stated for the metric, which then has no best score.
    """
    if found["metrics"][metric] == "open":
        return None
    parts = []
    for unit, rows in frame[frame["metric"] == metric].groupby("unit", sort=False):
        curve = pd.DataFrame(found["units"][str(unit)][metric]["regret"])
        top1 = rows["test_top1"] if rows["test_top1"].notna().all() else None
        chance = stats.regret_curve(np.zeros(len(rows)), rows["test_loss"], accuracy=top1)  # all orders are alike
        extra = {"random_loss": chance["loss"].to_numpy(), "random_points": chance["points"].to_numpy()}
        parts.append(curve.assign(unit=str(unit), **extra))
    data = pd.concat(parts, ignore_index=True)
    numbers = [name for name in data if name not in ("unit", "k")]
    data = data.astype(dict.fromkeys(numbers, float))[["unit", "k", *numbers]]
    outcome = outcome_of(found)
    panels = [_regret_panel(data, "loss", f"{outcome.name} above the best ({outcome.unit})")]
    if data["points"].notna().any():
        panels.append(_regret_panel(data.dropna(subset="points"), "points", "accuracy below the best (percent points)"))
    note = (
        "Train the k augmentations with the best scores and keep the best student: how far it is from the best of all."
        " Solid: by score; dashed: k taken at random. 0 is the best that can be had."
    )
    return Chart("regret", "What it costs to trust the score", note, tuple(panels), data, {})


def _regret_panel(data: pd.DataFrame, name: str, label: str) -> Panel:
    mean = data.groupby("k")[[name, f"random_{name}"]].mean()
    units = data["unit"].nunique()
    of = f"mean of {units} units" if units > 1 else "by score"

    def draw(axes: Axes) -> Axes:
        if units > 1:
            for _, part in data.groupby("unit", sort=False):
                axes.plot(part["k"], part[name], color="#AAAAAA", linewidth=0.8, zorder=1)
            axes.plot([], [], color="#AAAAAA", linewidth=0.8, label="each unit")
        axes.plot(mean.index, mean[name], color=LINE, marker="o", markersize=5, label=of, zorder=3)
        axes.plot(
            mean.index, mean[f"random_{name}"], color=COLOURS[1], marker="s", markersize=4, ls="--", label="at random"
        )
        axes.set_xlabel("k, augmentations that are trained")
        axes.set_ylabel(label)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]))
        axes.legend(frameon=False, fontsize="small")
        return finish(axes)

    said = "; ".join(
        f"k = {k}: {row[name]:.3g} (at random {row[f'random_{name}']:.3g})" for k, row in mean.head(4).iterrows()
    )
    return Panel(f"Regret curve, {label}, {of}: {said}.", draw, (4.6, 3.4))
