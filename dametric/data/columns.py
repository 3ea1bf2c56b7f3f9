"""Which column of a table holds the images, and which the labels."""

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
_NO_LABELS = frozenset(  # what such tables say of an image besides its class
    (
        *("id", "idx", "index", "image_id", "width", "height", "channels", "size", "split", "md5", "sha256", "url"),
        *("path", "file", "filename", "file_name", "image_path", "image_file", "__index_level_0__"),
    )
)


@dataclass(frozen=True)
class Columns:
    """Where images and labels stand in a file.

    Attributes
    ----------
    image : str
        The column of encoded bytes, as "img.bytes" where it is a field.
    label : str
    text : bool
        Whether labels are text: names of classes.
    names : tuple of str or None
        Names of the classes, where the file tells them by number.
    guessed : str or None
        What was taken for the labels, where nobody has called it so.
    """

    image: str
    label: str
    text: bool
    names: tuple[str, ...] | None
    guessed: str | None


def columns(path: Path, schema: Any, image: str | None = None, label: str | None = None) -> Columns:
    """Find images and labels in a table's schema.

    Images are the column asked for, or ``img`` or ``image``: a struct of bytes and path, or plain bytes. Labels are
    the column asked for; or the first of ``fine_label``, ``label``, ``labels``; or the only integers that may be
    classes, if the schema's ``huggingface`` metadata call them so; or the only one with another name that means
    classes; or the only integers that may be classes, where no text may be. Integers count as labels, and so does text.

    Parameters
    ----------
    path : Path
        The file, for errors.
    schema : pyarrow.Schema
    image, label : str, optional
        Columns asked for.

    Returns
    -------
    Columns

    Raises
    ------
    UsageError
        If there is no such column, or more than one that may be it.
    """
    features = _features(schema.metadata)
    found, guessed = _label(path, schema, features, label)
    return Columns(_image(path, schema, image), found, _is_text(schema.field(found).type), _names(features, found),
                   guessed)  # fmt: skip


def has_images(schema: Any, image: str | None) -> bool:
    """Whether a table has a column of images."""
    return any(name in schema.names for name in ((image,) if image else IMAGE_COLUMNS))


def _image(path: Path, schema: Any, asked: str | None) -> str:
    choices = [field.name for field in schema if _encoded(field.type)]
    name = next((name for name in ((asked,) if asked else IMAGE_COLUMNS) if name in schema.names), None)
    if name is None:
        raise UsageError(
            f"{path} has no column {asked or ' or '.join(IMAGE_COLUMNS)}; it has {', '.join(schema.names)}"
            + (f" ({argument('image_column', choices[0])}?)" if choices else "")
        )
    kind = schema.field(name).type
    if not _encoded(kind):
        raise UsageError(f"column {name} of {path} is {kind}; it should be a struct of bytes and path, or bytes")
    return f"{name}.bytes" if pa.types.is_struct(kind) else str(name)


def _encoded(kind: Any) -> bool:
    in_struct = pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0
    return bool(in_struct or pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _label(path: Path, schema: Any, features: dict[str, Any], asked: str | None) -> tuple[str, str | None]:
    """The column of labels, and it again where it is a guess."""
    if asked is not None:
        if asked not in schema.names:
            raise UsageError(f"{path} has no column {asked}; {_choices(schema)}")
        if not _may_label(schema.field(asked).type):
            kind = schema.field(asked).type
            raise UsageError(f"column {asked} of {path} is {kind}: labels are integers or text; {_choices(schema)}")
        return asked, None
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
        f"{path} has no column {', '.join(LABEL_COLUMNS)} and not one integer column alone that may be it; "
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
    except (KeyError, TypeError, ValueError):  # other writers put other things there, or nothing
        return {}
    return features if isinstance(features, dict) else {}


def _names(features: dict[str, Any], label: str) -> tuple[str, ...] | None:
    try:
        names = features[label]["names"]
        values = [names[str(i)] for i in range(len(names))] if isinstance(names, dict) else names
        return None if isinstance(values, str) else tuple(str(name) for name in values)
    except (KeyError, TypeError):
        return None
