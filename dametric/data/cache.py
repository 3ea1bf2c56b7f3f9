"""Decoded sets and their statistics, kept between runs, up to a limit."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import PIL

from dametric.base.files import write_atomic
from dametric.data.listing import Files
from dametric.data.pixels import text_fingerprint
from dametric.errors import UsageError

_FORMAT = "1"  # raise it when the content of the files or the way images are decoded changes
LIMIT = 32 << 30  # bytes of all entries together; those that were used longest ago go first
FOLDER = "decoded"  # below the cache folder


@dataclass(frozen=True)
class Entry:
    """A file of the cache.

    Attributes
    ----------
    path : Path
    size : int
        In bytes.
    used : float
        When it was last written or read, in seconds since 1970.
    """

    path: Path
    size: int
    used: float

    @property
    def what(self) -> str:
        """What it was made of and how, where the file tells."""
        try:
            with open(self.path, "rb") as file, np.load(file, allow_pickle=False) as arrays:
                return str(arrays["what"])
        except Exception:  # of former times, or damaged, or not whole
            return "unknown"


def entries(folder: Path) -> list[Entry]:
    """All files of a cache's folder, those used last first; what a killed process left half written counts too."""
    found = []
    for path in [*folder.glob("*.npz"), *folder.glob(".*.npz.*")]:
        with contextlib.suppress(OSError):  # another process may have removed it
            about = path.stat()
            found.append(Entry(path, about.st_size, about.st_mtime))
    return sorted(found, key=lambda entry: -entry.used)


def clear(folder: Path) -> list[Entry]:
    """Remove all files of a cache's folder; returns what they were.

    Raises
    ------
    UsageError
        If one cannot be removed.
    """
    found = entries(folder)
    for entry in found:
        try:
            entry.path.unlink(missing_ok=True)
        except OSError as error:
            raise UsageError(f"cannot remove {entry.path}: {error.strerror or error}") from error
    return found


class Cached:
    """One entry: what was made of some files in some way.

    The entry's file is an uncompressed ``.npz``, read without unpickling; its checksums reveal damage. When the
    source files change, so does the entry's name, and the entry of the earlier state is removed.

    Parameters
    ----------
    folder : Path
        Where entries live; made when first written to.
    files : Files
        The source files; their paths, sizes and times identify the entry.
    made : str
        In which way it was made: split, image size.
    """

    def __init__(self, folder: Path, files: Files, made: str) -> None:
        self._what = f"{files.root.resolve()}: {made}"
        self._stem = text_fingerprint([str(files.root.resolve()), *files.names, made])[:20]
        state: list[str | bytes] = [_FORMAT, PIL.__version__, files.sizes.tobytes(), files.times.tobytes()]
        self.path = folder / f"{self._stem}-{text_fingerprint(state)[:20]}.npz"

    def load(self, keys: Iterable[str]) -> dict[str, np.ndarray] | None:
        """Read some arrays of the entry; None where there is none, and a damaged one is removed."""
        try:
            with open(self.path, "rb") as file, np.load(file, allow_pickle=False) as arrays:
                found = {key: arrays[key] for key in keys}
        except (FileNotFoundError, NotADirectoryError):
            return None
        except Exception:  # of a damaged one: zlib, zipfile and the parser of array headers all have their own
            with contextlib.suppress(OSError):
                self.path.unlink()
            return None
        with contextlib.suppress(OSError):
            os.utime(self.path)  # it was used
        return found

    def store(self, **arrays: np.ndarray) -> str | None:
        """Write the entry; where that is impossible, return a sentence that says so."""

        def write(file: BinaryIO) -> None:
            save: Callable[..., None] = np.savez  # its annotations take array names for its own options
            save(file, **arrays, what=np.array(self._what))

        size = sum(array.nbytes for array in arrays.values())
        if size > LIMIT:
            return f"the decoded images are not kept: they take {size >> 30} GiB of {LIMIT >> 30} that are kept at most"
        try:
            write_atomic(self.path, write)
            for old in self.path.parent.glob(f"{self._stem}-*.npz"):
                if old != self.path:
                    old.unlink(missing_ok=True)
            self._bound()
        except (UsageError, OSError) as error:
            return f"the decoded images could not be cached, so the next run decodes them again: {error}"
        return None

    def _bound(self) -> None:
        """Remove what was used longest ago, until no more is kept than the limit."""
        kept = 0
        for entry in entries(self.path.parent):
            kept += entry.size
            if kept > LIMIT and entry.path != self.path:
                entry.path.unlink(missing_ok=True)
