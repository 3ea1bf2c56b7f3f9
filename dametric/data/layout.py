"""Folders of the splits and classes of an image folder."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dametric.data.listing import EVALUATION, TRAINING
from dametric.data.scan import is_image
from dametric.errors import UsageError

_DEEPEST = 3  # nested folders that are opened, where each holds nothing but the next


@dataclass(frozen=True)
class Layout:
    """Folders of a set's splits, and notes on their choice.

    Attributes
    ----------
    root : Path
        Parent folder of the splits: the one given, or a folder in it.
    train : Path or None
    evaluations : list of Path
        Candidates, in the order in which they are tried.
    notes : tuple of str
    """

    root: Path
    train: Path | None
    evaluations: list[Path]
    notes: tuple[str, ...] = ()


def layout(root: Path) -> Layout:
    """Find the splits of a folder: by name, or by the only folder whose name contains it, as in ``seg_train``.

    A folder that holds nothing but one folder of splits or classes, as archives leave it, stands for that one.
    Without splits, a folder's subfolders are the classes of a training split.

    Raises
    ------
    UsageError
        If several folders may be the same split, or a folder cannot be read.
    """
    inner = _inside(root, of_splits=True)
    notes: tuple[str, ...] = () if inner == root else (f"the images of {root} are in {inner}",)
    present = folders(inner)
    train, evaluations, split_notes = _splits(inner, present)
    if train is None and not evaluations:
        return Layout(inner, inner, [], notes)
    given = [*([train] if train else []), *evaluations]
    meant = [_inside(path, of_splits=False) for path in given]
    notes += tuple(f"the classes of {a} are in {b}" for a, b in zip(given, meant, strict=True) if a != b)
    return Layout(inner, meant.pop(0) if train else None, meant, (*notes, *split_notes))


def folders(root: Path) -> dict[str, Path]:
    """Subfolders by name, without hidden ones and those that macOS adds to archives."""
    try:
        with os.scandir(root) as entries:
            names = sorted(e.name for e in entries if e.is_dir() and not e.name.startswith((".", "__MACOSX")))
    except OSError as error:
        raise UsageError(f"cannot read {root}: {error.strerror or error}") from error
    return {name: root / name for name in names}


def images(folder: Path) -> Iterator[Path]:
    """Image files in a folder, at any depth."""
    for where, inside, names in os.walk(folder, followlinks=True):
        inside[:] = sorted(name for name in inside if not name.startswith("."))
        for name in sorted(names):
            if is_image(name):
                yield Path(where, name)


def has_images(folder: Path) -> bool:
    """Whether a folder itself, not its subfolders, holds an image."""
    with os.scandir(folder) as entries:
        return any(is_image(entry.name) for entry in entries if not entry.is_dir())


def _splits(root: Path, present: dict[str, Path]) -> tuple[Path | None, list[Path], tuple[str, ...]]:
    words = TRAINING + EVALUATION
    exact = {name.lower(): path for name, path in present.items() if name.lower() in words}
    others = [path for name, path in present.items() if name.lower() not in words]
    if any(has_images(path) for path in others):  # a class may be called train, as one of CIFAR-100's is
        exact = {word: path for word, path in exact.items() if folders(path) or not has_images(path)}
    notes: list[str] = []
    train = next((exact[word] for word in TRAINING if word in exact), None)
    if train is None:
        train = _part_of_name(root, others, TRAINING, notes)
    evaluations = [exact[word] for word in EVALUATION if word in exact]
    if train is not None and not evaluations:
        named = (_part_of_name(root, others, (word,), notes) for word in EVALUATION)
        evaluations = [path for path in named if path is not None]
    return train, evaluations, tuple(notes)


def _part_of_name(root: Path, present: list[Path], words: tuple[str, ...], notes: list[str]) -> Path | None:
    """The only folder of subfolders with one of these words in its name; class folders have no subfolders."""
    named = [path for path in present if set(re.findall("[a-z]+", path.name.lower())) & set(words)]
    candidates = [path for path in named if folders(path) and not has_images(path)]
    if len(candidates) > 1:
        raise UsageError(
            f"{', '.join(path.name for path in candidates)} in {root} may each be the {words[0]} split: "
            f"call one of them {words[0]}, or put each set into a folder of its own"
        )
    if candidates:
        notes.append(f"the {'training' if words is TRAINING else 'evaluation'} split is {candidates[0].name}/")
    return candidates[0] if candidates else None


def _inside(root: Path, of_splits: bool, deepest: int = _DEEPEST) -> Path:
    """The folder that holds the splits or classes: the one given, or one nested in it as its only content."""
    present = folders(root)
    if len(present) != 1 or has_images(root) or not deepest:
        return root
    ((name, only),) = present.items()
    within = folders(only)
    if not within or has_images(only) or (of_splits and name.lower() in TRAINING + EVALUATION):
        return root
    if len(within) > 1 or (of_splits and next(iter(within)).lower() in TRAINING + EVALUATION):
        return only
    deeper = _inside(only, of_splits, deepest - 1)
    return root if deeper == only else deeper
