"""Score against the students' test loss."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from dametric import stats
from dametric.analysis import Analysis
from dametric.analysis.joined import Point, by_unit, points_of
from dametric.analysis.numbers import p_value
from dametric.analysis.outcome import Outcome
from dametric.analysis.unit import UnitAnalysis
from dametric.reports.cells import Cell, Table, error, number, table_of, word
from dametric.reports.chart import Chart, Panel
from dametric.reports.drawing import COLOURS, LINE, SYMBOL, WORD, Mark, finish, marks_of, rounded, short

PLACE = 10


def chart(analysis: Analysis) -> Chart:
    """Score against the students' test loss, one panel a unit, with the line and its band."""
    rows, metric, outcome = analysis.rows, analysis.metric, analysis.outcome
    rows = rows[rows.metric == metric]
    marks, confidence = marks_of(list(rows.aug)), analysis.settings.confidence
    units = analysis.of_metric
    panels = [_panel(points_of(part), units[unit], marks, confidence, outcome) for unit, part in by_unit(rows).items()]
    known = rows[["score_se", "test_loss_se"]].notna().any()
    bars = " and ".join(word for word, has in zip(("score", outcome.short), known, strict=True) if has)
    errors = f"Bars: ± one standard error of the {bars}. " if bars else "No standard errors are known. "
    yorks = any(about.york is not None for about in units.values())
    york = " Dashed: York's line, which weighs every point by the errors of both axes." if yorks else ""
    note = (
        f"{errors}Line: least squares, with its {100 * confidence:g} % confidence band (HC3).{york} p-values are"
        " two-sided permutation p-values of Pearson's r, Spearman's ρ and Kendall's τ-b. A point that lies off the line"
        " was misjudged by the score."
    )
    columns = ["unit", "metric", "aug", "score", "score_se", "test_loss", "test_loss_se", "test_top1", "test_top1_se"]
    data = analysis.rows[[*columns, "seeds"]]
    title = f"{metric} and the students' {outcome.name}"
    return Chart("scatter", title, note, tuple(panels), data, marks, (points_table(analysis),))


def _panel(
    points: Sequence[Point],
    about: UnitAnalysis,
    marks: Mapping[str, Mark],
    confidence: float,
    outcome: Outcome,
) -> Panel:
    results = [(name, result) for name, result in about.coefficients.loss if name in WORD]
    values = ", ".join(f"{WORD[name]} {rounded(result.statistic, 4)}" for name, result in results)
    chances = ", ".join(p_value(result.pvalue) for _, result in results)
    symbols = ", ".join(f"{SYMBOL[name]} {rounded(result.statistic, 4)}" for name, result in results)
    unit, metric = points[0].unit, points[0].metric
    scores, losses = [point.score for point in points], [point.test_loss for point in points]

    def draw(axes: Axes) -> Axes:
        for point in points:
            shape, colour = marks[point.aug]
            x_error, y_error = (None if np.isnan(se) else se or None for se in (point.score_se, point.test_loss_se))
            bars: dict[str, Any] = {"xerr": x_error, "yerr": y_error, "ecolor": "#999999", "elinewidth": 1}
            axes.errorbar(point.score, point.test_loss, fmt=shape, color=colour, markersize=6.5, zorder=3, **bars)
        axes.margins(0.08)
        axes.set_ylim(axes.get_ylim())  # the band may be far wider than the points
        axes.set_xlim(axes.get_xlim())
        at = np.linspace(*axes.get_xlim(), 60)
        middle, low, high = stats.ols(scores, losses, confidence=confidence).band(at, confidence)
        if np.isfinite(middle).all():
            axes.plot(at, middle, color=LINE, linewidth=1.4, zorder=2)
        if np.isfinite(low).all():
            axes.fill_between(at, low, high, color=LINE, alpha=0.13, linewidth=0, zorder=1)
        if about.york and np.isfinite(about.york.slope.statistic):
            ends = about.york.intercept.statistic + about.york.slope.statistic * at
            axes.plot(at, ends, color=COLOURS[1], linewidth=1.4, linestyle="--", zorder=2)
        axes.set_title(f"{short(unit, 38)}\n{symbols}\ntwo-sided p = {chances}", fontsize="small", loc="left")
        axes.set_xlabel(f"{metric} of the teacher")
        axes.set_ylabel(f"student's {outcome.name} ({outcome.unit})")
        axes.xaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
        return finish(axes)

    order = [point.aug for point in sorted(points, key=lambda point: point.test_loss)]
    alt = (
        f"Scatter plot for {unit}: {metric} against {outcome.name} of {len(points)} augmentations. {values};"
        f" two-sided p = {chances}. Lowest {outcome.name}: {order[0]}; highest: {order[-1]}."
    )
    return Panel(alt, draw)


def points_table(analysis: Analysis) -> Table:
    """The points of the scatter plots."""
    rows, units = analysis.rows, analysis.of_metric
    names = ("Unit", analysis.metric, "±", analysis.outcome.title, "±", "Top-1", "±", "Seeds", "Cook's distance")

    def cells() -> Iterator[Sequence[Cell]]:
        for row in points_of(rows[rows.metric == analysis.metric]):
            line = units[row.unit].ols
            cook = number(line.cook[row.aug], ".2f")
            cook = cook._replace(text=f"{cook.text} (above 4/n)") if row.aug in line.flagged else cook
            score = (number(row.score, "#.4g"), error(row.score_se))
            student = (number(row.test_loss), error(row.test_loss_se), number(row.test_top1), error(row.test_top1_se))
            yield word(row.aug), word(row.unit), *score, *student, number(row.seeds, ".0f"), cook

    caption = "Scores and students, mean over seeds ± standard error"
    return table_of("points", caption, ("Augmentation", *names), cells(), ("Unit",))
