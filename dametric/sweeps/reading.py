"""What may stand in a grid's YAML, and reading it: names, types, lists that are crossed."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from dametric.base import limits
from dametric.base.arguments import argument
from dametric.base.option_groups import (
    HeldOutOptions,
    ImageOptions,
    LossOptions,
    OptimizerOptions,
    PrecisionOptions,
    ScoringOptions,
    TeacherOptions,
    ViewOptions,
)
from dametric.base.options import OptionField, options_of
from dametric.base.yaml_files import parsed, read_yaml_file
from dametric.errors import UsageError, unknown

Kind = type | str
"""A type, or "numbers" (a list of numbers), "names" (a list of strings)."""

_MOST_SEEDS = 10_000  # of one command
_DIGITS = 4000  # of a number: Python reads no longer ones


def _keys(*groups: type) -> dict[str, Kind]:
    """Keys of a block: the options of some groups that a grid can set."""
    return {each.name: _kind(each) for each in options_of(*groups) if each.about.in_grid}


def _kind(each: OptionField) -> Kind:
    return {"tuple[float, ...]": "numbers", "tuple[str, ...]": "names"}.get(str(each.kind), each.kind)


_DATA = (ImageOptions, HeldOutOptions)
_TEACHER = (TeacherOptions, OptimizerOptions, PrecisionOptions)
_TRAINING = (OptimizerOptions, PrecisionOptions, LossOptions, ViewOptions)
_SCORE = (ScoringOptions,)
GROUPS = {"data": _DATA, "teacher": _TEACHER, "training": _TRAINING, "score": _SCORE}
"""Options of the schema that each block takes."""
DATA_KEYS: dict[str, Kind] = {"name": str, "source": str, **_keys(*_DATA)}
TEACHER_KEYS: dict[str, Kind] = {"checkpoint": str, "data": "names", "aug": str, "seed": int, **_keys(*_TEACHER)}
TRAINING_KEYS = _keys(*_TRAINING)
SCORE_KEYS: dict[str, Kind] = {**_keys(*_SCORE), "student": str, "augmentations": "names", "split": str, "dtype": str}
KEYS = {"data": DATA_KEYS, "teacher": TEACHER_KEYS, "training": TRAINING_KEYS, "score": SCORE_KEYS}
"""Every key of each block."""


@dataclass(frozen=True)
class GridBlocks:
    """The blocks of a grid's file, not read any further.

    The last five, of one value each, say how runs are carried out, which is no part of what they are.
    """

    about: Any = None
    data: Any = None
    teachers: Any = None
    pairs: Any = None
    augmentations: Any = None
    seeds: Any = None
    training: Any = None
    include: Any = None
    exclude: Any = None
    score: Any = None
    eval_every: Any = None
    keep: Any = None
    deterministic: Any = None
    lockstep: Any = None
    accuracy_images: Any = None


BLOCKS = tuple(each.name for each in fields(GridBlocks))


def read_yaml(path: str, overrides: Iterable[str] = ()) -> dict[str, Any]:
    """Read a grid's file, and replace what ``overrides`` say: ``training.epochs=2``, the value in YAML.

    Raises
    ------
    UsageError
        If the file cannot be read, is not YAML, holds a key twice, or an override names no value.
    """
    document = read_yaml_file(path)
    if not isinstance(document, dict):
        raise UsageError(f"{path}: a grid is blocks such as 'data:' and 'pairs:', not a {type(document).__name__}")
    return overridden(document, overrides, path)


def overridden(document: dict[str, Any], overrides: Iterable[str], path: str) -> dict[str, Any]:
    """A grid, itself, with what ``overrides`` say; ``path`` is what messages call it."""
    for override in overrides:
        place, equals, text = override.partition("=")
        if not equals or not place:
            raise UsageError(f"{argument('overrides')} is KEY=VALUE, for example training.epochs=2, not '{override}'")
        *parents, last = place.split(".")
        inner = document
        for parent in parents:
            inner[parent] = _spelt_out(parent, inner.get(parent))
            inner = inner[parent]
            if not isinstance(inner, dict):
                raise UsageError(f"{argument('overrides', override)}: '{parent}' in {path} has no parts with names")
        try:
            inner[last] = parsed(text, "the value")
        except UsageError:
            raise UsageError(f"{argument('overrides', override)}: the value is not YAML") from None
    return document


def _spelt_out(name: str, value: Any) -> Any:
    """A block that is written short, as the mapping that it stands for."""
    if name == "data" and isinstance(value, str):
        return {"source": value}
    if name == "teachers" and isinstance(value, list):
        return {str(name): None for name in value}
    return {} if value is None else value


def block(value: Any, where: str) -> dict[str, Any]:
    """A mapping, or nothing."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise UsageError(f"{where} is lines of 'key: value', not {shown(value)}")
    return {str(key): item for key, item in value.items()}


