"""Decoded sets and their statistics, kept between runs."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import BinaryIO

import numpy as np
import PIL

from dametric.data.listing import Files
from dametric.data.pixels import text_fingerprint
from dametric.errors import UsageError
from dametric.files import write_atomic

_FORMAT = "1"  # raise it when the content of the files or the way images are decoded changes


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
        self._stem = text_fingerprint([str(files.root.resolve()), *files.names, made])[:20]
        state: list[str | bytes] = [_FORMAT, PIL.__version__, files.sizes.tobytes(), files.times.tobytes()]
        self.path = folder / f"{self._stem}-{text_fingerprint(state)[:20]}.npz"

    def load(self, keys: Iterable[str]) -> dict[str, np.ndarray] | None:
        """Read some arrays of the entry; None where there is none, and a damaged one is removed."""
        try:
            with open(self.path, "rb") as file, np.load(file, allow_pickle=False) as arrays:
                return {key: arrays[key] for key in keys}
        except (FileNotFoundError, NotADirectoryError):
            return None
        except Exception:  # of a damaged one: zlib, zipfile and the parser of array headers all have their own
            with contextlib.suppress(OSError):
                self.path.unlink()
            return None

    def store(self, **arrays: np.ndarray) -> str | None:
        """Write the entry; where that is impossible, return a sentence that says so."""

        def write(file: BinaryIO) -> None:
            save: Callable[..., None] = np.savez  # its annotations take array names for its own options
            save(file, **arrays)

        try:
            write_atomic(self.path, write)
            for old in self.path.parent.glob(f"{self._stem}-*.npz"):
                if old != self.path:
                    old.unlink(missing_ok=True)
        except (UsageError, OSError) as error:
            return f"the decoded images could not be cached, so the next run decodes them again: {error}"
        return None
