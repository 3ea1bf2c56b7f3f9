"""Encoded images of one split: the common form of folders and tables."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from dametric.base.arguments import argument
from dametric.data.decode import Pixels, Resize, decode
from dametric.data.parallel import in_parallel
from dametric.data.pixels import text_fingerprint
from dametric.data.substitutes import Substitutes, Use, hinted
from dametric.errors import UsageError

Ints = npt.NDArray[np.int64]
T = TypeVar("T")

TRAINING = ("train", "training")
EVALUATION = ("test", "testing", "val", "valid", "validation")  # in this order where a source has several with labels
_USUAL_SIZES = (32, 64, 96, 128, 160, 192, 224)


def usual_size(*shapes: Sequence[int]) -> int:
    """A size that networks are usually trained at, no larger than any image; the smallest one's if there is none.

    Examples
    --------
    >>> usual_size((500, 375), (480, 640)), usual_size((180, 240), (130, 100)), usual_size((8, 8), (12, 10))
    (224, 96, 8)
    """
    least = min(side for shape in shapes for side in shape)
    return max((size for size in _USUAL_SIZES if size <= least), default=least)


class NoSplit(UsageError):
    """A readable source lacks the requested split."""


class HalfSplit(NoSplit):
    """A source has part of the requested split: images without labels, labels without images, names of another kind."""


def check_regular(path: str | os.PathLike[str]) -> os.stat_result:
    """File status of a regular file; a pipe or a device is refused, since reading it may never end.

    Raises
    ------
    UsageError
        If it is not a regular file.
    OSError
        If there is no such file.
    """
    status = os.stat(path)
    if not stat.S_ISREG(status.st_mode):
        raise UsageError(f"cannot read {path}: it is no regular file")
    return status


@dataclass(frozen=True)
class Files:
    """Source files of a set: names relative to ``root``, sizes in bytes, modification times in ns."""

    root: Path
    names: list[str]
    sizes: Ints
    times: Ints

    @classmethod
    def of(cls, root: Path, names: list[str]) -> Files:
        """Read sizes and times of the named files from the file system."""
        stats = [check_regular(os.path.join(root, name)) for name in names]
        sizes = np.array([status.st_size for status in stats], dtype=np.int64)
        return Files(root, names, sizes, np.array([status.st_mtime_ns for status in stats], dtype=np.int64))

    @property
    def now(self) -> Files:
        """The same files with sizes and times as they are now, where these are remembered ones."""
        return self

    def fits(self, i: int, size: int) -> bool:
        """Whether the i-th file may have this many bytes: where sizes are remembered, those alone."""
        return True


@dataclass(frozen=True)
class Listing:
    """The encoded images of one split.

    Parameters
    ----------
    read : callable
        Returns the bytes of the i-th encoded image; called from several threads at once.
    where : callable
        Returns the name of the i-th image for error messages.
    labels : ndarray of shape (N,), int64
        Class of each image.
    classes : tuple of str
        Names of the classes.
    files : Files
        Source files.
    notes : tuple of str
        Notes for the user.
    bits : int
        Bits in use of 16-bit images.
    variant : str
        Columns read, where these are not the default ones.
    resize : Resize, optional
        What images are resized to before their centre is cropped, if that is not the image size itself.
    substitutes : Substitutes, optional
        Images in place of broken ones, where some may be passed over.
    positions : ndarray of shape (N,), int64, optional
        Numbers of the images in the split, where they are a part of it.
    unpack : callable, optional
        Makes ``read`` cheap for single images, with what is kept in the cache folder that it is given, and quietly or
        not; returns a note where it cannot.
    """

    read: Callable[[int], bytes]
    where: Callable[[int], str]
    labels: Ints
    classes: tuple[str, ...]
    files: Files
    notes: tuple[str, ...] = ()
    bits: int = 16
    variant: str = ""
    resize: Resize | None = None
    substitutes: Substitutes | None = None
    positions: Ints | None = None
    unpack: Callable[[Path, bool], str | None] | None = None

    @property
    def reading(self) -> str:
        """How the files are read, where that is not the default; part of a decoded set's cache key."""
        resize = "" if self.resize is None else f", of {self.resize.size} pixels {self.resize.interpolation}"
        passing = "" if self.substitutes is None else ", broken images passed over"
        return self.variant + ("" if self.bits == 16 else f", {self.bits} bits") + resize + passing

    def __len__(self) -> int:
        return len(self.labels)

    def passing_over(self, most: int) -> Listing:
        """The same images, of which so many may be broken."""
        return replace(self, substitutes=Substitutes(self.read, self.where, self.labels, most)) if most else self

    def use(self, i: int, use: Use[T]) -> T:
        """Apply a function to bytes and name of the i-th image, or of the image in its place.

        Raises
        ------
        UsageError
            If the image is broken and may not be passed over.
        """
        if self.substitutes is not None:
            return self.substitutes.use(i if self.positions is None else int(self.positions[i]), use)
        try:
            return use(self.read(i), self.where(i))
        except UsageError as error:
            raise hinted(error) from error

    def decode(self, i: int, image_size: int | None, shape: tuple[int, ...] | None = None) -> Pixels:
        """Decode the i-th image to (3, H, W); a shape other than ``shape`` is an error that names two images."""
        pixels = self.use(i, lambda encoded, where: decode(encoded, where, image_size, self.bits, self.resize))
        if shape is not None and pixels.shape != shape:
            raise UsageError(
                f"images differ in size ({self.where(0)}: {shape[2]}x{shape[1]}, {self.where(i)}: "
                f"{pixels.shape[2]}x{pixels.shape[1]}): give the size to bring them to, that of the teacher's training "
                f"or as in {argument('image_size', usual_size(shape[1:], pixels.shape[1:]))}"
            )
        return pixels

    def original(self, i: int) -> Tensor:
        """Decode the i-th image as it is stored: uint8 (3, H, W)."""
        pixels = self.use(i, lambda encoded, where: decode(encoded, where, bits=self.bits))
        return torch.from_numpy(pixels if pixels.flags.writeable else pixels.copy("K"))

    def rows(self, chosen: Ints) -> Listing:
        """The images at some positions, in that order."""
        return replace(
            self,
            read=lambda i: self.read(int(chosen[i])),
            where=lambda i: self.where(int(chosen[i])),
            labels=self.labels[chosen],
            positions=chosen if self.positions is None else self.positions[chosen],
        )

    def decode_all(self, image_size: int | None, *, description: str, quiet: bool) -> Pixels:
        """Decode every image, in parallel, to one array of shape (N, 3, H, W)."""
        shape = self.decode(0, image_size).shape
        out = np.empty((len(self), *shape), dtype=np.uint8)

        def fill(i: int) -> None:
            out[i] = self.decode(i, image_size, shape)

        in_parallel(fill, lambda _: None, len(self), description=description, quiet=quiet)
        return out

    def fingerprint(self, image_size: int | None) -> str:
        """SHA-256 over relative paths, file sizes and labels, which identifies the set without decoding it."""
        parts: list[str | bytes] = [
            str(image_size),
            *self.files.names,
            self.files.sizes.tobytes(),
            self.labels.tobytes(),
            *([self.reading] if self.reading else []),
        ]
        return text_fingerprint(parts)
