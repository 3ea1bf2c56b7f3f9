"""What the runs of a ledger were asked to do: as columns, to choose runs by, and to tell students apart by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from dametric.base.arguments import argument
from dametric.base.option_groups import LossOptions, OptimizerOptions, PrecisionOptions, ViewOptions
from dametric.base.options import options_of
from dametric.errors import UsageError, unknown
from dametric.records.record import RecordedData, RecordedObjective, RecordedRecipe

_GROUPS = (OptimizerOptions, LossOptions, ViewOptions, PrecisionOptions)
OPTIONS = (*(each.name for each in options_of(*_GROUPS) if each.about.in_ledger), "train_images", "image_size")
"""Columns of the ledger's table: the options of `dametric distill`, all that a student depends on besides its names,
augmentation and seed."""
if TYPE_CHECKING:
    import pandas as pd

_LENGTHS = ("epochs", "steps")
_NAMES = ("data", "teacher", "student", "aug", "seed")


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


def label_by_recipe(runs: pd.DataFrame) -> pd.DataFrame:
    """Runs of one student by different recipes under names that say how they differ.

    What is not known of a run is no difference.

    Parameters
    ----------
    runs : pandas.DataFrame
        With a column ``student``, and any of `OPTIONS`.

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
    return {name: [word(value) for value in sorted(values[name], key=_order)] for name in OPTIONS if name in values}


def chosen(runs: pd.DataFrame, filters: Sequence[str]) -> pd.DataFrame:
    """The runs that match ``KEY=PATTERN``: any of the patterns of one key, and every key, as in `dametric sweep`.

    Parameters
    ----------
    runs : pandas.DataFrame
        From :func:`dametric.records.runs.load_runs`.
    filters : sequence of str
        "temperature=4", "student=resnet*"; keys are names and `OPTIONS`.

    Raises
    ------
    UsageError
        If a key does not exist, or nothing matches.
    """
    left = runs
    for key, wanted in patterns(filters, (*_NAMES, *OPTIONS), "temperature=4 or student=resnet*").items():
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
    differ = [name for name in OPTIONS if name in group and group[name].nunique() > 1]
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
