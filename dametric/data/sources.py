"""Data sets by name or path."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

from dametric.data import folder
from dametric.data.build import Options, from_arrays, from_listing, memory_bytes
from dametric.data.builtin import digits, torchvision_set
from dametric.data.imageset import ImageSet
from dametric.data.listing import Listing, NoSplit
from dametric.errors import UsageError, unknown
from dametric.files import default_cache_dir

DATA: dict[str, str] = {
    "digits": "scikit-learn's 1,797 handwritten digits, bundled, at 32x32; 10 classes",
    "cifar10": "CIFAR-10 through torchvision; 50,000 + 10,000 images of 32x32, 10 classes",
    "cifar100": "CIFAR-100 through torchvision; 50,000 + 10,000 images of 32x32, 100 classes",
    "svhn": "Street View House Numbers through torchvision; 73,257 + 26,032 images of 32x32, 10 classes",
    "tinyimagenet": "Tiny ImageNet in its original folder layout; 100,000 + 10,000 images of 64x64, 200 classes",
}


def load_data(
    source: str | os.PathLike[str],
    split: str = "train",
    *,
    root: str | os.PathLike[str] | None = None,
    download: bool = False,
    cache_dir: str | os.PathLike[str] | None = None,
    image_size: int | None = None,
    lazy: bool | None = None,
    quiet: bool = False,
) -> ImageSet:
    """Read one split of a data set.

    Parameters
    ----------
    source : str or path-like
        A name of `DATA`, or a path: a folder of images (``train/CLASS/*.png`` with ``test/`` or ``val/`` beside it,
        ``CLASS/*.png``, or Tiny ImageNet's original layout), a Parquet file or folder of shards in the Hugging Face
        image layout, or an ``.npz`` file.
    split : str
        "train", or "test" for the held-out evaluation split, however files or folders call it.
    root : path-like, optional
        Where a named set's files lie; by default ``torchvision`` in the cache folder, or ``tiny-imagenet-200`` there.
        Has no meaning for paths.
    download : bool
        Let torchvision fetch missing files. Otherwise nothing is ever fetched.
    cache_dir : path-like, optional
        Where decoded sets are kept between runs; the user's cache folder by default.
    image_size : int, optional
        Resize shorter sides to this many pixels (bilinear, antialiased) and crop the square in the centre. Needed
        where sizes differ.
    lazy : bool, optional
        Decode images when they are drawn rather than once; by default where they would fill more than a quarter of
        the memory.
    quiet : bool
        Show no progress on stderr.

    Returns
    -------
    ImageSet
        3-channel uint8 images. Mean and standard deviation are those in circulation for well-known sets, else those
        of the training split; ``notes`` says where they could not be.

    Raises
    ------
    UsageError
        If the source is unknown, unreadable, or lacks the split.
    """
    if split not in ("train", "test"):
        raise UsageError(
            f"unknown split '{split}': it is train or test (test is the evaluation split, also one named val)"
        )
    if image_size is not None and image_size < 1:
        raise UsageError(f"the image size must be at least 1 pixel, not {image_size}")
    cache = Path(cache_dir) if cache_dir is not None else default_cache_dir()
    options = Options(cache, image_size, lazy, quiet)
    name = os.fspath(source)
    if name == "digits":
        return from_arrays(name, split, digits(split), lambda: digits("train"), options)
    if name in ("cifar10", "cifar100", "svhn"):
        read = partial(torchvision_set, name, root=Path(root or cache / "torchvision"), download=download)
        return from_arrays(name, split, read(split), lambda: read("train"), options, known=name)
    if name == "tinyimagenet":
        return _listed(name, split, partial(folder.listing, _tiny_imagenet(root, cache)), options)
    return _from_path(name, split, options)


def is_there(name: str) -> bool:
    """Whether a source is a name that is known or a path that exists, as seen from the current folder."""
    return name in DATA or Path(name).expanduser().exists()


def _from_path(name: str, split: str, options: Options) -> ImageSet:
    path = Path(name).expanduser()
    if not path.exists():
        if os.sep in name or path.suffix:
            raise UsageError(f"no such file or folder: {name}")
        raise UsageError(f"{unknown('data set', name, DATA)}; or give a path to images, Parquet files or an .npz file")
    if path.is_file() and path.suffix.lower() == ".npz":
        from dametric.data import npz

        return from_arrays(name, split, npz.read(path, split), lambda: npz.read(path, "train"), options)
    if path.suffix.lower() == ".parquet" or _has_shards(path):
        from dametric.data import parquet  # pyarrow takes a moment to load, and most runs do without

        # Row groups may stay in memory as long as they take no more of it than decoded images would.
        memory = memory_bytes() // 4 if options.lazy is not False else 256 << 20
        return _listed(name, split, partial(parquet.listing, path, memory=memory), options)
    if path.is_dir():
        return _listed(name, split, partial(folder.listing, path), options)
    raise UsageError(f"{name} is no folder, .parquet or .npz file")


def _has_shards(path: Path) -> bool:
    return path.is_dir() and any(next(path.glob(pattern), None) for pattern in ("*.parquet", "*/*.parquet"))


def _listed(name: str, split: str, listing: Callable[[str], Listing], options: Options) -> ImageSet:
    def training() -> Listing | None:
        try:
            return listing("train")
        except NoSplit:
            return None

    return from_listing(name, split, listing(split), training, options)


def _tiny_imagenet(root: str | os.PathLike[str] | None, cache: Path) -> Path:
    given = Path(root) if root is not None else cache
    for candidate in (given / "tiny-imagenet-200", given):
        if (candidate / "train").is_dir():
            return candidate
    raise UsageError(
        f"tinyimagenet is not in {given}: unpack tiny-imagenet-200.zip and name its folder with --data-root"
    )
