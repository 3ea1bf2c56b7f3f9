"""Augmentations of torchvision: ``dametric score --aug ./examples/torchvision_augmentation.py:pipeline ...``.

A class needs no file of one's own: ``--aug torchvision.transforms.v2:ColorJitter:brightness=0.4``.
"""

from __future__ import annotations

import torch
from torchvision.transforms import v2

pipeline = v2.Compose(
    [
        v2.RandomResizedCrop(32, scale=(0.5, 1.0), antialias=True),
        v2.RandomHorizontalFlip(),
        v2.ToDtype(torch.float32, scale=True),
        v2.Normalize((0.5, 0.5, 0.5), (0.25, 0.25, 0.25)),
    ]
)
mixed = v2.CutMix(num_classes=10)
