"""Erasing: one blank square or rectangle an image, the squares of a grid, or some patches of one."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from dametric.augment.base import MOST_PIXELS, Augmented, Draw, box_mask, check_at_most, parameters
from dametric.augment.filters import normal
from dametric.augment.keys import Keys, field_of
from dametric.augment.photometric import check_between
from dametric.errors import UsageError, unknown

MODES = ("const", "rand", "pixel")
_LEAST_AREA, _RATIOS, _ATTEMPTS = 0.02, (0.3, 3.3), 10  # torchvision's
_COLOUR_STD = 0.25


@dataclass(frozen=True)
class Cutout:
    """Blank one square whose centre is anywhere in the image (DeVries & Taylor, arXiv 1708.04552).

    Attributes
    ----------
    length : int
        Side of the square in pixels; the part outside the image is lost.
    fill : tuple of float
        Colour of the square in pixel units (0..255); the data set's mean makes it zero after normalisation.
    """

    length: int
    fill: tuple[float, ...]
    stream = "cutout"
    mixes = False
    random = True

    def __post_init__(self) -> None:
        if self.length < 1:
            raise UsageError(f"cutout: length is a number of pixels from 1 up, not {self.length}")
        check_at_most("cutout: length", self.length, MOST_PIXELS)

    def draw(self, keys: Keys, shape: torch.Size) -> Draw:
        return {"y": keys.integer("y", shape[-2]), "x": keys.integer("x", shape[-1])}

    def apply(self, images: Tensor, draw: Draw) -> Augmented:
        top, left = (centre - self.length // 2 for centre in parameters(draw, "y", "x"))
        mask = box_mask(top, left, top + self.length, left + self.length, images.shape[-2], images.shape[-1])
        return Augmented(_filled("cutout", images, mask, self.fill))


def _filled(name: str, images: Tensor, mask: Tensor, fill: tuple[float, ...]) -> Tensor:
    """Images with one colour where the mask (rows, 1, height, width) is True: float32 in pixel units."""
    if len(fill) not in (1, images.shape[1]):
        raise UsageError(f"{name}: a fill of {len(fill)} channels does not fit images of {images.shape[1]}")
    inside = mask.float()
    blanked = images * (1 - inside)
    # channel by channel, since copying a tensor of the fill to a GPU would wait for everything before it
    for channel, value in zip(blanked.split(1, 1), fill if len(fill) > 1 else fill * images.shape[1], strict=True):
        channel.add_(inside, alpha=value)
    return blanked


@dataclass(frozen=True)
class Erasing:
    """Erase one rectangle of random size, shape and place (Zhong et al. 2020, arXiv 1708.04896).

    The law is that of torchvision's ``RandomErasing``, which is timm's too: of ten rectangles drawn, the first that is
    smaller than the image each way counts; where none is, nothing is erased.

    Attributes
    ----------
    area : float
        Largest share of the area, which is uniform between 0.02, or ``area`` where that is less, and this; the
        logarithm of the ratio of sides is uniform between those of 0.3 and 3.3.
    mode : {"const", "rand", "pixel"}
        Filled with the mean colour; with one random colour; with a random colour for every pixel. Random colours are
        normal about the mean, of standard deviation 0.25, about that of photographs, clipped to the range of pixels
        (timm draws them after normalisation, where nothing need be clipped).
    fill : tuple of float
        The mean colour in pixel units (0..255).
    """

    area: float = 0.33
    mode: str = "const"
    fill: tuple[float, ...] = (127.5,)
    stream = "erasing"
    mixes = False
    random = True

    def __post_init__(self) -> None:
        check_between("erasing: area", self.area, 0, 1)
        if self.mode not in MODES:
            raise unknown("mode of erasing", self.mode, MODES)

    def draw(self, keys: Keys, shape: torch.Size) -> Draw:
        """Rectangles: "top", "left", "height", "width" in pixels; and bits of which random colours are made."""
        high, wide = shape[-2:]
        low, logs = min(self.area, _LEAST_AREA), [math.log(ratio) for ratio in _RATIOS]
        area, ratio = (
            torch.stack([keys.uniform(f"{name}.{attempt}") for attempt in range(_ATTEMPTS)], 1)
            for name in ("area", "ratio")
        )
        pixels = high * wide * (low + (self.area - low) * area)
        aspect = torch.exp(logs[0] + (logs[1] - logs[0]) * ratio)
        heights, widths = (pixels * aspect).sqrt().round().long(), (pixels / aspect).sqrt().round().long()
        fits = (heights < high) & (widths < wide)
        first = fits.int().argmax(1, keepdim=True)
        height, width = (side.gather(1, first)[:, 0] * fits.any(1) for side in (heights, widths))
        top = (keys.uniform("top") * (high - height + 1)).long()
        left = (keys.uniform("left") * (wide - width + 1)).long()
        return {"top": top, "left": left, "height": height, "width": width, "bits": keys.bits("colour")}

    def apply(self, images: Tensor, draw: Draw) -> Augmented:
        top, left, height, width, bits = parameters(draw, "top", "left", "height", "width", "bits")
        mask = box_mask(top, left, top + height, left + width, images.shape[-2], images.shape[-1])
        if self.mode == "const":
            return Augmented(_filled("erasing", images, mask, self.fill))
        shape = images.shape[1:] if self.mode == "pixel" else (images.shape[1], 1, 1)
        noise = normal(bits, math.prod(shape)).view(-1, *shape) * (255 * _COLOUR_STD)
        mean = _filled("erasing", images[:, :, :1, :1], mask.new_ones(len(images), 1, 1, 1), self.fill)
        return Augmented(torch.where(mask, (noise + mean).clamp_(0, 255), images.float()))


@dataclass(frozen=True)
class GridMask:
    """Blank the squares of a grid of random period and place (Chen et al. 2020, arXiv 2001.04086), unrotated.

    Attributes
    ----------
    drop : float
        Side of the squares as a share of the period: the published r = 0.6 keeps a share of 0.6, and drops 0.4.
    fill : tuple of float
        Colour of the squares in pixel units (0..255).

    Notes
    -----
    The period is uniform on the whole numbers from 3/7 of the shorter side to the whole (96 to 224 at 224).
    """

    drop: float = 0.4
    fill: tuple[float, ...] = (127.5,)
    stream = "gridmask"
    mixes = False
    random = True

    def __post_init__(self) -> None:
        check_between("gridmask: drop", self.drop, 0, 1)

    def draw(self, keys: Keys, shape: torch.Size) -> Draw:
        """Period in pixels, and where its first square begins, in pixels before the image's edge."""
        side = min(shape[-2:])
        low = max(round(side * 3 / 7), 1)
        period = low + keys.integer("period", side - low + 1)
        return {"period": period, **{name: (keys.uniform(name) * period).long() for name in ("top", "left")}}

    def apply(self, images: Tensor, draw: Draw) -> Augmented:
        period, top, left = (values[:, None] for values in parameters(draw, "period", "top", "left"))
        length = (period * self.drop).round()
        rows, columns = (
            (torch.arange(side, device=images.device) + start) % period < length
            for side, start in zip(images.shape[-2:], (top, left), strict=True)
        )
        return Augmented(_filled("gridmask", images, rows[:, None, :, None] & columns[:, None, None, :], self.fill))


