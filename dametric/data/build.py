"""From images that were found to an `ImageSet`: eager or lazy, cached, with the right mean and standard deviation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, cached_property, partial

import numpy as np
import torch

from dametric.data.arrays import Arrays, resized
from dametric.data.decoded import Decoded, Options, bits_of, cached_entry, check_fits, decoded, is_lazy, statistics
from dametric.data.depth import FULL, has_deep_images
from dametric.data.depth import note as note_of_depth
from dametric.data.imageset import STATISTICS, ImageSet
from dametric.data.known import KNOWN, Statistics, recognise
from dametric.data.lazy import LazyImages
from dametric.data.listing import Listing, NoSplit
from dametric.data.pixels import histogram, mean_std, text_fingerprint
from dametric.errors import UsageError

Find = Callable[[str], Listing]


@dataclass(frozen=True)
class Found:
    """A split that is there, before any image of it is decoded.

    Attributes
    ----------
    labels : Tensor of shape (N,), int64
    classes : tuple of str
        Names of the classes.
    read : callable
        Gives the `ImageSet` of some rows (int64, shape (M,)), or of all for None.
    size : callable
        Gives the pixels a side, once a few images have shown that they agree.
    name : str
        What the set is called.
    """

    labels: torch.Tensor
    classes: tuple[str, ...]
    read: Callable[[torch.Tensor | None], ImageSet]
    size: Callable[[], int]
    name: str

    @property
    def image_size(self) -> int:
        """Pixels a side."""
        return self.size()

    @property
    def num_classes(self) -> int:
        """Number of classes; 0 in a set without labels."""
        return len(self.classes)

    def grey(self) -> Found:
        """The same in one channel."""
        return replace(self, read=lambda rows: self.read(rows).grey())


def from_listing(name: str, split: str, listing: Callable[[str], Listing], options: Options) -> Found:
    """Find a split in a listing; it is read eagerly if its pixels fit into a quarter of the machine's memory.

    Parameters
    ----------
    name, split : str
        What the set is called, and which split it is.
    listing : callable
        Gives the encoded images of a split, "train" or "test", or raises `NoSplit`.
    options : Options
        How to read.

    Returns
    -------
    Found
        To be read into memory, or lazily.

    Raises
    ------
    UsageError
        If there is no such split, or more is asked to be held in memory than the machine has.
    """
    own = listing(split)
    shape = LazyImages(own, options.image_size).shape
    lazy = is_lazy(shape, options)
    if not lazy:
        check_fits(name, shape, options)
    source = _Source(name, split, own, listing, options, lazy, shape[2])
    own_size = partial(_size, own, options.image_size)
    return Found(torch.from_numpy(own.labels), own.classes, source.read, own_size, name)


def from_arrays(
    name: str, split: str, arrays: Arrays, training: Callable[[], Arrays], options: Options, *, known: str | None = None
) -> Found:
    """Make a set of arrays, normalised by the constants of the set ``known`` or by the training split's own."""
    if options.lazy:
        raise UsageError(f"{name} is in memory as it is; only folders of images and Parquet files are read lazily")
    if options.image_size is not None:
        check_fits(name, (*arrays.pixels.shape[:2], options.image_size, options.image_size), options)

    @cache
    def whole() -> ImageSet:
        pixels = resized(arrays.pixels, options.image_size)
        of = known or recognise(arrays.classes, pixels.shape[2])
        if of:
            constants = KNOWN[of]
        else:
            train = pixels if split == "train" else resized(training().pixels, options.image_size)
            constants = Statistics(*mean_std(histogram(torch.from_numpy(np.ascontiguousarray(train)))))
        images = ImageSet.from_tensors(
            pixels,
            arrays.labels,
            classes=arrays.classes,
            mean=constants.mean,
            std=constants.std,
            name=name,
            split=split,
            notes=arrays.notes,
        )
        return replace(images, normalised_by=_normalised_by(of))

    labels = torch.from_numpy(arrays.labels)
    size = options.image_size or arrays.pixels.shape[2]

    def read(rows: torch.Tensor | None) -> ImageSet:
        return whole() if rows is None else whole().subset(rows)

    return Found(labels, arrays.classes, read, lambda: size, name)


