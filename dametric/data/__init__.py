"""Image sets: what they are, and where they come from."""

from __future__ import annotations

from dametric.data.balanced_subset import balanced_subset, hold_out
from dametric.data.build import AvailableSplit
from dametric.data.check import check_data
from dametric.data.choice import Choice
from dametric.data.imageset import ImageSet
from dametric.data.listing import NoSplit
from dametric.data.sources import DATA, find_data, is_there, load_data

__all__ = [
    "DATA",
    "Choice",
    "AvailableSplit",
    "ImageSet",
    "NoSplit",
    "check_data",
    "balanced_subset",
    "find_data",
    "hold_out",
    "is_there",
    "load_data",
]
