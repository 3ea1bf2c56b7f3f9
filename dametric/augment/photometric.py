"""Changes of colour, with parameters drawn for every image; kernels are those of the policies.

Images that are not bytes, after a blend, are rounded to whole pixel values first. Results are torchvision's for the
same parameters.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from dametric.augment import colour
from dametric.augment.base import Augmented, Draw, parameters, per_row, whole
from dametric.augment.keys import Keys
from dametric.errors import UsageError

FACTORS = ("brightness", "contrast", "saturation")
_KERNELS: dict[str, colour.Kernel] = {
    "brightness": colour.brightness,
    "contrast": colour.contrast,
    "saturation": colour.colour,
    "grayscale": colour.grayscale,
    "invert": colour.invert,
    "equalize": colour.equalize,
    "autocontrast": colour.autocontrast,
    "solarize": colour.solarize,
    "posterize": colour.posterize,
    "sharpness": colour.sharpness,
}


def check_channels(name: str, images: Tensor) -> None:
    """Refuse images in which there is no colour, and no grey either.

    Raises
    ------
    UsageError
    """
    if images.shape[1] not in (1, 3):
        raise UsageError(f"{name} needs images of 1 or 3 channels, not {images.shape[1]}")


def check_between(what: str, value: float, low: float, high: float) -> None:
    """Refuse a number outside of a range.

    Raises
    ------
    UsageError
    """
    if not low <= value <= high:
        raise UsageError(f"{what} is from {low:g} to {high:g}, not {value:g}")


def factor(keys: Keys, name: str, strength: float) -> Tensor:
    """Change of a factor, uniform between ``-strength`` (or -1, where the factor is 0) and ``strength``."""
    low = min(strength, 1)
    return keys.uniform(name) * (strength + low) - low


@dataclass(frozen=True)
class _Enhancement:
    """Blend of an image with a version of it that lacks one property.

    Attributes
    ----------
    strength : float
        The factor is uniform between 1 - strength, or 0, and 1 + strength.
    """

    strength: float = 0.4
    stream: ClassVar[str]
    mixes = False
    random = True

    def __post_init__(self) -> None:
        check_between(f"{self.stream}: strength", self.strength, 0, 10)

    def draw(self, keys: Keys, shape: torch.Size) -> Draw:
        return {"change": factor(keys, "change", self.strength)}

    def apply(self, images: Tensor, draw: Draw) -> Augmented:
        check_channels(self.stream, images)
        return Augmented(_KERNELS[self.stream](whole(images), *parameters(draw, "change")))


@dataclass(frozen=True)
class Brightness(_Enhancement):
    """Multiply every pixel by one factor."""

    stream = "brightness"


@dataclass(frozen=True)
class Contrast(_Enhancement):
    """Move every pixel away from the image's mean grey, or towards it."""

    stream = "contrast"


@dataclass(frozen=True)
class Saturation(_Enhancement):
    """Move every pixel away from its grey, or towards it."""

    stream = "saturation"


@dataclass(frozen=True)
class Hue:
    """Turn the circle of colours by a share of a whole turn, uniform between ``-strength`` and ``strength``."""

    strength: float = 0.1
    stream = "hue"
    mixes = False
    random = True

    def __post_init__(self) -> None:
        check_between("hue: strength", self.strength, 0, 0.5)

    def draw(self, keys: Keys, shape: torch.Size) -> Draw:
        return {"turn": (2 * keys.uniform("turn") - 1) * self.strength}

    def apply(self, images: Tensor, draw: Draw) -> Augmented:
        check_channels("hue", images)
        return Augmented(colour.hue(whole(images), *parameters(draw, "turn")))


