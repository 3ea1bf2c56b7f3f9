"""Augmentations of timm: ``dametric score --aug ./examples/timm_augmentation.py:policy ...``.

``policy`` is called with pictures of Pillow, ``mixed`` with batches and labels; timm erases normalised images, so that
``erased`` normalises, erases, and goes back. What timm's strings name is built in: ``--aug rand-m9-n2-mstd0.5-inc1``.
"""

from __future__ import annotations

from timm.data.auto_augment import augment_and_mix_transform
from timm.data.mixup import Mixup
from timm.data.random_erasing import RandomErasing
from torch import Tensor

policy = augment_and_mix_transform("augmix-m5-w4-d2", {"img_mean": (128, 128, 128)})
mixed = Mixup(mixup_alpha=0.8, cutmix_alpha=1.0, num_classes=10)
_erasing = RandomErasing(probability=1, mode="pixel", device="cpu")


def erased(images: Tensor) -> Tensor:
    """Erase one rectangle of each image with normal noise, after normalisation by a mean of 0.5 and a std of 0.25."""
    normalised: Tensor = _erasing((images.cpu() / 255 - 0.5) / 0.25)
    return ((normalised * 0.25 + 0.5) * 255).round().clamp(0, 255).to(images)
