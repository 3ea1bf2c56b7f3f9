"""What the runs of a ledger were asked to do: as columns, to choose runs by, and to tell students apart by."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from dametric.base.arguments import argument
from dametric.base.option_groups import LossOptions, OptimizerOptions, PrecisionOptions, ViewOptions
from dametric.base.options import options_of
from dametric.errors import UsageError, unknown
from dametric.records.identity import NEUTRAL
from dametric.records.record import RecordedData, RecordedObjective, RecordedRecipe

_GROUPS = (OptimizerOptions, LossOptions, ViewOptions, PrecisionOptions)
OPTIONS = (*(each.name for each in options_of(*_GROUPS) if each.about.in_ledger), "train_images", "image_size")
"""Columns of the ledger's table: the options of `dametric distill`, all that a student depends on besides its names,
augmentation and seed."""
SETTING = ("mean", "std", "train_data", "test_data", "code", "other")
"""Columns of what else a student depends on: how the teacher's images were normalised, the fingerprints of the images
that were trained and tested on, hashes of the code that all augmentations use alike, and of everything else."""
_APART = (*OPTIONS, *SETTING)
_OWN_COLUMNS = {"law", "kind", "student", "teacher", "data", "recipe", "operations", "versions", "user_code"}
_OF_RECIPE = {*OPTIONS, "aug", "seed", "objective"}
_OF_OBJECTIVE = {"ce", "raw", "aug", "temperature", "term"}
_OF_TEACHER = {"arch", "sha256", "mean", "std"}
_OF_BLENDED = "versions untouched rows"  # of an augmentation as a whole
_DIGITS = 12  # of a hash
if TYPE_CHECKING:
    import pandas as pd

_LENGTHS = ("epochs", "steps")
_NAMES = ("data", "teacher", "teacher_sha256", "student", "aug", "seed")


def options(recipe: RecordedRecipe, data: RecordedData) -> dict[str, Any]:
    """The options of a run by its record; None where it does not say.

    Parameters
    ----------
    recipe : RecordedRecipe
    data : RecordedData

    Returns
    -------
    dict
        By the names in `OPTIONS`.
    """
    loss = recipe.objective or RecordedObjective()
    recorded = {**recipe.document(), "ce_weight": loss.ce, "raw_weight": loss.raw, "aug_weight": loss.aug}
    recorded |= {"temperature": loss.temperature, "loss_term": loss.term}
    recorded |= {"train_images": data.train, "image_size": data.image_size}
    return {name: recorded.get(name) for name in OPTIONS}


def setting(config: Mapping[str, Any]) -> dict[str, str | None]:
    """What else determines a result, besides `OPTIONS`, names and seed; None where a record does not say.

    Parameters
    ----------
    config : dict
        A record's "config".

    Returns
    -------
    dict
        By the names in `SETTING`, which are equal for all augmentations and seeds of one setting; then of the
        augmentation alone ``aug_spelling``, the one way of writing it, and ``aug_code``, a hash of the versions and of
        the user's code that it calls.
    """
    teacher, data, recipe, operations = (_part(config, name) for name in ("teacher", "data", "recipe", "operations"))
    spellings = {"base_aug": recipe.get("base_aug"), "aug": recipe.get("aug"), **operations}
    base, aug = (str(spellings[name]) for name in ("base_aug", "aug"))
    code = {
        f"{kind} {name}": value for kind in ("versions", "user_code") for name, value in _part(config, kind).items()
    }
    own = {
        key: value for key, value in code.items() if key == _OF_BLENDED or (_is_of(aug, key) and not _is_of(base, key))
    }
    more = {**_without(recipe, _OF_RECIPE), **_without(_part(recipe, "objective"), _OF_OBJECTIVE)}
    other = {
        **_without(config, _OWN_COLUMNS),
        "recipe": {name: value for name, value in more.items() if value not in (None, NEUTRAL.get(name))},
        "teacher": _without(teacher, _OF_TEACHER),
    }
    values = [
        *(_numbers(teacher.get(name)) for name in ("mean", "std")),
        *(_short(data.get(name)) for name in ("train", "test")),
        _hash(_without(code, own)),
        _hash({name: value for name, value in other.items() if value not in (None, {})}),
    ]
    named = dict(zip(SETTING, values, strict=True))
    return {**named, "aug_spelling": operations.get("aug"), "aug_code": _hash(own) if own else None}


def _part(document: Mapping[str, Any], name: str) -> dict[str, Any]:
    value = document.get(name)
    return value if isinstance(value, dict) else {}


def _without(part: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    left_out = set(names)
    return {name: value for name, value in part.items() if name not in left_out}


def _is_of(spelling: str, key: str) -> bool:
    """Whether an augmentation calls what a version or the hash of code is of."""
    kind, _, name = key.partition(" ")
    if kind == "user_code":
        return name in spelling
    return any(word.startswith(name) for word in re.split(r"[^a-z0-9]+", spelling))


def _numbers(values: Any) -> str | None:
    """The number of each channel, or the one of all."""
    if not isinstance(values, list) or not values:
        return None
    words = [f"{value:.9g}" if isinstance(value, float) else str(value) for value in values]
    return words[0] if len(set(words)) == 1 else ",".join(words)


def _short(fingerprint: Any) -> str | None:
    return fingerprint[:_DIGITS] if isinstance(fingerprint, str) else None


def _hash(part: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(part, sort_keys=True).encode()).hexdigest()[:_DIGITS]


def scored_setting(mean: Any, std: Any, fingerprint: Any) -> dict[str, str | None]:
    """What a score file says of the same, by the names of the columns."""
    return {"mean": _numbers(mean), "std": _numbers(std), "train_data": _short(fingerprint)}


def label_by_recipe(runs: pd.DataFrame) -> pd.DataFrame:
    """Runs of one student by different recipes under names that say how they differ.

    What is not known of a run is no difference.

    Parameters
    ----------
    runs : pandas.DataFrame
        With a column ``student``, and any of `OPTIONS` and `SETTING`.

    Returns
    -------
    pandas.DataFrame
        The same with other names in ``student`` where there are several recipes: "resnet8 (960 epochs)",
        "resnet8 (240 epochs, temperature 4)".
    """
    names = list(runs.student)
    for student, places in runs.groupby("student").indices.items():
        group = runs.iloc[places]
        differ = _differing(group)
        for place, row in zip(places, group.to_dict("records"), strict=True):
            if differ:
                names[place] = _named(student, {name: row[name] for name in differ})
    return runs.assign(student=names)


def differences(runs: pd.DataFrame) -> dict[str, list[str]]:
    """Options in which finished students of one name and teacher differ, with their values in order."""
    done = runs[(runs.status == "finished") & (runs.kind == "distill")]
    values: dict[str, set[Any]] = {}
    for _, group in done.groupby(["teacher_sha256", "student"], dropna=False):
        for name in _differing(group):
            values.setdefault(name, set()).update(group[name].dropna())
    return {name: [word(value) for value in sorted(values[name], key=_order)] for name in _APART if name in values}


def chosen(runs: pd.DataFrame, filters: Sequence[str]) -> pd.DataFrame:
    """The runs that match ``KEY=PATTERN``: any of the patterns of one key, and every key, as in `dametric sweep`.

    Parameters
    ----------
    runs : pandas.DataFrame
        From :func:`dametric.records.runs.load_runs`.
    filters : sequence of str
        "temperature=4", "student=resnet*"; keys are names, `OPTIONS` and `SETTING`.

    Raises
    ------
    UsageError
        If a key does not exist, or nothing matches.
    """
    left = runs
    for key, wanted in patterns(filters, (*_NAMES, *_APART), "temperature=4 or student=resnet*").items():
        fits = [any(matches(value, pattern) for pattern in wanted) for value in left[key]]
        if not any(fits):
            there = ", ".join(dict.fromkeys(word(value) for value in sorted(left[key], key=_order)))
            raise UsageError(f"no run matches {argument('only')} {key}={wanted[-1]}: {key} is {there} here")
        left = left[fits]
    return left


def patterns(filters: Sequence[str], keys: Sequence[str], example: str) -> dict[str, list[str]]:
    """What ``--only`` wants of every key, from ``KEY=PATTERN`` as a user writes it.

    Raises
    ------
    UsageError
        If a filter is not of that form, or its key is not one of ``keys``.
    """
    wanted: dict[str, list[str]] = {}
    for text in filters:
        key, equals, pattern = text.partition("=")
        if not equals:
            raise UsageError(f"{argument('only')} is KEY=PATTERN, for example {example}, not '{text}'")
        if key not in keys:
            raise unknown(f"key in {argument('only')}", key, keys)
        wanted.setdefault(key, []).append(pattern)
    return wanted


def matches(value: Any, pattern: str) -> bool:
    """Whether a value, as a user writes it, has a pattern in which ``*`` and ``?`` stand for anything."""
    return fnmatchcase(word(value), pattern.replace("[", "[[]"))  # brackets are in no name that a user would match by


def word(value: Any) -> str:
    """A value as a user writes it."""
    return f"{value:g}" if isinstance(value, float) else str(value)


def _differing(group: pd.DataFrame) -> list[str]:
    differ = [name for name in _APART if name in group and group[name].nunique() > 1]
    if all(name in group and group[name].notna().any() for name in _LENGTHS):  # a run has one of the two
        differ = [*_LENGTHS, *(name for name in differ if name not in _LENGTHS)]
    return differ


def _named(student: Any, differ: Mapping[str, Any]) -> str:
    known = {
        name: word(value) for name, value in differ.items() if value is not None and value == value
    }  # NaN equals nothing
    words = [f"{value} {name}" if name in _LENGTHS else f"{name} {value}" for name, value in known.items()]
    return f"{student} ({', '.join(words)})" if words else str(student)


def _order(value: Any) -> tuple[bool, Any]:
    """Numbers by size, then words."""
    number = isinstance(value, (int, float))
    return not number, value if number else str(value)
