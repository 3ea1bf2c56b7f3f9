"""Image sets: what they are, and where they come from."""

from dametric.data.imageset import ImageSet
from dametric.data.sources import DATA, load_data

__all__ = ["DATA", "ImageSet", "load_data"]