@dataclass(frozen=True)
class Jitter:
    """Brightness, contrast, saturation and hue, in an order drawn for every image: torchvision's ``ColorJitter``.

    Brightness, contrast and saturation are blends, with black, the mean grey and the grey of each pixel: three of them
    come before the hue is turned and three after, of which a row makes those that its order says.

    Attributes
    ----------
    brightness, contrast, saturation : float
        As ``strength`` of the operations of these names.
    hue : float
        As ``strength`` of :class:`Hue`.
    """

    brightness: float = 0.4
    contrast: float = 0.4
    saturation: float = 0.4
    hue: float = 0.1
    stream = "jitter"
    mixes = False
    random = True

    def __post_init__(self) -> None:
        for name in FACTORS:
            check_between(f"jitter: {name}", getattr(self, name), 0, 10)
        check_between("jitter: hue", self.hue, 0, 0.5)

    def draw(self, keys: Keys, shape: torch.Size) -> Draw:
        """Three changes of factors, the turn of the hue, and "order", (rows, 4): which of the four each stage makes."""
        changes = {name: factor(keys, name, getattr(self, name)) for name in FACTORS}
        order = torch.stack([keys.uniform(f"order.{stage}") for stage in range(4)], 1).argsort(1)
        return {**changes, "hue": (2 * keys.uniform("hue") - 1) * self.hue, "order": order}

    def apply(self, images: Tensor, draw: Draw) -> Augmented:
        check_channels("jitter", images)
        result = whole(images)
        blends = any(getattr(self, name) for name in FACTORS)
        order, turn = parameters(draw, "order", "hue")
        hue_at, kinds = (order == 3).int().argmax(1), order.unbind(1)
        if blends:
            for stage in range(3):
                result = self._blended(result, draw, torch.where(hue_at > stage, kinds[stage], 3))
        if self.hue:
            result = colour.hue(result, turn)
        if blends:
            for stage in range(1, 4):
                result = self._blended(result, draw, torch.where(hue_at < stage, kinds[stage], 3))
        return Augmented(result)

    @staticmethod
    def _blended(images: Tensor, draw: Draw, kind: Tensor) -> Tensor:
        """Blend with what each row's stage blends with; the image as it is where that is nothing."""
        if images.shape[1] == 1:
            kind = torch.where(kind == 2, 3, kind)
        grey, zero = colour.grey(images), torch.zeros((), device=images.device)
        mean = grey.mean((1, 2, 3), keepdim=True)
        other = torch.where(per_row(kind == 2), grey, torch.where(per_row(kind == 1), mean, zero))
        change = F.pad(torch.stack(parameters(draw, *FACTORS), 1), (0, 1))
        share = 1 + change.gather(1, kind[:, None])[:, 0]
        return colour.blend(images, other, share)


@dataclass(frozen=True)
class _Fixed:
    """An operation without random parameters: a kernel of one strength for all."""

    stream: ClassVar[str]
    mixes = False
    random = False

    @property
    def value(self) -> float:
        """The kernel's strength."""
        return 0

    def draw(self, keys: Keys, shape: torch.Size) -> Draw:
        return {}

    def apply(self, images: Tensor, draw: Draw) -> Augmented:
        check_channels(self.stream, images)
        strength = torch.full((len(images),), self.value, dtype=torch.float64, device=images.device)
        return Augmented(_KERNELS[self.stream](whole(images), strength))


@dataclass(frozen=True)
class Grayscale(_Fixed):
    """Replace every colour by its grey."""

    stream = "grayscale"


@dataclass(frozen=True)
class Invert(_Fixed):
    """Replace every pixel by its negative."""

    stream = "invert"


@dataclass(frozen=True)
class Equalize(_Fixed):
    """Flatten the histogram of every channel."""

    stream = "equalize"


@dataclass(frozen=True)
class Autocontrast(_Fixed):
    """Stretch every channel to the full range."""

    stream = "autocontrast"


@dataclass(frozen=True)
class Solarize(_Fixed):
    """Invert the pixels from ``threshold`` (0 to 256) up."""

    threshold: float = 128.0
    stream = "solarize"

    def __post_init__(self) -> None:
        check_between("solarize: threshold", self.threshold, 0, 256)

    @property
    def value(self) -> float:
        return self.threshold


@dataclass(frozen=True)
class Posterize(_Fixed):
    """Keep the ``bits`` highest bits of every pixel."""

    bits: int = 4
    stream = "posterize"

    def __post_init__(self) -> None:
        check_between("posterize: bits", self.bits, 1, 8)

    @property
    def value(self) -> float:
        return self.bits


@dataclass(frozen=True)
class Sharpness(_Fixed):
    """Blend with a smoothed version, by one factor for all images: torchvision's ``RandomAdjustSharpness``.

    Attributes
    ----------
    factor : float
        0 smooths, 1 changes nothing, more sharpens.
    """

    factor: float = 2.0
    stream = "sharpness"

    def __post_init__(self) -> None:
        check_between("sharpness: factor", self.factor, 0, 10)

    @property
    def value(self) -> float:
        return self.factor - 1
