"""Parts of JSON documents as frozen dataclasses: read by the types of their fields, written back as they were."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from functools import lru_cache, partial
from types import NoneType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

Part = TypeVar("Part", bound="Document")
_OMITTED = "omitted"


def omitted() -> Any:
    """A field that a new document does not have where its value is None."""
    return field(default=None, metadata={_OMITTED: True})


@dataclass(frozen=True)
class Document:
    """A JSON object whose known keys are fields; what other versions wrote besides is kept.

    Attributes
    ----------
    extra : dict
        Values of keys that are no fields.
    keys : tuple of str, optional
        The keys in the order of the document that it was read from; None for a new one.

    Examples
    --------
    >>> @dataclass(frozen=True)
    ... class Network(Document):
    ...     arch: str
    ...     file: str | None = None
    >>> network = Network.of({"year": 2022, "arch": "resnet8"})
    >>> network.arch, network.file, network.document()
    ('resnet8', None, {'year': 2022, 'arch': 'resnet8'})
    """

    extra: dict[str, Any] = field(default_factory=dict, kw_only=True)
    keys: tuple[str, ...] | None = field(default=None, kw_only=True, compare=False, repr=False)

    @classmethod
    def of(cls: type[Part], part: Mapping[str, Any]) -> Part:
        """From a JSON object that was held against its schema."""
        readers = _readers(cls)
        values = {name: read(part[name]) for name, read in readers.items() if name in part}
        return cls(**values, extra={key: part[key] for key in part if key not in readers}, keys=tuple(part))

    def document(self) -> dict[str, Any]:
        """The JSON object: of a part that was read, the keys that it had, and fields that were set since."""
        own = {name: plain(getattr(self, name)) for name in _readers(type(self))}
        everything = {**own, **self.extra}
        if self.keys is None:
            left_out = {each.name for each in fields(self) if _OMITTED in each.metadata and own[each.name] is None}
            return {name: value for name, value in everything.items() if name not in left_out}
        set_since = [name for name in own if name not in self.keys and not _is_default(self, name)]
        return {name: everything[name] for name in (*self.keys, *set_since)}


def plain(value: Any) -> Any:
    """A value of a field as JSON has it."""
    if isinstance(value, Document):
        return value.document()
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value


def _is_default(part: Document, name: str) -> bool:
    each = next(each for each in fields(part) if each.name == name)
    default = each.default if each.default_factory is MISSING else each.default_factory()
    value = getattr(part, name)
    return bool(value == default or value != value)  # NaN stands for null


def _readers(kind: Any) -> dict[str, Callable[[Any], Any]]:
    return _cached_readers(kind)


@lru_cache(maxsize=64)
def _cached_readers(kind: Any) -> dict[str, Callable[[Any], Any]]:
    own = {each.name for each in fields(Document)}
    return {name: _reader(hint) for name, hint in get_type_hints(kind).items() if name not in own}


def _reader(hint: Any) -> Callable[[Any], Any]:
    """How the value of a field is read; a number that is null is NaN where the field is not for None."""
    kinds = [kind for kind in get_args(hint) if kind is not NoneType]
    if NoneType in get_args(hint):
        return partial(_or_none, _reader(kinds[0])) if len(kinds) == 1 else _same
    if isinstance(hint, type) and issubclass(hint, Document):
        return hint.of
    if get_origin(hint) is dict and _reader(kinds[1]) is not _same:
        return partial(_each_value, _reader(kinds[1]))
    if get_origin(hint) is tuple:
        return partial(_each, _reader(kinds[0]))
    return _number if hint is float else _same


def _or_none(read: Callable[[Any], Any], value: Any) -> Any:
    return None if value is None else read(value)


def _each(read: Callable[[Any], Any], values: Any) -> Any:
    return tuple(read(value) for value in values)


def _each_value(read: Callable[[Any], Any], values: Any) -> Any:
    return {key: read(value) for key, value in values.items()}


def _number(value: Any) -> Any:
    return math.nan if value is None else value


def _same(value: Any) -> Any:
    return value
