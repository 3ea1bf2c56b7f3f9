"""Image sets known by name: the bundled digits, and those that torchvision reads."""

from __future__ import annotations

import contextlib
import sys
import warnings
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from dametric.base.arguments import argument
from dametric.data.arrays import Arrays
from dametric.errors import UsageError

_UNPACKED = {"cifar10": ("data_batch_1", "test_batch", "batches.meta"), "cifar100": ("train", "test", "meta")}
_TORCHVISION = {"cifar10": "CIFAR10", "cifar100": "CIFAR100", "svhn": "SVHN"}


def digits(split: str) -> Arrays:
    """Scikit-learn's handwritten digits as 3-channel images of 32 x 32.

    The 1,797 images of 8 x 8 have values from 0 to 16; they are scaled to 0..255 and enlarged bilinearly. A fixed
    fifth of each class is the test split.

    Parameters
    ----------
    split : str
        "train" (1,442 images) or "test" (355).

    Returns
    -------
    Arrays
        Pixels, labels, and the class names "0" to "9".
    """
    grey, labels = _grey_digits(split)
    return Arrays(np.repeat(grey[:, None], 3, axis=1), labels.copy(), tuple("0123456789"))


@cache
def _grey_digits(split: str) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Images (n, 32, 32) and labels: reading and enlarging them takes longer than many a command on them."""
    from sklearn.datasets import load_digits

    small, labels = load_digits(return_X_y=True)
    order = np.random.RandomState(0).permutation(len(labels))  # unlike default_rng, its stream is frozen
    test = np.zeros(len(labels), dtype=bool)
    for label in range(10):
        members = order[labels[order] == label]
        test[members[: len(members) // 5]] = True
    chosen = test if split == "test" else ~test
    grey = np.rint(small[chosen] * (255 / 16)).astype(np.uint8).reshape(-1, 8, 8)
    large = [np.asarray(Image.fromarray(image).resize((32, 32), Image.Resampling.BILINEAR)) for image in grey]
    return np.stack(large), labels[chosen].astype(np.int64)


def cifar_in(folder: Path) -> str | None:
    """Name of the CIFAR set whose unpacked Python version is in a folder; None for neither."""
    for name, files in _UNPACKED.items():
        if all((folder / file).is_file() for file in files):
            return name
    return None


def torchvision_set(name: str, split: str, root: Path, download: bool, folder: str | None = None) -> Arrays:
    """CIFAR-10, CIFAR-100 or SVHN as torchvision reads them.

    Parameters
    ----------
    name : str
        "cifar10", "cifar100" or "svhn".
    split : str
        "train" or "test".
    root : Path
        Folder that holds (or gets) torchvision's files.
    download : bool
        Fetch the files where they are missing.
    folder : str, optional
        Name of the folder of CIFAR's files in ``root``, if it is not that of the archive.

    Returns
    -------
    Arrays
        Pixels, labels and class names.

    Raises
    ------
    UsageError
        If the files are missing or damaged, or cannot be fetched.
    """
    import torchvision

    factory = getattr(torchvision.datasets, _TORCHVISION[name])
    if folder is not None:
        factory = type(factory.__name__, (factory,), {"base_folder": folder})
    which: dict[str, Any] = {"split": split} if name == "svhn" else {"train": split == "train"}
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(sys.stderr):  # stdout is for values
            warnings.simplefilter("ignore")  # these files were pickled by an old NumPy
            data = factory(str(root), download=download, **which)
    except (RuntimeError, OSError) as error:
        if download:
            raise UsageError(f"cannot fetch {name} into {root}: {' '.join(str(error).split())}") from error
        if folder is not None:
            raise UsageError(f"the files of {name} in {root / folder} are damaged or incomplete") from error
        raise UsageError(
            f"{name} is not in {root}: name the folder of torchvision's files with {argument('root', 'DIR')}, "
            f"fetch them with {argument('download', True)}, or give a folder of images or Parquet files with "
            f"{argument('source', 'DIR')}"
        ) from error
    if name == "svhn":
        return Arrays(data.data, np.asarray(data.labels, dtype=np.int64), tuple("0123456789"))
    return Arrays(data.data.transpose(0, 3, 1, 2), np.asarray(data.targets, dtype=np.int64), tuple(data.classes))
