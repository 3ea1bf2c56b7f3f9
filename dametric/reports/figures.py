"""Figures: functions that take an Axes, draw on it and return it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from dametric.records.joining import StudentRow
from dametric.records.tables import records_of
from dametric.reports.drawing import Mark, finish, keys_of, marks_of, style
from dametric.reports.score_figures import BEST, OTHER, TIED, score_chart, score_figure

__all__ = [
    "BEST",
    "OTHER",
    "TIED",
    "grid_figure",
    "render",
    "score_chart",
    "score_figure",
    "students_chart",
    "students_figure",
]


def students_chart(joined: pd.DataFrame, axes: Axes, metric: str, marks: Mapping[str, Mark] | None = None) -> Axes:
    """Draw the students' test loss against the score, one point an augmentation, with standard errors on both axes.

    Parameters
    ----------
    joined : pandas.DataFrame
        From :func:`dametric.records.joining.join`, one student's rows.
    axes : Axes
        To draw on.
    metric : str
        What the score is.
    marks : mapping of str to (shape, colour), optional
        Of every augmentation; those of :func:`marks_of` by default.

    Returns
    -------
    Axes
        The same; each point has its augmentation as its label, for a legend.
    """
    marks = marks or marks_of(list(joined.aug))
    for row in records_of(StudentRow, joined):
        shape, colour = marks[row.aug]
        errors = [value if np.isfinite(value) else 0.0 for value in (row.score_se, row.test_loss_se)]
        axes.errorbar(
            row.score,
            row.test_loss,
            xerr=errors[0],
            yerr=errors[1],
            fmt=shape,
            color=colour,
            ecolor="#999999",
            markersize=6.5,
            label=row.aug,
        )
    axes.margins(x=0.08, y=0.08)
    axes.set_xlabel(f"{metric} of the teacher, ± standard error")
    axes.set_ylabel("student's test loss, ± standard error")
    return finish(axes)


def students_figure(joined: pd.DataFrame, metric: str, title: str) -> Figure:
    """A figure of :func:`students_chart`, one panel a student, side by side, and a legend of the augmentations."""
    students, marks = joined.groupby("student", sort=False), marks_of(list(joined.aug))
    with style():
        figure = Figure(figsize=(max(6.4, 4.5 * len(students)), 5.0), layout="constrained")
        panels = figure.subplots(1, len(students), squeeze=False)[0]
        for axes, (student, rows) in zip(panels, students, strict=True):
            students_chart(rows, axes, metric, marks)
            if len(students) > 1:
                axes.set_title(student, fontsize="small")
        figure.legend(handles=keys_of(marks), loc="outside lower left", ncols=3, frameon=False, fontsize="small")
        figure.suptitle(title, fontsize="medium", x=0.02, ha="left")
    return figure


def grid_figure(rows: Sequence[tuple[str, NDArray[np.uint8]]], title: str) -> Figure:
    """A grid of images, a labelled row for each augmentation.

    Parameters
    ----------
    rows : sequence of (str, array of shape (images, height, width, channels), uint8)
    title : str
        Printed above.
    """
    columns = max(len(images) for _, images in rows)
    figure = Figure(figsize=(1.6 + 0.9 * columns, 0.5 + 0.92 * len(rows)), layout="constrained")
    grid: Any = figure.subplots(len(rows), columns, squeeze=False)
    for line, (name, images) in zip(grid, rows, strict=True):
        for axes, image in zip(line, images, strict=False):
            axes.imshow(image.squeeze(), cmap="gray" if image.shape[-1] == 1 else None, vmin=0, vmax=255)
        for axes in line:
            axes.set_xticks([])
            axes.set_yticks([])
            axes.spines[:].set_visible(False)
        line[0].set_ylabel(name, rotation=0, ha="right", va="center", fontsize="small")
    figure.suptitle(title, fontsize="medium")
    return figure


def render(figure: Figure, kind: str) -> bytes:
    """The figure as the bytes of a file of this kind: "png", "svg" or "pdf"."""
    buffer = BytesIO()
    figure.savefig(buffer, format=kind, dpi=200)
    return buffer.getvalue()
