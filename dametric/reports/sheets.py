"""Figures alone, in the size that a paper takes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from io import BytesIO

import matplotlib
from matplotlib.figure import Figure, SubFigure

from dametric.reports.chart import Chart, Panel
from dametric.reports.drawing import keys_of, style

KINDS = ("png", "svg", "pdf")
COLUMN, PAGE = 3.5, 7.0  # inches: one column of a paper, and both
_DATES = {"png": {}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}


def draw(chart: Chart, panels: Sequence[Panel], columns: int, figure: Figure | SubFigure, *, keys: int) -> None:
    """Panels on a grid of a figure with constrained layout, and the legend of the chart below.

    Parameters
    ----------
    chart : Chart
    panels : sequence of Panel
        Of the chart, perhaps not all.
    columns : int
    figure : Figure or SubFigure
    keys : int
        Columns of the legend; none where it is 0.
    """
    grid = figure.subplots(math.ceil(len(panels) / columns), columns, squeeze=False).ravel()
    for axes, panel in zip(grid, panels, strict=False):
        panel.draw(axes)
    for axes in grid[len(panels) :]:
        axes.set_axis_off()
    if chart.marks and keys:
        figure.legend(
            handles=keys_of(chart.marks), loc="outside lower left", ncols=keys, frameon=False, fontsize="small"
        )


def paper(chart: Chart) -> Figure:
    """The chart for a paper: one panel fits a column, several the width of a page; no title, which captions give.

    Parameters
    ----------
    chart : Chart

    Returns
    -------
    Figure
        3.5 or 7 inches wide, with type of 7 to 8 points.
    """
    many = len(chart.panels) > 1
    columns = min(3 if len(chart.panels) > 4 else 2, len(chart.panels))
    width = PAGE if many or chart.panels[0].size[0] > 6 else COLUMN
    height = max(panel.size[1] / panel.size[0] for panel in chart.panels) * width / columns
    keys = 4 if width == PAGE else 2
    legend = 0.2 * math.ceil(len(chart.marks) / keys)
    with style(), matplotlib.rc_context({"font.size": 8.0 if columns < 3 else 7.0}):
        size = (width, height * math.ceil(len(chart.panels) / columns) + legend)
        figure = Figure(figsize=size, layout="constrained")
        draw(chart, chart.panels, columns, figure, keys=keys)
    return figure


def rendered(chart: Chart, kind: str) -> bytes:
    """The chart for a paper as the bytes of a file.

    Parameters
    ----------
    chart : Chart
    kind : {"png", "svg", "pdf"}
        A PNG has 300 dots an inch.

    Returns
    -------
    bytes
        The same for the same chart: no dates, no random ids.
    """
    figure, buffer = paper(chart), BytesIO()
    with style(), matplotlib.rc_context({"svg.hashsalt": chart.key, "font.size": 8.0}):
        figure.savefig(buffer, format=kind, dpi=300, metadata=_DATES[kind])
    return buffer.getvalue()
