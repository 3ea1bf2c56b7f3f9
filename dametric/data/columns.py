"""Columns of images and labels in a table."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from dametric.base.arguments import argument
from dametric.errors import UsageError

IMAGE_COLUMNS = ("img", "image")
LABEL_COLUMNS = ("fine_label", "label", "labels")
_LIKELY = ("class", "class_label", "class_id", "class_name", "category", "target", "cls", "y")
_NO_LABELS = frozenset(  # what tables record of an image besides its class
    (
        *("id", "idx", "index", "image_id", "width", "height", "channels", "size", "split", "md5", "sha256", "url"),
        *("path", "file", "filename", "file_name", "image_path", "image_file", "__index_level_0__"),
    )
)


@dataclass(frozen=True)
class Columns:
    """Columns of images and labels in a file.

    Attributes
    ----------
    image : str
        Column of encoded bytes, as "img.bytes" where it is a field of a struct.
    label : str
    text : bool
        Whether labels are class names.
    names : tuple of str or None
        Class names by label, where the file has them.
    guessed : str or None
        The label column where it is a guess, else None.
    """

    image: str
    label: str
    text: bool
    names: tuple[str, ...] | None
    guessed: str | None


def columns(path: Path, schema: Any, image: str | None = None, label: str | None = None) -> Columns:
    """Find images and labels in a table's schema.

    Images are the requested column, or ``img`` or ``image``: a struct of bytes and path, or plain bytes. Labels are
    integers or text, in the first of these columns that exists: the requested one; ``fine_label``, ``label`` or
    ``labels``; the only integers that may be classes, if the schema's ``huggingface`` metadata names these; the only
    column with another usual name of classes; the only integers that may be classes, where no text may be.

    Parameters
    ----------
    path : Path
        The file, for errors.
    schema : pyarrow.Schema
    image, label : str, optional
        Requested columns.

    Returns
    -------
    Columns

    Raises
    ------
    UsageError
        If there is no such column, or more than one candidate.
    """
    features = _features(schema.metadata)
    name, guessed = _label(path, schema, features, label)
    return Columns(
        _image(path, schema, image), name, _is_text(schema.field(name).type), _names(features, name), guessed
    )


def has_images(schema: Any, image: str | None) -> bool:
    """Whether a table has a column of images."""
    return any(name in schema.names for name in ((image,) if image else IMAGE_COLUMNS))


def _image(path: Path, schema: Any, requested: str | None) -> str:
    choices = [field.name for field in schema if _encoded(field.type)]
    name = next((name for name in ((requested,) if requested else IMAGE_COLUMNS) if name in schema.names), None)
    if name is None:
        raise UsageError(
            f"{path} has no column {requested or ' or '.join(IMAGE_COLUMNS)}; it has {', '.join(schema.names)}"
            + (f" ({argument('image_column', choices[0])}?)" if choices else "")
        )
    kind = schema.field(name).type
    if not _encoded(kind):
        raise UsageError(f"column {name} of {path} is {kind}; it should be a struct of bytes and path, or bytes")
    return f"{name}.bytes" if pa.types.is_struct(kind) else str(name)


def _encoded(kind: Any) -> bool:
    in_struct = pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0
    return bool(in_struct or pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _label(path: Path, schema: Any, features: dict[str, Any], requested: str | None) -> tuple[str, str | None]:
    """The label column, twice where it is a guess, else with None."""
    if requested is not None:
        if requested not in schema.names:
            raise UsageError(f"{path} has no column {requested}; {_choices(schema)}")
        if not _may_label(schema.field(requested).type):
            kind = schema.field(requested).type
            raise UsageError(f"column {requested} of {path} is {kind}: labels are integers or text; {_choices(schema)}")
        return requested, None
    possible = {field.name for field in schema if _may_label(field.type)}
    named = next((name for name in LABEL_COLUMNS if name in possible), None)
    if named is not None:
        return named, None
    others = [name for name in schema.names if name in possible and name.lower() not in _NO_LABELS]
    integers = [name for name in others if pa.types.is_integer(schema.field(name).type)]
    if len(integers) == 1 and _names(features, integers[0]) is not None:
        return integers[0], None
    likely = [name for name in others if name.lower() in _LIKELY]
    guesses = likely or others
    if len(guesses) == 1 and (likely or integers):
        return guesses[0], guesses[0]
    raise UsageError(
        f"{path} has no column {', '.join(LABEL_COLUMNS)} and not exactly one integer column that may hold labels; "
        f"{_choices(schema)}"
    )


def _choices(schema: Any) -> str:
    names = [field.name for field in schema if _may_label(field.type)]
    if not names:
        return f"it has {', '.join(f'{field.name} ({field.type})' for field in schema)}"
    kinds = ", ".join(f"{name} ({schema.field(name).type})" for name in names)
    return f"choose with {argument('label_column')} one of {kinds}"


def _may_label(kind: Any) -> bool:
    return bool(pa.types.is_integer(kind)) or _is_text(kind)


def _is_text(kind: Any) -> bool:
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _features(metadata: dict[bytes, bytes] | None) -> dict[str, Any]:
    try:
        features = json.loads((metadata or {})[b"huggingface"])["info"]["features"]
    except (KeyError, TypeError, ValueError):  # other writers store something else there, or nothing
        return {}
    return features if isinstance(features, dict) else {}


def _names(features: dict[str, Any], label: str) -> tuple[str, ...] | None:
    try:
        names = features[label]["names"]
        values = [names[str(i)] for i in range(len(names))] if isinstance(names, dict) else names
        return None if isinstance(values, str) else tuple(str(name) for name in values)
    except (KeyError, TypeError):
        return None
