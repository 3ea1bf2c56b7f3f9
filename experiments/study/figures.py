"""Figures of the study, as in a paper: 7 inches wide or 3.5; None where there is nothing to draw yet."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dametric.reports.drawing import COLOURS, GREY, LINE, SHAPES, finish, style
from dametric.stats.pooling import double_centred
from experiments.study.entries import entries
from experiments.study.ladder import ladder
from experiments.study.results import Study
from experiments.study.settings import FAMILIES, IDENTITY, SHORT
from experiments.study.stddev import destroyed

COLUMN, PAGE = 3.5, 7.0
EMPTY = ["black", "grey", "static"]


@contextmanager
def _paper() -> Iterator[None]:
    with style(), matplotlib.rc_context({"font.size": 8.0, "axes.titlesize": 8.0, "legend.fontsize": 7.0}):
        yield


def of_ladder(study: Study) -> Figure | None:
    """Log gain of cutmix over identity against the teacher's kappa, and against its accuracy."""
    found = ladder(study)
    if found.table.empty:
        return None
    with _paper():
        figure = Figure(figsize=(PAGE, 2.7), layout="constrained")
        left, right = figure.subplots(1, 2, sharey=True)
        for axes, column, label in ((left, "kappa", "kappa of the teacher"), (right, "top1", "its test accuracy (%)")):
            scale = 100 if column == "top1" else 1
            axes.axhline(0, color=GREY, linewidth=0.8, linestyle="--")
            x, shared = scale * found.table[column], {"markersize": 5, "capsize": 2, "linestyle": "none"}
            axes.errorbar(x, found.table.gain, found.table.gain_se, color=LINE, marker="o", label="cutmix", **shared)
            axes.plot(x, found.table.gain_randaugment, "s", color=COLOURS[1], markersize=4, label="randaugment:n=2,m=9")
            for name, place, gain in zip(found.table.teacher, x, found.table.gain, strict=True):
                axes.annotate(name, (place, gain), xytext=(4, -9), textcoords="offset points", fontsize=7)
            axes.set_xlabel(label)
            axes.margins(x=0.1)
            finish(axes)
        left.set_ylabel("log gain over identity")
        left.legend(frameon=False, loc="upper left")
    return figure


def of_strengths(study: Study) -> Figure | None:
    """Test loss, less identity's, over the strengths of each family, a line a unit."""
    losses = study.losses()
    if losses.empty:
        return None
    with _paper():
        figure = Figure(figsize=(PAGE, 2.8), layout="constrained")
        panels = figure.subplots(1, len(FAMILIES), sharey=True)
        for axes, (family, strengths) in zip(panels, FAMILIES.items(), strict=True):
            for place, (unit, loss) in enumerate(losses.iterrows()):
                values = [0.0, *(loss[list(strengths)] - loss[IDENTITY])]
                look: Any = {"color": COLOURS[place % len(COLOURS)], "marker": SHAPES[place], "markersize": 3.5}
                axes.plot(range(len(values)), values, linewidth=1, label=_label(unit), **look)
            names = [name.partition(":")[2] or "alpha=1" for name in strengths]
            axes.set_xticks(range(len(strengths) + 1), ["none", *names], fontsize=6.5)
            axes.axhline(0, color=GREY, linewidth=0.8, linestyle="--")
            axes.set_title(family)
            finish(axes)
        panels[0].set_ylabel("test loss less identity's (nats)")
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False)
    return figure


def beyond_list(study: Study) -> Figure | None:
    """What is left of the named metrics and of the losses when a list has been taken away."""
    losses = study.losses()
    tables = {name: study.metric(name, losses.index).dropna() for name in entries()} if len(losses) > 2 else {}
    tables = {name: table for name, table in tables.items() if len(table) > 2}
    if not tables:
        return None
    with _paper():
        figure = Figure(figsize=(PAGE, 2.5), layout="constrained")
        panels = figure.subplots(1, len(tables), sharey=True, squeeze=False)[0]
        for axes, (name, table) in zip(panels, tables.items(), strict=True):
            x = double_centred(table.to_numpy(float))
            y = double_centred(losses.loc[table.index].to_numpy(float))
            for place, (unit, a, b) in enumerate(zip(table.index, x, y, strict=True)):
                look: Any = {"color": COLOURS[place % len(COLOURS)], "marker": SHAPES[place]}
                axes.scatter(a, b, s=9, label=_label(unit), **look)
            axes.set_xlabel(f"{name} ({entries()[name].better} is better)")
            finish(axes)
        panels[0].set_ylabel("test loss beyond the list")
    return figure


