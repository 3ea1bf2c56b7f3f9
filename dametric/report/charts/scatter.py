"""Score against the students' test loss."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from dametric import stats
from dametric.report.chart import Chart, Panel
from dametric.report.drawing import COLOURS, LINE, SYMBOL, WORD, Mark, chance, finish, marks_of, short, shown
from dametric.stats.outcome import Outcome, outcome_of


def scatter(frame: pd.DataFrame, found: Mapping[str, Any], metric: str) -> Chart:
    """Score against the students' test loss, one panel a unit, with the line and its band.

    Parameters
    ----------
    frame : pandas.DataFrame
        From :func:`dametric.stats.joined.prepare`.
    found : mapping
        What :func:`dametric.stats.analyse` said of it.
    metric : str

    Returns
    -------
    Chart
    """
    rows = frame[frame["metric"] == metric]
    marks = marks_of(list(rows["aug"]))
    confidence = found["settings"]["confidence"]
    panels, yorks, outcome = [], 0, outcome_of(found)
    for unit, part in rows.groupby("unit", sort=False):
        about = found["units"][str(unit)][metric]
        yorks += about["york"] is not None
        panels.append(_scatter_panel(str(unit), part, about, marks, confidence, outcome))
    known = rows[["score_se", "test_loss_se"]].notna().any()
    bars = " and ".join(word for word, has in zip(("score", outcome.short), known, strict=True) if has)
    errors = f"Bars: ± one standard error of the {bars}. " if bars else "No standard errors are known. "
    york = " Dashed: York's line, which weighs every point by the errors of both axes." if yorks else ""
    note = (
        f"{errors}Line: least squares, with its {100 * confidence:g} % confidence band (HC3).{york} p-values are"
        " two-sided permutation p-values of Pearson's r, Spearman's ρ and Kendall's τ-b. A point that lies off the line"
        " was misjudged by the score."
    )
    columns = ["unit", "metric", "aug", "score", "score_se", "test_loss", "test_loss_se", "test_top1", "test_top1_se"]
    title = f"{metric} and the students' {outcome.name}"
    return Chart("scatter", title, note, tuple(panels), frame[[*columns, "seeds"]], marks)


def _scatter_panel(
    unit: str,
    rows: pd.DataFrame,
    about: Mapping[str, Any],
    marks: Mapping[str, Mark],
    confidence: float,
    outcome: Outcome,
) -> Panel:
    results, york = about["coefficients"]["test_loss"], about["york"]
    values = ", ".join(f"{word} {shown(results[name]['statistic'], 4)}" for name, word in WORD.items())
    chances = ", ".join(chance(results[name]["pvalue"]) for name in WORD)
    symbols = ", ".join(f"{SYMBOL[name]} {shown(results[name]['statistic'], 4)}" for name in WORD)
    metric = str(rows["metric"].iloc[0])

    def draw(axes: Axes) -> Axes:
        for row in rows.to_dict("records"):
            shape, colour = marks[row["aug"]]
            x_error, y_error = (0.0 if math.isnan(row[name]) else row[name] for name in ("score_se", "test_loss_se"))
            axes.errorbar(
                row["score"],
                row["test_loss"],
                xerr=x_error or None,
                yerr=y_error or None,
                fmt=shape,
                color=colour,
                ecolor="#999999",
                elinewidth=1,
                markersize=6.5,
                zorder=3,
            )
        axes.margins(0.08)
        axes.set_ylim(axes.get_ylim())  # the band may be far wider than the points
        axes.set_xlim(axes.get_xlim())
        at = np.linspace(*axes.get_xlim(), 60)
        middle, low, high = stats.ols(rows["score"], rows["test_loss"], confidence=confidence).band(at, confidence)
        if np.isfinite(middle).all():
            axes.plot(at, middle, color=LINE, linewidth=1.4, zorder=2)
        if np.isfinite(low).all():
            axes.fill_between(at, low, high, color=LINE, alpha=0.13, linewidth=0, zorder=1)
        if york and york["slope"]["statistic"] is not None:
            ends = york["intercept"]["statistic"] + york["slope"]["statistic"] * at
            axes.plot(at, ends, color=COLOURS[1], linewidth=1.4, linestyle="--", zorder=2)
        axes.set_title(f"{short(unit, 38)}\n{symbols}\ntwo-sided p = {chances}", fontsize="small", loc="left")
        axes.set_xlabel(f"{metric} of the teacher")
        axes.set_ylabel(f"student's {outcome.name} ({outcome.unit})")
        axes.xaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
        return finish(axes)

    order = list(rows.sort_values("test_loss")["aug"])
    alt = (
        f"Scatter plot for {unit}: {metric} against {outcome.name} of {len(rows)} augmentations. {values};"
        f" two-sided p = {chances}. Lowest {outcome.name}: {order[0]}; highest: {order[-1]}."
    )
    return Panel(alt, draw)
