"""Cache of decoded sets and their statistics, up to a limit."""

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
        """Source and variant of the entry, where the file tells."""
        try:
            with open(self.path, "rb") as file, np.load(file, allow_pickle=False) as arrays:
                return str(arrays["what"])
        except Exception:  # of an earlier version, or damaged, or incomplete
            return "unknown"


def entries(folder: Path) -> list[Entry]:
    """All files of a cache folder, most recently used first; including what a killed process left half written."""
    files = []
    for path in [*folder.glob("*.npz"), *folder.glob(".*.npz.*")]:
        with contextlib.suppress(OSError):  # another process may have removed it
            about = path.stat()
            files.append(Entry(path, about.st_size, about.st_mtime))
    return sorted(files, key=lambda entry: -entry.used)


def clear(folder: Path) -> list[Entry]:
    """Remove all files of a cache folder, and return their entries.

    Raises
    ------
    UsageError
        If a file cannot be removed.
    """
    removed = entries(folder)
    for entry in removed:
        try:
            entry.path.unlink(missing_ok=True)
        except OSError as error:
            raise UsageError(f"cannot remove {entry.path}: {error.strerror or error}") from error
    return removed


class Cached:
    """One cache entry: arrays computed from source files.

    The entry's file is an uncompressed ``.npz``, read without unpickling; its checksums reveal damage. When the
    source files change, so does the entry's name, and the entry of the earlier state is removed.

    Parameters
    ----------
    folder : Path
        Folder of the entries; created by the first write.
    files : Files
        The source files; their paths, sizes and times identify the entry.
    variant : str
        What was computed from them: split, image size.
    """

    def __init__(self, folder: Path, files: Files, variant: str) -> None:
        self._what = f"{files.root.resolve()}: {variant}"
        self._stem = text_fingerprint([str(files.root.resolve()), *files.names, variant])[:20]
        state: list[str | bytes] = [_FORMAT, PIL.__version__, files.sizes.tobytes(), files.times.tobytes()]
        self.path = folder / f"{self._stem}-{text_fingerprint(state)[:20]}.npz"

    def load(self, keys: Iterable[str]) -> dict[str, np.ndarray] | None:
        """Read arrays of the entry; None where there is no entry. A damaged entry is removed."""
        try:
            with open(self.path, "rb") as file, np.load(file, allow_pickle=False) as arrays:
                loaded = {key: arrays[key] for key in keys}
        except (FileNotFoundError, NotADirectoryError):
            return None
        except Exception:  # zlib, zipfile and the parser of array headers each raise errors of their own
            with contextlib.suppress(OSError):
                self.path.unlink()
            return None
        with contextlib.suppress(OSError):
            os.utime(self.path)  # the least recently used entries are removed first
        return loaded

    def store(self, **arrays: np.ndarray) -> str | None:
        """Write the entry; return a note where that is impossible."""

        def write(file: BinaryIO) -> None:
            save: Callable[..., None] = np.savez  # its annotations take array names for its own options
            save(file, **arrays, what=np.array(self._what))

        size = sum(array.nbytes for array in arrays.values())
        if size > LIMIT:
            return f"the decoded images are not cached: they take {size >> 30} GiB, and the limit is {LIMIT >> 30} GiB"
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
        """Remove the least recently used entries until the limit is kept."""
        kept = 0
        for entry in entries(self.path.parent):
            kept += entry.size
            if kept > LIMIT and entry.path != self.path:
                entry.path.unlink(missing_ok=True)
