"""timm's RandAugment, as named by its strings: ``rand-m9-n2-mstd0.5-inc1``."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from dametric.augment import colour, pillow
from dametric.augment.base import Augmented, Draw, check_at_most
from dametric.augment.keys import Keys
from dametric.augment.photometric import check_between
from dametric.augment.policy import grouped
from dametric.errors import UsageError

UNIFORM = 100  # a standard deviation above this makes the magnitude uniform
_SCALE = 10  # magnitudes are tenths of the whole
_STRING = re.compile(r"(?:timm:)?rand((?:-[^-:,]*)*)([:,].*)?$")
_SECTION = re.compile(r"(mstd|mmax|inc|m|n|p)(\d+(?:\.\d*)?|\.\d+)$")


_Strength = Callable[[Tensor, Tensor], Tensor]


class _Choice(NamedTuple):
    """An operation: its kernel, the strength of a level (0..1, or above), and whether that has a random sign."""

    kernel: colour.Kernel | None
    strength: _Strength
    signed: bool = False


def _times(most: float) -> _Strength:
    return lambda level, sign: level * most * sign


def _whole(most: int, limit: int) -> _Strength:
    return lambda level, sign: (level * most).trunc().clamp(max=limit)


def _down(start: int, most: int, limit: int) -> _Strength:
    return lambda level, sign: start - (level * most).trunc().clamp(max=limit)


def _changing(level: Tensor, sign: Tensor) -> Tensor:
    return (1 + level * 0.9 * sign).clamp(min=0.1)


def _falling(level: Tensor, sign: Tensor) -> Tensor:
    return level * 1.8 + 0.1


def _choices(increasing: bool) -> dict[str, _Choice]:
    """The operations, all equally likely, in timm's order; those without a kernel are warps."""
    posterize = _down(4, 4, 400) if increasing else _whole(4, 400)
    solarize = _down(256, 256, 256) if increasing else _whole(256, 256)
    enhance = _Choice(None, _changing, True) if increasing else _Choice(None, _falling)
    return {
        "AutoContrast": _Choice(pillow.autocontrast, _times(0)),
        "Equalize": _Choice(colour.equalize, _times(0)),
        "Invert": _Choice(colour.invert, _times(0)),
        "Rotate": _Choice(None, _times(30), True),
        "Posterize": _Choice(pillow.posterize, posterize),
        "Solarize": _Choice(colour.solarize, solarize),
        "SolarizeAdd": _Choice(pillow.solarize_add, _whole(110, 128)),
        "Color": enhance._replace(kernel=pillow.colour),
        "Contrast": enhance._replace(kernel=pillow.contrast),
        "Brightness": enhance._replace(kernel=pillow.brightness),
        "Sharpness": enhance._replace(kernel=pillow.sharpness),
        "ShearX": _Choice(None, _times(0.3), True),
        "ShearY": _Choice(None, _times(0.3), True),
        "TranslateX": _Choice(None, _times(0.45), True),
        "TranslateY": _Choice(None, _times(0.45), True),
    }


NAMES = tuple(_choices(False))
WARPS = ("Rotate", "ShearX", "ShearY", "TranslateX", "TranslateY")


def _warp(images: Tensor, strength: Tensor, name: str, fill: tuple[int, ...], bicubic: bool) -> Tensor:
    height, width = images.shape[-2:]
    if name == "Rotate":
        return pillow.transform(images, pillow.rotation(strength, height, width), fill, bicubic)
    numbers = torch.zeros(len(images), 6, dtype=torch.float64, device=images.device)
    numbers[:, 0::4] = 1
    place, side = {"ShearX": (1, 1), "ShearY": (3, 1), "TranslateX": (2, width), "TranslateY": (5, height)}[name]
    numbers[:, place] = strength * side
    return pillow.transform(images, numbers, fill, bicubic)


