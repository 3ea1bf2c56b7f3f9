"""The augmentations there are: builders by name, with the values that names omit, ranges and descriptions."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from dametric.augment.affine import Perspective, Rotate, Scale, Shear, Translate
from dametric.augment.augmix import AugMix
from dametric.augment.base import Operation
from dametric.augment.branches import Sometimes
from dametric.augment.chance import RandAugment, TrivialAugment
from dametric.augment.erase import Cutout, Erasing, GridMask, Mask
from dametric.augment.filters import Blur, Jpeg, Noise
from dametric.augment.geometric import Crop, Flip, RandomResizedCrop
from dametric.augment.mix import CutMix, Mixup
from dametric.augment.mixtures import FMix, MixupOrCutMix, ResizeMix
from dametric.augment.photometric import (
    Autocontrast,
    Brightness,
    Contrast,
    Equalize,
    Grayscale,
    Hue,
    Invert,
    Jitter,
    Posterize,
    Saturation,
    Sharpness,
    Solarize,
)
from dametric.augment.pick import CutMixPick
from dametric.augment.policy import AutoAugment
from dametric.augment.rand import Rand


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
    return Cutout(images.size // 4 if length is None else length, _mean(images))


def _autoaugment(images: ImageSpec, policy: str | None = None) -> Operation:
    """learned pairs of operations (policy cifar10 at 32 px, else imagenet; also svhn)"""
    return AutoAugment(("cifar10" if images.size == 32 else "imagenet") if policy is None else policy)


def _randaugment(images: ImageSpec, n: int = 2, m: int = 9) -> Operation:
    """n operations of magnitude m (0 to 30), drawn by chance"""
    return RandAugment(n, m)


def _trivialaugment(images: ImageSpec) -> Operation:
    """one operation of a random magnitude, drawn by chance (the wide version)"""
    return TrivialAugment()


def _augmix(
    images: ImageSpec,
    severity: int = 3,
    mixture_width: int = 3,
    chain_depth: int = -1,
    alpha: float = 1.0,
    all_ops: bool = True,
) -> Operation:
    """weighted mean of the image and chains of operations, drawn by chance (torchvision's AugMix)"""
    return AugMix(severity, mixture_width, chain_depth, alpha, all_ops)


def _rand(
    images: ImageSpec, m: int = 10, n: int = 2, mstd: float = 0.0, prob: float = 0.5, inc: bool = False, mmax: int = 10
) -> Operation:
    """timm's RandAugment, also by its strings: rand-m9-n2-mstd0.5-inc1"""
    return Rand(m, n, mstd, prob, inc, mmax, _mean(images))


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


def _brightness(images: ImageSpec, strength: float = 0.4) -> Operation:
    """multiply by a factor from 1 - strength to 1 + strength"""
    return Brightness(strength)


def _contrast(images: ImageSpec, strength: float = 0.4) -> Operation:
    """blend with the mean grey, by a factor from 1 - strength to 1 + strength"""
    return Contrast(strength)


def _saturation(images: ImageSpec, strength: float = 0.4) -> Operation:
    """blend with the grey of each pixel, by a factor from 1 - strength to 1 + strength"""
    return Saturation(strength)


def _hue(images: ImageSpec, strength: float = 0.1) -> Operation:
    """turn the hue by up to this share of a turn, either way"""
    return Hue(strength)


def _jitter(
    images: ImageSpec, brightness: float = 0.4, contrast: float = 0.4, saturation: float = 0.4, hue: float = 0.1
) -> Operation:
    """brightness, contrast, saturation and hue in random order (torchvision's ColorJitter)"""
    return Jitter(brightness, contrast, saturation, hue)


def _grayscale(images: ImageSpec, p: float = 0.1) -> Operation:
    """replace colours by their grey"""
    return _sometimes(Grayscale(), p)


def _solarize(images: ImageSpec, threshold: float = 128.0, p: float = 0.5) -> Operation:
    """invert the pixels from the threshold up"""
    return _sometimes(Solarize(threshold), p)


def _posterize(images: ImageSpec, bits: int = 4, p: float = 0.5) -> Operation:
    """keep the highest bits of every pixel"""
    return _sometimes(Posterize(bits), p)


def _equalize(images: ImageSpec, p: float = 0.5) -> Operation:
    """flatten the histogram of every channel"""
    return _sometimes(Equalize(), p)


def _autocontrast(images: ImageSpec, p: float = 0.5) -> Operation:
    """stretch every channel to the full range"""
    return _sometimes(Autocontrast(), p)


def _sharpness(images: ImageSpec, factor: float = 2.0, p: float = 0.5) -> Operation:
    """sharpen (above 1) or smooth (below 1) by this factor"""
    return _sometimes(Sharpness(factor), p)


def _invert(images: ImageSpec, p: float = 0.5) -> Operation:
    """replace pixels by their negative"""
    return _sometimes(Invert(), p)


def _blur(images: ImageSpec, sigma: float = 2.0) -> Operation:
    """Gaussian blur of a standard deviation from 0.1 to sigma pixels"""
    return Blur(sigma)


def _noise(images: ImageSpec, std: float = 0.1) -> Operation:
    """Gaussian noise, clipped"""
    return Noise(std)


def _jpeg(images: ImageSpec, quality: int = 50) -> Operation:
    """compress as JPEG of a quality from this to 100 (on the CPU, image by image)"""
    return Jpeg(quality)


def _rotate(images: ImageSpec, degrees: float = 15.0) -> Operation:
    """turn by up to so many degrees, either way (nearest pixel)"""
    return Rotate(degrees)


def _translate(images: ImageSpec, share: float = 0.1) -> Operation:
    """move by up to this share of the side, each way (whole pixels)"""
    return Translate(share)


def _shear(images: ImageSpec, degrees: float = 10.0) -> Operation:
    """shear along both axes by up to so many degrees, either way (nearest pixel)"""
    return Shear(degrees)


def _scale(images: ImageSpec, change: float = 0.2) -> Operation:
    """enlarge or shrink about the centre by 1 - change to 1 + change (nearest pixel)"""
    return Scale(change)


def _perspective(images: ImageSpec, distortion: float = 0.5, p: float = 0.5) -> Operation:
    """move the corners inwards by up to this share of half the side (bilinear)"""
    return _sometimes(Perspective(distortion), p)


def _erasing(images: ImageSpec, area: float = 0.33, mode: str = "const", p: float = 0.5) -> Operation:
    """erase one rectangle of random size and shape (torchvision's and timm's RandomErasing)"""
    return _sometimes(Erasing(area, mode, _mean(images)), p)


def _gridmask(images: ImageSpec, drop: float = 0.4) -> Operation:
    """blank the squares of a random grid with the mean colour"""
    return GridMask(drop, _mean(images))


def _mask(images: ImageSpec, share: float = 0.5, patch: int | None = None) -> Operation:
    """blank random patches with the mean colour (4 px at 32)"""
    return Mask(share, max(images.size // 8, 1) if patch is None else patch, _mean(images))


def _mixup_or_cutmix(
    images: ImageSpec, mixup: float = 0.8, cutmix: float = 1.0, switch: float = 0.5, partner: str | None = None
) -> Operation:
    """mixup or cutmix, drawn for every image (timm's switch)"""
    return MixupOrCutMix(mixup, cutmix, switch, partner or "roll")


def _resizemix(images: ImageSpec, scale: float = 0.8, partner: str | None = None) -> Operation:
    """paste another image of the batch, made smaller"""
    return ResizeMix(scale, partner or "roll")


def _fmix(images: ImageSpec, alpha: float = 1.0, partner: str | None = None) -> Operation:
    """paste parts of another image, shaped by low-frequency noise"""
    return FMix(alpha, partner or "roll")


def _mean(images: ImageSpec) -> tuple[float, ...]:
    """The mean colour in pixel units."""
    return tuple(255 * value for value in images.mean)


def _sometimes(operation: Operation, p: float) -> Operation:
    return operation if p == 1 else Sometimes(operation, p)


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
    "brightness": _brightness,
    "contrast": _contrast,
    "saturation": _saturation,
    "hue": _hue,
    "jitter": _jitter,
    "grayscale": _grayscale,
    "solarize": _solarize,
    "posterize": _posterize,
    "equalize": _equalize,
    "autocontrast": _autocontrast,
    "sharpness": _sharpness,
    "invert": _invert,
    "blur": _blur,
    "noise": _noise,
    "jpeg": _jpeg,
    "rotate": _rotate,
    "translate": _translate,
    "shear": _shear,
    "scale": _scale,
    "perspective": _perspective,
    "erasing": _erasing,
    "gridmask": _gridmask,
    "mask": _mask,
    "mixup-or-cutmix": _mixup_or_cutmix,
    "resizemix": _resizemix,
    "fmix": _fmix,
    "augmix": _augmix,
    "rand": _rand,
}
WITHOUT_PROBABILITY = frozenset({"identity", "cutmixpick"})
"""Names that take no ``p``: there is nothing to leave out, or nothing to pick."""
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
    "brightness": {"strength": 0.4},
    "contrast": {"strength": 0.4},
    "saturation": {"strength": 0.4},
    "hue": {"strength": 0.1},
    "jitter": {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1},
    "grayscale": {"p": 0.1},
    "solarize": {"threshold": 128.0, "p": 0.5},
    "posterize": {"bits": 4, "p": 0.5},
    "equalize": {"p": 0.5},
    "autocontrast": {"p": 0.5},
    "sharpness": {"factor": 2.0, "p": 0.5},
    "invert": {"p": 0.5},
    "blur": {"sigma": 2.0},
    "noise": {"std": 0.1},
    "jpeg": {"quality": 50},
    "rotate": {"degrees": 15.0},
    "translate": {"share": 0.1},
    "shear": {"degrees": 10.0},
    "scale": {"change": 0.2},
    "perspective": {"distortion": 0.5, "p": 0.5},
    "erasing": {"area": 0.33, "mode": "const", "p": 0.5},
    "gridmask": {"drop": 0.4},
    "mask": {"share": 0.5, "patch": lambda size: max(size // 8, 1)},
    "mixup-or-cutmix": {"mixup": 0.8, "cutmix": 1.0, "switch": 0.5, "partner": "roll"},
    "resizemix": {"scale": 0.8, "partner": "roll"},
    "fmix": {"alpha": 1.0, "partner": "roll"},
    "augmix": {"severity": 3, "mixture_width": 3, "chain_depth": -1, "alpha": 1.0, "all_ops": True},
    "rand": {"m": 10, "n": 2, "mstd": 0.0, "prob": 0.5, "inc": False, "mmax": 10},
}
"""Values that an operation's canonical specification omits, some by image size. They enter run ids, so that they never
change, even where defaults do; a new parameter is added here with the value that equals its absence. A
probability that is not here is 1."""
NO_EFFECT: dict[str, dict[str, float]] = {
    "flip": {"p": 0},
    "crop": {"padding": 0},
    "brightness": {"strength": 0},
    "contrast": {"strength": 0},
    "saturation": {"strength": 0},
    "hue": {"strength": 0},
    "jitter": {"brightness": 0, "contrast": 0, "saturation": 0, "hue": 0},
    "solarize": {"threshold": 256},
    "posterize": {"bits": 8},
    "sharpness": {"factor": 1},
    "blur": {"sigma": 0},
    "noise": {"std": 0},
    "rotate": {"degrees": 0},
    "translate": {"share": 0},
    "shear": {"degrees": 0},
    "scale": {"change": 0},
    "perspective": {"distortion": 0},
    "erasing": {"area": 0},
    "gridmask": {"drop": 0},
    "mask": {"share": 0},
    "resizemix": {"scale": 0},
    "rand": {"prob": 0},
}
"""Parameters at which an operation changes no image, all of them together; so does any with probability 0. Those that
are not here have no such strength: the largest part that ``rrc`` cuts out of an image need not be all of it, some
operations of ``randaugment`` have no magnitude, and with an alpha next to 0 half of the images are others."""
_PROBABILITY = "probability, from 0 to 1"
_PARTNER = "roll, permutation or derangement"
RANGES: dict[str, dict[str, str]] = {
    "flip": {"p": _PROBABILITY},
    "crop": {"padding": "pixels, from 0 up"},
    "rrc": {"scale": "smallest share of the area, above 0 and to 1", "ratio": "largest ratio of sides, from 1 up"},
    "cutout": {"length": "pixels, from 1 up"},
    "autoaugment": {"policy": "cifar10, imagenet or svhn"},
    "randaugment": {"n": "operations, from 1 to 100", "m": "magnitude, from 0 to 30"},
    "mixup": {"alpha": "of the Beta distribution, above 0", "partner": _PARTNER},
    "cutmix": {"alpha": "of the Beta distribution, above 0", "partner": _PARTNER},
    "cutmixpick": {
        "by": "teacher_entropy, student_entropy, kld or dissimilarity",
        "runs": "size of the pool in batches, from 2 up",
        "alpha": "of the Beta distribution, above 0",
        "partner": _PARTNER,
    },
    "brightness": {"strength": "of the factor, from 0 to 10"},
    "contrast": {"strength": "of the factor, from 0 to 10"},
    "saturation": {"strength": "of the factor, from 0 to 10"},
    "hue": {"strength": "share of a turn, from 0 to 0.5"},
    "jitter": {
        "brightness": "of the factor, from 0 to 10",
        "contrast": "of the factor, from 0 to 10",
        "saturation": "of the factor, from 0 to 10",
        "hue": "share of a turn, from 0 to 0.5",
    },
    "grayscale": {"p": _PROBABILITY},
    "solarize": {"threshold": "grey level, from 0 (all) to 256 (none)", "p": _PROBABILITY},
    "posterize": {"bits": "from 1 to 8 (all)", "p": _PROBABILITY},
    "equalize": {"p": _PROBABILITY},
    "autocontrast": {"p": _PROBABILITY},
    "sharpness": {"factor": "from 0 (smooth) to 10; 1 changes nothing", "p": _PROBABILITY},
    "invert": {"p": _PROBABILITY},
    "blur": {"sigma": "pixels, from 0 to 100"},
    "noise": {"std": "share of the range of pixels, from 0 to 10"},
    "jpeg": {"quality": "least quality, from 1 to 100"},
    "rotate": {"degrees": "from 0 to 180"},
    "translate": {"share": "of the side, from 0 to 1"},
    "shear": {"degrees": "from 0 to 80"},
    "scale": {"change": "of the factor, from 0 to 0.99"},
    "perspective": {"distortion": "share of half the side, from 0 to 1", "p": _PROBABILITY},
    "erasing": {"area": "largest share, from 0 to 1", "mode": "const, rand or pixel", "p": _PROBABILITY},
    "gridmask": {"drop": "side of the squares as a share of the period, from 0 to 1"},
    "mask": {"share": "of the patches, from 0 to 1", "patch": "pixels, from 1 up"},
    "mixup-or-cutmix": {
        "mixup": "alpha of mixup, above 0",
        "cutmix": "alpha of cutmix, above 0",
        "switch": "probability of cutmix, from 0 to 1",
        "partner": _PARTNER,
    },
    "resizemix": {"scale": "largest share of the side, from 0 to 1", "partner": _PARTNER},
    "fmix": {"alpha": "of the Beta distribution, above 0", "partner": _PARTNER},
    "augmix": {
        "severity": "levels of the operations, from 1 to 10",
        "mixture_width": "chains, from 1 to 20",
        "chain_depth": "operations of a chain, up to 20; -1 draws one to three",
        "alpha": "of the Beta and Dirichlet distributions, from 0.01 to 100",
        "all_ops": "true or false: brightness, colour, contrast and sharpness too",
    },
    "rand": {
        "m": "mean magnitude in tenths, from 0 to 100",
        "n": "operations, from 1 to 100",
        "mstd": "standard deviation of the magnitude, from 0 up; above 100 it is uniform from 0 to m",
        "prob": "probability of each operation, from 0 to 1",
        "inc": "true or false: whether every operation grows with the magnitude",
        "mmax": "largest magnitude, from 1 to 100",
    },
}
"""Meaning and range of operations' parameters, for listings."""
_BY_SIZE = {
    "crop": {"padding": "an eighth of the size"},
    "cutout": {"length": "a quarter of the size"},
    "mask": {"patch": "an eighth of the size"},
    "mixup-or-cutmix": {"partner": "roll"},
    "resizemix": {"partner": "roll"},
    "fmix": {"partner": "roll"},
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
STANDARD = (
    *("identity", "flip", "crop+flip", "rrc", "rotate", "perspective", "jitter", "grayscale", "blur", "noise"),
    *("cutout", "erasing", "gridmask", "autoaugment", "randaugment", "trivialaugment", "augmix"),
    *("mixup", "cutmix", "mixup-or-cutmix", "resizemix", "fmix", "cutmixpick:by=teacher_entropy"),
)
STRENGTHS = (
    *("crop:padding=1..8/4", "rrc:scale=0.08..0.8/4", "cutout:length=4..16/4", "erasing:area=0.05..0.8/4:p=1"),
    *("gridmask:drop=0.2..0.8/4", "mask:share=0.2..0.8/4", "rotate:degrees=5..90/5", "translate:share=0.05..0.5/4"),
    *("shear:degrees=5..45/5", "scale:change=0.1..0.8/4", "perspective:distortion=0.1..0.9/5:p=1"),
    *("brightness:strength=0.1..0.9/5", "contrast:strength=0.1..0.9/5", "saturation:strength=0.1..2/5"),
    *(
        "hue:strength=0.02..0.5/5",
        "grayscale:p=0.1..0.9/5",
        "solarize:threshold=32..224/4:p=1",
        "posterize:bits=1..7/4:p=1",
    ),
    *(
        "sharpness:factor=2..9/4:p=1",
        "randaugment:m=3..30/4",
        "augmix:severity=1..10/4",
        "mixup:alpha=0.1..2/5",
        "cutmix:alpha=0.1..2/5",
    ),
    *("resizemix:scale=0.2..0.9/4", "fmix:alpha=0.1..2/5"),
)
SETS: dict[str, tuple[str, ...]] = {"paper": PAPER, "standard": STANDARD, "strengths": STRENGTHS, "all": tuple(AUGS)}
"""Groups of augmentations by name."""
LINEAR = frozenset(
    [
        "p",
        "switch",
        "share",
        "degrees",
        "change",
        "distortion",
        "threshold",
        "bits",
        "quality",
        "drop",
        "factor",
        "m",
        "severity",
    ]
)
"""Parameters whose ranges have equal steps; all others' have equal ratios."""
WHOLE = frozenset(
    [
        "padding",
        "length",
        "patch",
        "n",
        "m",
        "runs",
        "bits",
        "quality",
        "severity",
        "mixture_width",
        "chain_depth",
        "mmax",
    ]
)
"""Parameters that are whole numbers."""


def describe(name: str) -> str:
    """Description of a built-in operation in one line, with parameters, ranges and defaults, for listings."""
    words = [inspect.getdoc(AUGS[name]) or ""]
    for key, parameter in list(inspect.signature(AUGS[name]).parameters.items())[1:]:
        linear = "" if key not in LINEAR - {"p"} else " (linear)"
        words.append(f"{key}{linear}: {RANGES[name][key]} [default: {usual_value(name, key, parameter.default)}]")
    return "; ".join(words)


def usual_value(name: str, key: str, default: Any) -> str:
    """What a parameter is where it is not given, in words; ``default`` is the builder's own."""
    if default is None:
        return _BY_SIZE.get(name, {}).get(key, "roll; the published rule in the reference protocol")
    return f"{default:.4g}" if isinstance(default, float) else f"{default}"
