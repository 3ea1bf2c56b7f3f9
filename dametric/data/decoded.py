"""Decoding through the cache: pixels, their mean and standard deviation, the bits in use."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from dametric.base import limits
from dametric.base.progress import say
from dametric.data.cache import FOLDER, LIMIT, Cached
from dametric.data.decode import Pixels
from dametric.data.depth import bits_in_use
from dametric.data.evaluation import USUAL, Evaluation
from dametric.data.known import Statistics
from dametric.data.lazy import LazyImages
from dametric.data.listing import Listing
from dametric.data.pixels import fingerprint, histogram, mean_std
from dametric.errors import UsageError

SAMPLE = 2048  # images that the mean and standard deviation of a lazy set are estimated from
_NO_TRAINING = "mean and std come from the evaluation split itself, as there is no training split"


@dataclass(frozen=True)
class Options:
    """Reading options: folder of the cache, image size, lazy or not (None: by size), quiet or not, most GB at once,
    evaluation, number of images that may be broken."""

    cache_dir: Path
    image_size: int | None
    lazy: bool | None
    quiet: bool
    memory_limit: float | None = None
    evaluation: Evaluation = USUAL
    skip_broken: int = 0

    @property
    def most_bytes(self) -> int:
        """Bytes of decoded images that are held in memory: up to a fixed limit, however large the machine is."""
        return min(round(1e9 * (self.memory_limit or limits.MEMORY_GB)), memory_bytes() // 4)


@dataclass(frozen=True)
class Decoded:
    """Pixels of a listing with their statistics and fingerprint, and a note where they could not be cached."""

    pixels: Pixels
    statistics: Statistics
    fingerprint: str
    note: str | None


def memory_bytes() -> int:
    """Memory of the machine or of its container, in bytes."""
    sizes = []
    if hasattr(os, "sysconf"):
        sizes.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    with contextlib.suppress(OSError, ValueError):  # no such file outside Linux; "max" where there is no limit
        sizes.append(int(Path("/sys/fs/cgroup/memory.max").read_text()))
    return min(sizes, default=8 << 30)


def check_fits(name: str, shape: Sequence[int], options: Options) -> None:
    """Refuse to hold a set in memory that does not fit."""
    if math.prod(shape) > memory_bytes():
        lazily = "; read it lazily" if options.lazy is False else ""
        raise UsageError(
            f"{name} would take {math.prod(shape) / 1e9:,.4g} GB as {shape[0]:,} images of {shape[3]}x{shape[2]}, and "
            f"there are {memory_bytes() / 1e9:,.4g} GB of memory: choose a smaller image size{lazily}"
        )


def is_lazy(shape: Sequence[int], options: Options) -> bool:
    """Whether images are decoded when drawn: as requested, by default where they would take too much memory."""
    return math.prod(shape) > options.most_bytes if options.lazy is None else options.lazy


def note_of_laziness(shape: Sequence[int], options: Options) -> str:
    """Say that images are decoded when drawn, and why."""
    note = "images are decoded when drawn and not kept in memory"
    if options.lazy is not None:
        return note
    limit = f"{options.most_bytes / 1e9:,.3g} GB"
    return f"{note}: all at once they take {math.prod(shape) / 1e9:,.3g} GB, and the limit is {limit}"


def cached_entry(listing: Listing, variant: str, options: Options, *, remembered: bool = False) -> Cached:
    """Cache entry of what is computed from a listing, by its files as they are now or as they are remembered."""
    files = listing.files if remembered else listing.files.now
    return Cached(options.cache_dir / FOLDER, files, f"{variant} at {options.image_size}{listing.reading}")


def decoded(listing: Listing, split: str, description: str, options: Options) -> Decoded:
    """Decode a listing, or read its pixels from the cache."""
    cached = cached_entry(listing, f"pixels of {split}", options)
    keys = ["mean", "std", "fingerprint", "labels", *(["broken", "reasons"] if listing.substitutes else [])]
    arrays = cached.load(keys, mapped="pixels")
    if arrays is not None and np.array_equal(arrays["labels"], listing.labels):
        if listing.substitutes is not None:
            listing.substitutes.remember(arrays["broken"], arrays["reasons"].tolist())
        return Decoded(arrays["pixels"], _from_arrays(arrays), str(arrays["fingerprint"]), None)
    shape = LazyImages(listing, options.image_size).shape
    size = f"{math.prod(shape) / 1e6:,.0f} MB"
    where = f", and kept in {cached.path.parent} (see dametric cache)" if math.prod(shape) <= LIMIT else ""
    say(f"data: {len(listing):,} images of {shape[3]}x{shape[2]} are decoded at once, {size}{where}", options.quiet)
    pixels = listing.decode_all(options.image_size, description=description, quiet=options.quiet)
    images = torch.from_numpy(pixels)
    computed = Statistics(*mean_std(histogram(images)))
    print_ = fingerprint(images, torch.from_numpy(listing.labels))
    substitutes, broken = listing.substitutes, {}
    if substitutes is not None:
        broken = {"broken": substitutes.rows, "reasons": np.array(substitutes.names, dtype=np.str_)}
    note = cached.store(
        pixels=pixels,
        labels=listing.labels,
        mean=np.array(computed.mean),
        std=np.array(computed.std),
        fingerprint=np.array(print_),
        **broken,
    )
    if note is None and (arrays := cached.load(keys, mapped="pixels", check=False)) is not None:
        pixels = arrays["pixels"]  # of the file, which needs no memory of its own
    return Decoded(pixels, computed, print_, note)


def _from_arrays(arrays: dict[str, np.ndarray]) -> Statistics:
    return Statistics(tuple(arrays["mean"].tolist()), tuple(arrays["std"].tolist()))


def statistics(
    training: Listing | None, listing: Listing, computed: Statistics | None, options: Options
) -> tuple[Statistics, str | None]:
    """Mean and standard deviation of the training split, with a note where they are of another split or estimated."""
    source = training or listing
    note = None if training else _NO_TRAINING
    if source is listing and computed:
        return computed, note
    images = LazyImages(source, options.image_size)
    if not is_lazy(images.shape, options):
        arrays = cached_entry(source, "pixels of train", options).load(("mean", "std"))
        if arrays is not None:
            return _from_arrays(arrays), note
        return decoded(source, "train", "Decoding the training split, for mean and std", options).statistics, note
    note = f"mean and std are estimated from {min(SAMPLE, len(source))} of {len(source)} images" + (
        f"; {note}" if note else ""
    )
    cached = cached_entry(source, "sampled statistics", options, remembered=True)
    if (arrays := cached.load(("mean", "std"))) is not None:
        return _from_arrays(arrays), note
    chosen = torch.randperm(len(source), generator=torch.Generator().manual_seed(0))[:SAMPLE]
    counts = torch.zeros(3, 256, dtype=torch.int64)
    for batch in images.stream(chosen.sort().values.split(64), torch.device("cpu")):
        counts += histogram(batch)
    sampled = Statistics(*mean_std(counts))
    cached.store(mean=np.array(sampled.mean), std=np.array(sampled.std))
    return sampled, note


def bits_of(listings: list[Listing], options: Options, lazy: bool) -> int:
    """Bits that 16-bit images use, from the cache where it has them."""
    cached = cached_entry(
        listings[0], f"bits in use with {[len(other) for other in listings[1:]]}", options, remembered=lazy
    )
    arrays = cached.load(("bits",))
    if arrays is not None:
        return int(arrays["bits"])
    bits = bits_in_use(listings, lazy)
    cached.store(bits=np.array(bits))
    return bits