def short_runs(study: Study) -> Figure | None:
    """Held-out loss of short runs against the test loss of whole ones."""
    whole = study.losses()
    tables = {steps: study.losses(steps, outcome="held_out_loss") for steps in SHORT}
    tables = {
        steps: table.loc[[unit for unit in table.index if unit in whole.index]] for steps, table in tables.items()
    }
    if all(table.empty for table in tables.values()):
        return None
    with _paper():
        figure = Figure(figsize=(PAGE, 2.7), layout="constrained")
        panels = figure.subplots(1, len(tables), sharey=True)
        for axes, (steps, table) in zip(panels, tables.items(), strict=True):
            for place, (unit, loss) in enumerate(table.iterrows()):
                _standard(axes, loss, whole.loc[[unit]].iloc[0], place, _label(unit))
            axes.set_xlabel(f"held-out loss after {steps} steps (standardised)")
            finish(axes)
        panels[0].set_ylabel("test loss after 2,000 (standardised)")
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False)
    return figure


def _standard(axes: Axes, x: pd.Series[float], y: pd.Series[float], place: int, label: str) -> None:
    look: Any = {"color": COLOURS[place % len(COLOURS)], "marker": SHAPES[place]}
    axes.scatter((x - x.mean()) / x.std(), (y - y.mean()) / y.std(), s=10, label=label, **look)


def destroyed_images(study: Study) -> Figure | None:
    """T. stddev against the information that the augmented images keep: the best scores belong to empty images."""
    table = destroyed(study)
    if table.empty:
        return None
    with _paper():
        figure = Figure(figsize=(COLUMN + 1.2, 3.0), layout="constrained")
        axes = figure.subplots()
        looks = {"usual": ("o", LINE), "cutout, ever larger": ("s", COLOURS[2]), "nothing to see": ("X", COLOURS[1])}
        for kind, (shape, colour) in looks.items():
            own = table[table.setting.map(lambda name, kind=kind: _kind(name) == kind)]
            axes.plot(100 * own.information_kept, own.t_stddev, shape, color=colour, markersize=5, label=kind)
            if kind.startswith("cutout"):
                ordered = own.sort_values("information_kept")
                axes.plot(100 * ordered.information_kept, ordered.t_stddev, color=colour, linewidth=0.8)
        for _, row in table[~table.setting.isin(EMPTY)].iterrows():
            name = str(row.setting).replace("cutout:length=", "").replace(":by=teacher_entropy", "")
            left = str(row.setting).startswith("cutout")
            look: Any = {"xytext": (-5, 3) if left else (6, -5), "ha": "right" if left else "left"}
            at = (100 * row.information_kept, row.t_stddev)
            axes.annotate(name, at, textcoords="offset points", fontsize=6.5, **look)
        axes.set_xlabel("information about the image that is kept (%)")
        axes.set_ylabel("T. stddev (lower is better)")
        axes.set_xlim(-6, 118)
        axes.legend(frameon=False, loc="lower right")
        finish(axes)
    return figure


def _label(unit: Any) -> str:
    return " -> ".join(unit)


def _kind(setting: str) -> str:
    if setting in EMPTY:
        return "nothing to see"
    return "cutout, ever larger" if setting.startswith("cutout") else "usual"


FIGURES: dict[str, Callable[[Study], Figure | None]] = {
    "ladder": of_ladder,
    "strengths": of_strengths,
    "beyond_list": beyond_list,
    "short_runs": short_runs,
    "destroyed": destroyed_images,
}