@dataclass(frozen=True)
class Rand:
    """``n`` operations of a random magnitude, each of which happens with probability ``prob``: timm's RandAugment.

    Attributes
    ----------
    m : int
        Mean magnitude, in tenths of each operation's whole.
    n : int
        Operations a row, drawn with replacement.
    mstd : float
        Standard deviation of the magnitude, normal and drawn for every operation; above 100 it is uniform from 0 to
        ``m``.
    prob : float
        Probability of each operation.
    inc : bool
        Whether all operations grow stronger with the magnitude; else more magnitude means more bits, a higher
        threshold, and factors from 0.1 to 1.9.
    mmax : int
        Magnitudes are cut to 0..``mmax``.
    fill : tuple of float
        Colour outside of the image, in pixel units (0..255), as the data's mean.

    Notes
    -----
    Pixels are Pillow's, with which timm computes; interpolation is bilinear or bicubic, equally likely. Where timm
    would keep no bits, images are black (Pillow 12 refuses this). Parameters are drawn on the CPU,
    where rows are grouped by operation, so that nothing waits for a GPU.
    """

    m: int = 10
    n: int = 2
    mstd: float = 0.0
    prob: float = 0.5
    inc: bool = False
    mmax: int = _SCALE
    fill: tuple[float, ...] = (127.5,)
    stream = "rand"
    mixes = False
    random = True

    def __post_init__(self) -> None:
        check_between("rand: n", self.n, 1, 100)
        for name in ("m", "mmax"):
            check_between(f"rand: {name}", getattr(self, name), 0, 100)
        check_between("rand: mmax", self.mmax, 1, 100)
        check_between("rand: prob", self.prob, 0, 1)
        check_at_most("rand: mstd", int(self.mstd), 10**6)
        if self.mstd < 0:
            raise UsageError(f"rand: mstd is a standard deviation from 0 up, not {self.mstd:g}")

    def draw(self, keys: Keys, shape: torch.Size) -> Draw:
        """Number of the operation (-1 for none; above the last, the warps again, bicubic) and strength: (rows, n)."""
        keys = keys.on("cpu")
        choices = list(_choices(self.inc).values())
        signed = torch.tensor([choice.signed for choice in choices])
        again = torch.tensor([len(NAMES) + WARPS.index(name) if name in WARPS else n for n, name in enumerate(NAMES)])
        numbers, strengths = [], []
        for stage in range(self.n):
            chosen = keys.integer(f"operation.{stage}", len(choices))
            level = self._magnitude(keys, stage) / _SCALE
            negative = (keys.uniform(f"sign.{stage}") < 0.5) & signed[chosen]
            sign = torch.where(negative, -1.0, 1.0).double()
            table = torch.stack([choice.strength(level, sign) for choice in choices], 1)
            number = torch.where(keys.uniform(f"bicubic.{stage}") < 0.5, again[chosen], chosen)
            numbers.append(torch.where(keys.uniform(f"happens.{stage}") < self.prob, number, -1))
            strengths.append(table.gather(1, chosen[:, None])[:, 0])
        return {"operation": torch.stack(numbers, 1), "strength": torch.stack(strengths, 1)}

    def _magnitude(self, keys: Keys, stage: int) -> Tensor:
        uniform = keys.uniform(f"magnitude.{stage}")
        if self.mstd > UNIFORM:
            return (self.m * uniform).clamp(0, self.mmax)
        # half a step from the ends, where the normal number would be infinite
        normal: Tensor = torch.special.ndtri(uniform + 2.0**-54)
        return (self.m + self.mstd * normal).clamp(0, self.mmax)

    def apply(self, images: Tensor, draw: Draw) -> Augmented:
        fill = tuple(min(255, round(value)) for value in self.fill[: images.shape[1]])
        kernels: list[colour.Kernel] = [
            partial(_warp, name=name, fill=fill, bicubic=False) if choice.kernel is None else choice.kernel
            for name, choice in _choices(self.inc).items()
        ]
        kernels += [partial(_warp, name=name, fill=fill, bicubic=True) for name in WARPS]
        return Augmented(grouped("rand", images, draw, kernels))


def of_string(part: str) -> str | None:
    """``rand:m=9:n=2`` of timm's ``rand-m9-n2`` or ``timm:rand-m9-n2``; None of what is no such string.

    Raises
    ------
    UsageError
        For sections that timm does not have, or that are not among the parameters here.
    """
    string = _STRING.match(part.strip())
    if string is None:
        return None
    words = []
    for section in string[1].split("-")[1:]:
        match = _SECTION.match(section)
        if match is None:
            raise UsageError(
                f"augmentation '{part}': a section of timm's rand- is m, n, p, mstd, mmax or inc and a number, as in "
                f"rand-m9-n2-mstd0.5-inc1, not '{section}'"
            )
        words.append(f"{'prob' if match[1] == 'p' else match[1]}={match[2]}")
    return ":".join(["rand", *words]) + (string[2] or "")