def known_keys(value: Mapping[str, Any], known: Iterable[str], where: str) -> None:
    """Refuse a key that does not exist, with the nearest that does."""
    for key in value:
        if key not in known:
            raise unknown(f"key in {where}", key, known)


def typed(value: Any, kind: Kind, where: str) -> Any:
    """A value of the kind asked for; YAML takes 5e-4 for a word, this does not."""
    if kind == "numbers":
        return tuple(typed(item, float, where) for item in as_list(value))
    if kind == "names":
        return tuple(typed(item, str, where) for item in as_list(value))
    wanted = {int: "a whole number", float: "a number", bool: "true or false", str: "a word"}[kind]  # type: ignore[index]
    if kind is float and isinstance(value, (int, float, str)) and not isinstance(value, bool):
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        if math.isfinite(number):
            return number
    elif kind is str and isinstance(value, (int, float)) and not isinstance(value, bool):
        return str(value)
    elif isinstance(value, kind) and not (kind is int and isinstance(value, bool)):  # type: ignore[arg-type]
        return value
    raise UsageError(f"{where} is {wanted}, not {shown(value)}")


def crossed(value: Mapping[str, Any], kinds: Mapping[str, Kind], where: str) -> Iterator[dict[str, Any]]:
    """Every combination of a block's values, the last key varying fastest; what is null is left to the default."""
    known_keys(value, kinds, where)
    lists: dict[str, list[Any]] = {}
    for key, item in value.items():
        kind, place = kinds[key], f"{where}: {key}"
        whole = kind in ("numbers", "names")  # a list that is one value
        items = [item] if whole else as_list(item)
        if not items:
            raise UsageError(f"{place} is an empty list: nothing would be run")
        lists[key] = list(dict.fromkeys(None if item is None else typed(item, kind, place) for item in items))
    check_combinations(lists.values(), where)
    for values in itertools.product(*lists.values()):
        yield {key: value for key, value in zip(lists, values, strict=True) if value is not None}


def check_combinations(lists: Iterable[Sequence[Any]], where: str) -> None:
    """Refuse lists that make more combinations than one block may have."""
    count = math.prod(len(values) for values in lists)
    if count > limits.COMBINATIONS:
        raise UsageError(
            f"{where}: its lists make {limits.number(count)} combinations, at most {limits.COMBINATIONS:,} are taken"
        )


def as_list(value: Any) -> list[Any]:
    """A list as it is, anything else as the one item of a list."""
    return list(value) if isinstance(value, (list, tuple)) else [value]


def whole_numbers(value: Any, where: str) -> tuple[int, ...]:
    """Seeds as a user writes them: ``3``, ``0-2``, ``0,3,7``, or a list of these.

    Raises
    ------
    UsageError
        For anything else.
    """
    numbers: list[int] = []
    for item in as_list(value):
        for part in str(item).split(","):
            first, dash, last = part.strip().partition("-")
            if not first.isdecimal() or (dash and not last.isdecimal()):
                raise UsageError(f"{where} is numbers and ranges such as 0-2 or 0,3,7, not {shown(item)}")
            if max(len(first), len(last)) > _DIGITS:
                raise UsageError(f"{where} goes up to {2**31 - 1}, not {shown(item)}")
            if dash and int(last) < int(first):
                raise UsageError(f"{where} is numbers and ranges such as 0-2 or 0,3,7, not {shown(item)}")
            start, stop = int(first), int(last if dash else first) + 1
            if len(numbers) + stop - start > _MOST_SEEDS:
                raise UsageError(f"{where} {item}: at most {_MOST_SEEDS} seeds at once, start with fewer and add more")
            numbers += range(start, stop)
    if not numbers:
        raise UsageError(f"{where} is an empty list: nothing would be run")
    if max(numbers) >= 2**31:
        raise UsageError(f"{where} goes up to {2**31 - 1}, not {max(numbers)}")
    return tuple(dict.fromkeys(numbers))


def shown(value: Any) -> str:
    """A value as an error shows it: in quotes, and not all of it where it is long."""
    try:
        text = str(value)
    except ValueError:  # a number of 5,000 digits
        return "a huge number"
    return f"'{text if len(text) < 60 else text[:57] + '...'}'"
