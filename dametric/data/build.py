"""From encoded images to an `ImageSet`: eager or lazy, cached, with the right mean and standard deviation."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from dametric.data.arrays import Arrays, resized
from dametric.data.cache import Cached
from dametric.data.decode import Pixels
from dametric.data.imageset import STATISTICS, ImageSet
from dametric.data.known import KNOWN, Statistics, recognise
from dametric.data.lazy import LazyImages
from dametric.data.listing import Listing
from dametric.data.pixels import fingerprint, histogram, mean_std
from dametric.errors import UsageError

SAMPLE = 2048  # images that the mean and standard deviation of a lazy set are estimated from
_NO_TRAINING = "mean and std come from the evaluation split itself, as there is no training split"


@dataclass(frozen=True)
class Options:
    """How to read: where to keep decoded sets, which size, lazily or not (None: by memory), how loudly."""

    cache_dir: Path
    image_size: int | None
    lazy: bool | None
    quiet: bool


@dataclass(frozen=True)
class _Decoded:
    pixels: Pixels
    statistics: Statistics
    fingerprint: str
    note: str | None


def memory_bytes() -> int:
    """Memory of the machine in bytes, or what a container grants of it."""
    sizes = []
    if hasattr(os, "sysconf"):
        sizes.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    with contextlib.suppress(OSError, ValueError):  # no such file outside Linux; "max" where there is no limit
        sizes.append(int(Path("/sys/fs/cgroup/memory.max").read_text()))
    return min(sizes, default=8 << 30)


def from_listing(
    name: str, split: str, listing: Listing, training: Callable[[], Listing | None], options: Options
) -> ImageSet:
    """Read a listing, eagerly if its pixels fit into a quarter of the machine's memory.

    Parameters
    ----------
    name, split : str
        What the set is called, and which split it is.
    listing : Listing
        The encoded images of the split.
    training : callable
        Gives the listing of the training split, or None where there is none.
    options : Options
        How to read.

    Returns
    -------
    ImageSet
        In memory, or lazy.
    """
    notes = list(listing.notes)
    labels = torch.from_numpy(listing.labels)
    probe = LazyImages(listing, options.image_size)
    own: Statistics | None = None
    images: torch.Tensor | LazyImages = probe
    if _is_lazy(probe, options):
        print_ = listing.fingerprint(options.image_size)
        notes.append("images are decoded when drawn and not kept in memory")
        probe[torch.arange(len(listing))[:: max(1, len(listing) // 32)]]  # sizes that differ show now, not in an hour
    else:
        decoded = _decode(listing, split, f"Decoding {name} ({split})", options)
        images, own, print_ = torch.from_numpy(decoded.pixels), decoded.statistics, decoded.fingerprint
        notes += [decoded.note] if decoded.note else []
    known = recognise(listing.classes, images.shape[2])
    if known:
        statistics = KNOWN[known]
    else:
        statistics, note = _statistics(listing if split == "train" else training(), listing, own, options)
        notes += [note] if note else []
    of = _source(known)
    return ImageSet(images, labels, listing.classes, *statistics, name, split, print_, tuple(notes), of)


def _source(known: str | None) -> str:
    """Where mean and standard deviation come from, in words."""
    return f"the constants of {known}" if known else STATISTICS


def from_arrays(
    name: str, split: str, arrays: Arrays, training: Callable[[], Arrays], options: Options, *, known: str | None = None
) -> ImageSet:
    """Make a set of arrays, normalised by the constants of the set ``known`` or by the training split's own."""
    if options.lazy:
        raise UsageError(f"{name} is in memory as it is; only folders of images and Parquet files are read lazily")
    pixels = resized(arrays.pixels, options.image_size)
    known = known or recognise(arrays.classes, pixels.shape[2])
    if known:
        statistics = KNOWN[known]
    else:
        train = pixels if split == "train" else resized(training().pixels, options.image_size)
        statistics = Statistics(*mean_std(histogram(torch.from_numpy(np.ascontiguousarray(train)))))
    images = ImageSet.from_tensors(
        pixels, arrays.labels, classes=arrays.classes, mean=statistics.mean, std=statistics.std, name=name, split=split
    )
    return replace(images, normalised_by=_source(known))


def _is_lazy(images: LazyImages, options: Options) -> bool:
    return math.prod(images.shape) > memory_bytes() // 4 if options.lazy is None else options.lazy


def _cached(listing: Listing, made: str, options: Options) -> Cached:
    return Cached(options.cache_dir / "decoded", listing.files, f"{made} at {options.image_size}")


def _decode(listing: Listing, split: str, description: str, options: Options) -> _Decoded:
    """Decode a listing, or read what an earlier run decoded."""
    cached = _cached(listing, f"pixels of {split}", options)
    found = cached.load(("pixels", "mean", "std", "fingerprint", "labels"))
    if found is not None and np.array_equal(found["labels"], listing.labels):
        return _Decoded(found["pixels"], _from_arrays(found), str(found["fingerprint"]), None)
    pixels = listing.decode_all(options.image_size, description=description, quiet=options.quiet)
    images = torch.from_numpy(pixels)
    statistics = Statistics(*mean_std(histogram(images)))
    print_ = fingerprint(images, torch.from_numpy(listing.labels))
    note = cached.store(
        pixels=pixels,
        labels=listing.labels,
        mean=np.array(statistics.mean),
        std=np.array(statistics.std),
        fingerprint=np.array(print_),
    )
    return _Decoded(pixels, statistics, print_, note)


def _from_arrays(arrays: dict[str, np.ndarray]) -> Statistics:
    return Statistics(tuple(arrays["mean"].tolist()), tuple(arrays["std"].tolist()))


def _statistics(
    training: Listing | None, listing: Listing, own: Statistics | None, options: Options
) -> tuple[Statistics, str | None]:
    """Mean and standard deviation of the training split, with a note where they are not exactly that."""
    source = training or listing
    note = None if training else _NO_TRAINING
    if source is listing and own:
        return own, note
    images = LazyImages(source, options.image_size)
    if not _is_lazy(images, options):
        found = _cached(source, "pixels of train", options).load(("mean", "std"))
        if found is not None:
            return _from_arrays(found), note
        return _decode(source, "train", "Decoding the training split, for mean and std", options).statistics, note
    note = f"mean and std are estimated from {min(SAMPLE, len(source))} of {len(source)} images" + (
        f"; {note}" if note else ""
    )
    cached = _cached(source, "sampled statistics", options)
    if (found := cached.load(("mean", "std"))) is not None:
        return _from_arrays(found), note
    chosen = torch.randperm(len(source), generator=torch.Generator().manual_seed(0))[:SAMPLE]
    counts = torch.zeros(3, 256, dtype=torch.int64)
    for batch in images.stream(chosen.sort().values.split(64), torch.device("cpu")):
        counts += histogram(batch)
    statistics = Statistics(*mean_std(counts))
    cached.store(mean=np.array(statistics.mean), std=np.array(statistics.std))
    return statistics, note
