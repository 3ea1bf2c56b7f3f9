"""Augmentations as batch operations on tensors, drawn per sample by default."""

from dametric.augment.base import Augmentation, Augmented
from dametric.augment.keys import Keys
from dametric.augment.pick import CRITERIA, NEEDS_STUDENT, pick
from dametric.augment.spec import AUGS, PAPER, Images, describe, parse

__all__ = [
    "AUGS",
    "CRITERIA",
    "NEEDS_STUDENT",
    "PAPER",
    "Augmentation",
    "Augmented",
    "Images",
    "Keys",
    "describe",
    "parse",
    "pick",
]
