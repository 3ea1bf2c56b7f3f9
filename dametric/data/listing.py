"""Encoded images that are known but not yet decoded: what folders and Parquet files have in common."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from dametric.data.decode import Pixels, decode, workers
from dametric.data.pixels import text_fingerprint
from dametric.errors import UsageError
from dametric.progress import progress

Ints = npt.NDArray[np.int64]
_CHUNK = 128  # images a task: long enough to hide the cost of a task, short enough for a bar that moves

TRAINING = ("train", "training")
EVALUATION = ("test", "val", "valid", "validation")  # in this order where a source has several with labels


class NoSplit(UsageError):
    """The source is fine, and does not have the split asked for."""


@dataclass(frozen=True)
class Files:
    """The files a set is made of: names relative to ``root``, sizes in bytes, modification times in ns."""

    root: Path
    names: list[str]
    sizes: Ints
    times: Ints

    @classmethod
    def of(cls, root: Path, names: list[str]) -> Files:
        """Ask the file system for the sizes and times of the named files."""
        stats = [(root / name).stat() for name in names]
        sizes = np.array([stat.st_size for stat in stats], dtype=np.int64)
        return cls(root, names, sizes, np.array([stat.st_mtime_ns for stat in stats], dtype=np.int64))


@dataclass(frozen=True)
class Listing:
    """The encoded images of one split.

    Parameters
    ----------
    read : callable
        Gives the bytes of the i-th encoded image; called from several threads at once.
    where : callable
        What to call the i-th image in an error message.
    labels : ndarray of shape (N,), int64
        Class of each image.
    classes : tuple of str
        Names of the classes.
    files : Files
        What the images are read from.
    notes : tuple of str
        What the user should know.
    """

    read: Callable[[int], bytes]
    where: Callable[[int], str]
    labels: Ints
    classes: tuple[str, ...]
    files: Files
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.labels)

    def decode(self, i: int, image_size: int | None, shape: tuple[int, ...] | None = None) -> Pixels:
        """Decode the i-th image to (3, H, W); a shape other than ``shape`` is an error that names two images."""
        pixels = decode(self.read(i), self.where(i), image_size)
        if shape is not None and pixels.shape != shape:
            raise UsageError(
                f"images differ in size ({self.where(0)}: {shape[2]}x{shape[1]}, {self.where(i)}: "
                f"{pixels.shape[2]}x{pixels.shape[1]}): give the size to bring them to, as in --image-size {shape[1]}"
            )
        return pixels

    def decode_all(self, image_size: int | None, *, description: str, quiet: bool) -> Pixels:
        """Decode every image, in parallel, to one array of shape (N, 3, H, W)."""
        shape = self.decode(0, image_size).shape
        out = np.empty((len(self), *shape), dtype=np.uint8)

        def fill(start: int) -> int:
            stop = min(start + _CHUNK, len(self))
            for i in range(start, stop):
                out[i] = self.decode(i, image_size, shape)
            return stop - start

        with progress(description, len(self), quiet=quiet) as advance, ThreadPoolExecutor(workers()) as pool:
            tasks = [pool.submit(fill, start) for start in range(0, len(self), _CHUNK)]
            try:
                for task in tasks:
                    advance(task.result())
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        return out

    def fingerprint(self, image_size: int | None) -> str:
        """SHA-256 over relative paths, sizes and labels: what identifies the set without decoding it."""
        parts: list[str | bytes] = [
            str(image_size),
            *self.files.names,
            self.files.sizes.tobytes(),
            self.labels.tobytes(),
        ]
        return text_fingerprint(parts)
