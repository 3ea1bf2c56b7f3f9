"""Bits in use of images with 16 bits a channel."""

from __future__ import annotations

import io
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from PIL import Image

from dametric.data.decode import deep_values, is_deep, reason, workers
from dametric.data.listing import Listing
from dametric.errors import UsageError

FULL = 16
_STEPS = (8, 10, 12, 14, FULL)  # of cameras and scanners
_PROBED = 32  # images of a split whose depth is read
_LOOKED_AT = 512  # images of a lazy split whose values are read


def has_deep_images(listing: Listing) -> bool:
    """Whether any of a few images, spread over the set, has 16 bits a channel."""
    return any(
        listing.use(i, lambda encoded, _: is_deep(encoded))
        for i in range(0, len(listing), max(1, len(listing) // _PROBED))
    )


def bits_in_use(listings: Sequence[Listing], lazy: bool) -> int:
    """Bits a channel that the 16-bit images of a set use: 8, 10, 12, 14 or 16.

    Parameters
    ----------
    listings : sequence of Listing
        All splits, since all are scaled alike.
    lazy : bool
        Read a sample of the images only.

    Returns
    -------
    int
        The smallest of these numbers that holds every value; 16 where there are no 16-bit images.

    Raises
    ------
    UsageError
        If an image is damaged.
    """
    highest = 0
    for listing in listings:
        step = max(1, len(listing) // _LOOKED_AT) if lazy else 1

        def look(i: int, listing: Listing = listing) -> int:
            return listing.use(i, _highest)

        with ThreadPoolExecutor(workers()) as pool:
            highest = max(highest, *pool.map(look, range(0, len(listing), step)))
    return next(bits for bits in _STEPS if highest < 1 << bits) if highest else FULL


def note(bits: int) -> str:
    """Note for the user on the bits in use."""
    return f"the 16-bit images use {bits} bits (values below {1 << bits}), taken for the range from black to white"


def _highest(encoded: bytes, where: str) -> int:
    """Highest value of a 16-bit image; 0 for other images."""
    try:
        if not is_deep(encoded):
            return 0
        with Image.open(io.BytesIO(encoded)) as image:
            return int(deep_values(image).max(initial=0))
    except Exception as error:  # damaged files make readers raise almost anything
        raise UsageError(f"cannot decode {where}: {reason(error)}") from error
