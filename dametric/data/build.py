"""`ImageSet` from a source of images: eager or lazy, cached, with the right mean and standard deviation."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache, cached_property, partial

import numpy as np
import torch

from dametric.base.progress import say
from dametric.data.arrays import Arrays, resized
from dametric.data.decode import Resize, decoder, is_jpeg, size_of
from dametric.data.decoded import (
    Options,
    bits_of,
    cached_entry,
    check_fits,
    decoded,
    is_lazy,
    note_of_laziness,
    statistics,
)
from dametric.data.depth import FULL, has_deep_images
from dametric.data.depth import note as note_of_depth
from dametric.data.evaluation import LARGE, Evaluation
from dametric.data.imageset import STATISTICS, ImageSet
from dametric.data.known import KNOWN, Statistics, recognise
from dametric.data.lazy import LazyImages
from dametric.data.listing import Listing, NoSplit
from dametric.data.originals import Originals, Zoom, held, working_size
from dametric.data.pixels import histogram, mean_std, text_fingerprint
from dametric.errors import UsageError

Find = Callable[[str], Listing]


@dataclass(frozen=True)
class AvailableSplit:
    """An available split, none of whose images is decoded yet.

    Attributes
    ----------
    labels : Tensor of shape (N,), int64
    classes : tuple of str
        Names of the classes.
    read : callable
        Returns the `ImageSet` of some rows (int64, shape (M,)), or of all for None.
    size : callable
        Returns the image size in pixels, after a check that a few images agree on it.
    name : str
        Name of the set.
    """

    labels: torch.Tensor
    classes: tuple[str, ...]
    read: Callable[[torch.Tensor | None], ImageSet]
    size: Callable[[], int]
    name: str

    @property
    def image_size(self) -> int:
        """Height and width of the images in pixels."""
        return self.size()

    @property
    def num_classes(self) -> int:
        """Number of classes; 0 in a set without labels."""
        return len(self.classes)

    def grey(self) -> AvailableSplit:
        """The same split in one channel."""
        return replace(self, read=lambda rows: self.read(rows).grey())


def from_listing(name: str, split: str, listing: Callable[[str], Listing], options: Options) -> AvailableSplit:
    """Prepare a split of encoded images; it is read eagerly if its pixels take no more than the memory limit.

    Parameters
    ----------
    name, split : str
        Name of the set, and which split to prepare.
    listing : callable
        Returns the encoded images of a split, "train" or "test", or raises `NoSplit`.
    options : Options
        Reading options.

    Returns
    -------
    AvailableSplit
        Not read yet; into memory, or lazily.

    Raises
    ------
    UsageError
        If there is no such split, or the set must be held in memory and does not fit.
    """
    listing = cache(lambda split, list_of=listing: list_of(split).passing_over(options.skip_broken))
    split_listing = listing(split)
    shape = LazyImages(split_listing, options.image_size).shape
    lazy = is_lazy(shape, options)
    if not lazy:
        check_fits(name, shape, options)
        _ = split_listing.files.now  # what is decoded at once are the files as they are, not as they are remembered
    source = _Source(name, split, split_listing, listing, options, lazy, shape[2])
    image_size = partial(_size, split_listing, options.image_size)
    return AvailableSplit(torch.from_numpy(split_listing.labels), split_listing.classes, source.read, image_size, name)


def from_arrays(
    name: str, split: str, arrays: Arrays, training: Callable[[], Arrays], options: Options, *, known: str | None = None
) -> AvailableSplit:
    """Prepare a split of decoded images, normalised by the constants of the set ``known`` or of the training split."""
    if options.lazy:
        raise UsageError(f"{name} is always read into memory; only folders of images and Parquet files are read lazily")
    if options.image_size is not None:
        check_fits(name, (*arrays.pixels.shape[:2], options.image_size, options.image_size), options)

    image_size, stored = options.image_size, arrays.pixels.shape[2:]
    resize = options.evaluation.resize(image_size, [stored])

    def originals(zoom: Zoom) -> LazyImages:
        flat = np.ascontiguousarray(arrays.pixels.transpose(0, 2, 3, 1)).reshape(-1)
        return LazyImages(Originals(flat, np.array([stored] * len(arrays.labels)), resize), image_size)

    @cache
    def whole() -> ImageSet:
        pixels = resized(arrays.pixels, image_size, resize)
        known_set = known or recognise(arrays.classes, pixels.shape[2])
        if known_set:
            constants = KNOWN[known_set]
        else:
            train = pixels if split == "train" else resized(training().pixels, image_size, resize)
            constants = Statistics(*mean_std(histogram(torch.from_numpy(np.ascontiguousarray(train)))))
        images = ImageSet.from_tensors(
            pixels,
            arrays.labels,
            classes=arrays.classes,
            mean=constants.mean,
            std=constants.std,
            name=name,
            split=split,
            notes=arrays.notes if resize is None else (*arrays.notes, _line(resize, image_size, options.evaluation)),
        )
        evaluation = None if resize is None else described(resize, image_size)
        same = image_size is None or stored == (image_size, image_size)
        return replace(
            images,
            normalised_by=_normalised_by(known_set),
            evaluation=evaluation,
            originals=None if same else cache(originals),
        )

    labels = torch.from_numpy(arrays.labels)
    size = options.image_size or arrays.pixels.shape[2]

    def read(rows: torch.Tensor | None) -> ImageSet:
        return whole() if rows is None else whole().subset(rows)

    return AvailableSplit(labels, arrays.classes, read, lambda: size, name)


@dataclass(frozen=True)
class _Source:
    """A split of encoded images."""

    name: str
    split: str
    encoded: Listing
    find: Find
    options: Options
    lazy: bool
    image_size: int

    def read(self, rows: torch.Tensor | None) -> ImageSet:
        """Read some rows, or all; where mean and std are known constants, only these rows are decoded."""
        if rows is not None and not self.lazy and self._constants and not self._is_kept:
            part = self._listing.rows(rows.numpy())
            part_name = f"{self.split}, {len(rows)} images {text_fingerprint([rows.numpy().tobytes()])[:16]}"
            return self._set(part, part_name)
        return self._whole if rows is None else self._whole.subset(rows)

    @cached_property
    def _whole(self) -> ImageSet:
        if not self.lazy:
            return self._set(self._listing, self.split)
        unpacking = self.unpack()  # before anything is read
        listing = self._listing
        images = LazyImages(listing, self.options.image_size)
        _size(listing, self.options.image_size)  # images that differ in size are refused now, not in an hour
        (mean, std), notes = self._statistics(None)
        notes = (*self._evaluation_notes, *unpacking, *notes)
        return ImageSet(
            images=images,
            labels=torch.from_numpy(listing.labels),
            classes=listing.classes,
            mean=mean,
            std=std,
            name=self.name,
            split=self.split,
            fingerprint=listing.fingerprint(self.options.image_size),
            notes=(*listing.notes, note_of_laziness(images.shape, self.options), *notes),
            normalised_by=_normalised_by(self._constants),
            evaluation=self._evaluation,
            decoder=self._decoder,
            substitutes=listing.substitutes or (),
        )

    def unpack(self) -> tuple[str, ...]:
        """Have images that are drawn singly read singly; a note where that is impossible."""
        unpack = self.encoded.unpack
        note = None if unpack is None else unpack(self.options.cache_dir, self.options.quiet)
        return (note,) if note else ()

    def _set(self, listing: Listing, split: str) -> ImageSet:
        pixels = decoded(listing, split, self._description, self.options)
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
            notes=(*listing.notes, *self._evaluation_notes, *([pixels.note] if pixels.note else []), *notes),
            normalised_by=_normalised_by(self._constants),
            evaluation=self._evaluation,
            decoder=self._decoder,
            substitutes=listing.substitutes or (),
            originals=None if self.options.image_size is None else _Originals(self, listing, split),
        )

    def _statistics(self, computed: Statistics | None) -> tuple[Statistics, tuple[str, ...]]:
        if self._constants:
            return KNOWN[self._constants], ()
        training = self._listing if self.split == "train" else self._other("train")
        constants, note = statistics(training, self._listing, computed, self.options)
        return constants, (note,) if note else ()

    @cached_property
    def _listing(self) -> Listing:
        """The split with the bits that its 16-bit images use, the same for all splits, and what is resized to."""
        encoded = replace(self.encoded, resize=self.resize)
        if self._bits == FULL:
            return encoded
        return replace(encoded, bits=self._bits, notes=(*encoded.notes, note_of_depth(self._bits)))

    @cached_property
    def sizes(self) -> list[tuple[int, int]]:
        """Heights and widths of a few images, from their headers."""
        listing = self.encoded
        return [listing.use(i, size_of) for i in range(0, len(listing), max(1, len(listing) // 32))]

    @cached_property
    def resize(self) -> Resize | None:
        """What images are resized to before the centre is cropped, where that is not the image size."""
        given, image_size = self.options.evaluation, self.options.image_size
        decided_by_files = given.size is None and image_size is not None and image_size > LARGE
        return given.resize(image_size, self.sizes if decided_by_files else [])

    @property
    def _evaluation(self) -> str | None:
        """The evaluation transform in words, where it is not the usual one of small images."""
        return None if self.resize is None else described(self.resize, self.options.image_size)

    @property
    def _decoder(self) -> str | None:
        """What decodes JPEGs, where the first file is one."""
        return decoder() if self.encoded.use(0, lambda encoded, _: is_jpeg(encoded)) else None

    @property
    def _evaluation_notes(self) -> tuple[str, ...]:
        options = self.options
        return () if self.resize is None else (_line(self.resize, options.image_size, options.evaluation),)

    @cached_property
    def _bits(self) -> int:
        if not has_deep_images(self.encoded):
            return FULL
        other = _if_there(self.find, "test" if self.split == "train" else "train")
        return bits_of([self.encoded, *([other] if other else [])], self.options, self.lazy)

    def _other(self, split: str) -> Listing | None:
        other = _if_there(self.find, split)
        return other and replace(other, bits=self._bits, resize=self.resize)

    @property
    def _constants(self) -> str | None:
        return recognise(self.encoded.classes, self.image_size)

    @property
    def _is_kept(self) -> bool:
        return cached_entry(self._listing, f"pixels of {self.split}", self.options).path.exists()

    @property
    def _description(self) -> str:
        return f"Decoding {self.name} ({self.split})"


@dataclass(frozen=True)
class _Originals:
    """The originals of images that are held in memory resized and cropped, decoded once for each zoom."""

    source: _Source
    listing: Listing
    split: str
    _held: dict[Zoom, LazyImages] = field(default_factory=dict)

    def __call__(self, zoom: Zoom) -> LazyImages | None:
        image_size = self.source.options.image_size
        if image_size is None or all(size == (image_size, image_size) for size in self.source.sizes):
            return None
        if zoom not in self._held:
            self._held[zoom] = self._read(image_size, zoom)
        return self._held[zoom]

    def _read(self, image_size: int, zoom: Zoom) -> LazyImages:
        source, listing, options = self.source, self.listing, self.source.options
        size = partial(working_size, image_size=image_size, resize=source.resize, zoom=zoom)
        bytes_ = [3 * math.prod(size(stored)) for stored in source.sizes]
        expected = len(listing) * sum(bytes_) / len(bytes_)
        if is_lazy((int(expected),), options):
            many = f"{expected / 1e9:,.3g} GB as they are stored"
            say(f"data: images are decoded when drawn, to be cropped: they would take {many}", options.quiet)
            for told in source.unpack():
                say(f"data: {told}", options.quiet)
            return LazyImages(listing, image_size)
        if any(size(stored) != stored for stored in source.sizes):
            most = max(math.prod(size(stored)) for stored in source.sizes)
            told = f"data: originals are held at {most / 1e6:.2g} megapixels at most, which no crop needs more of"
            say(told, options.quiet)
        variant = f"originals of {self.split}, for crops of {zoom.share:g} and ratios of {zoom.ratio:g}"
        cached = cached_entry(listing, variant, options)
        arrays = cached.load(("pixels", "sizes", "labels"))
        if arrays is None or not np.array_equal(arrays["labels"], listing.labels):
            about = f"Decoding the originals of {source.name} ({source.split})"
            pixels, sizes = held(listing.original, len(listing), size, expected, description=about, quiet=options.quiet)
            arrays = {"pixels": pixels, "sizes": sizes, "labels": listing.labels}
            note = cached.store(**arrays)
            if note is not None:
                say(f"data: {note}", options.quiet)
        return LazyImages(Originals(arrays["pixels"], arrays["sizes"], source.resize), image_size)


def described(resize: Resize, image_size: int | None) -> str:
    """Evaluation transform in words."""
    return f"Resize({resize.size}, {resize.interpolation}) and CenterCrop({image_size})"


def _line(resize: Resize, image_size: int | None, evaluation: Evaluation) -> str:
    return f"without random crops, images are seen by {described(resize, image_size)} ({evaluation.why()})"


def _size(listing: Listing, image_size: int | None) -> int:
    """Size of the images in pixels, checked on a few of them."""
    images = LazyImages(listing, image_size)
    images[torch.arange(len(images))[:: max(1, len(images) // 32)]]
    return images.shape[2]


def _normalised_by(constants: str | None) -> str:
    """Source of mean and standard deviation, in words."""
    return f"the constants of {constants}" if constants else STATISTICS


def _if_there(find: Find, split: str) -> Listing | None:
    try:
        return find(split)
    except NoSplit:
        return None
