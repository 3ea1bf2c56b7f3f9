"""What all figures have in common: colours, shapes, and numbers as words."""

from __future__ import annotations

import math
import warnings
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from dametric.stats.families import family

# Okabe & Ito's palette without its yellow, which is too pale on white; shapes differ too, so colour never stands alone.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#333333")
SHAPES = "osD^vP*X<>"
GLYPHS = dict(zip(SHAPES, "●■◆▲▼✚★✖◀▶", strict=True))  # for legends in text
LINE, GREY = "#0072B2", "#777777"
SYMBOL = {"pearson": "r", "spearman": "ρ", "kendall": "τ-b"}
WORD = {"pearson": "Pearson", "spearman": "Spearman", "kendall": "Kendall"}
Mark = tuple[str, str]
_DIGIT = 0.085  # inches of a digit of a label
# Whose colour says the family and whose shape the augmentation; what is not here gets both from its name.
_FAMILY = {"geometric": 6, "cutmix": 0, "mixup": 1, "erase": 2, "policy": 3, "colour": 4, "warp": 5, "resize": 5}
_SHAPE = {
    "identity": "o",
    "none": "o",
    "flip": "s",
    "crop+flip": "D",
    "crop": "^",
    "cutmix": "o",
    "cutmixpick:by=teacher_entropy": "*",
    "cutmixpick:by=student_entropy": "X",
    "mixup": "v",
    "cutout": "^",
    "autoaugment": "P",
    "randaugment": "s",
    "trivialaugment": "D",
}
_PUBLISHED = {"cutmix_pick_T": "cutmixpick:by=teacher_entropy", "cutmix_pick_S": "cutmixpick:by=student_entropy"}


@contextmanager
def style() -> Iterator[None]:
    """Settings for names that are not ours: dollar signs are no formulas, unknown letters are no warnings."""
    settings: dict[Any, Any] = {"text.parse_math": False, "svg.fonttype": "path", "font.size": 9.0}
    with matplotlib.rc_context(settings), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        yield


def marks_of(augs: Sequence[str]) -> dict[str, Mark]:
    """A shape and a colour for every augmentation: the same in every figure, and no two alike among seventy.

    They follow from the name, whatever else is in the figure and in whichever order. Only where two unlisted names come
    to the same mark does the later one of the alphabet take the next that is free.
    """
    listed = {name: next(_marks(name)) for name in augs if _PUBLISHED.get(name, name) in _SHAPE}
    reserved = {next(_marks(name)) for name in _SHAPE}
    marks = dict(listed)
    for name in sorted({*augs} - {*listed}):
        own = sorted(_marks(name), key=reserved.__contains__)
        marks[name] = next((mark for mark in own if mark not in marks.values()), own[0])
    return {name: marks[name] for name in augs}


def _marks(name: str) -> Iterator[Mark]:
    """Every mark, in the order in which this name would take them: its own, its family's colour, other colours."""
    name = _PUBLISHED.get(name, name)
    kind, own = family(name), zlib.crc32(name.encode())
    colour = _FAMILY.get(kind, zlib.crc32(kind.encode()))
    shape = SHAPES.index(_SHAPE[name]) if name in _SHAPE else own
    for place in range(len(COLOURS) * len(SHAPES)):
        yield SHAPES[(shape + place) % len(SHAPES)], COLOURS[(colour + place // len(SHAPES)) % len(COLOURS)]


def keys_of(marks: Mapping[str, Mark]) -> list[Line2D]:
    """What a legend of these shapes and colours is made of."""
    return [
        Line2D([], [], linestyle="none", marker=shape, color=colour, label=name)
        for name, (shape, colour) in marks.items()
    ]


def short(name: str, width: int = 46) -> str:
    return name if len(name) <= width else name[: width - 1] + "…"


def rounded(value: float, digits: int = 2) -> str:
    """A number in the text that stands for a figure."""
    return f"{value:.{digits}f}" if math.isfinite(value) else "not defined"


def finish(axes: Axes) -> Axes:
    axes.grid(color="#E6E6E6", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    return axes


def strength_ticks(axes: Axes, places: Sequence[float], width: float) -> None:
    """Label strengths on an axis, whose scale is set, that is so many inches wide; where labels would meet, the later.

    The ends are always labelled.
    """
    at = np.log(places) if axes.get_xscale() == "log" else np.asarray(places, dtype=float)
    inches = width * (at - at.min()) / (np.ptp(at) or 1.0)
    labels = [f"{place:g}" for place in places]
    half = [_DIGIT * len(label) / 2 for label in labels]
    last = len(labels) - 1

    def apart(one: int, other: int) -> bool:
        return bool(abs(inches[one] - inches[other]) > half[one] + half[other] + _DIGIT)

    shown = [0]
    for place in range(1, last):
        if apart(place, shown[-1]) and apart(place, last):
            shown.append(place)
    kept = [*shown, *([last] if last else [])]
    axes.set_xticks(list(places), [label if place in kept else "" for place, label in enumerate(labels)])
    axes.minorticks_off()


def coefficient_rows(axes: Axes, names: Sequence[str]) -> Axes:
    """The frame of what is compared row by row: a name for each, a coefficient from -1 to 1, a line at 0."""
    axes.axvline(0, color=GREY, linewidth=1, linestyle="--")
    axes.set_yticks(range(len(names)), [short(name, 34) for name in names], fontsize="small")
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_xlim(-1.05, 1.05)
    axes.set_xticks([-1, -0.5, 0, 0.5, 1])
    return finish(axes)
