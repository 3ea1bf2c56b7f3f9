"""Geometric operations: flip, shifted crop, random resized crop."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from dametric.augment.base import MOST_PIXELS, Augmented, Draw, check_at_most, choose, per_row
from dametric.augment.keys import Keys
from dametric.data.pixels import Box, resized_part
from dametric.errors import UsageError

_ATTEMPTS = 10


@dataclass(frozen=True)
class Flip:
    """Mirror left-right with probability ``p``."""

    p: float = 0.5
    stream = "flip"
    mixes = False
    random = True

    def __post_init__(self) -> None:
        if not 0 <= self.p <= 1:
            raise UsageError(f"flip: p is a probability between 0 and 1, not {self.p}")

    def draw(self, keys: Keys, shape: torch.Size) -> Draw:
        return {"flip": keys.uniform("flip") < self.p}

    def apply(self, images: Tensor, draw: Draw) -> Augmented:
        return Augmented(choose(per_row(draw["flip"]), images.flip(-1), images))


@dataclass(frozen=True)
class Crop:
    """Pad every side with black and cut out the original size at a uniformly drawn position.

    Attributes
    ----------
    padding : int
        Pixels added to each side.
    """

    padding: int
    stream = "crop"
    mixes = False
    random = True

    def __post_init__(self) -> None:
        if self.padding < 0:
            raise UsageError(f"crop: padding is a number of pixels, not {self.padding}")
        check_at_most("crop: padding", self.padding, MOST_PIXELS)

    def draw(self, keys: Keys, shape: torch.Size) -> Draw:
        places = 2 * self.padding + 1
        top, left = (keys.uniforms(["top", "left"]) * places).long().unbind(1)
        return {"top": top, "left": left}

    def apply(self, images: Tensor, draw: Draw) -> Augmented:
        rows, channels, height, width = images.shape
        # windows further out than the image's side hold nothing of it, so that padding stops there
        edge = min(self.padding, max(height, width))
        padded = F.pad(images, [edge] * 4)
        tall, wide = padded.shape[-2:]
        top, left = draw["top"], draw["left"]
        if edge < self.padding:
            top, left = ((place - (self.padding - edge)).clamp(0, 2 * edge) for place in (top, left))
        # the first pixel of every line of a window at the top left, in the padded images laid end to end
        start = _lines(rows, channels, height, tall, wide, images.device) + (top * wide + left).view(-1, 1, 1)
        # whole lines are copied by their starts, as windows of one width at every pixel of the padded images
        lines = padded.flatten().unfold(0, width, 1)
        return Augmented(lines.index_select(0, start.flatten()).view(images.shape))


@lru_cache(maxsize=8)  # megabytes each
def _lines(rows: int, channels: int, height: int, tall: int, wide: int, device: torch.device) -> Tensor:
    """Where the lines of windows begin in images of tall x wide pixels: (rows, channels, height); not to be changed."""
    with torch.inference_mode(False):
        plane = torch.arange(rows * channels, device=device).view(rows, channels, 1) * tall
        return (plane + torch.arange(height, device=device)) * wide


@dataclass(frozen=True)
class RandomResizedCrop:
    """Cut out a part of random size and shape and resize it to the original size (bilinear, antialiased).

    Attributes
    ----------
    scale : float
        Smallest share of the area; the share is uniform between this and 1.
    ratio : float
        Largest aspect ratio; its logarithm is uniform between ``-log(ratio)`` and ``log(ratio)``.

    Notes
    -----
    The law of torchvision's ``RandomResizedCrop``: parts are whole pixels; of ten parts drawn, the first that fits
    counts, and where none does the largest part in the centre whose aspect ratio is allowed.
    """

    scale: float = 0.08
    ratio: float = 4 / 3
    stream = "rrc"
    mixes = False
    random = True

    def __post_init__(self) -> None:
        if not 0 < self.scale <= 1 or self.ratio < 1:
            raise UsageError(f"rrc: 0 < scale <= 1 <= ratio is needed, not scale={self.scale}, ratio={self.ratio}")

    def draw(self, keys: Keys, shape: torch.Size) -> Draw:
        """Shares of the area and aspect ratios of ten parts, (rows, 10), and where the part lies in 0..1."""
        area, ratio = (
            torch.stack([keys.uniform(f"{name}.{attempt}") for attempt in range(_ATTEMPTS)], 1)
            for name in ("area", "ratio")
        )
        return {
            "area": self.scale + (1 - self.scale) * area,
            "ratio": torch.exp((2 * ratio - 1) * math.log(self.ratio)),
            "top": keys.uniform("top"),
            "left": keys.uniform("left"),
        }

    def boxes(self, draw: Draw, height: int | Tensor, width: int | Tensor) -> Tensor:
        """Parts of images of some size: top, left, height and width in pixels.

        Parameters
        ----------
        draw : dict
            From :meth:`draw`.
        height, width : int or Tensor of shape (rows,), int64
            Of the images.

        Returns
        -------
        Tensor of shape (rows, 4), int64
        """
        area, aspect = draw["area"], draw["ratio"]
        high, wide = (
            side if isinstance(side, Tensor) else torch.full((len(area),), side, device=area.device)
            for side in (height, width)
        )
        pixels = (high * wide)[:, None] * area
        heights, widths = (pixels / aspect).sqrt().round().long(), (pixels * aspect).sqrt().round().long()
        fits = (heights > 0) & (heights <= high[:, None]) & (widths > 0) & (widths <= wide[:, None])
        first = fits.int().argmax(1, keepdim=True)
        box_height, box_width = heights.gather(1, first)[:, 0], widths.gather(1, first)[:, 0]
        top = (draw["top"] * (high - box_height + 1)).long()
        left = (draw["left"] * (wide - box_width + 1)).long()
        central_height = torch.minimum(high, (wide * self.ratio).round().long())
        central_width = torch.minimum(wide, (high * self.ratio).round().long())
        tops, lefts = (high - central_height) // 2, (wide - central_width) // 2
        drawn = torch.stack([top, left, box_height, box_width], 1)
        central = torch.stack([tops, lefts, central_height, central_width], 1)
        return torch.where(fits.any(1, keepdim=True), drawn, central)

    def crops(self, draw: Draw, mirrored: Tensor | None = None) -> Crops:
        """The parts drawn, to be cut from images whose sizes are not yet known.

        Parameters
        ----------
        draw : dict
            From :meth:`draw`; with an entry "happens" where the crop only happens sometimes.
        mirrored : Tensor of shape (rows,), bool, optional
            Whether the part is that of the mirrored image.
        """
        area, ratio, top, left = (draw[name].tolist() for name in ("area", "ratio", "top", "left"))
        happens = draw["happens"].tolist() if "happens" in draw else [True] * len(top)
        return Crops(
            self, area, ratio, top, left, [False] * len(top) if mirrored is None else mirrored.tolist(), happens
        )

    def apply(self, images: Tensor, draw: Draw) -> Augmented:
        height, width = images.shape[-2:]
        boxes = self.boxes(draw, height, width)
        if images.device.type == "cpu":
            parts = zip(images, boxes.tolist(), strict=True)
            return Augmented(torch.stack([resized_part(image, box, (height, width)) for image, box in parts]))
        down, across = (resizing(boxes[:, n], boxes[:, n + 2], side) for n, side in enumerate((height, width)))
        resized = down[:, None] @ images.float() @ across[:, None].mT
        return Augmented(resized.round_().clamp_(0, 255).to(torch.uint8) if images.dtype == torch.uint8 else resized)


@dataclass(frozen=True)
class Crops:
    """Random resized crops of a batch, one a row."""

    operation: RandomResizedCrop
    area: list[list[float]]
    ratio: list[list[float]]
    top: list[float]
    left: list[float]
    mirrored: list[bool]
    happens: list[bool]

    def __add__(self, other: Crops) -> Crops:
        """The crops of two batches, one after the other."""
        rows = {field.name: getattr(self, field.name) + getattr(other, field.name) for field in fields(self)[1:]}
        return replace(self, **rows)

    def box(self, row: int, height: int, width: int) -> Box | None:
        """Part of an image of some size; None where the image is not cropped.

        As :meth:`RandomResizedCrop.boxes`, but without tensors, which cost more.
        """
        if not self.happens[row]:
            return None
        top, left, high, wide = self._box(row, height, width)
        return (top, width - left - wide if self.mirrored[row] else left, high, wide)

    def _box(self, row: int, height: int, width: int) -> Box:
        for area, aspect in zip(self.area[row], self.ratio[row], strict=True):
            pixels = height * width * area
            high, wide = round(math.sqrt(pixels / aspect)), round(math.sqrt(pixels * aspect))
            if 0 < high <= height and 0 < wide <= width:
                return (int(self.top[row] * (height - high + 1)), int(self.left[row] * (width - wide + 1)), high, wide)
        high = min(height, round(width * self.operation.ratio))
        wide = min(width, round(height * self.operation.ratio))
        return (height - high) // 2, (width - wide) // 2, high, wide


def resizing(start: Tensor, length: Tensor, size: int) -> Tensor:
    """Matrices that resize parts of lines of pixels to ``size``, bilinear and antialiased.

    Parameters
    ----------
    start, length : Tensor of shape (rows,), int64
        First pixel and number of pixels of each part.
    size : int
        Pixels of a line, before and after.

    Returns
    -------
    Tensor of shape (rows, size, size), float32
        The weight of every pixel for every resized one.
    """
    step = (length.double() / size)[:, None, None]
    support = step.clamp(min=1)
    new, old = (torch.arange(size, device=start.device, dtype=torch.float64) + 0.5 for _ in range(2))
    within = old - start[:, None, None]
    weights = (1 - ((within - step * new[:, None]) / support).abs()).clamp_(min=0)
    weights *= (within > 0) & (within < length[:, None, None])
    return (weights / weights.sum(-1, keepdim=True)).float()
