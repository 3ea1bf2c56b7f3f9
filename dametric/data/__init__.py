"""Image sets: what they are, and where they come from."""

from dametric.data.few import few
from dametric.data.imageset import ImageSet
from dametric.data.listing import NoSplit
from dametric.data.sources import DATA, load_data

__all__ = ["DATA", "ImageSet", "NoSplit", "few", "load_data"]
