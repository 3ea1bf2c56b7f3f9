"""Figures of scores: every augmentation's value, and curves over strengths."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import ScaledTranslation

from dametric.analysis.curves import Curve, curves_of, heads_of
from dametric.base.numbers import Number, aligned
from dametric.records.score_rows import MetricValue, ScoreRow
from dametric.records.scores import Scores
from dametric.reports.drawing import GREY, LINE, finish, short, strength_ticks, style
from dametric.stats.families import family

_WIDE = 3  # times the usual half width, and the range of all values, beyond which an interval is cut off
BEST, TIED, OTHER = (
    "#009E73",
    "#56B4E9",
    "#555555",
)  # Okabe & Ito's palette, for colour-blind readers too
GONE, LOST = "#999999", "images destroyed"
WIDTH = 7.0  # inches: both columns of a paper
_NARROW = 6.0  # inches of a figure
_MOST_ROWS = 40  # of one set of axes; more rows stand in two
_ROW, _CLOSE = 0.2, 0.165  # inches of a row, and of one among many


def score_chart(
    scores: Scores,
    axes: Axes,
    metric: str | None = None,
    *,
    rows: Sequence[ScoreRow] | None = None,
    legend: bool = True,
    values: bool = True,
) -> Axes:
    """Draw every augmentation's value with its 95 % interval, best on top.

    Parameters
    ----------
    scores : Scores
    axes : Axes
        To draw on.
    metric : str, optional
        The one that orders the table by default.
    rows : sequence of ScoreRow, optional
        Of the scores, perhaps not all.
    legend : bool
        Whether the colours are explained below the axes.
    values : bool
        Whether each value stands with its error at the right of its row.

    Returns
    -------
    Axes
        The same.
    """
    metric, rows = metric or scores.metrics[0], scores.rows if rows is None else rows
    numbers = [row.metrics[metric] for row in rows]
    small = len(rows) > _MOST_ROWS // 2
    for place, (row, number) in enumerate(zip(rows, numbers, strict=True)):
        _, colour, marker, face = kind_of(scores, row)
        error = [[number.value - number.low], [number.high - number.value]]
        axes.errorbar(
            number.value,
            place,
            xerr=error,
            fmt=marker,
            color=colour,
            markerfacecolor=face,
            markersize=4 if small else 5,
            capsize=2 if small else 3,
        )
    if values:
        _beside(axes, numbers)
    _families(axes, rows)
    _not_compressed(axes, numbers)
    if not any(np.isfinite(number.value) for number in numbers):
        axes.annotate("no value is known:\ntoo few batches", (0.5, 0.5), xycoords="axes fraction", ha="center")
        axes.set_xticks([])
    axes.set_yticks(range(len(numbers)), [short(row.aug) for row in rows], parse_math=False)
    axes.set_ylim(len(numbers) - 0.4, -0.6)
    figure = axes.get_figure(root=True)
    most = 5 if figure is None or figure.get_figwidth() > _NARROW else 3  # names and values take most of a narrow one
    axes.xaxis.set_major_locator(MaxNLocator(most, steps=[1, 2, 5, 10]))
    axes.set_xlabel(label_of(scores, metric))
    axes.grid(color="#E6E6E6", linewidth=0.6)  # along the rows too: names are far from their points
    axes.set_axisbelow(True)
    axes.tick_params(axis="y", length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)
    if legend and figure is not None:
        below = axes.transAxes + ScaledTranslation(0, -0.42, figure.dpi_scale_trans)
        axes.legend(
            handles=legend_handles(scores, rows),
            loc="upper center",
            bbox_to_anchor=(0.4, 0),
            bbox_transform=below,
            ncols=4,
            frameon=False,
            fontsize="small",
        )
    return axes


def label_of(scores: Scores, metric: str) -> str:
    """What an axis of values with intervals is labelled with."""
    words = {"lower": " (lower is better)", "higher": " (higher is better)", "open": ""}
    return f"{metric}{words[scores.rows[0].metrics[metric].direction]}, 95 % interval"


def kind_of(scores: Scores, row: ScoreRow) -> tuple[str, str, str, str]:
    """What is to be said of a row: words, colour, shape, and colour of its inside."""
    if row.destroyed:
        return LOST, GONE, "X", "white"
    if scores.direction == "open" or not np.isfinite(row.metrics[scores.metrics[0]].value):
        return "value", OTHER, "s", OTHER
    if row is scores.rows[0]:
        return "best", BEST, "D", BEST
    if row.tied_with_best:
        return "not distinguishable from the best (95 %)", TIED, "o", TIED
    return "worse", OTHER, "s", OTHER


def legend_handles(scores: Scores, rows: Sequence[ScoreRow]) -> list[Line2D]:
    """What a legend of the rows is made of; nothing where all are alike and nothing is said of them."""
    kinds = dict.fromkeys(kind_of(scores, row) for row in rows)
    return [
        Line2D([], [], linestyle="none", marker=marker, color=colour, markerfacecolor=face, markersize=5, label=label)
        for label, colour, marker, face in kinds
        if label != "value"
    ]


def _beside(axes: Axes, numbers: Sequence[MetricValue]) -> None:
    """Print every value with its error at the right of its row."""
    texts = aligned([Number(number.value, number.se) for number in numbers])
    at = axes.get_yaxis_transform()
    for place, (number, text) in enumerate(zip(numbers, texts, strict=True)):
        if math.isfinite(number.value):
            axes.annotate(text, (1, place), (4, 0), at, "offset points", fontsize="small", va="center", color=OTHER)
    if any("±" in text for text in texts):
        axes.annotate("± standard error", (1, -0.6), (4, 2), at, "offset points", fontsize="small", color=OTHER)


def _families(axes: Axes, rows: Sequence[ScoreRow]) -> None:
    """A band behind every second family, where rows of one family stand together."""
    names = [family(row.aug) for row in rows]
    starts = [place for place, name in enumerate(names) if place == 0 or names[place - 1] != name]
    for start, end in list(zip(starts, [*starts[1:], len(rows)], strict=True))[1::2]:
        axes.axhspan(start - 0.5, end - 0.5, color="#F0F3F6", linewidth=0, zorder=0)


def by_family(rows: Sequence[ScoreRow]) -> list[ScoreRow]:
    """Rows with those of one family together, in their order; families in the order of their first rows."""
    first: dict[str, int] = {}
    for place, row in enumerate(rows):
        first.setdefault(family(row.aug), place)
    return sorted(rows, key=lambda row: first[family(row.aug)])


def _not_compressed(axes: Axes, numbers: Sequence[MetricValue]) -> None:
    """Cut an interval off that is so much wider than the others that they would not be told apart beside it."""
    halves = [(number.high - number.low) / 2 for number in numbers]
    known = [half for half in halves if np.isfinite(half)]
    values = [number.value for number in numbers if np.isfinite(number.value)]
    if not known or max(known) <= _WIDE * max(float(np.median(known)), float(np.ptp(values))):
        return
    widest = _WIDE * float(np.median(known))
    usual = [number for number, half in zip(numbers, halves, strict=True) if half <= widest]
    low = min(*(number.low for number in usual), *values)
    high = max(*(number.high for number in usual), *values)
    margin = 0.05 * (high - low)
    if not margin > 0:
        return
    axes.set_xlim(low - margin, high + margin)
    axes.annotate("an interval goes on", (1, 1), (0, 3), "axes fraction", "offset points", fontsize="small", ha="right")


def curve_chart(
    curve: Curve,
    axes: Axes,
    limits: tuple[float, float] | None = None,
    reference: float | None = None,
    width: float = 3.4,
) -> Axes:
    """Draw a metric over strengths with the band of its 95 % intervals; the best strength with its interval.

    Parameters
    ----------
    curve : Curve
    axes : Axes
        To draw on; logarithmic where the strengths have equal ratios.
    limits : (float, float), optional
        Of the values, to be the same in several charts.
    reference : float, optional
        Value of unchanged images, as a dashed line.
    width : float
        Of the panel in inches.

    Returns
    -------
    Axes
        The same.
    """
    at, values = np.array(curve.strengths), curve.values
    value, low, high = (np.array([getattr(each, name) for each in values]) for name in ("value", "low", "high"))
    lost = np.array([row.destroyed for row in curve.rows])
    if curve.logarithmic:
        axes.set_xscale("log")
    if reference is not None and math.isfinite(reference):
        axes.axhline(reference, color=GREY, linewidth=1, linestyle="--")
    if curve.interval is not None:
        axes.axvspan(*curve.interval, color=BEST, alpha=0.13, linewidth=0)
    axes.fill_between(at, low, high, color=LINE, alpha=0.18, linewidth=0)
    axes.plot(at, value, color=LINE, linewidth=1.3, zorder=2)
    axes.plot(at[~lost], value[~lost], "o", color=LINE, markersize=3.5, zorder=3)
    axes.plot(at[lost], value[lost], "X", color=GONE, markerfacecolor="white", markersize=5, zorder=3)
    if curve.best is not None and curve.inside:
        axes.plot(at[curve.best], value[curve.best], "D", color=BEST, markersize=6, zorder=4)
    strength_ticks(axes, curve.strengths, width - 0.9)
    if limits is not None:
        axes.set_ylim(limits)
    axes.yaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
    axes.set_title(f"{short(curve.name, 34)}\n{curve.short_answer}", fontsize="medium", loc="left")
    axes.set_xlabel(curve.parameter)
    axes.set_ylabel(curve.metric)
    return finish(axes)


def curve_limits(curves: Sequence[Curve], reference: float | None = None) -> tuple[float, float] | None:
    """Limits of the values that hold every curve with its band; None where no value is known."""
    ends = [end for curve in curves for each in curve.values for end in (each.value, each.low, each.high)]
    known = [end for end in (*ends, reference) if end is not None and math.isfinite(end)]
    if not known:
        return None
    margin = 0.06 * (max(known) - min(known)) or 0.1 * abs(known[0]) or 1.0
    return min(known) - margin, max(known) + margin


def reference_of(scores: Scores) -> float | None:
    """The value of unchanged images, where they were scored."""
    return next((row.metrics[scores.metrics[0]].value for row in scores.rows if row.aug == "identity"), None)


def score_figure(scores: Scores) -> Figure:
    """A page-wide figure of scores, with what was scored as its title.

    Values with their intervals as :func:`score_chart` draws them, more than forty in two columns; where an
    augmentation was scored at several strengths its best one, and below a :func:`curve_chart` of each.
    """
    curves = curves_of(scores)
    rows = by_family(heads_of(scores, curves))
    across = 4 if len(curves) > 9 else 2 if len(curves) == 4 else min(3, max(len(curves), 1))
    heights = [height_of(len(parts_of(rows)[0])), 0.3 + (1.75 if across < 4 else 1.5) * math.ceil(len(curves) / across)]
    small = len(rows) > _MOST_ROWS or across > 3
    with style(), matplotlib.rc_context({"font.size": 7.0 if small else 8.0}):
        if len(rows) < 2 or not curves:
            figure = Figure(figsize=(WIDTH, heights[bool(curves)]), layout="constrained")
            upper = lower = figure
        else:
            figure = Figure(figsize=(WIDTH, sum(heights)), layout="constrained")
            upper, lower = np.ravel(figure.subfigures(2, 1, height_ratios=heights, squeeze=False))
        if len(rows) > 1 or not curves:
            _draw_rows(scores, rows, upper)
        if curves:
            _draw_curves(scores, curves, across, lower)
        if len(rows) > 1 or not curves:
            upper.axes[0].set_title(title_of(scores), fontsize="medium", loc="left")
        else:
            figure.suptitle(title_of(scores), fontsize="medium", x=0.01, ha="left")
    return figure


def parts_of(rows: Sequence[ScoreRow]) -> list[Sequence[ScoreRow]]:
    """The rows of each set of axes: all, or half of many."""
    length = len(rows) if len(rows) <= _MOST_ROWS else -(-len(rows) // 2)
    return [rows[start : start + length] for start in range(0, len(rows), length)]


def height_of(rows: int) -> float:
    """Inches that so many rows of one set of axes take with their axis and legend."""
    return 1.0 + rows * (_ROW if rows <= _MOST_ROWS // 2 else _CLOSE)


def wide(scores: Scores) -> tuple[float, float]:
    """Limits that hold every value and interval, to be the same in several sets of axes."""
    numbers = [row.metrics[scores.metrics[0]] for row in scores.rows]
    ends = [end for each in numbers for end in (each.value, each.low, each.high) if np.isfinite(end)]
    low, high = min(ends, default=0.0), max(ends, default=1.0)
    margin = 0.05 * (high - low) or 1.0
    return low - margin, high + margin


def _draw_rows(scores: Scores, rows: Sequence[ScoreRow], figure: Figure | SubFigure) -> None:
    halves = parts_of(rows)
    columns = len(halves)
    parts = figure.subplots(1, columns, squeeze=False, sharex=True)[0]
    for axes, half in zip(parts, halves, strict=True):
        score_chart(scores, axes, rows=half, legend=columns == 1, values=columns == 1)
        axes.set_ylim(len(halves[0]) - 0.4, -0.6)
    if columns > 1:
        for axes in parts:
            axes.set_xlabel(label_of(scores, scores.metrics[0]).replace(", ", ",\n"))
        handles = legend_handles(scores, rows)
        figure.legend(handles=handles, loc="outside lower center", ncols=4, frameon=False, fontsize="small")


def _draw_curves(scores: Scores, curves: Sequence[Curve], across: int, figure: Figure | SubFigure) -> None:
    reference = reference_of(scores)
    limits = curve_limits(curves, reference)
    grid = figure.subplots(math.ceil(len(curves) / across), across, squeeze=False)
    for place, axes in enumerate(grid.ravel()):
        if place >= len(curves):
            axes.set_axis_off()
            continue
        curve_chart(curves[place], axes, limits, reference, WIDTH / across)
        if place % across:
            axes.set_ylabel("")
            axes.tick_params(axis="y", labelleft=False)
    handles = curve_handles(curves, reference)
    figure.legend(handles=handles, loc="outside lower center", ncols=5, frameon=False, fontsize="small")


def curve_handles(curves: Sequence[Curve], reference: float | None) -> list[Any]:
    """What a legend of curves is made of: what is drawn somewhere."""
    kinds: list[tuple[bool, dict[str, Any]]] = [
        (True, {"color": LINE, "marker": "o", "markersize": 3.5, "label": "value, band: 95 % interval"}),
        (
            any(curve.inside for curve in curves),
            {"color": BEST, "marker": "D", "linestyle": "none", "label": "best strength, green: its 95 % interval"},
        ),
        (
            any(row.destroyed for curve in curves for row in curve.rows),
            {
                "color": GONE,
                "marker": "X",
                "markerfacecolor": "white",
                "linestyle": "none",
                "label": "images destroyed",
            },
        ),
        (reference is not None, {"color": GREY, "linestyle": "--", "linewidth": 1, "label": "unchanged images"}),
    ]
    return [Line2D([], [], **kind) for drawn, kind in kinds if drawn]


def title_of(scores: Scores) -> str:
    """What was scored, in a line."""
    config = scores.settings
    batch, seed = ("?" if value is None else value for value in (config.b, config.seed))
    what = f"{config.scored.arch or 'teacher'} on {config.data.folder or 'data'}"
    return f"{what}: {scores.batches} batches of {batch}, seed {seed}"
