"""Mixup and CutMix: mixtures of two images of a batch."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dametric.augment.base import Augmented, Draw, box_mask, choose, constant, per_row
from dametric.augment.keys import Keys
from dametric.errors import UsageError, unknown

PARTNERS = {
    "roll": "the next image of the batch",
    "derangement": "a random permutation without fixed points",
    "permutation": "a random permutation",
}


def check_mixing(name: str, alpha: float, partner: str) -> None:
    """Refuse an alpha that is no parameter of a Beta distribution, and unknown partner rules.

    Raises
    ------
    UsageError
    """
    if not alpha > 0:
        raise UsageError(f"{name}{'' if ':' in name else ': alpha'} is a positive number, not {alpha}")
    if partner not in PARTNERS:
        raise unknown("partner rule", partner, PARTNERS)


@dataclass(frozen=True)
class Mixup:
    """Blend two images with weights lambda and 1 - lambda, lambda ~ Beta(alpha, alpha) (arXiv 1710.09412)."""

    alpha: float = 1.0
    partner: str = "roll"
    stream = "mixup"
    mixes = True
    random = True

    def __post_init__(self) -> None:
        check_mixing("mixup", self.alpha, self.partner)

    def draw(self, keys: Keys, shape: torch.Size) -> Draw:
        return {"lam": keys.beta("lam", self.alpha), "partner": keys.partners(self.partner)}

    def apply(self, images: Tensor, draw: Draw) -> Augmented:
        pixels = images.float()
        mixed = torch.lerp(pixels.index_select(0, draw["partner"]), pixels, per_row(draw["lam"]).float())
        return Augmented(mixed, draw["partner"], draw["lam"])


@dataclass(frozen=True)
class CutMix:
    """Paste a rectangle of another image over each image (Yun et al. 2019, arXiv 1905.04899).

    The rectangle has the image's shape and the share 1 - lambda of its area, lambda ~ Beta(alpha, alpha), and
    its centre is anywhere; what falls outside the image is lost, and lambda is corrected to the exact area.
    """

    alpha: float = 1.0
    partner: str = "roll"
    stream = "cutmix"
    mixes = True
    random = True

    def __post_init__(self) -> None:
        check_mixing("cutmix", self.alpha, self.partner)

    def draw(self, keys: Keys, shape: torch.Size) -> Draw:
        height, width = shape[-2:]
        sides = constant((height, width), keys.device)
        half = (sides * torch.sqrt(1 - keys.beta("lam", self.alpha))[:, None]).long() // 2
        centre = (keys.uniforms(["y", "x"]) * sides).long()
        top, left = torch.minimum((centre - half).clamp(min=0), sides).unbind(1)
        bottom, right = torch.minimum((centre + half).clamp(min=0), sides).unbind(1)
        partner = keys.partners(self.partner)
        return {"top": top, "bottom": bottom, "left": left, "right": right, "partner": partner}

    def apply(self, images: Tensor, draw: Draw) -> Augmented:
        height, width = images.shape[-2:]
        top, left, bottom, right = (draw[name] for name in ("top", "left", "bottom", "right"))
        mask = box_mask(top, left, bottom, right, height, width)
        lam = 1 - ((bottom - top) * (right - left)).double() / (height * width)
        return Augmented(choose(mask, images.index_select(0, draw["partner"]), images), draw["partner"], lam)