@dataclass(frozen=True)
class Mask:
    """Blank patches of a regular grid, the same number in every image (as He et al. 2022, arXiv 2111.06377).

    Attributes
    ----------
    share : float
        Share of the patches that are blanked, rounded to whole patches.
    patch : int
        Side of a patch in pixels; those at the lower and right edges may be smaller.
    fill : tuple of float
        Colour of the patches in pixel units (0..255).
    """

    share: float = 0.5
    patch: int = 4
    fill: tuple[float, ...] = (127.5,)
    stream = "mask"
    mixes = False
    random = True

    def __post_init__(self) -> None:
        check_between("mask: share", self.share, 0, 1)
        check_between("mask: patch", self.patch, 1, MOST_PIXELS)

    def draw(self, keys: Keys, shape: torch.Size) -> Draw:
        """Which patches, line by line, are blanked: Tensor of shape (rows, patches), bool."""
        patches = math.ceil(shape[-2] / self.patch) * math.ceil(shape[-1] / self.patch)
        order = field_of(keys.bits("patches"), patches).argsort(1).argsort(1)
        return {"blank": order < round(self.share * patches)}

    def apply(self, images: Tensor, draw: Draw) -> Augmented:
        (height, width), (blank,) = images.shape[-2:], parameters(draw, "blank")
        lines, columns = (torch.arange(side, device=images.device) // self.patch for side in (height, width))
        number = lines[:, None] * math.ceil(width / self.patch) + columns
        return Augmented(_filled("mask", images, blank[:, number][:, None], self.fill))
