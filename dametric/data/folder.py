"""Image folders: one folder a class, and Tiny ImageNet's original layout."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from dametric.data.listing import EVALUATION, TRAINING, Files, Listing, NoSplit
from dametric.errors import UsageError

SUFFIXES = frozenset(
    [".png", ".jpg", ".jpeg", ".bmp", ".webp", ".ppm", ".pgm", ".pbm", ".pnm", ".tif", ".tiff", ".gif"]
)


def listing(root: Path, split: str) -> Listing:
    """List the images of one split of a folder.

    The layouts are ``train/CLASS/**`` with ``test|val|valid|validation/CLASS/**`` beside it; Tiny ImageNet's own,
    with ``val/images`` and ``val/val_annotations.txt``; and ``CLASS/**`` alone, which is a training split.
    Classes are the names of the class folders, sorted, as in torchvision's ``ImageFolder``. Hidden files and
    files that are no images are passed over.

    Parameters
    ----------
    root : Path
        The folder.
    split : str
        "train" or "test".

    Returns
    -------
    Listing
        Images sorted by class and path.

    Raises
    ------
    UsageError
        If the folder has no such split, no images, or classes in evaluation that are not in training.
    """
    folders = _folders(root)
    train = next((folders[n] for n in TRAINING if n in folders), None)
    evaluations = [folders[n] for n in EVALUATION if n in folders]
    unsplit = train is None and not evaluations
    train = root if unsplit else train
    if split == "train":
        if train is None:
            raise NoSplit(f"{root} has no train folder, only {evaluations[0].name}: it has an evaluation split alone")
        return _classes(root, train, None)
    classes = tuple(sorted(_folders(train, lower=False))) if train else None
    if (annotations := root / "val" / "val_annotations.txt").is_file() and (root / "val" / "images").is_dir():
        return _annotated(root, annotations, classes)
    found = [folder for folder in evaluations if _folders(folder)]  # a test folder without labels is no evaluation
    if not found:
        raise NoSplit(
            f"{root} has no evaluation split: put one beside the training images, as test/CLASS/ or val/CLASS/"
        )
    result = _classes(root, found[0], classes)
    if len(found) == 1:
        return result
    return _noted(result, f"the evaluation split is {found[0].name}/, not {found[1].name}/, of which {root} has both")


def _folders(root: Path, lower: bool = True) -> dict[str, Path]:
    """Subfolders by name, hidden ones left out; split folders count in any case."""
    try:
        entries = sorted(e.name for e in os.scandir(root) if e.is_dir() and not e.name.startswith("."))
    except OSError as error:
        raise UsageError(f"cannot read {root}: {error.strerror or error}") from error
    return {name.lower() if lower else name: root / name for name in entries}


def _images(folder: Path) -> Iterator[Path]:
    for where, folders, files in os.walk(folder, followlinks=True):
        folders[:] = sorted(f for f in folders if not f.startswith("."))
        for name in sorted(files):
            if not name.startswith(".") and os.path.splitext(name)[1].lower() in SUFFIXES:
                yield Path(where, name)


def _classes(root: Path, folder: Path, classes: tuple[str, ...] | None) -> Listing:
    """List ``folder/CLASS/**``, with the classes given or, by default, those found."""
    present = _folders(folder, lower=False)
    strange = sorted(set(present) - set(classes)) if classes else []
    if strange:
        raise UsageError(f"{folder} has the class '{strange[0]}', which the training split does not have")
    names: list[str] = []
    labels: list[int] = []
    for label, name in enumerate(classes or sorted(present)):
        images = [str(p.relative_to(root)) for p in _images(present[name])] if name in present else []
        if not images and classes is None:
            raise UsageError(f"the class folder {present[name]} holds no images; put some there or remove it")
        names += images
        labels += [label] * len(images)
    if not names:
        raise UsageError(f"{folder} holds no class folders with images; the layout is {folder}/CLASS/IMAGE.png")
    return _listing(root, names, labels, classes or tuple(sorted(present)))


def _annotated(root: Path, annotations: Path, classes: tuple[str, ...] | None) -> Listing:
    """List Tiny ImageNet's evaluation images, whose classes stand in a table."""
    rows = [line.split("\t")[:2] for line in annotations.read_text().splitlines() if line.strip()]
    if not rows or any(len(row) != 2 for row in rows):
        raise UsageError(f"{annotations} is no table of image names and classes divided by tabs")
    classes = classes or tuple(sorted({name for _, name in rows}))
    numbers = {name: i for i, name in enumerate(classes)}
    for image, name in rows:
        if name not in numbers:
            raise UsageError(f"{annotations} gives {image} the class '{name}', which the training split does not have")
    names = [os.path.join("val", "images", image) for image, _ in rows]
    return _listing(root, names, [numbers[name] for _, name in rows], classes)


def _listing(root: Path, names: list[str], labels: list[int], classes: tuple[str, ...]) -> Listing:
    try:
        files = Files.of(root, names)
    except OSError as error:
        raise UsageError(f"cannot read {error.filename}: {error.strerror or error}") from error

    def read(i: int) -> bytes:
        try:
            return (root / names[i]).read_bytes()
        except OSError as error:
            raise UsageError(f"cannot read {root / names[i]}: {error.strerror or error}") from error

    return Listing(
        read=read,
        where=lambda i: str(root / names[i]),
        labels=np.array(labels, dtype=np.int64),
        classes=classes,
        files=files,
    )


def _noted(listing: Listing, note: str) -> Listing:
    return Listing(listing.read, listing.where, listing.labels, listing.classes, listing.files, (*listing.notes, note))
