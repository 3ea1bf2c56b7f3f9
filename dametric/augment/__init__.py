"""Augmentations as batch operations on tensors, drawn per sample by default."""

from __future__ import annotations

from dametric.augment.base import Augmentation, Augmented
from dametric.augment.catalogue import AUGS, PAPER, ImageSpec, describe
from dametric.augment.keys import Keys
from dametric.augment.pick import CRITERIA, NEEDS_STUDENT, criterion, pick
from dametric.augment.sameness import repeated
from dametric.augment.spec import base_augmentation, default_base, expand, parse, versions

__all__ = [
    "AUGS",
    "CRITERIA",
    "NEEDS_STUDENT",
    "PAPER",
    "Augmentation",
    "Augmented",
    "ImageSpec",
    "Keys",
    "base_augmentation",
    "criterion",
    "default_base",
    "describe",
    "expand",
    "parse",
    "pick",
    "repeated",
    "versions",
]
