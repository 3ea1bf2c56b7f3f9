"""Geometric operations: flip, shifted crop, random resized crop."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from dametric.augment.base import MOST_PIXELS, Augmented, Draw, check_at_most, choose, per_row
from dametric.augment.keys import Keys
from dametric.errors import UsageError


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
        return {"top": keys.integer("top", places), "left": keys.integer("left", places)}

    def apply(self, images: Tensor, draw: Draw) -> Augmented:
        rows, channels, height, width = images.shape
        # windows further out than the image's side hold nothing of it, so that padding stops there
        edge = min(self.padding, max(height, width))
        padded = F.pad(images, [edge] * 4)
        tall, wide = padded.shape[-2:]
        top, left = ((draw[name] - (self.padding - edge)).clamp(0, 2 * edge) for name in ("top", "left"))
        y = top[:, None] + torch.arange(height, device=images.device)
        plane = torch.arange(rows * channels, device=images.device).view(rows, channels, 1) * tall
        start = (plane + y[:, None, :]) * wide + left.view(-1, 1, 1)
        # whole lines are copied by their starts, as windows of one width at every pixel of the padded images
        lines = padded.flatten().unfold(0, width, 1)
        return Augmented(lines.index_select(0, start.flatten()).view(images.shape))


@dataclass(frozen=True)
class RandomResizedCrop:
    """Cut out a part of random size and shape and stretch it to the original size (bilinear).

    Attributes
    ----------
    scale : float
        Smallest share of the area; the share is uniform between this and 1.
    ratio : float
        Largest aspect ratio; its logarithm is uniform between ``-log(ratio)`` and ``log(ratio)``.

    Notes
    -----
    As in Szegedy et al. (arXiv 1409.4842). A part that would not fit is clipped to the image instead of redrawn.
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
        area = self.scale + (1 - self.scale) * keys.uniform("area")
        stretch = torch.exp((2 * keys.uniform("ratio") - 1) * math.log(self.ratio) / 2) * math.sqrt(
            shape[-2] / shape[-1]
        )
        width = (area.sqrt() * stretch).clamp(max=1)
        height = (area.sqrt() / stretch).clamp(max=1)
        return {
            "width": width,
            "height": height,
            "left": keys.uniform("left") * (1 - width),
            "top": keys.uniform("top") * (1 - height),
        }

    def apply(self, images: Tensor, draw: Draw) -> Augmented:
        theta = torch.zeros(len(images), 2, 3, device=images.device, dtype=torch.float32)
        theta[:, 0, 0] = draw["width"].float()
        theta[:, 1, 1] = draw["height"].float()
        theta[:, 0, 2] = (2 * draw["left"] + draw["width"] - 1).float()
        theta[:, 1, 2] = (2 * draw["top"] + draw["height"] - 1).float()
        grid = F.affine_grid(theta, list(images.shape), align_corners=False)
        sampled = F.grid_sample(images.float(), grid, padding_mode="border", align_corners=False)
        return Augmented(sampled.round_().clamp_(0, 255).to(torch.uint8) if images.dtype == torch.uint8 else sampled)
