"""Encoded images of Parquet files, unpacked once into one file of the cache, of which single images can be read.

Parquet is read in whole row groups: images drawn at random cost as many times their bytes as there are images in a
group, unless all groups stay in memory. Where they cannot, their bytes are written one after the other, as they are.
"""

from __future__ import annotations

import os
import shutil
import weakref
from collections.abc import Iterator
from pathlib import Path
from threading import Lock

import numpy as np

from dametric.base.progress import progress, say
from dametric.data.cache import FOLDER, LIMIT, Cached
from dametric.data.listing import Files
from dametric.data.rowgroups import RowGroups
from dametric.errors import UsageError

_IMAGES = "images"


class UnpackedImages:
    """Single images in a file.

    Parameters
    ----------
    path : Path
    start : int
        Where in the file the first one begins.
    ends : ndarray of shape (N,), int64
        Where each ends, counted from there.
    missing : ndarray of shape (N,), bool
        Rows without an image.
    """

    def __init__(self, path: Path, start: int, ends: np.ndarray, missing: np.ndarray) -> None:
        self._starts, self._ends, self._missing = np.append(0, ends[:-1]) + start, ends + start, missing
        self._seeking, binary = Lock(), getattr(os, "O_BINARY", 0)  # of Windows
        # what is open can be read even if the cache is cleared meanwhile
        self._file = os.open(path, os.O_RDONLY | binary)
        weakref.finalize(self, os.close, self._file)

    def __call__(self, i: int) -> bytes | None:
        """Encoded bytes of a row, or None where there are none; safe to call from several threads."""
        if self._missing[i]:
            return None
        start, end = int(self._starts[i]), int(self._ends[i])
        if hasattr(os, "pread"):  # unlike a memory map, other threads run while the disk is slow
            return os.pread(self._file, end - start, start)
        with self._seeking:  # on Windows
            os.lseek(self._file, start, os.SEEK_SET)
            return os.read(self._file, end - start)


def unpack(rows: RowGroups, files: Files, variant: str, cache_dir: Path, quiet: bool) -> str | None:
    """Have single images of Parquet files at hand, where the memory does not hold all row groups.

    Parameters
    ----------
    rows : RowGroups
        Reads single images from then on.
    files : Files
        The Parquet files, by whose sizes and times the unpacked images are known.
    variant : str
        Columns read, where these are not the default ones.
    cache_dir : Path
    quiet : bool
        Show no progress.

    Returns
    -------
    str or None
        Why images are still read by whole row groups, and what that costs.
    """
    if rows.fits:
        return None
    entry = Cached(cache_dir / FOLDER, files, f"encoded images{variant}")
    if (images := _opened(entry)) is None:
        reason = _no_room(rows.bytes, entry.path.parent) or _write(rows, entry, quiet)
        images = _opened(entry)
        if images is None:
            why = reason or f"{entry.path} is gone"
            return (
                f"each image drawn costs {rows.cost:,.0f} times its bytes, as Parquet is read in whole row groups, and "
                f"they are not unpacked: {why}; in folders, or in Arrow files as save_to_disk of Hugging Face's "
                "datasets writes them, images are read singly"
            )
    rows.single = images
    return None


def _no_room(size: int, folder: Path) -> str | None:
    """Why so many bytes cannot be kept in a folder."""
    if size > LIMIT:
        return f"they take {size / 1e9:,.3g} GB, and the cache's limit is {LIMIT / 1e9:,.3g} GB"
    there = next(parent for parent in (folder, *folder.resolve().parents) if parent.exists())
    free = shutil.disk_usage(there).free
    return f"they take {size / 1e9:,.3g} GB, and {there} has {free / 1e9:,.3g} GB left" if size > free else None


def _write(rows: RowGroups, entry: Cached, quiet: bool) -> str | None:
    ends, missing, end = np.zeros(len(rows), dtype=np.int64), np.zeros(len(rows), dtype=bool), 0

    def images() -> Iterator[bytes]:
        nonlocal end
        with progress("Unpacking images", len(rows), quiet=quiet) as advance:
            for i, encoded in enumerate(rows.each()):
                missing[i] = encoded is None
                end += len(encoded or b"")
                ends[i] = end
                yield encoded or b""
                advance()

    many = f"the {len(rows):,} encoded images of {entry.files.root}, {rows.bytes / 1e6:,.0f} MB"
    say(f"data: {many}, are unpacked once, and kept in {entry.path.parent} (see dametric cache)", quiet)
    try:
        return entry.write(_IMAGES, images(), lambda: {"ends": ends, "missing": missing})
    except UsageError as error:  # of a row group that cannot be read, which is told when one of its images is drawn
        return str(error)


def _opened(entry: Cached) -> UnpackedImages | None:
    arrays = entry.load(("ends", "missing"))
    start = None if arrays is None else entry.start(_IMAGES)
    try:
        return (
            None
            if arrays is None or start is None
            else UnpackedImages(entry.path, start, arrays["ends"], arrays["missing"])
        )
    except OSError:  # removed meanwhile
        return None
