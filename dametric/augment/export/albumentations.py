"""Augmentations as transforms of albumentations."""

from __future__ import annotations

from dametric.augment.affine import Rotate
from dametric.augment.catalogue import ImageSpec
from dametric.augment.erase import Cutout, Erasing
from dametric.augment.export import torchvision
from dametric.augment.export.expressions import PICKS, Inexpressible, Table, span
from dametric.augment.external import External
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
    Solarize,
)

IMPORTS = {"A.": "import albumentations as A"}
TAKES = 'of one image: uint8 array (height, width, channels), as transform(image=image)["image"]'
MIXES = ""
IDENTITY, TOGETHER, CHAIN = "A.NoOp()", "A.Compose([{}])", "A.Sequential([{}], p=1)"
SOMETIMES, ONE_OF, LATER = "A.Sequential([{}], p={})", "A.OneOf([{}], p=1)", ""


def _jitter(brightness: float = 0, contrast: float = 0, saturation: float = 0, hue: float = 0) -> str:
    factors = ", ".join(span(value) for value in (brightness, contrast, saturation))
    return f"A.ColorJitter({factors}, ({-hue}, {hue}), p={{p}})"


def _noise(operation: Noise, images: ImageSpec) -> str:
    if operation.std > 1:
        raise Inexpressible("its noise has a standard deviation of at most 1")
    return f"A.GaussNoise(std_range=({operation.std}, {operation.std}), p={{p}})"


def _erasing(operation: Erasing, images: ImageSpec) -> str:
    if operation.mode != "const":
        raise Inexpressible("its random colours are uniform, not normal about the mean")
    colour = tuple(round(value) for value in operation.fill)
    return f"A.Erasing(({min(operation.area, 0.02)}, {operation.area}), (0.3, 3.3), fill={colour}, p={{p}})"


def _blur(operation: Blur, images: ImageSpec) -> str:
    size = 2 * operation.radius(images.size, images.size) + 1
    return f"A.GaussianBlur(({size}, {size}), ({min(operation.sigma, 0.1)}, {operation.sigma}), p={{p}})"


IMAGES: Table = {
    Flip: lambda op, images: f"A.HorizontalFlip(p={op.p})",
    Crop: lambda op, images: (
        f"A.Sequential([A.Pad({op.padding}), A.RandomCrop({images.size}, {images.size})], p={{p}})"
    ),
    RandomResizedCrop: lambda op, images: (
        f"A.RandomResizedCrop(({images.size}, {images.size}), ({op.scale}, 1.0), ({1 / op.ratio!r}, {op.ratio!r}), "
        "p={p})"
    ),
    Brightness: lambda op, images: _jitter(brightness=op.strength),
    Contrast: lambda op, images: _jitter(contrast=op.strength),
    Saturation: lambda op, images: _jitter(saturation=op.strength),
    Hue: lambda op, images: _jitter(hue=op.strength),
    Jitter: lambda op, images: _jitter(op.brightness, op.contrast, op.saturation, op.hue),
    Grayscale: lambda op, images: "A.ToGray(p={p})",
    Solarize: lambda op, images: (
        IDENTITY if op.threshold > 255 else f"A.Solarize(({op.threshold / 255!r}, {op.threshold / 255!r}), p={{p}})"
    ),
    Posterize: lambda op, images: f"A.Posterize(({op.bits}, {op.bits}), p={{p}})",
    Autocontrast: lambda op, images: 'A.AutoContrast(method="pil", p={p})',
    Invert: lambda op, images: "A.InvertImg(p={p})",
    Blur: _blur,
    Noise: _noise,
    Jpeg: lambda op, images: f'A.ImageCompression("jpeg", ({op.quality}, 100), p={{p}})',
    Rotate: lambda op, images: f"A.Rotate(({-op.degrees}, {op.degrees}), interpolation=0, border_mode=0, p={{p}})",
    Erasing: _erasing,
}
AFTER: Table = {}
BATCHES: Table = {}
WHY = {
    **PICKS,
    **dict.fromkeys((Mixup, CutMix, MixupOrCutMix, ResizeMix, FMix), "it has no mixing of the images of a batch"),
    Equalize: "its Equalize makes images lighter, by one or two grey levels",
    Cutout: torchvision.WHY[Cutout].replace("RandomErasing", "CoarseDropout"),
    External: torchvision.WHY[External],
}
