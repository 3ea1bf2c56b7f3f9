"""The picture of two score files beside each other."""

from __future__ import annotations

from textwrap import fill

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from dametric.analysis.comparing import Comparison
from dametric.reports.drawing import COLOURS, GREY, LINE, Mark, short, style

_ROW, _CLOSE, _MANY = 0.19, 0.13, 40  # inches of a row, and of one among so many
_SAME, _MOVED, _REVERSED = (
    "same rank",
    "another rank, order not shown to differ",
    "order with another shown to be reversed (95 %)",
)


def comparison_chart(comparison: Comparison, axes: Axes) -> Axes:
    """Draw every augmentation's rank in both files, joined by a line.

    Parameters
    ----------
    comparison : Comparison
    axes : Axes
        To draw on.

    Returns
    -------
    Axes
        The same.
    """
    turned = {name for pair in comparison.orders.reversed for name in pair}
    for pair in comparison.pairs:
        kind = _REVERSED if pair.aug in turned else _MOVED if pair.change else _SAME
        shape, colour = MARKS[kind]
        faded = 0.5 if pair.destroyed else 1.0
        axes.plot([0, 1], pair.ranks, "-", color=colour, marker=shape, markersize=4.5, linewidth=1.3, alpha=faded)
    count = len(comparison.pairs)
    left = {pair.ranks[0]: pair.aug + (" (destroyed)" if pair.destroyed else "") for pair in comparison.pairs}
    right = {pair.ranks[1]: pair.other for pair in comparison.pairs}
    places = range(1, count + 1)
    axes.set_xlim(-0.03, 1.03)
    axes.set_xticks([])
    axes.set_ylim(count + 0.6, 0.4)
    axes.set_yticks(places, [f"{short(left[place])}  {place}" for place in places])
    twin = axes.twinx()
    twin.set_ylim(axes.get_ylim())
    twin.set_yticks(places, [f"{place}  {short(right[place])}" for place in places])
    for each in (axes, twin):
        each.tick_params(axis="y", length=0)
        each.spines[:].set_visible(False)
    for name, x, side in zip(comparison.names, (0.0, 1.0), ("right", "left"), strict=True):
        axes.annotate(
            fill(name, 36),
            (x, 1),
            xytext=(0, 6),
            xycoords="axes fraction",
            textcoords="offset points",
            ha=side,
            va="bottom",
            weight="bold",
        )
    return axes


MARKS: dict[str, Mark] = {_SAME: ("o", GREY), _MOVED: ("s", LINE), _REVERSED: ("D", COLOURS[1])}
"""What shape and colour say of an augmentation."""


def height_of(comparison: Comparison) -> float:
    """Inches that the chart takes, its heads included."""
    count = len(comparison.pairs)
    return 1.0 + (_ROW if count <= _MANY else _CLOSE) * count


def comparison_figure(comparison: Comparison) -> Figure:
    """A page-wide figure of :func:`comparison_chart` with its legend."""
    with style(), matplotlib.rc_context({"font.size": 8.0 if len(comparison.pairs) <= _MANY else 6.5}):
        figure = Figure(figsize=(7.0, height_of(comparison)), layout="constrained")
        comparison_chart(comparison, figure.subplots())
        tau = next(line for line in comparison.answer if "tau-b" in line or "not known" in line)
        figure.suptitle(f"Rank by {comparison.metric}. {tau}", fontsize="medium", x=0.01, ha="left")
        handles = [
            Line2D([], [], color=colour, marker=shape, markersize=4.5, label=label)
            for label, (shape, colour) in MARKS.items()
        ]
        figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False, fontsize="small")
    return figure
