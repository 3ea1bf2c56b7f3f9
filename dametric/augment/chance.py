"""RandAugment and TrivialAugment: the operations of the policies, drawn at random instead of learned."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor

from dametric.augment.base import Augmented, Draw, check_at_most
from dametric.augment.keys import Keys
from dametric.augment.policy import OPERATIONS, applied
from dametric.errors import UsageError, shortened

HIGHEST = 30  # magnitudes are whole numbers from 0 to this
MOST_OPERATIONS = 100  # a row: far more than leave anything of an image

# a row draws one of these or nothing, all with equal probability
_NAMES = tuple(name for name in OPERATIONS if name != "Invert")
# strength at the highest magnitude, where TrivialAugment goes beyond the policies
_WIDE = {
    "ShearX": 0.99,
    "ShearY": 0.99,
    "TranslateX": 32.0,
    "TranslateY": 32.0,
    "Rotate": 135.0,
    "Brightness": 0.99,
    "Color": 0.99,
    "Contrast": 0.99,
    "Sharpness": 0.99,
}


def _strength(name: str, level: float, height: int, width: int, wide: bool) -> float:
    if wide and name in _WIDE:
        return _WIDE[name] * level
    if wide and name == "Posterize":
        return 8 - round(6 * level)
    return OPERATIONS[name].strength(level, height, width)


class _Tables(NamedTuple):
    """What a choice, of which all are equally likely, means."""

    number: Tensor  # (choices,)
    signed: Tensor  # (choices,)
    strength: Tensor  # (choices, 31), float64: at every magnitude


@cache
def _tables(height: int, width: int, wide: bool, device: torch.device) -> _Tables:
    levels = [magnitude / HIGHEST for magnitude in range(HIGHEST + 1)]
    strengths = [[_strength(name, level, height, width, wide) for level in levels] for name in _NAMES]
    with torch.inference_mode(False):  # kept for whoever comes next
        return _Tables(
            torch.tensor([-1, *(list(OPERATIONS).index(name) for name in _NAMES)], device=device),
            torch.tensor([False, *(OPERATIONS[name].signed for name in _NAMES)], device=device),
            torch.tensor([[0.0] * len(levels), *strengths], dtype=torch.float64, device=device),
        )


def _drawn(keys: Keys, stages: int, magnitude: int | Tensor, tables: _Tables) -> Draw:
    """Draw one operation of a magnitude for each stage and row; both signs are equally likely.

    A magnitude is one for all, or of shape (rows, 1).
    """
    names = [f"operation.{stage}" for stage in range(stages)] + [f"sign.{stage}" for stage in range(stages)]
    uniform = keys.uniforms(names)
    chosen = (uniform[:, :stages] * len(tables.number)).long()
    sign = torch.where((uniform[:, stages:] < 0.5) & tables.signed[chosen], -1.0, 1.0)
    return {"operation": tables.number[chosen], "strength": tables.strength[chosen, magnitude] * sign}


@dataclass(frozen=True)
class RandAugment:
    """``n`` operations of one magnitude, drawn with replacement (Cubuk et al. 2020, arXiv 1909.13719).

    Attributes
    ----------
    n : int
        Operations a row, one after the other.
    m : int
        Magnitude of all of them, 0 (nothing, or next to it) to 30.

    Notes
    -----
    The 14 operations (one of them does nothing) and what the magnitudes mean are those of torchvision's
    ``RandAugment`` with its 31 magnitudes, each equally likely to point either way.
    """

    n: int = 2
    m: int = 9
    stream = "randaugment"
    mixes = False
    random = True

    def __post_init__(self) -> None:
        if self.n < 1:
            raise UsageError(f"randaugment: n is a number of operations from 1 up, not {self.n}")
        check_at_most("randaugment: n", self.n, MOST_OPERATIONS)
        if not 0 <= self.m <= HIGHEST:
            raise UsageError(f"randaugment: m is a magnitude from 0 to {HIGHEST}, not {shortened(self.m)}")

    def draw(self, keys: Keys, shape: torch.Size) -> Draw:
        """Operation number (-1 for none) and strength of every stage: tensors of shape (rows, n)."""
        return _drawn(keys, self.n, self.m, _tables(shape[-2], shape[-1], False, keys.device))

    def apply(self, images: Tensor, draw: Draw) -> Augmented:
        return Augmented(applied("randaugment", images, draw))


@dataclass(frozen=True)
class TrivialAugment:
    """One operation of a random magnitude (Müller & Hutter 2021, arXiv 2103.10158), in the paper's wide version.

    Notes
    -----
    Operations and magnitudes are those of torchvision's ``TrivialAugmentWide`` with its 31 magnitudes, whose
    translations are in pixels whatever the image size.
    """

    stream = "trivialaugment"
    mixes = False
    random = True

    def draw(self, keys: Keys, shape: torch.Size) -> Draw:
        """Operation number (-1 for none) and strength: tensors of shape (rows, 1)."""
        magnitude = keys.integer("magnitude", HIGHEST + 1)[:, None]
        return _drawn(keys, 1, magnitude, _tables(shape[-2], shape[-1], True, keys.device))

    def apply(self, images: Tensor, draw: Draw) -> Augmented:
        return Augmented(applied("trivialaugment", images, draw))
