"""Image sets in tables of the Hugging Face layout: Parquet files, and what ``save_to_disk`` writes."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dametric.base.arguments import argument
from dametric.base.user_code import one_line
from dametric.data.checks import class_numbers
from dametric.data.choice import Choice
from dametric.data.columns import Columns, columns, has_images
from dametric.data.listing import EVALUATION, TRAINING, Files, Listing, NoSplit, check_regular
from dametric.data.shards import Shards, shards
from dametric.errors import UsageError


class Rows(Protocol):
    """Encoded images of several files by row number, counted through all files."""

    def read(self, i: int) -> bytes:
        """Encoded bytes of a row; safe to call from several threads."""

    def where(self, i: int) -> str:
        """File and row number within it, for error messages."""


@dataclass(frozen=True)
class Format:
    """A file format of tables.

    Attributes
    ----------
    name, ending : str
        As in "Parquet" and ".parquet".
    open : callable
        Returns a file's schema, and a handle by which its columns and rows are read.
    column : callable
        Reads one column of a file, by its path, its handle and the column's name.
    rows : callable
        Returns a reader of rows, from files with their image columns and handles, and the bytes it may keep in memory.
    unpack : callable, optional
        Makes a reader read single images, where it does not: see :func:`dametric.data.unpacked.unpack`.
    """

    name: str
    ending: str
    open: Callable[[Path], tuple[Any, Any]]
    column: Callable[[Path, Any, str], Any]
    rows: Callable[[Sequence[tuple[Path, str, Any]], int], Rows]
    unpack: Callable[[Any, Files, str, Path, bool], str | None] | None = None


@dataclass(frozen=True)
class _Shard:
    path: Path
    columns: Columns
    handle: Any


def listing(root: Path, split: str, form: Format, *, memory: int, choice: Choice | None = None) -> Listing:
    """List the images of one split of a file or of a folder of shards.

    Splits are those of :func:`dametric.data.shards.shards`, columns those of :func:`dametric.data.columns.columns`.
    Class names come from the schema's ``huggingface`` metadata and are "0", "1", ... without it; text labels are class
    names themselves, in alphabetical order.

    Parameters
    ----------
    root : Path
        A file, or a folder with files in it or in its subfolders.
    split : str
        "train" or "test".
    form : Format
    memory : int
        Bytes that encoded images may occupy while they are read.
    choice : Choice, optional

    Returns
    -------
    Listing
        Images in the order of shards and rows; rows with a negative label are left out.

    Raises
    ------
    UsageError
        If there is no such split, no such column, a damaged file, or a label without a class.
    """
    choice = choice or Choice()
    read = partial(_shard, form=form, choice=choice)
    table_set = shards(root, form.ending, choice.config, lambda path: has_images(_open(path, form)[0], choice.image))
    wanted = TRAINING if split == "train" else EVALUATION
    present = [name for name in wanted if name in table_set.splits]
    if not present:
        raise NoSplit(
            f"{root} has no {split} split: its files hold {', '.join(table_set.splits)}: give a split that is there"
        )
    numbered = _Labels(form, read, table_set)
    name, parts, labels = _labelled(table_set, present, read, numbered)
    classes = _class_names(root, parts, labels, numbered)
    rows = form.rows([(s.path, s.columns.image, s.handle) for s in parts], memory)
    base = root if root.is_dir() else root.parent
    files = Files.of(base, [str(shard.path.relative_to(base)) for shard in parts])
    notes = (*table_set.notes, *_missing(table_set.splits[name]), *_label_notes(parts[0].columns, classes))
    if len(present) > 1:
        notes += (f"the evaluation split is '{name}'; {root} also has {', '.join(p for p in present if p != name)}",)
    variant = _variant(parts[0], form, choice)
    unpack = form.unpack and partial(form.unpack, rows, files, variant)
    whole = Listing(rows.read, rows.where, labels, classes, files, notes, variant=variant, unpack=unpack)
    return whole if labels.min() >= 0 else _without_negative(whole)


class _Labels:
    """Labels of files as numbers; text labels have the same numbers in all splits."""

    def __init__(self, form: Format, read: Callable[[Path], _Shard], table_set: Shards) -> None:
        self._form, self._read = form, read
        known = [word for word in TRAINING + EVALUATION if word in table_set.splits]
        self.others = [table_set.splits[word][0] for word in known]
        self.paths = [path for paths in table_set.splits.values() for path in paths]
        self._numbering = table_set.splits[known[0]] if known else self.paths
        self._classes: tuple[str, ...] | None = None

    def first_of_splits(self) -> list[_Shard]:
        """The first file of every split."""
        return [self._read(path) for path in self.others]

    def every(self) -> list[np.ndarray]:
        """Labels of all files of all splits."""
        return [self.numbers_of(self._read(path)) for path in self.paths]

    @property
    def text(self) -> tuple[str, ...]:
        """Classes of text labels: those of the training split, or of the only split."""
        if self._classes is None:
            columns = [self._text(self._read(path)) for path in self._numbering]
            self._classes = tuple(sorted({name for column in columns for name in column if name}))
        return self._classes

    def numbers_of(self, shard: _Shard) -> np.ndarray:
        """Labels of a file's rows, int64; negative where a row has none."""
        if shard.columns.text:
            numbers = {name: number for number, name in enumerate(self.text)}
            names = self._text(shard)
            if strange := next((name for name in names if name and name not in numbers), None):
                raise UsageError(f"{shard.path} has the class '{strange}', which the training split does not have")
            return np.array([numbers[name] if name else -1 for name in names], dtype=np.int64)
        column = self._column(shard)
        if len(column) and (high := pc.max(column).as_py()) > np.iinfo(np.int64).max:
            class_numbers(high, f"column {shard.columns.label} of {shard.path}")
        result: np.ndarray = column.to_numpy().astype(np.int64)
        return result

    def _text(self, shard: _Shard) -> list[str]:
        if not shard.columns.text:
            raise UsageError(
                f"labels are text in some files and numbers in {shard.path}: choose a column with "
                f"{argument('label_column')}"
            )
        result: list[str] = self._column(shard).to_pylist()
        return result

    def _column(self, shard: _Shard) -> Any:
        try:
            column = self._form.column(shard.path, shard.handle, shard.columns.label)
        except (pa.ArrowException, OSError) as error:
            raise UsageError(f"cannot read {shard.path} as {self._form.name}: {one_line(error)}") from error
        if column.null_count:
            raise UsageError(
                f"column {shard.columns.label} of {shard.path} has {column.null_count} rows without a label"
            )
        return column