@dataclass(frozen=True)
class _Source:
    """A split of which no image is decoded yet."""

    name: str
    split: str
    found: Listing
    find: Find
    options: Options
    lazy: bool
    image_size: int

    def read(self, rows: torch.Tensor | None) -> ImageSet:
        """Some rows, or all; only these are decoded where nothing of the others needs to be known."""
        if rows is not None and not self.lazy and self._constants and not self._is_kept:
            part = self._listing.rows(rows.numpy())
            made = f"{self.split}, {len(rows)} images {text_fingerprint([rows.numpy().tobytes()])[:16]}"
            return self._set(part, decoded(part, made, self._description, self.options))
        return self._whole if rows is None else self._whole.subset(rows)

    @cached_property
    def _whole(self) -> ImageSet:
        if not self.lazy:
            return self._set(self._listing, decoded(self._listing, self.split, self._description, self.options))
        listing = self._listing
        images = LazyImages(listing, self.options.image_size)
        _size(listing, self.options.image_size)  # sizes that differ show now, not in an hour
        (mean, std), notes = self._statistics(None)
        return ImageSet(
            images=images,
            labels=torch.from_numpy(listing.labels),
            classes=listing.classes,
            mean=mean,
            std=std,
            name=self.name,
            split=self.split,
            fingerprint=listing.fingerprint(self.options.image_size),
            notes=(*listing.notes, "images are decoded when drawn and not kept in memory", *notes),
            normalised_by=_normalised_by(self._constants),
        )

    def _set(self, listing: Listing, pixels: Decoded) -> ImageSet:
        (mean, std), notes = self._statistics(pixels.statistics)
        return ImageSet(
            images=torch.from_numpy(pixels.pixels),
            labels=torch.from_numpy(listing.labels),
            classes=listing.classes,
            mean=mean,
            std=std,
            name=self.name,
            split=self.split,
            fingerprint=pixels.fingerprint,
            notes=(*listing.notes, *([pixels.note] if pixels.note else []), *notes),
            normalised_by=_normalised_by(self._constants),
        )

    def _statistics(self, own: Statistics | None) -> tuple[Statistics, tuple[str, ...]]:
        if self._constants:
            return KNOWN[self._constants], ()
        training = self._listing if self.split == "train" else self._other("train")
        found, note = statistics(training, self._listing, own, self.options)
        return found, (note,) if note else ()

    @cached_property
    def _listing(self) -> Listing:
        """The split as it is decoded: 16-bit images by the bits that they use, in all splits the same."""
        if self._bits == FULL:
            return self.found
        return replace(self.found, bits=self._bits, notes=(*self.found.notes, note_of_depth(self._bits)))

    @cached_property
    def _bits(self) -> int:
        if not has_deep_images(self.found):
            return FULL
        other = _if_there(self.find, "test" if self.split == "train" else "train")
        return bits_of([self.found, *([other] if other else [])], self.options, self.lazy)

    def _other(self, split: str) -> Listing | None:
        other = _if_there(self.find, split)
        return other and replace(other, bits=self._bits)

    @property
    def _constants(self) -> str | None:
        return recognise(self.found.classes, self.image_size)

    @property
    def _is_kept(self) -> bool:
        return cached_entry(self._listing, f"pixels of {self.split}", self.options).path.exists()

    @property
    def _description(self) -> str:
        return f"Decoding {self.name} ({self.split})"


def _size(listing: Listing, asked: int | None) -> int:
    """The images' size in pixels, if a few of them agree in it."""
    images = LazyImages(listing, asked)
    images[torch.arange(len(images))[:: max(1, len(images) // 32)]]
    return images.shape[2]


def _normalised_by(constants: str | None) -> str:
    """Where mean and standard deviation come from, in words."""
    return f"the constants of {constants}" if constants else STATISTICS


def _if_there(find: Find, split: str) -> Listing | None:
    try:
        return find(split)
    except NoSplit:
        return None
