"""Image folders: one folder a class, and Tiny ImageNet's original layout."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np

from dametric.data.decode import MOST_BYTES
from dametric.data.kinds import refuse_unread
from dametric.data.layout import Layout, folders, has_images, images, layout
from dametric.data.listing import Files, HalfSplit, Ints, Listing, NoSplit, check_regular
from dametric.data.scan import files_at, scan
from dametric.data.substitutes import hinted
from dametric.errors import UsageError


def listing(root: Path, split: str, cache: Path | None = None, tolerant: bool = False) -> Listing:
    """List the images of one split of a folder.

    Layouts are ``train/CLASS/**`` with ``test|val|valid|validation/CLASS/**`` beside it, other names as
    :func:`dametric.data.layout.layout` reads them; Tiny ImageNet's own, with ``val/images`` and
    ``val/val_annotations.txt``; and ``CLASS/**`` alone, which is a training split. An evaluation folder none of whose
    folders is a class of the training split has no labels, and another one is read.
    Classes are the names of the class folders, sorted, as in torchvision's ``ImageFolder``. Hidden files and
    files that are no images are ignored. A folder that holds images and no folders is a split without labels, with
    another one like it for evaluation, if there is one.

    Parameters
    ----------
    root : Path
        The folder.
    split : str
        "train" or "test".
    cache : Path, optional
        Folder in which lists of many files are kept: see `dametric.data.scan`.
    tolerant : bool
        List what is no regular file, and what is too large for an image; reading it says so.

    Returns
    -------
    Listing
        Images sorted by class and path.

    Raises
    ------
    UsageError
        If the folder has no such split, no images, or classes in evaluation that are not in training.
    """
    structure = layout(root)
    inner, train = structure.root, structure.train
    if split == "train":
        if train is None:
            raise NoSplit(
                f"{root} has no train folder, only {structure.evaluations[0].name}: it has an evaluation split alone"
            )
        flat = _is_flat(train)
        return _noted(
            tolerant, _flat(inner, train, cache) if flat else _classes(inner, train, None, cache), structure.notes
        )
    if train is not None and _is_flat(train):
        return _noted(tolerant, _flat(inner, _flat_evaluation(root, structure), cache), structure.notes)
    classes = tuple(sorted(folders(train))) if train else None
    annotations = inner / "val" / "val_annotations.txt"
    if annotations.is_file() and (inner / "val" / "images").is_dir() and has_images(inner / "val" / "images"):
        return _noted(tolerant, _annotated(inner, annotations, classes), structure.notes)
    chosen, notes = _evaluation(root, structure, classes)
    return _noted(tolerant, _classes(inner, chosen, classes, cache), (*structure.notes, *notes))


def _evaluation(root: Path, structure: Layout, classes: tuple[str, ...] | None) -> tuple[Path, tuple[str, ...]]:
    """Folder of the evaluation split, with a note where there are several."""
    present = {folder: set(folders(folder)) for folder in structure.evaluations}
    candidates = [folder for folder, names in present.items() if names]  # without class folders there are no labels
    if not candidates and (other := _of_same_classes(structure, classes)):
        raise HalfSplit(f"{root} has no evaluation split: if it is {other}/, call that test/ or val/")
    if not candidates:
        raise (HalfSplit if any(map(has_images, structure.evaluations)) else NoSplit)(
            f"{root} has no evaluation split: put one beside the training images, as test/CLASS/ or val/CLASS/"
        )
    if classes is None:
        labelled = [folder for folder in candidates if len(present[folder]) > 1]
    else:
        labelled = [folder for folder in candidates if present[folder] & set(classes)]
    chosen, *others = labelled or candidates  # a folder without any training class is refused when it is listed
    if others:
        return chosen, (f"the evaluation split is {chosen.name}/, not {others[0].name}/, of which {root} has both",)
    unlabelled = [folder for folder in candidates if folder not in labelled and folder != chosen]
    if unlabelled:
        note = f"the evaluation split is {chosen.name}/: {unlabelled[0].name}/ has no folders of these classes"
        return chosen, (note,)
    return chosen, ()


def _of_same_classes(structure: Layout, classes: tuple[str, ...] | None) -> str | None:
    """A folder beside the training images with class folders of theirs, whose name says nothing."""
    if structure.train in (None, structure.root):
        return None
    beside = (name for name in folders(structure.root) if structure.root / name != structure.train)
    return next((name for name in beside if set(folders(structure.root / name)) & set(classes or ())), None)


def _is_flat(folder: Path) -> bool:
    """Whether a folder holds images and no class folders."""
    return not folders(folder) and has_images(folder)


def _flat_evaluation(root: Path, structure: Layout) -> Path:
    """Folder of the evaluation split of images without labels."""
    flat = [folder for folder in structure.evaluations if _is_flat(folder)]
    if flat:
        return flat[0]
    if structure.evaluations:
        names = f"{structure.evaluations[0].name}/ of {root} has class folders"
        raise UsageError(f"{names}, and its training images have none: labels are in both, or in neither")
    raise NoSplit(f"{root} has no evaluation split: put one beside the training images, as train/ and test/")


def _flat(root: Path, folder: Path, cache: Path | None) -> Listing:
    """List the images of a folder without class folders."""
    inside = os.path.relpath(folder, root)
    files = scan(root, ["" if inside == os.curdir else inside], cache).files
    note = f"{folder} has no class folders: its images have no labels"
    return replace(_listing(files, np.zeros(len(files.names), dtype=np.int64), ()), notes=(note,))


def _classes(root: Path, folder: Path, classes: tuple[str, ...] | None, cache: Path | None) -> Listing:
    """List ``folder/CLASS/**``, with the classes given, by default the class folders."""
    present = folders(folder)
    if "images" in present and not any(images(present["images"])):  # left empty by scripts that sort Tiny ImageNet
        del present["images"]
    strange = [name for name in sorted(set(present) - set(classes or present)) if any(images(present[name]))]
    if strange:
        raise UsageError(f"{folder} has the class '{strange[0]}', which the training split does not have")
    among = classes or tuple(sorted(present))
    shown = scan(root, [os.path.relpath(folder / name, root) for name in among if name in present], cache)
    counts = np.zeros(len(among), dtype=np.int64)
    counts[[name in present for name in among]] = shown.counts
    if classes is None and (empty := [name for name, count in zip(among, counts, strict=True) if not count]):
        raise UsageError(f"the class folder {present[empty[0]]} holds no images; put some there or remove it")
    if not shown.files.names:
        refuse_unread(folder)
        raise UsageError(f"{folder} holds no class folders with images; the layout is {folder}/CLASS/IMAGE.png")
    return _listing(shown.files, np.arange(len(among)).repeat(counts), among)


def _annotated(root: Path, annotations: Path, classes: tuple[str, ...] | None) -> Listing:
    """List Tiny ImageNet's evaluation images, whose classes are in a table."""
    rows = [line.split("\t")[:2] for line in annotations.read_text().splitlines() if line.strip()]
    if not rows or any(len(row) != 2 for row in rows):
        raise UsageError(f"{annotations} is no table of image names and classes separated by tabs")
    classes = classes or tuple(sorted({name for _, name in rows}))
    numbers = {name: i for i, name in enumerate(classes)}
    for image, name in rows:
        if name not in numbers:
            raise UsageError(f"{annotations} gives {image} the class '{name}', which the training split does not have")
    names = [os.path.join("val", "images", image) for image, _ in rows]
    files = files_at(root, names)
    return _listing(files, np.array([numbers[name] for _, name in rows], dtype=np.int64), classes)


def _listing(files: Files, labels: Ints, classes: tuple[str, ...]) -> Listing:
    root, names = str(files.root), files.names

    def read(i: int) -> bytes:
        path = os.path.join(root, names[i])
        _check(path, int(files.sizes[i]))
        try:
            with open(path, "rb") as file:
                encoded = file.read()
        except OSError as error:
            raise UsageError(f"cannot read {path}: {error.strerror or error}") from error
        if not files.fits(i, len(encoded)):
            raise UsageError(f"{path} has changed since its folder was listed: start again, and it is listed anew")
        return encoded

    return Listing(
        read=read,
        where=lambda i: os.path.join(root, names[i]),
        labels=labels,
        classes=classes,
        files=files,
    )


def _check(path: str, size: int) -> None:
    """Refuse what was no regular file when its folder was listed, and what is too large for an image."""
    if size < 0:
        try:
            check_regular(path)
        except OSError as error:
            reason = error.strerror or error
            if os.path.islink(path) and isinstance(error, FileNotFoundError):
                reason = f"{reason}: it is a link to {os.readlink(path)}"
            raise UsageError(f"cannot read {path}: {reason}") from error
        raise UsageError(f"cannot read {path}: it could not be read when its folder was listed: start again")
    if size > MOST_BYTES:
        raise UsageError(f"{path} is too large for an image: at most {MOST_BYTES >> 20} MiB are read")


def _noted(tolerant: bool, listing: Listing, notes: tuple[str, ...]) -> Listing:
    if not tolerant:
        sizes = listing.files.sizes
        for i in np.flatnonzero((sizes < 0) | (sizes > MOST_BYTES))[:1].tolist():
            try:
                _check(listing.where(i), int(sizes[i]))
            except UsageError as error:
                raise hinted(error) from error
    return replace(listing, notes=(*listing.notes, *notes)) if notes else listing
