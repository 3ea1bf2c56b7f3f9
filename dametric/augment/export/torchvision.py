"""Augmentations as transforms of torchvision."""

from __future__ import annotations

from dametric.augment.affine import Perspective, Rotate, Scale, Shear, Translate
from dametric.augment.augmix import AugMix
from dametric.augment.catalogue import ImageSpec
from dametric.augment.chance import RandAugment, TrivialAugment
from dametric.augment.erase import Cutout, Erasing
from dametric.augment.export.expressions import PICKS, Inexpressible, Table, rolls
from dametric.augment.external import External
from dametric.augment.filters import Blur, Jpeg, Noise
from dametric.augment.geometric import Crop, Flip, RandomResizedCrop
from dametric.augment.mix import CutMix, Mixup
from dametric.augment.mixtures import MixupOrCutMix
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
from dametric.augment.policy import AutoAugment
from dametric.augment.rand import Rand

IMPORTS = {"v2.": "from torchvision.transforms import v2"}
TAKES = "of one image: uint8, (channels, height, width)"
MIXES = "of a batch of float images and its labels: mix(images, labels); one lambda for all, partner is the one before"
IDENTITY, TOGETHER, CHAIN = "v2.Identity()", "v2.Compose([{}])", "v2.Compose([{}])"
SOMETIMES, ONE_OF = "v2.RandomApply([{}], p={})", "v2.RandomChoice([{}])"


def _erasing(operation: Erasing, images: ImageSpec) -> str:
    if operation.mode != "const":
        raise Inexpressible(f"its RandomErasing has no colours of the mode {operation.mode} on bytes")
    colour = [round(value) for value in operation.fill]
    return f"v2.RandomErasing(p={{p}}, scale=({min(operation.area, 0.02)}, {operation.area}), value={colour})"


def _mixup(operation: Mixup, images: ImageSpec) -> str:
    rolls(operation, "roll", "the image before, in the order of the batch")
    return f"v2.MixUp(alpha={operation.alpha}, num_classes=NUM_CLASSES)"


def _cutmix(operation: CutMix, images: ImageSpec) -> str:
    rolls(operation, "roll", "the image before, in the order of the batch")
    return f"v2.CutMix(alpha={operation.alpha}, num_classes=NUM_CLASSES)"


def _switch(operation: MixupOrCutMix, images: ImageSpec) -> str:
    rolls(operation, "roll", "the image before, in the order of the batch")
    both = f"v2.MixUp(alpha={operation.mixup}, num_classes=NUM_CLASSES), v2.CutMix(alpha={operation.cutmix}, "
    return f"v2.RandomChoice([{both}num_classes=NUM_CLASSES)], p=[{1 - operation.switch}, {operation.switch}])"


def _blur(operation: Blur, images: ImageSpec) -> str:
    size = 2 * operation.radius(images.size, images.size) + 1
    return f"v2.GaussianBlur({size}, sigma=({min(operation.sigma, 0.1)}, {operation.sigma}))"


IMAGES: Table = {
    Flip: lambda op, images: f"v2.RandomHorizontalFlip({op.p})",
    Crop: lambda op, images: f"v2.RandomCrop({images.size}, padding={op.padding})",
    RandomResizedCrop: lambda op, images: (
        f"v2.RandomResizedCrop({images.size}, scale=({op.scale}, 1.0), ratio=({1 / op.ratio!r}, {op.ratio!r}), "
        "antialias=True)"
    ),
    AutoAugment: lambda op, images: f"v2.AutoAugment(v2.AutoAugmentPolicy.{op.policy.upper()})",
    RandAugment: lambda op, images: f"v2.RandAugment(num_ops={op.n}, magnitude={op.m})",
    TrivialAugment: lambda op, images: "v2.TrivialAugmentWide()",
    AugMix: lambda op, images: (
        f"v2.AugMix(severity={op.severity}, mixture_width={op.mixture_width}, chain_depth={op.chain_depth}, "
        f"alpha={op.alpha}, all_ops={op.all_ops})"
    ),
    Brightness: lambda op, images: f"v2.ColorJitter(brightness={op.strength})",
    Contrast: lambda op, images: f"v2.ColorJitter(contrast={op.strength})",
    Saturation: lambda op, images: f"v2.ColorJitter(saturation={op.strength})",
    Hue: lambda op, images: f"v2.ColorJitter(hue={op.strength})",
    Jitter: lambda op, images: f"v2.ColorJitter({op.brightness}, {op.contrast}, {op.saturation}, {op.hue})",
    Grayscale: lambda op, images: "v2.RandomGrayscale(p={p})",
    Solarize: lambda op, images: IDENTITY if op.threshold > 255 else f"v2.RandomSolarize({op.threshold}, p={{p}})",
    Posterize: lambda op, images: f"v2.RandomPosterize({op.bits}, p={{p}})",
    Equalize: lambda op, images: "v2.RandomEqualize(p={p})",
    Autocontrast: lambda op, images: "v2.RandomAutocontrast(p={p})",
    Sharpness: lambda op, images: f"v2.RandomAdjustSharpness({op.factor}, p={{p}})",
    Invert: lambda op, images: "v2.RandomInvert(p={p})",
    Blur: _blur,
    Noise: lambda op, images: f"v2.GaussianNoise(sigma={op.std})",
    # of pictures, since torchvision's own codecs are on their way out
    Jpeg: lambda op, images: f"v2.Compose([v2.ToPILImage(), v2.JPEG(({op.quality}, 100)), v2.PILToTensor()])",
    Rotate: lambda op, images: f"v2.RandomRotation({op.degrees})",
    Translate: lambda op, images: f"v2.RandomAffine(0, translate=({op.share}, {op.share}))",
    Shear: lambda op, images: f"v2.RandomAffine(0, shear=({-op.degrees}, {op.degrees}, {-op.degrees}, {op.degrees}))",
    Scale: lambda op, images: f"v2.RandomAffine(0, scale=({1 - op.change}, {1 + op.change}))",
    Perspective: lambda op, images: f"v2.RandomPerspective({op.distortion}, p={{p}}, fill=None)",
    Erasing: _erasing,
}
AFTER: Table = {}
LATER = ""
BATCHES: Table = {Mixup: _mixup, CutMix: _cutmix, MixupOrCutMix: _switch}
WHY = {
    **PICKS,
    Cutout: "its RandomErasing keeps rectangles inside of the image, where a cutout's centre may be at the edge",
    Rand: "its RandAugment has other operations than timm's: export it for timm",
    External: "it is your own already",
}
