"""Mixtures of two images beside mixup and CutMix: the switch between them, ResizeMix, FMix."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from dametric.augment.base import Augmented, Draw, box_mask, choose, parameters, per_row
from dametric.augment.filters import normal
from dametric.augment.keys import Keys
from dametric.augment.mix import CutMix, Mixup, check_mixing
from dametric.augment.photometric import check_between

_DECAY = 3  # of FMix's frequencies


@dataclass(frozen=True)
class MixupOrCutMix:
    """Mixup or CutMix, drawn for every image: timm's ``Mixup`` in the mode "elem", or "batch" with shared parameters.

    Attributes
    ----------
    mixup, cutmix : float
        Parameter alpha of the Beta distribution of either.
    switch : float
        Probability of CutMix.
    partner : str
        As in :class:`~dametric.augment.mix.Mixup`.
    """

    mixup: float = 0.8
    cutmix: float = 1.0
    switch: float = 0.5
    partner: str = "roll"
    stream = "mixup-or-cutmix"
    mixes = True
    random = True

    def __post_init__(self) -> None:
        check_mixing("mixup-or-cutmix: mixup", self.mixup, self.partner)
        check_mixing("mixup-or-cutmix: cutmix", self.cutmix, self.partner)
        check_between("mixup-or-cutmix: switch", self.switch, 0, 1)

    def draw(self, keys: Keys, shape: torch.Size) -> Draw:
        box = CutMix(self.cutmix, self.partner).draw(keys.sub("cutmix"), shape)
        weight = keys.sub("mixup").beta("lam", self.mixup)
        return {**box, "lam": weight, "cut": keys.uniform("switch") < self.switch}

    def apply(self, images: Tensor, draw: Draw) -> Augmented:
        blended, pasted = (kind(partner=self.partner).apply(images, draw) for kind in (Mixup, CutMix))
        assert blended.lam is not None
        assert pasted.lam is not None
        cut, partner = parameters(draw, "cut", "partner")
        mixed = torch.where(per_row(cut), pasted.images.float(), blended.images)
        return Augmented(mixed, partner, torch.where(cut, pasted.lam, blended.lam))


@dataclass(frozen=True)
class ResizeMix:
    """Paste another image, made smaller, at a random place (Qin et al. 2020, arXiv 2012.11101).

    Attributes
    ----------
    scale : float
        Largest side of the pasted image as a share of the image's; it is uniform between 0.1, or ``scale`` where that
        is less, and this. What is pasted has whole pixels (bilinear, antialiased) and lies within the image; lambda is
        the exact share of the area that it leaves.
    partner : str
        As in :class:`~dametric.augment.mix.CutMix`.
    """

    scale: float = 0.8
    partner: str = "roll"
    stream = "resizemix"
    mixes = True
    random = True

    def __post_init__(self) -> None:
        check_between("resizemix: scale", self.scale, 0, 1)
        check_mixing("resizemix", 1, self.partner)

    def draw(self, keys: Keys, shape: torch.Size) -> Draw:
        height, width = shape[-2:]
        low = min(self.scale, 0.1)
        share = low + (self.scale - low) * keys.uniform("scale")
        high, wide = (share * height).long(), (share * width).long()
        top, left = (
            (keys.uniform("top") * (height - high + 1)).long(),
            (keys.uniform("left") * (width - wide + 1)).long(),
        )
        return {"top": top, "left": left, "height": high, "width": wide, "partner": keys.partners(self.partner)}

    def apply(self, images: Tensor, draw: Draw) -> Augmented:
        top, left, high, wide, partner = parameters(draw, "top", "left", "height", "width", "partner")
        height, width = images.shape[-2:]
        others = images.index_select(0, partner).float()
        pasted = _shrinking(top, high, height)[:, None] @ others @ _shrinking(left, wide, width)[:, None].mT
        if images.dtype == torch.uint8:
            pasted = pasted.round_().clamp_(0, 255).to(torch.uint8)
        mask = box_mask(top, left, top + high, left + wide, height, width)
        return Augmented(choose(mask, pasted, images), partner, 1 - (high * wide).double() / (height * width))


def _shrinking(start: Tensor, length: Tensor, size: int) -> Tensor:
    """Matrices that resize whole lines of ``size`` pixels to parts of them, bilinear and antialiased.

    Parameters
    ----------
    start, length : Tensor of shape (rows,), int64
        First pixel and number of pixels of the part that each line is resized to.
    size : int

    Returns
    -------
    Tensor of shape (rows, size, size), float32
        The weight of every pixel of the line for every pixel of the part; outside of the part, those of no meaning.
    """
    step = (size / length.clamp(min=1).double())[:, None, None]
    new, old = (torch.arange(size, device=start.device, dtype=torch.float64) + 0.5 for _ in range(2))
    centre = (new[:, None] - start[:, None, None]) * step
    weights = (1 - ((old - centre) / step).abs()).clamp_(min=0)
    return (weights / weights.sum(-1, keepdim=True).clamp(min=1e-9)).float()


@dataclass(frozen=True)
class FMix:
    """Paste the parts of another image where low-frequency noise is highest (Harris et al. 2020, arXiv 2002.12047).

    The noise is Gaussian, its amplitudes fall with the third power of the frequency. Lambda ~ Beta(alpha, alpha) of the
    pixels are the row's own, rounded to whole pixels; the lambda returned is exact.

    Attributes
    ----------
    alpha : float
    partner : str
        As in :class:`~dametric.augment.mix.CutMix`.
    """

    alpha: float = 1.0
    partner: str = "roll"
    stream = "fmix"
    mixes = True
    random = True

    def __post_init__(self) -> None:
        check_mixing("fmix", self.alpha, self.partner)

    def draw(self, keys: Keys, shape: torch.Size) -> Draw:
        partner = keys.partners(self.partner)
        return {"lam": keys.beta("lam", self.alpha), "bits": keys.bits("noise"), "partner": partner}

    def apply(self, images: Tensor, draw: Draw) -> Augmented:
        height, width = images.shape[-2:]
        lam, bits, partner = parameters(draw, "lam", "bits", "partner")
        own = (lam * (height * width)).round()
        # the pixels of the highest noise are the row's own
        place = low_frequency_noise(bits, height, width).flatten(1).argsort(1, descending=True).argsort(1)
        mask = (place >= own[:, None]).view(-1, 1, height, width)
        mixed = choose(mask, images.index_select(0, partner), images)
        return Augmented(mixed, partner, own / (height * width))


def low_frequency_noise(bits: Tensor, height: int, width: int) -> Tensor:
    """Real Gaussian noise whose amplitudes fall with the third power of the frequency.

    Parameters
    ----------
    bits : Tensor of shape (rows,), int64
        Random bits, of which the noise is made.
    height, width : int

    Returns
    -------
    Tensor of shape (rows, height, width), float32
    """
    down = torch.fft.fftfreq(height, device=bits.device)[:, None]
    across = torch.fft.rfftfreq(width, device=bits.device)
    frequency = (down.square() + across.square()).sqrt().clamp(min=1 / max(height, width))
    shape = (len(bits), *frequency.shape, 2)
    spectrum = torch.view_as_complex(normal(bits, math.prod(shape[1:])).view(shape)) / frequency**_DECAY
    result: Tensor = torch.fft.irfft2(spectrum, s=(height, width))
    return result
