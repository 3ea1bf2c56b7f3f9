"""Images of 16 bits a channel, of which many files use only some."""

from __future__ import annotations

import io
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from PIL import Image

from dametric.data.decode import deep_values, is_deep, reason, workers
from dametric.data.listing import Listing
from dametric.errors import UsageError

FULL = 16
_STEPS = (8, 10, 12, 14, FULL)  # what cameras and scanners have
_PROBED = 32  # images of a split that are asked whether they are deep
_LOOKED_AT = 512  # images of a split that is read lazily whose values are looked at


def has_deep_images(listing: Listing) -> bool:
    """Whether there are images of 16 bits among some that are spread over the set."""
    return any(is_deep(listing.read(i)) for i in range(0, len(listing), max(1, len(listing) // _PROBED)))


def bits_in_use(listings: Sequence[Listing], lazy: bool) -> int:
    """How many bits a channel the 16-bit images of a set use: 8, 10, 12, 14 or 16.

    Parameters
    ----------
    listings : sequence of Listing
        All splits, which are to be scaled alike.
    lazy : bool
        Look at some images only.

    Returns
    -------
    int
        The least of these numbers that holds every value; 16 where there are no 16-bit images.

    Raises
    ------
    UsageError
        If an image is damaged.
    """
    highest = 0
    for listing in listings:
        step = max(1, len(listing) // _LOOKED_AT) if lazy else 1

        def look(i: int, listing: Listing = listing) -> int:
            return _highest(listing.read(i), listing.where(i))

        with ThreadPoolExecutor(workers()) as pool:
            highest = max(highest, *pool.map(look, range(0, len(listing), step)))
    return next(bits for bits in _STEPS if highest < 1 << bits) if highest else FULL


def note(bits: int) -> str:
    """What the user should know."""
    return f"the 16-bit images use {bits} bits (values below {1 << bits}), taken for the range from black to white"


def _highest(encoded: bytes, where: str) -> int:
    """The highest value of a 16-bit image; 0 for another."""
    try:
        if not is_deep(encoded):
            return 0
        with Image.open(io.BytesIO(encoded)) as image:
            return int(deep_values(image).max(initial=0))
    except Exception as error:  # damaged files make readers raise almost anything
        raise UsageError(f"cannot decode {where}: {reason(error)}") from error
