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
from dametric.records.score_rows import MetricValue
from dametric.records.scores import Scores
from dametric.records.tables import records_of
from dametric.reports.drawing import Mark, finish, keys_of, marks_of, style

_WIDE = 5  # times the usual half width, and the range of all values, beyond which an interval is cut off
BEST, TIED, OTHER = (
    "#009E73",
    "#56B4E9",
    "#555555",
)  # Okabe & Ito's palette, for colour-blind readers too


def score_chart(scores: Scores, axes: Axes, metric: str | None = None) -> Axes:
    """Draw every augmentation's value with its 95 % interval, best on top.

    Parameters
    ----------
    scores : Scores
    axes : Axes
        To draw on.
    metric : str, optional
        The one that orders the table by default.

    Returns
    -------
    Axes
        The same.
    """
    metric = metric or scores.metrics[0]
    numbers = [row.metrics[metric] for row in scores.rows]
    for place, (row, number) in enumerate(zip(scores.rows, numbers, strict=True)):
        colour, marker = (BEST, "D") if place == 0 else (TIED, "o") if row.tied_with_best else (OTHER, "s")
        error = [[number.value - number.low], [number.high - number.value]]
        axes.errorbar(number.value, place, xerr=error, fmt=marker, color=colour, markersize=5, capsize=3)
    _not_compressed(axes, numbers)
    axes.set_yticks(range(len(numbers)), [row.aug for row in scores.rows], parse_math=False)
    axes.invert_yaxis()
    better = {"lower": " (lower is better)", "higher": " (higher is better)", "open": ""}[numbers[0].direction]
    axes.set_xlabel(f"{metric}{better}, 95 % interval")
    axes.grid(axis="x", color="#DDDDDD", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    _legend(scores, axes)
    return axes


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


def _legend(scores: Scores, axes: Axes) -> None:
    entries = [("best", BEST, "D"), ("not distinguishable from the best (95 %)", TIED, "o"), ("worse", OTHER, "s")]
    tied = [row.tied_with_best for row in scores.rows[1:]]
    shown = [True, any(tied), not all(tied)]
    for (label, colour, marker), wanted in zip(entries, shown, strict=True):
        if wanted:
            axes.plot([], [], linestyle="none", marker=marker, color=colour, label=label)
    axes.legend(loc="upper center", bbox_to_anchor=(0.4, -0.16), ncols=3, frameon=False, fontsize="small")


def score_figure(scores: Scores) -> Figure:
    """A page-wide figure of :func:`score_chart`, with what was scored as its title."""
    figure = Figure(figsize=(7.5, 1.6 + 0.32 * len(scores)), layout="constrained")
    axes = score_chart(scores, figure.subplots())
    config = scores.settings
    batch, seed = ("?" if value is None else value for value in (config.b, config.seed))
    axes.set_title(
        f"{config.scored.arch or 'teacher'} on {config.data.folder or 'data'}: {scores.batches} batches of {batch}, "
        f"seed {seed}",
        fontsize="medium",
        loc="left",
    )
    return figure


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
