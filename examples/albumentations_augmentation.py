"""Augmentations of albumentations: ``dametric score --aug ./examples/albumentations_augmentation.py:weather ...``.

A transform is called image by image with ``image=``, an array (height, width, channels) of bytes, and seeded for each.
"""

from __future__ import annotations

import albumentations

weather = albumentations.Compose(
    [
        albumentations.RandomBrightnessContrast(p=1),
        albumentations.OneOf([albumentations.MotionBlur(blur_limit=3), albumentations.GaussNoise()], p=0.5),
    ]
)
holes = albumentations.CoarseDropout(p=1)
