"""Every image of a set is read and decoded once, to list those that cannot be before a run of hours meets one."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from html import escape
from typing import Any

from dametric.base.progress import say
from dametric.data.choice import Choice
from dametric.data.decode import decode
from dametric.data.listing import Listing, NoSplit
from dametric.data.parallel import in_parallel
from dametric.data.sources import find_data, find_listing
from dametric.errors import UsageError

_SHOWN = 20


@dataclass(frozen=True)
class BrokenImage:
    """An image that cannot be read.

    Attributes
    ----------
    split : str
        "train" or "test".
    file : str
        Its path; of tables the file and the row.
    reason : str
        What is wrong with it.
    """

    split: str
    file: str
    reason: str


@dataclass(frozen=True)
class DataCheck:
    """What reading every image of a set came to.

    Attributes
    ----------
    source : str
        Name or path of the set.
    images : dict of str to int
        Images of each split, broken ones among them.
    broken : tuple of BrokenImage
        In the order of the splits.
    """

    source: str
    images: dict[str, int]
    broken: tuple[BrokenImage, ...]

    @property
    def ok(self) -> bool:
        """Whether every image can be read."""
        return not self.broken

    def to_dict(self) -> dict[str, Any]:
        """The check as a document of plain values."""
        return {**asdict(self), "broken": [asdict(each) for each in self.broken]}

    @property
    def summary(self) -> str:
        """How many of how many cannot be read, in one line."""
        splits = ", ".join(f"{count:,} {split}" for split, count in self.images.items())
        return f"{self.source}: {len(self.broken):,} of {sum(self.images.values()):,} images cannot be read ({splits})"

    def __str__(self) -> str:
        return "\n".join([*(f"{each.file}: {each.reason}" for each in self.broken), self.summary])

    def __repr__(self) -> str:
        more = [f"... {len(self.broken) - _SHOWN:,} more"] if len(self.broken) > _SHOWN else []
        return "\n".join([self.summary, *(f"{each.file}: {each.reason}" for each in self.broken[:_SHOWN]), *more])

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td>{escape(each.split)}</td><td>{escape(each.file)}</td><td>{escape(each.reason)}</td></tr>"
            for each in self.broken[:_SHOWN]
        )
        more = f"<tr><td></td><td>... {len(self.broken) - _SHOWN:,} more</td></tr>" if len(self.broken) > _SHOWN else ""
        heading = "<tr><th>split</th><th>file</th><th>reason</th></tr>"
        return f"<b>{escape(self.summary)}</b><table>{heading}{rows}{more}</table>"


def check_data(
    source: str | os.PathLike[str],
    *,
    root: str | os.PathLike[str] | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    label_column: str | None = None,
    image_column: str | None = None,
    config: str | None = None,
    quiet: bool = False,
) -> DataCheck:
    """Read and decode every image of all splits of a set, in parallel, and list those that cannot be.

    Parameters
    ----------
    source : str or path-like
        As :func:`dametric.load_data` takes it. Sets that are arrays are read whole, which checks them.
    root, cache_dir, label_column, image_column, config
        As :func:`dametric.load_data` takes them.
    quiet : bool
        Show no progress on stderr.

    Returns
    -------
    DataCheck

    Raises
    ------
    UsageError
        If the set itself cannot be read: it is unknown, has no images, or a table is damaged.

    Examples
    --------
    >>> check_data("digits", quiet=True)
    digits: 0 of 1,797 images cannot be read (1,442 train, 355 test)
    """
    choice = Choice(label_column, image_column, config)
    find = find_listing(source, root=root, cache_dir=cache_dir, choice=choice, tolerant=True)
    images: dict[str, int] = {}
    broken: list[BrokenImage] = []
    missing: NoSplit | None = None
    for split in ("train", "test"):
        try:
            if find is None:
                kept = {"root": root, "cache_dir": cache_dir, "quiet": True, "choice": choice}
                images[split] = len(find_data(source, split, **kept).labels)  # type: ignore[arg-type]
                continue
            listing = find(split)
        except NoSplit as error:
            missing = missing or error
            continue
        for note in listing.notes:
            say(f"data: {note}", quiet)
        images[split] = len(listing)
        broken += [BrokenImage(split, listing.where(i), why) for i, why in broken_images(listing, split, quiet)]
    if not images and missing is not None:
        raise missing
    return DataCheck(os.fspath(source), images, tuple(broken))


def broken_images(listing: Listing, split: str = "", quiet: bool = True) -> list[tuple[int, str]]:
    """Positions of the images of a listing that cannot be read or decoded, and why."""

    broken: list[tuple[int, str]] = []

    def take(looks: list[tuple[int, str | None]]) -> str:
        broken.extend((i, why) for i, why in looks if why is not None)
        return f"{len(broken)} broken" if broken else ""

    description = f"Reading {split} images"
    in_parallel(lambda i: (i, _reason(listing, i)), take, len(listing), description=description, quiet=quiet)
    return broken


def _reason(listing: Listing, i: int) -> str | None:
    """Why an image cannot be read; None where it can."""
    try:
        encoded = listing.read(i)
        if not encoded:
            return "the file is empty"
        decode(encoded, listing.where(i), None, listing.bits)
    except UsageError as error:
        where = listing.where(i)
        message = str(error)
        for start in (f"cannot decode {where}: ", f"cannot read {where}: ", f"{where} "):
            message = message.removeprefix(start)
        return message
    return None
