"""Data sets by name or path."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from dametric.base.arguments import argument
from dametric.base.files import default_cache_dir
from dametric.base.progress import say
from dametric.base.user_code import is_user_code, load_object, one_line
from dametric.data import folder, idx, npz
from dametric.data.arrays import Arrays
from dametric.data.build import AvailableSplit, from_arrays, from_listing
from dametric.data.builtin import digits, torchvision_set
from dametric.data.cache import FOLDER
from dametric.data.choice import Choice
from dametric.data.decoded import Options
from dametric.data.evaluation import USUAL, Evaluation
from dametric.data.given import as_image_set
from dametric.data.imageset import ImageSet
from dametric.data.kinds import kind
from dametric.data.listing import Listing
from dametric.errors import UsageError, unknown

DATA: dict[str, str] = {
    "digits": "scikit-learn's 1,797 handwritten digits, bundled, at 32x32; 10 classes",
    "cifar10": "CIFAR-10 through torchvision; 50,000 + 10,000 images of 32x32, 10 classes",
    "cifar100": "CIFAR-100 through torchvision; 50,000 + 10,000 images of 32x32, 100 classes",
    "svhn": "Street View House Numbers through torchvision; 73,257 + 26,032 images of 32x32, 10 classes",
    "tinyimagenet": "Tiny ImageNet in its original folder layout; 100,000 + 10,000 images of 64x64, 200 classes",
}
MOST_PIXELS = 8192  # largest image size
_NO_CHOICE = Choice()


def load_data(
    source: str | os.PathLike[str],
    split: str = "train",
    *,
    root: str | os.PathLike[str] | None = None,
    download: bool = False,
    cache_dir: str | os.PathLike[str] | None = None,
    image_size: int | None = None,
    lazy: bool | None = None,
    memory_limit: float | None = None,
    skip_broken: int = 0,
    quiet: bool = False,
    label_column: str | None = None,
    image_column: str | None = None,
    config: str | None = None,
    eval_resize: int | None = None,
) -> ImageSet:
    """Read one split of a data set.

    Parameters
    ----------
    source : str or path-like
        A name of `DATA`, a function of your own as ``./file.py:fn`` (called with "train" or "test", it returns uint8
        images with labels, an image set or a data set of torchvision), or a path: a folder of images
        (``train/CLASS/*.png`` with ``test/`` or ``val/`` beside it, ``CLASS/*.png``, or Tiny ImageNet's original
        layout), a Parquet file or folder of shards in the Hugging Face image layout, a folder that its
        ``save_to_disk`` wrote, an ``.npz`` file, ``.npy`` files beside ``labels.npy``, CIFAR's unpacked archive for
        Python, or MNIST's IDX files.
    split : str
        "train", or "test" for the held-out evaluation split, however files or folders call it.
    root : path-like, optional
        Folder of a named set's files; by default ``torchvision`` in the cache folder, or ``tiny-imagenet-200`` there.
        Ignored for paths.
    download : bool
        Let torchvision download missing files. Otherwise nothing is ever downloaded.
    cache_dir : path-like, optional
        Folder in which decoded sets are cached; the user's cache folder by default.
    image_size : int, optional
        Resize shorter sides to this many pixels (bilinear, antialiased) and crop the square in the centre. Needed
        where sizes differ.
    lazy : bool, optional
        Decode images when they are drawn rather than once; by default where they would take more memory than
        the limit.
    memory_limit : float, optional
        GB that the decoded images of a split may take; 8 by default, and never more than a quarter of the memory.
    skip_broken : int
        How many images of the split may be impossible to read. Each is named on stderr, and the next of its class, in
        the order of the split, takes its place.
    quiet : bool
        Show no progress on stderr.
    label_column, image_column : str, optional
        Columns of Parquet or Arrow files, where the usual ones are not meant: ``coarse_label``.
    config : str, optional
        One of several sets in a folder, which the Hugging Face hub calls configurations.
    eval_resize : int, optional
        Resize shorter sides to this many pixels instead, before the square of ``image_size`` is cropped in the centre;
        by default 8/7 of an image size above 96 where files are larger, else the image size.

    Returns
    -------
    ImageSet
        3-channel uint8 images. Mean and standard deviation are those in circulation for well-known sets, else those
        of the training split; ``notes``, which are also printed on stderr, tell where they could not be.

    Raises
    ------
    UsageError
        If the source is unknown, unreadable, or lacks the split.

    Examples
    --------
    >>> load_data("digits", "test", image_size=8, quiet=True)
    ImageSet(digits test: 355 images of 3x8x8, 10 classes)
    """
    choice = Choice(label_column, image_column, config)
    split_images = find_data(
        source,
        split,
        root=root,
        download=download,
        cache_dir=cache_dir,
        image_size=image_size,
        lazy=lazy,
        memory_limit=memory_limit,
        skip_broken=skip_broken,
        quiet=quiet,
        choice=choice,
        evaluation=Evaluation(eval_resize),
    )
    images = split_images.read(None)
    for note in images.notes:
        say(f"data: {note}", quiet)
    return images


def find_data(
    source: str | os.PathLike[str],
    split: str = "train",
    *,
    root: str | os.PathLike[str] | None = None,
    download: bool = False,
    cache_dir: str | os.PathLike[str] | None = None,
    image_size: int | None = None,
    lazy: bool | None = None,
    memory_limit: float | None = None,
    quiet: bool = False,
    choice: Choice = _NO_CHOICE,
    evaluation: Evaluation = USUAL,
    skip_broken: int = 0,
) -> AvailableSplit:
    """Find one split of a data set without decoding an image; refuse what `load_data` would refuse.

    Parameters and errors are those of `load_data`, with what is known of the evaluation in place of ``eval_resize``.

    Returns
    -------
    AvailableSplit
        Labels and classes of the split, which can be read in part or whole.
    """
    if split not in ("train", "test"):
        raise UsageError(
            f"unknown split '{split}': it is train or test (test is the evaluation split, also one named val)"
        )
    if image_size is not None and not 1 <= image_size <= MOST_PIXELS:
        raise UsageError(f"the image size must be at least 1 pixel and at most {MOST_PIXELS}, not {image_size}")
    if memory_limit is not None and not 0 < memory_limit < math.inf:
        raise UsageError(f"{argument('memory_limit')} is a number of GB above 0, not {memory_limit}")
    if evaluation.size is not None and not (image_size or MOST_PIXELS) <= evaluation.size <= MOST_PIXELS:
        least = f"at least the image size, {image_size}," if image_size else f"used with {argument('image_size', 'N')}"
        raise UsageError(f"{argument('eval_resize', evaluation.size)} is {least} and at most {MOST_PIXELS}")
    cache = Path(cache_dir) if cache_dir is not None else default_cache_dir()
    options = Options(cache, image_size, lazy, quiet, memory_limit, evaluation, skip_broken)
    if not isinstance(source, (str, os.PathLike)):
        raise UsageError(f"a data source is a name, a path or ./file.py:fn, not {type(source).__name__}")
    name = os.fspath(source)
    if name in DATA:
        _check_no_choice(name, choice)
    if name == "digits":
        return from_arrays(name, split, digits(split), lambda: digits("train"), options)
    if name in ("cifar10", "cifar100", "svhn"):
        read = partial(torchvision_set, name, root=Path(root or cache / "torchvision"), download=download)
        return from_arrays(name, split, read(split), lambda: read("train"), options, known=name)
    find = _listing(name, root, options, choice)
    if find is not None:
        return from_listing(name, split, find, options)
    if is_user_code(name) and not Path(name).expanduser().exists():
        return _from_function(name, split, options)
    return _from_path(name, split, options, choice)


def find_listing(
    source: str | os.PathLike[str],
    *,
    root: str | os.PathLike[str] | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    choice: Choice = _NO_CHOICE,
    tolerant: bool = False,
) -> Callable[[str], Listing] | None:
    """Find the encoded images of a source by split; None where its images are arrays, or are not there.

    Parameters
    ----------
    source, root, cache_dir, choice
        As `find_data` takes them.
    tolerant : bool
        List files that cannot be read too, such as links into nothing; reading these says why.
    """
    cache = Path(cache_dir) if cache_dir is not None else default_cache_dir()
    return _listing(os.fspath(source), root, Options(cache, None, None, True), choice, tolerant)


def _listing(
    name: str, root: str | os.PathLike[str] | None, options: Options, choice: Choice, tolerant: bool = False
) -> Callable[[str], Listing] | None:
    of_folder = partial(folder.listing, cache=options.cache_dir / FOLDER, tolerant=tolerant or options.skip_broken > 0)
    if name == "tinyimagenet":
        _check_no_choice(name, choice)
        return partial(of_folder, _tiny_imagenet(root, options.cache_dir))
    path = Path(name).expanduser()
    if name in DATA or not path.exists():
        return None
    form, path = kind(path)
    if form in ("parquet", "arrow"):
        return _tables(form, path, options, choice)
    if form != "folder":
        return None
    _check_no_choice(name, choice)
    return partial(of_folder, path)


def _from_function(name: str, split: str, options: Options) -> AvailableSplit:
    """Images that a user's function returns for a split, in any form that `as_image_set` takes."""
    function = load_object(name, "data source")

    def arrays(split_name: str) -> Arrays:
        try:
            images = as_image_set(function(split_name), split_name)
        except UsageError as error:
            raise UsageError(f"{name}: {error}") from error
        except Exception as error:
            raise UsageError(f"{name} failed for split '{split_name}': {one_line(error)}") from error
        return Arrays(np.asarray(images.images), images.labels.numpy(), images.classes)

    return from_arrays(name, split, arrays(split), lambda: arrays("train"), options)


def is_there(name: str) -> bool:
    """Whether a source is a known name or an existing path, relative to the current folder."""
    return name in DATA or Path(name.rpartition(".py:")[0] + ".py" if ".py:" in name else name).expanduser().exists()


def _from_path(name: str, split: str, options: Options, choice: Choice) -> AvailableSplit:
    path = Path(name).expanduser()
    if not path.exists():
        if os.sep in name or path.suffix:
            raise UsageError(f"no such file or folder: {name}")
        raise UsageError(f"{unknown('data set', name, DATA)}; or give a path to images, Parquet files or an .npz file")
    form, path = kind(path)
    _check_no_choice(name, replace(choice, config=None) if form == "idx" else choice)
    if form in ("cifar10", "cifar100"):
        read = partial(torchvision_set, form, root=path.parent, download=False, folder=path.name)
        return from_arrays(name, split, read(split), lambda: read("train"), options, known=form)
    readers: dict[str, Callable[[Path, str], Arrays]] = {
        "npz": npz.read,
        "npy": npz.read_pair,
        "idx": partial(idx.read, chosen=choice.config),
    }
    return from_arrays(name, split, readers[form](path, split), lambda: readers[form](path, "train"), options)


def _tables(form: str, path: Path, options: Options, choice: Choice) -> Callable[[str], Listing]:
    from dametric.data import tables  # pyarrow takes a moment to load, and most runs do without
    from dametric.data.arrow import ARROW
    from dametric.data.parquet import PARQUET

    # Row groups may stay in memory as long as they take no more of it than decoded images would.
    memory = options.most_bytes if options.lazy is not False else 256 << 20
    return partial(tables.listing, path, form=PARQUET if form == "parquet" else ARROW, memory=memory, choice=choice)


def _check_no_choice(name: str, choice: Choice) -> None:
    for option, value in (("label column", choice.label), ("image column", choice.image), ("config", choice.config)):
        if value is not None:
            raise UsageError(f"{name} has no {option} '{value}': that is for Parquet and Arrow files")


def _tiny_imagenet(root: str | os.PathLike[str] | None, cache: Path) -> Path:
    given = Path(root) if root is not None else cache
    for candidate in (given / "tiny-imagenet-200", given):
        if (candidate / "train").is_dir():
            return candidate
    raise UsageError(
        f"tinyimagenet is not in {given}: unpack tiny-imagenet-200.zip and name its folder with "
        f"{argument('root', 'DIR')}"
    )
