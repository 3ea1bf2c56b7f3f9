"""NumPy archives of image arrays, and single arrays in ``.npy`` files."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from dametric.base.user_code import one_line
from dametric.data.arrays import Arrays
from dametric.data.checks import class_numbers
from dametric.data.listing import HalfSplit, NoSplit, check_regular
from dametric.errors import UsageError

_SPLIT = (
    ("x_train", "y_train", "x_test", "y_test"),
    ("train_images", "train_labels", "test_images", "test_labels"),
)
_UNSPLIT = (("images", "labels"), ("x", "y"))
_KNOWN = (*_SPLIT, *_UNSPLIT)
_OF_EVALUATION = re.compile(r"test|(?:^|[_.])(?:val|eval)", re.IGNORECASE)  # names that speak of an evaluation split
_UNPACKED, _RATIO = 256 << 20, 100  # bytes that any archive may unpack to; beyond, at most so many times its size


def read(path: Path, split: str) -> Arrays:
    """Read one split of an ``.npz`` file.

    Keys are ``x_train, y_train, x_test, y_test`` or ``train_images, train_labels, test_images, test_labels``; or
    ``images, labels`` or ``x, y`` for a set that is not split. Pixels are uint8 of shape (N, H, W), (N, H, W, 1),
    (N, H, W, 3), (N, 1, H, W) or (N, 3, H, W); greyscale becomes RGB. Class names stand under ``classes`` if
    anywhere. Nothing is unpickled.

    Parameters
    ----------
    path : Path
        The file.
    split : str
        "train" or "test".

    Returns
    -------
    Arrays
        Pixels, labels and class names.

    Raises
    ------
    UsageError
        If the file is damaged, lacks these keys or the split, or its arrays have other shapes or types.
    """
    _check_unpacked(path)
    try:
        with open(path, "rb") as file:
            archive = np.load(file, allow_pickle=False)
            if isinstance(archive, np.ndarray):
                raise UsageError(f"{path} holds one array, not an archive of images and labels; write it with np.savez")
            return _arrays(path, archive, *_keys(path, archive.files, split))
    except UsageError:
        raise
    except Exception as error:  # damage raises errors of zlib, of zipfile or of the parser of array headers
        raise UsageError(f"cannot read {path}: {one_line(error)}") from error


def is_pair(folder: Path) -> bool:
    """Whether a folder holds ``.npy`` files of images and of their labels, by their names."""
    names = {path.stem.lower() for path in folder.glob("*.npy")}
    return ("labels" in names and len(names) > 1) or any(keys[0] in names and keys[1] in names for keys in _KNOWN)


def read_pair(path: Path, split: str) -> Arrays:
    """Read one split of ``.npy`` files in one folder, named by the keys of an ``.npz`` file.

    An array of images with another name belongs to ``labels.npy``, as in CIFAR-10-C; of several, ``path`` names one.
    Nothing is unpickled.

    Parameters
    ----------
    path : Path
        File of the images, or a folder.
    split : str
        "train" or "test".

    Returns
    -------
    Arrays
        Pixels, labels and class names.

    Raises
    ------
    UsageError
        If it is ambiguous which arrays are meant, or as in `read`.
    """
    folder = path if path.is_dir() else path.parent
    files = {array_file.stem.lower(): array_file for array_file in sorted(folder.glob("*.npy"))}
    images_name = None if path.is_dir() else path.stem.lower()
    others = [name for name in files if name not in ("labels", "classes")]
    known = any(keys[0] in files and keys[1] in files for keys in _KNOWN)
    if known and (images_name is None or any(images_name in keys for keys in _KNOWN)):
        chosen = _keys(folder, list(files), split)
    elif "labels" in files and (images_name or len(others) == 1):
        if split == "test":
            raise NoSplit(f"{path} has no evaluation split: it is an array of images, and its labels")
        chosen = (images_name or others[0], "labels", ["labels"])
    elif "labels" in files and others:
        shown = ", ".join(others[:4]) + (", ..." if len(others) > 4 else "")
        raise UsageError(f"{folder} holds several arrays of images, {shown}: name one, as {files[others[0]]}")
    else:
        raise UsageError(f"{folder} has the arrays {', '.join(files)}, and none is called labels")
    try:
        return _arrays(folder, {name: _Opened(file) for name, file in files.items()}, *chosen)
    except UsageError:
        raise
    except Exception as error:
        raise UsageError(f"cannot read {files[chosen[0]]} or its labels: {one_line(error)}") from error


class _Opened:
    """An array in its own file, read on conversion to an array."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        check_regular(self._path)
        array = np.load(self._path, allow_pickle=False)
        result: np.ndarray = array if dtype is None else array.astype(dtype)
        return result


