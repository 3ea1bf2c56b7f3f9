"""Parquet files in the image layout of the Hugging Face hub."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dametric.data.listing import EVALUATION, TRAINING, Files, Listing, NoSplit
from dametric.data.rowgroups import RowGroups
from dametric.errors import UsageError

IMAGE_COLUMNS = ("img", "image")
LABEL_COLUMNS = ("fine_label", "label", "labels")


@dataclass(frozen=True)
class _Shard:
    """What one file says about itself."""

    path: Path
    image: str  # column of encoded bytes, as "img.bytes"
    label: str
    names: tuple[str, ...] | None
    meta: Any


def listing(root: Path, split: str, *, memory: int) -> Listing:
    """List the images of one split of a Parquet file or of a folder of shards.

    The split stands in the file names (``train-00000-of-00005.parquet``, ``test-``, ``valid-``, ``validation-``,
    ``val-``) or in the name of the shards' folder; files without one are a training split. Images are the column
    ``img`` or ``image``, a struct of bytes and path, or plain bytes. Labels are the first of ``fine_label``,
    ``label``, ``labels``, or else the only integer column. Class names come from the schema's ``huggingface``
    metadata and are "0", "1", ... without it.

    Parameters
    ----------
    root : Path
        A ``.parquet`` file, or a folder that holds some, itself or in its subfolders.
    split : str
        "train" or "test".
    memory : int
        Bytes that encoded images may occupy while they are read.

    Returns
    -------
    Listing
        Images in the order of shards and rows.

    Raises
    ------
    UsageError
        If there is no such split, no such column, a damaged file, or a label without a class.
    """
    splits = _splits(root)
    wanted = TRAINING if split == "train" else EVALUATION
    present = [name for name in wanted if name in splits]
    if not present:
        raise NoSplit(f"{root} has no {split} split: its files hold {', '.join(splits)}: give a split that is there")
    for name in present:
        shards = [_shard(path) for path in splits[name]]
        labels = np.concatenate([_labels(shard) for shard in shards])
        if labels.min(initial=0) >= 0 and len(labels):
            break  # the first split with labels: published test splits often have -1 throughout
    else:
        raise UsageError(f"{splits[present[0]][0]} has no rows with labels (negative means withheld)")
    classes = _class_names(root, shards, labels, splits)
    groups = RowGroups([(s.path, s.image, s.meta) for s in shards], memory)
    base = root if root.is_dir() else root.parent
    files = Files.of(base, [str(shard.path.relative_to(base)) for shard in shards])
    notes = _missing(splits[name])
    if len(present) > 1:
        notes += (f"the evaluation split is '{name}'; {root} also has {', '.join(p for p in present if p != name)}",)
    return Listing(groups.read, groups.where, labels, classes, files, notes)


def _splits(root: Path) -> dict[str, list[Path]]:
    """Files by the split their names tell."""
    paths = sorted([*root.glob("*.parquet"), *root.glob("*/*.parquet")]) if root.is_dir() else [root]
    found: dict[str, list[Path]] = {}
    for path in paths:
        names = [path.stem, *reversed(path.relative_to(root).parts[:-1])]
        words = [word for name in names for word in re.findall("[a-z]+", name.lower())]
        word = next((word for word in words if word in TRAINING + EVALUATION), "unsplit")
        found.setdefault(word, []).append(path)
    if "unsplit" in found and len(found) == 1:
        return {"train": found["unsplit"]}
    return found


def _missing(paths: list[Path]) -> tuple[str, ...]:
    """Say which of the shards that the file names count are absent: part of a set is a fair thing to own."""
    numbers = [re.search(r"(\d+)-of-(\d+)", path.name) for path in paths]
    present = {int(m[1]) for m in numbers if m}
    absent = [i for i in range(max((int(m[2]) for m in numbers if m), default=0)) if i not in present]
    if not absent:
        return ()
    shown = ", ".join(str(i) for i in absent[:5]) + (", ..." if len(absent) > 5 else "")
    return (f"{paths[0].parent} lacks {len(absent)} of the {len(absent) + len(present)} shards that its file names "
            f"count ({shown}): the set is only a part",)  # fmt: skip


def _shard(path: Path) -> _Shard:
    try:
        meta = pq.read_metadata(path)
        schema = meta.schema.to_arrow_schema()
    except (pa.ArrowException, OSError) as error:
        raise UsageError(f"cannot read {path} as Parquet: {' '.join(str(error).split())}") from error
    image = next((name for name in IMAGE_COLUMNS if name in schema.names), None)
    if image is None:
        raise UsageError(f"{path} has no column {' or '.join(IMAGE_COLUMNS)}; it has {', '.join(schema.names)}")
    kind = schema.field(image).type
    if pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0:
        column = f"{image}.bytes"
    elif pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        column = image
    else:
        raise UsageError(f"column {image} of {path} is {kind}; it should be a struct of bytes and path, or bytes")
    label = _label_column(path, schema)
    return _Shard(path, column, label, _names(schema.metadata, label), meta)


def _label_column(path: Path, schema: Any) -> str:
    integers = [field.name for field in schema if pa.types.is_integer(field.type)]
    label = next((name for name in LABEL_COLUMNS if name in integers), None)
    if label is None and len(integers) == 1:
        label = integers[0]
    if label is None:
        raise UsageError(
            f"{path} has no integer column {', '.join(LABEL_COLUMNS)} and not one integer column alone; it has "
            f"{', '.join(f'{field.name} ({field.type})' for field in schema)}"
        )
    return label


def _names(metadata: dict[bytes, bytes] | None, label: str) -> tuple[str, ...] | None:
    try:
        features = json.loads((metadata or {})[b"huggingface"])["info"]["features"]
        names = features[label]["names"]
    except (KeyError, TypeError, ValueError):  # other writers put other things there, or nothing
        return None
    values = [names[str(i)] for i in range(len(names))] if isinstance(names, dict) else names
    return tuple(str(name) for name in values)


def _labels(shard: _Shard) -> np.ndarray:
    try:
        column = pq.read_table(shard.path, columns=[shard.label], partitioning=None)[shard.label]
    except (pa.ArrowException, OSError) as error:
        raise UsageError(f"cannot read {shard.path} as Parquet: {' '.join(str(error).split())}") from error
    if column.null_count:
        raise UsageError(f"column {shard.label} of {shard.path} has {column.null_count} rows without a label")
    return column.to_numpy().astype(np.int64)


def _class_names(
    root: Path, shards: Sequence[_Shard], labels: np.ndarray, splits: dict[str, list[Path]]
) -> tuple[str, ...]:
    """Names from the schema, or numbers that count the labels of every split, so that splits agree."""
    first = shards[0]
    for shard in shards:
        if (shard.names, shard.label) != (first.names, first.label):
            raise UsageError(f"{shard.path} and {first.path} name different classes; they are not one set")
    # one of each other split: a label must mean the same class to whoever trains on one and tests on the other
    for other in (_shard(paths[0]) for word, paths in splits.items() if word in TRAINING + EVALUATION):
        if first.names and other.names and other.names != first.names:
            raise UsageError(f"{other.path} and {first.path} name or order their classes differently: a label of the "
                             "one is not that of the other")  # fmt: skip
    if first.names is None:
        others = [_labels(_shard(path)) for paths in splits.values() for path in paths]
        return tuple(str(i) for i in range(max(int(other.max(initial=0)) for other in others) + 1))
    if labels.max() >= len(first.names):
        raise UsageError(f"{root} has the label {labels.max()} and names for {len(first.names)} classes only")
    return first.names
