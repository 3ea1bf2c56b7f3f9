"""Image sets: what they are, and where they come from."""

from dametric.data.few import few, hold_out
from dametric.data.imageset import ImageSet
from dametric.data.listing import NoSplit
from dametric.data.sources import DATA, is_there, load_data

__all__ = ["DATA", "ImageSet", "NoSplit", "few", "hold_out", "is_there", "load_data"]
