"""The augmentations there are: builders by name, with the values that names omit, ranges and descriptions."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from dametric.augment.base import Operation
from dametric.augment.chance import RandAugment, TrivialAugment
from dametric.augment.erase import Cutout
from dametric.augment.geometric import Crop, Flip, RandomResizedCrop
from dametric.augment.mix import CutMix, Mixup
from dametric.augment.pick import CutMixPick
from dametric.augment.policy import AutoAugment


@dataclass(frozen=True)
class ImageSpec:
    """Properties of an image set on which the defaults of operations depend.

    Attributes
    ----------
    size : int
        Height of the images in pixels.
    mean : tuple of float
        Mean of every channel, in units of 0..1; one number holds for any number of channels.
    partner : {"roll", "reference"}
        Default partner rule of mixing operations: the next image, or that of the published code (for mixup a random
        permutation, for cutmix a derangement).
    """

    size: int = 32
    mean: tuple[float, ...] = (0.5,)
    partner: str = "roll"


def _crop(images: ImageSpec, padding: int | None = None) -> Operation:
    """shifted crop: pad with black, cut out at a random place (4 px at 32)"""
    return Crop(round(images.size / 8) if padding is None else padding)


def _flip(images: ImageSpec, p: float = 0.5) -> Operation:
    """mirror left-right with probability p"""
    return Flip(p)


def _rrc(images: ImageSpec, scale: float = 0.08, ratio: float = 4 / 3) -> Operation:
    """random resized crop, as usual for ImageNet"""
    return RandomResizedCrop(scale, ratio)


def _cutout(images: ImageSpec, length: int | None = None) -> Operation:
    """blank one square of length pixels with the mean colour (8 px at 32)"""
    return Cutout(images.size // 4 if length is None else length, tuple(255 * value for value in images.mean))


def _autoaugment(images: ImageSpec, policy: str | None = None) -> Operation:
    """learned pairs of operations (policy cifar10 at 32 px, else imagenet; also svhn)"""
    return AutoAugment(("cifar10" if images.size == 32 else "imagenet") if policy is None else policy)


def _randaugment(images: ImageSpec, n: int = 2, m: int = 9) -> Operation:
    """n operations of magnitude m (0 to 30), drawn by chance"""
    return RandAugment(n, m)


def _trivialaugment(images: ImageSpec) -> Operation:
    """one operation of a random magnitude, drawn by chance (the wide version)"""
    return TrivialAugment()


def _mixup(images: ImageSpec, alpha: float = 1.0, partner: str | None = None) -> Operation:
    """blend with another image of the batch"""
    return Mixup(alpha, _partner(images, partner, "permutation"))


def _cutmix(images: ImageSpec, alpha: float = 1.0, partner: str | None = None) -> Operation:
    """paste a box of another image of the batch"""
    return CutMix(alpha, _partner(images, partner, "derangement"))


def _cutmixpick(
    images: ImageSpec, by: str = "teacher_entropy", runs: int = 2, alpha: float = 1.0, partner: str | None = None
) -> Operation:
    """cutmix a pool, keep what ranks highest by teacher_entropy, student_entropy, kld or dissimilarity"""
    return CutMixPick(by, runs, alpha, _partner(images, partner, "derangement"))


def _partner(images: ImageSpec, requested: str | None, published: str) -> str:
    return requested or (published if images.partner == "reference" else images.partner)


def _identity(images: ImageSpec) -> None:
    """the base view: images as the loader gives them"""


AUGS: dict[str, Callable[..., Operation | None]] = {
    "identity": _identity,
    "flip": _flip,
    "crop": _crop,
    "rrc": _rrc,
    "cutout": _cutout,
    "autoaugment": _autoaugment,
    "randaugment": _randaugment,
    "trivialaugment": _trivialaugment,
    "mixup": _mixup,
    "cutmix": _cutmix,
    "cutmixpick": _cutmixpick,
}
NEUTRAL: dict[str, dict[str, Any]] = {
    "flip": {"p": 0.5},
    "crop": {"padding": lambda size: round(size / 8)},
    "rrc": {"scale": 0.08, "ratio": 4 / 3},
    "cutout": {"length": lambda size: size // 4},
    "autoaugment": {"policy": lambda size: "cifar10" if size == 32 else "imagenet"},
    "randaugment": {"n": 2, "m": 9},
    "mixup": {"alpha": 1.0, "partner": "roll"},
    "cutmix": {"alpha": 1.0, "partner": "roll"},
    "cutmixpick": {"by": "teacher_entropy", "runs": 2, "alpha": 1.0, "partner": "roll"},
}
"""Values that an operation's canonical specification omits, some by image size. They enter run ids, so that they never
change, even where defaults do; a new parameter is added here with the value that equals its absence."""
RANGES: dict[str, dict[str, str]] = {
    "flip": {"p": "probability, from 0 to 1"},
    "crop": {"padding": "pixels, from 0 up"},
    "rrc": {"scale": "smallest share of the area, above 0 and to 1", "ratio": "largest ratio of sides, from 1 up"},
    "cutout": {"length": "pixels, from 1 up"},
    "autoaugment": {"policy": "cifar10, imagenet or svhn"},
    "randaugment": {"n": "operations, from 1 to 100", "m": "magnitude, from 0 to 30"},
    "mixup": {"alpha": "of the Beta distribution, above 0", "partner": "roll, permutation or derangement"},
    "cutmix": {"alpha": "of the Beta distribution, above 0", "partner": "roll, permutation or derangement"},
    "cutmixpick": {
        "by": "teacher_entropy, student_entropy, kld or dissimilarity",
        "runs": "size of the pool in batches, from 2 up",
        "alpha": "of the Beta distribution, above 0",
        "partner": "roll, permutation or derangement",
    },
}
"""Meaning and range of operations' parameters, for listings."""
_BY_SIZE = {
    "crop": {"padding": "an eighth of the size"},
    "cutout": {"length": "a quarter of the size"},
    "autoaugment": {"policy": "cifar10 at 32 pixels, else imagenet"},
}
PAPER = (
    "identity",
    "flip",
    "crop+flip",
    "cutout",
    "autoaugment",
    "mixup",
    "cutmix",
    "cutmixpick:by=teacher_entropy",
    "cutmixpick:by=student_entropy",
)


def describe(name: str) -> str:
    """Description of a built-in operation in one line, with parameters, ranges and defaults, for listings."""
    words = [inspect.getdoc(AUGS[name]) or ""]
    for key, parameter in list(inspect.signature(AUGS[name]).parameters.items())[1:]:
        usual = parameter.default
        if usual is None:
            usual = _BY_SIZE.get(name, {}).get(key, "roll; the published rule in the reference protocol")
        shown = f"{usual:.4g}" if isinstance(usual, float) else usual
        words.append(f"{key}: {RANGES[name][key]} [default: {shown}]")
    return "; ".join(words)
