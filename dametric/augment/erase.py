"""Cutout: one blank square an image."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dametric.augment.base import MOST_PIXELS, Augmented, Draw, box_mask, check_at_most
from dametric.augment.keys import Keys
from dametric.errors import UsageError


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
        if len(self.fill) not in (1, images.shape[1]):
            raise UsageError(f"cutout: a fill of {len(self.fill)} channels does not fit images of {images.shape[1]}")
        top, left = draw["y"] - self.length // 2, draw["x"] - self.length // 2
        mask = box_mask(top, left, top + self.length, left + self.length, images.shape[-2], images.shape[-1])
        inside = mask.float()
        blanked = images * (1 - inside)
        # channel by channel, since copying a tensor of the fill to a GPU would wait for everything before it
        fills = self.fill if len(self.fill) > 1 else self.fill * images.shape[1]
        for channel, fill in zip(blanked.split(1, 1), fills, strict=True):
            channel.add_(inside, alpha=fill)
        return Augmented(blanked)
