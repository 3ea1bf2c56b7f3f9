"""Augmentations as modules of kornia, which draw for every image of a batch."""

from __future__ import annotations

from dametric.augment.affine import Perspective, Rotate, Scale
from dametric.augment.catalogue import ImageSpec
from dametric.augment.erase import Cutout
from dametric.augment.export import torchvision
from dametric.augment.export.expressions import PICKS, Inexpressible, Table, span
from dametric.augment.external import External
from dametric.augment.filters import Blur, Noise
from dametric.augment.geometric import Crop, Flip, RandomResizedCrop
from dametric.augment.mix import CutMix, Mixup
from dametric.augment.photometric import (
    Brightness,
    Contrast,
    Equalize,
    Grayscale,
    Hue,
    Invert,
    Jitter,
    Posterize,
    Saturation,
    Solarize,
)

IMPORTS = {"K.": "import kornia.augmentation as K", "torch.nn": "import torch"}
_CLIP = "torch.nn.Hardtanh(0.0, 1.0)"  # kornia's noise leaves the range of images
TAKES = "of a batch: float, (images, channels, height, width), from 0 to 1"
MIXES = "of a batch of images and its labels, as mix(images, labels); labels become (label, partner's label, lambda)"
IDENTITY, TOGETHER, CHAIN = "K.RandomHorizontalFlip(p=0)", "K.ImageSequential({})", "K.ImageSequential({})"
SOMETIMES, ONE_OF, LATER = "", "", ""


def _blur(operation: Blur, images: ImageSpec) -> str:
    size = 2 * operation.radius(images.size, images.size) + 1
    return f"K.RandomGaussianBlur(({size}, {size}), ({min(operation.sigma, 0.1)}, {operation.sigma}), p={{p}})"


def _jitter(brightness: float = 0, contrast: float = 0, saturation: float = 0, hue: float = 0) -> str:
    factors = ", ".join(span(value) for value in (brightness, contrast, saturation))
    return f"K.ColorJitter({factors}, ({-hue}, {hue}), p={{p}})"


def _mixup(operation: Mixup, images: ImageSpec) -> str:
    _permutes(operation)
    if operation.alpha != 1:
        raise Inexpressible("its mixup has uniform weights, which is alpha=1")
    return 'K.RandomMixUpV2(lambda_val=(0.0, 1.0), data_keys=["input", "class"], p={p})'


def _permutes(operation: Mixup) -> None:
    if operation.partner == "derangement":
        raise Inexpressible("its partners are a random permutation")


IMAGES: Table = {
    Flip: lambda op, images: f"K.RandomHorizontalFlip(p={op.p})",
    Crop: lambda op, images: f"K.RandomCrop(({images.size}, {images.size}), padding={op.padding}, p={{p}})",
    RandomResizedCrop: lambda op, images: (
        f"K.RandomResizedCrop(({images.size}, {images.size}), ({op.scale}, 1.0), ({1 / op.ratio!r}, {op.ratio!r}), "
        "p={p})"
    ),
    Brightness: lambda op, images: _jitter(brightness=op.strength),
    Contrast: lambda op, images: _jitter(contrast=op.strength),
    Saturation: lambda op, images: _jitter(saturation=op.strength),
    Hue: lambda op, images: _jitter(hue=op.strength),
    Jitter: lambda op, images: _jitter(op.brightness, op.contrast, op.saturation, op.hue),
    Grayscale: lambda op, images: "K.RandomGrayscale(p={p})",
    Solarize: lambda op, images: (
        IDENTITY
        if op.threshold > 255
        else f"K.RandomSolarize(({op.threshold / 255!r}, {op.threshold / 255!r}), (0.0, 0.0), p={{p}})"
    ),
    Posterize: lambda op, images: f"K.RandomPosterize(({op.bits}, {op.bits}), p={{p}})",
    Equalize: lambda op, images: "K.RandomEqualize(p={p})",
    Invert: lambda op, images: "K.RandomInvert(p={p})",
    Blur: _blur,
    Noise: lambda op, images: f"K.ImageSequential(K.RandomGaussianNoise(std={op.std}, p={{p}}), {_CLIP})",
    Rotate: lambda op, images: f'K.RandomRotation({op.degrees}, resample="nearest", p={{p}})',
    Scale: lambda op, images: f'K.RandomAffine(0.0, scale={span(op.change)}, resample="nearest", p={{p}})',
    Perspective: lambda op, images: f"K.RandomPerspective({op.distortion}, p={{p}})",
}
AFTER: Table = {}
BATCHES: Table = {Mixup: _mixup}
WHY = {
    **PICKS,
    CutMix: "its cutmix keeps the box inside of the image",
    Cutout: torchvision.WHY[Cutout],
    External: torchvision.WHY[External],
}