def _labelled(
    table_set: Shards, present: Sequence[str], read: Callable[[Path], _Shard], numbered: _Labels
) -> tuple[str, list[_Shard], np.ndarray]:
    """The first split whose rows all have labels, else some, since published test splits often have label -1."""
    candidates = []
    for name in present:
        parts = [read(path) for path in table_set.splits[name]]
        labels = np.concatenate([numbered.numbers_of(shard) for shard in parts])
        if labels.min(initial=0) >= 0 and len(labels):
            return name, parts, labels
        candidates.append((name, parts, labels))
    for candidate in candidates:
        if (candidate[2] >= 0).any():
            return candidate
    raise UsageError(f"{table_set.splits[present[0]][0]} has no rows with labels (negative means withheld)")


def _without_negative(whole: Listing) -> Listing:
    kept = whole.rows(np.flatnonzero(whole.labels >= 0))
    note = f"{len(whole) - len(kept)} of {len(whole)} rows have a negative label, which means none: they are left out"
    return replace(kept, notes=(*kept.notes, note))


def _label_notes(chosen: Columns, classes: tuple[str, ...]) -> tuple[str, ...]:
    """Notes on a guessed label column, and on the order in which text labels are numbered."""
    notes = []
    if chosen.guessed:
        notes.append(f"labels are the column '{chosen.guessed}' ({argument('label_column')} chooses another)")
    if chosen.text:
        first = ", ".join(classes[:3]) + (", ..." if len(classes) > 3 else "")
        notes.append(f"labels are text: {len(classes)} classes in alphabetical order ({first})")
    return tuple(notes)


def _variant(shard: _Shard, form: Format, choice: Choice) -> str:
    """Columns read, where these are not the default ones."""
    if choice.label is None and choice.image is None:
        return ""
    try:
        unasked = columns(shard.path, _open(shard.path, form)[0])
    except UsageError:
        unasked = None
    chosen = shard.columns
    same = unasked is not None and (unasked.image, unasked.label) == (chosen.image, chosen.label)
    return "" if same else f", columns {chosen.image} and {chosen.label}"


def _missing(paths: list[Path]) -> tuple[str, ...]:
    """Note on missing shards, by the counts in the file names; a part of a set may be read."""
    numbers = [re.search(r"(\d+)-of-(\d+)", path.name) for path in paths]
    present = {int(m[1]) for m in numbers if m}
    absent = [i for i in range(max((min(int(m[2]), 10**6) for m in numbers if m), default=0)) if i not in present]
    if not absent:
        return ()
    shown = ", ".join(str(i) for i in absent[:5]) + (", ..." if len(absent) > 5 else "")
    return (f"{paths[0].parent} lacks {len(absent)} of the {len(absent) + len(present)} shards that its file names "
            f"count ({shown}): the set is only a part",)  # fmt: skip


def _open(path: Path, form: Format) -> tuple[Any, Any]:
    check_regular(path)
    try:
        return form.open(path)
    except (pa.ArrowException, OSError) as error:
        raise UsageError(f"cannot read {path} as {form.name}: {one_line(error)}") from error


def _shard(path: Path, form: Format, choice: Choice) -> _Shard:
    schema, handle = _open(path, form)
    return _Shard(path, columns(path, schema, choice.image, choice.label), handle)


def _class_names(root: Path, parts: Sequence[_Shard], labels: np.ndarray, numbered: _Labels) -> tuple[str, ...]:
    """Class names from the schema, or numbers up to the highest label of all splits, so that splits agree."""
    first = parts[0]
    for shard in parts:
        if (shard.columns.names, shard.columns.label) != (first.columns.names, first.columns.label):
            raise UsageError(f"{shard.path} and {first.path} name different classes; they are not one set")
    names = first.columns.names
    # a label must mean the same class in all splits, of each of which one file is checked
    for other in numbered.first_of_splits():
        if names and other.columns.names and other.columns.names != names:
            raise UsageError(f"{other.path} and {first.path} name or order their classes differently: a label of the "
                             "one is not that of the other")  # fmt: skip
        if other.columns.text != first.columns.text:
            raise UsageError(f"labels are text in one of {other.path} and {first.path} and numbers in the other: "
                             f"choose a column with {argument('label_column')}")  # fmt: skip
    if first.columns.text:
        return numbered.text
    if names is None:
        highest = max(int(other.max(initial=0)) for other in numbered.every())
        return class_numbers(highest, f"column {first.columns.label} of {root}")
    if labels.max() >= len(names):
        raise UsageError(f"{root} has the label {labels.max()} and names for {len(names)} classes only")
    return names
