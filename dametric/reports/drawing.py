"""What all figures have in common: colours, shapes, and numbers as words."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

# Okabe & Ito's palette without its yellow, which is too pale on white; shapes differ too, so colour never stands alone.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#333333")
SHAPES = "osD^vP*X<>"
GLYPHS = dict(zip(SHAPES, "●■◆▲▼✚★✖◀▶", strict=True))  # for legends in text
LINE, GREY = "#0072B2", "#777777"
SYMBOL = {"pearson": "r", "spearman": "ρ", "kendall": "τ-b"}
WORD = {"pearson": "Pearson", "spearman": "Spearman", "kendall": "Kendall"}
Mark = tuple[str, str]


@contextmanager
def style() -> Iterator[None]:
    """Settings for names that are not ours: dollar signs are no formulas, unknown letters are no warnings."""
    settings: dict[Any, Any] = {"text.parse_math": False, "svg.fonttype": "path", "font.size": 9.0}
    with matplotlib.rc_context(settings), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        yield


def marks_of(augs: Sequence[str]) -> dict[str, Mark]:
    """A shape and a colour for every augmentation; no two are alike for the first seventy."""
    names = dict.fromkeys(augs)
    return {
        name: (SHAPES[(place + place // 70) % len(SHAPES)], COLOURS[place % len(COLOURS)])
        for place, name in enumerate(names)
    }


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


def coefficient_rows(axes: Axes, names: Sequence[str]) -> Axes:
    """The frame of what is compared row by row: a name for each, a coefficient from -1 to 1, a line at 0."""
    axes.axvline(0, color=GREY, linewidth=1, linestyle="--")
    axes.set_yticks(range(len(names)), [short(name, 34) for name in names], fontsize="small")
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_xlim(-1.05, 1.05)
    axes.set_xticks([-1, -0.5, 0, 0.5, 1])
    return finish(axes)
