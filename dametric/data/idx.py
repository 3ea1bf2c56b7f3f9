"""IDX files, in which MNIST and its relatives are distributed."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

import numpy as np

from dametric.base.arguments import argument
from dametric.base.user_code import one_line
from dametric.data.arrays import Arrays
from dametric.data.checks import class_numbers
from dametric.data.decoded import memory_bytes
from dametric.data.listing import HalfSplit, NoSplit, check_regular
from dametric.errors import UsageError

_NAME = re.compile(r"(.*?)[-_]?(train|t10k|test)-(images|labels)[-.]idx[13]-ubyte(\.gz)?")
_SPLITS = {"train": ("train",), "test": ("t10k", "test")}


def is_here(folder: Path) -> bool:
    """Whether a folder holds IDX files."""
    return any(_NAME.fullmatch(path.name) for path in folder.glob("*idx[13]-ubyte*"))


def read(folder: Path, split: str, chosen: str | None = None) -> Arrays:
    """Read one split of a folder of ``train-images-idx3-ubyte``, ``t10k-labels-idx1-ubyte``, ..., gzipped or not.

    Parameters
    ----------
    folder : Path
    split : str
        "train" or "test".
    chosen : str, optional
        Prefix of the file names, where a folder holds several sets, as of EMNIST.

    Returns
    -------
    Arrays
        Greyscale images as RGB, labels, and classes by number.

    Raises
    ------
    UsageError
        If there is no such split, no choice among several sets, or a damaged file.
    """
    files: dict[str, dict[tuple[str, str], Path]] = {}
    for path in sorted(folder.glob("*idx[13]-ubyte*"), reverse=True):  # the unpacked file replaces the gzipped one
        if match := _NAME.fullmatch(path.name):
            files.setdefault(match[1], {})[match[2], match[3]] = path
    if chosen is not None and chosen not in files:
        raise UsageError(f"{folder} holds no configuration '{chosen}': it holds {', '.join(sorted(files))}")
    if chosen is None and len(files) > 1:
        names = sorted(files)
        raise UsageError(
            f"{folder} holds several sets, {', '.join(names)}: choose one with {argument('config', names[-1])}"
        )
    paths = files[chosen] if chosen is not None else next(iter(files.values()))
    for word in _SPLITS[split]:
        if (word, "images") in paths and (word, "labels") in paths:
            images, labels = _array(paths[word, "images"], 3), _array(paths[word, "labels"], 1).astype(np.int64)
            break
    else:
        kind = HalfSplit if any(word in _SPLITS[split] for word, _ in paths) else NoSplit
        raise kind(f"{folder} has no {split} split: its files are {', '.join(p.name for p in paths.values())}")
    if len(images) != len(labels):
        raise UsageError(f"{folder} has {len(images)} images and {len(labels)} labels in its {split} split")
    highest = max(int(_array(path, 1).max(initial=0)) for (_, kind), path in paths.items() if kind == "labels")
    return Arrays(images[:, None].repeat(3, axis=1), labels, class_numbers(highest, str(folder)))


def _array(path: Path, dimensions: int) -> np.ndarray:
    """Array of bytes, (N,) or (N, H, W); the header is two zero bytes, type 8, the dimensions and their sizes."""
    check_regular(path)
    try:
        with gzip.open(path) if path.suffix == ".gz" else open(path, "rb") as file:
            head = file.read(4 + 4 * dimensions)
            shape = tuple(int(size) for size in np.frombuffer(head[4:], dtype=">u4"))
            count = int(np.prod(shape, dtype=np.float64))
            if head[:4] != bytes([0, 0, 8, dimensions]) or len(shape) != dimensions or not 0 < count < memory_bytes():
                raise UsageError(f"{path} is not an IDX file of bytes in {dimensions} dimensions")
            content = file.read(count)
    except (OSError, EOFError, ValueError) as error:
        if isinstance(error, UsageError):
            raise
        raise UsageError(f"cannot read {path}: {one_line(error)}") from error
    if len(content) != count:
        raise UsageError(f"{path} is cut off: it has {len(content)} bytes of {count}")
    return np.frombuffer(content, dtype=np.uint8).reshape(shape)
