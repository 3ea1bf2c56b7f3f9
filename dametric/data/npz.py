"""NumPy archives of image arrays."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dametric.data.arrays import Arrays
from dametric.data.listing import NoSplit
from dametric.errors import UsageError
from dametric.importing import one_line

_SPLIT = (
    ("x_train", "y_train", "x_test", "y_test"),
    ("train_images", "train_labels", "test_images", "test_labels"),
)
_UNSPLIT = (("images", "labels"), ("x", "y"))


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
    try:
        with open(path, "rb") as file:
            archive = np.load(file, allow_pickle=False)
            if isinstance(archive, np.ndarray):
                raise UsageError(f"{path} holds one array, not an archive of images and labels; write it with np.savez")
            images, labels, every = _keys(path, archive.files, split)
            pixels, classes = archive[images], _flat(path, labels, archive[labels])
            names = tuple(str(c) for c in archive["classes"]) if "classes" in archive.files else None
            highest = max(int(_flat(path, key, archive[key]).max(initial=0)) for key in every)
    except UsageError:
        raise
    except Exception as error:  # damage shows as an error of zlib's, of zipfile's, or of the parser of array headers
        raise UsageError(f"cannot read {path}: {one_line(error)}") from error
    return Arrays(_channels_first(path, images, pixels), classes, names or tuple(str(i) for i in range(highest + 1)))


def _keys(path: Path, files: list[str], split: str) -> tuple[str, str, list[str]]:
    """Keys of the images and the labels of a split, and the keys of the labels of every split."""
    for train, train_labels, test, test_labels in _SPLIT:
        if train in files and train_labels in files:
            whole = test in files and test_labels in files
            if split == "train":
                return train, train_labels, [train_labels] + [test_labels] * whole
            if not whole:
                raise NoSplit(f"{path} has no evaluation split: add {test} and {test_labels}")
            return test, test_labels, [train_labels, test_labels]
    for images, labels in _UNSPLIT:
        if images in files and labels in files:
            if split == "test":
                raise NoSplit(f"{path} has no evaluation split: name its arrays {', '.join(_SPLIT[0])}")
            return images, labels, [labels]
    ways = "; ".join(", ".join(keys) for keys in (*_SPLIT, *_UNSPLIT))
    raise UsageError(f"{path} has the arrays {', '.join(files)}; known are {ways}")


def _flat(path: Path, key: str, labels: np.ndarray) -> np.ndarray:
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise UsageError(f"{key} of {path} is {labels.dtype} of shape {labels.shape}; give one integer an image")
    return labels.astype(np.int64)


def _channels_first(path: Path, key: str, images: np.ndarray) -> np.ndarray:
    shape = images.shape
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
