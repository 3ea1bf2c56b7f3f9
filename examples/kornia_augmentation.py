"""Augmentations of kornia: ``dametric score --aug ./examples/kornia_augmentation.py:colours ...``.

A transform is called with floats from 0 to 1, image by image; one that mixes images, such as ``mixed``, with batches.
"""

from __future__ import annotations

from kornia import augmentation

colours = augmentation.AugmentationSequential(
    augmentation.ColorJiggle(0.3, 0.3, 0.3, 0.1, p=1.0), augmentation.RandomHorizontalFlip(p=0.5)
)
mixed = augmentation.RandomCutMixV2(data_keys=["input", "class"], use_correct_lambda=True)