def _arrays(path: Path, archive: Mapping[str, Any], images: str, labels: str, every: list[str]) -> Arrays:
    pixels, numbers = np.asarray(archive[images]), _flat(path, labels, np.asarray(archive[labels]))
    names = tuple(str(c) for c in np.asarray(archive["classes"])) if "classes" in archive else None
    highest = max(int(_flat(path, key, np.asarray(archive[key])).max(initial=0)) for key in every)
    if names is None:
        names = class_numbers(highest, f"{labels} of {path}")
    return Arrays(_channels_first(path, images, pixels), numbers, names)


def _check_unpacked(path: Path) -> None:
    """Refuse an archive that unpacks to far more than its size, to which images cannot be compressed."""
    check_regular(path)
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError):  # no archive, which reading it reports
        return
    size = sum(member.file_size for member in members)
    if size > _UNPACKED and size > _RATIO * path.stat().st_size:
        raise UsageError(
            f"{path} unpacks to {size >> 20:,} MiB, over {_RATIO} times its size: such archives are not read above "
            f"{_UNPACKED >> 20} MiB; write it with np.savez"
        )


def _keys(path: Path, files: list[str], split: str) -> tuple[str, str, list[str]]:
    """Keys of a split's images and labels, and of the labels of every split."""
    for train, train_labels, test, test_labels in _SPLIT:
        if train in files and train_labels in files:
            whole = test in files and test_labels in files
            if split == "train":
                return train, train_labels, [train_labels] + [test_labels] * whole
            if not whole:
                part = [name for name in files if name not in (train, train_labels) and _OF_EVALUATION.search(name)]
                raise (HalfSplit if part else NoSplit)(f"{path} has no evaluation split: add {test} and {test_labels}")
            return test, test_labels, [train_labels, test_labels]
    for images, labels in _UNSPLIT:
        if images in files and labels in files:
            if split == "test":
                raise NoSplit(f"{path} has no evaluation split: name its arrays {', '.join(_SPLIT[0])}")
            return images, labels, [labels]
    ways = "; ".join(", ".join(keys) for keys in _KNOWN)
    raise UsageError(f"{path} has the arrays {', '.join(files)}; known are {ways}")


def _flat(path: Path, key: str, labels: np.ndarray) -> np.ndarray:
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise UsageError(f"{key} of {path} is {labels.dtype} of shape {labels.shape}; give one integer an image")
    if labels.dtype == np.uint64:
        labels = np.minimum(labels, np.iinfo(np.int64).max)
    return labels.astype(np.int64)


def _channels_first(path: Path, key: str, images: np.ndarray) -> np.ndarray:
    shape = images.shape
    if 0 in shape:
        raise UsageError(f"{key} of {path} has shape {shape}: there are no images in it")
    first = images.ndim == 4 and shape[1] in (1, 3)
    last = images.ndim == 4 and shape[3] in (1, 3)
    if images.dtype != np.uint8 or (images.ndim != 3 and first == last):
        raise UsageError(
            f"{key} of {path} is {images.dtype} of shape {shape}; give uint8 of shape (N, H, W), (N, H, W, 3) or "
            f"(N, 3, H, W){', and not one that could be both' if first and last else ''}"
        )
    if images.ndim == 3:
        images = images[:, None]
    elif last:
        images = images.transpose(0, 3, 1, 2)
    return images if images.shape[1] == 3 else images.repeat(3, axis=1)
