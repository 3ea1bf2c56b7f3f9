"""Figures on sheets of paper."""

from __future__ import annotations

import math
from collections.abc import Iterator

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from dametric.report.chart import Chart
from dametric.report.drawing import style


def pages(chart: Chart, per_page: int = 6) -> Iterator[Figure]:
    """The chart as figures of a landscape A4 page each, at most ``per_page`` panels on one."""
    for start in range(0, len(chart.panels), per_page):
        part = chart.panels[start : start + per_page]
        columns = min(3, len(part))
        with style():
            figure = Figure(figsize=(11.69, 8.27), layout="constrained")
            grid = figure.subplots(math.ceil(len(part) / columns), columns, squeeze=False).ravel()
            for axes, panel in zip(grid, part, strict=False):
                panel.draw(axes)
            for axes in grid[len(part) :]:
                axes.set_axis_off()
            figure.suptitle(chart.title, x=0.02, ha="left", fontsize="large")
            if chart.marks:
                handles = [
                    Line2D([], [], linestyle="none", marker=shape, color=colour, label=name)
                    for name, (shape, colour) in chart.marks.items()
                ]
                figure.legend(handles=handles, loc="outside lower center", ncols=4, frameon=False, fontsize="small")
        yield figure
