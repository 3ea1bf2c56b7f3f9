"""The blocks of a grid's YAML: data, teachers, pairs, augmentations, scoring."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from dametric.base.names import checked_name, slug
from dametric.errors import UsageError, unknown
from dametric.sweeps.reading import (
    DATA_KEYS,
    SCORE_KEYS,
    TEACHER_KEYS,
    as_list,
    block,
    check_combinations,
    crossed,
    known_keys,
    shown,
    typed,
)

GROUPS = ("paper", "standard", "strengths", "all")
"""Names of groups of augmentations."""


@dataclass(frozen=True)
class DataSpec:
    """Images of a grid.

    Attributes
    ----------
    source : str
        A name or a path.
    options : dict
        The rest that the file sets, by the names of :class:`~dametric.base.option_groups.ImageOptions`.
    """

    source: str
    options: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> DataSpec:
        """From the keys of the file."""
        rest = dict(options)
        source = rest.pop("source", None)
        if source is None:
            raise UsageError("data: which images? give source, a name (see dametric ls data) or a path")
        count = rest.get("train_images")
        if count is not None and count < 1:
            raise UsageError(f"data: train_images is a number of images, not {count}")
        return cls(source, rest)

    @property
    def differences(self) -> str:
        """What tells it from others of its source, in a name."""
        keys = ("image_size", "train_images", "label_column", "config")
        return "".join(f"-{key}={self.options[key]}" for key in keys if key in self.options)


@dataclass(frozen=True)
class TeacherSpec:
    """A teacher of a grid: a checkpoint, or a network to be trained.

    Attributes
    ----------
    family : str
        The name that pairs call it by.
    arch, checkpoint, weights, mean, std : optional
        Of a checkpoint as :class:`~dametric.base.option_groups.TeacherOptions` has them; the architecture is that of a
        network to be trained too.
    data : tuple of str, optional
        The data sets that it is asked for; None for all.
    seed : int
    recipe : dict
        Options of training that the file sets.
    """

    family: str
    arch: str | None = None
    checkpoint: str | None = None
    weights: str | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    data: tuple[str, ...] | None = None
    seed: int | None = None
    recipe: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, family: str, options: Mapping[str, Any]) -> TeacherSpec:
        """From the keys of the file; a network to be trained is of the family's name unless it says otherwise."""
        own = {key: value for key, value in options.items() if key in cls.__dataclass_fields__}
        if "checkpoint" not in own:
            own = {"arch": family, **own}
        return cls(family, **own, recipe={key: value for key, value in options.items() if key not in own})

    @property
    def trained(self) -> bool:
        """Whether it is to be trained."""
        return self.checkpoint is None

    def check(self, where: str) -> None:
        """Refuse what a checkpoint, or a network to be trained, does not have."""
        if not self.trained:
            recipe = [*(["seed"] if self.seed is not None else []), *self.recipe]
            if recipe:
                raise UsageError(f"{where}: a checkpoint is not trained, so it has no {recipe[0]}")
            return
        if self.mean is not None or self.std is not None:
            raise UsageError(f"{where}: mean and std are those of the data it is trained on")
        if self.weights is not None:
            raise UsageError(f"{where}: weights says which of a checkpoint's are meant")


class Pair(NamedTuple):
    """Names of images, teacher and student."""

    data: str | None
    teacher: str
    student: str


@dataclass(frozen=True)
class ScoreSpec:
    """How a grid scores.

    Attributes
    ----------
    student : str, optional
        The augmentation whose student is shown.
    augmentations : tuple of str, optional
        The grid's by default.
    split, dtype : str, optional
    options : dict
        The rest that the file sets, by the names of :class:`~dametric.base.option_groups.ScoringOptions`.
    """

    student: str | None = None
    augmentations: tuple[str, ...] | None = None
    split: str = "train"
    dtype: str | None = None
    options: dict[str, Any] = field(default_factory=dict)


def augmentations(value: Any) -> tuple[str, ...]:
    """Specifications as the file writes them: words, groups, ranges, or ``name: {parameter: [values]}``, crossed."""
    specs: list[str] = []
    for item in as_list(value):
        if isinstance(item, dict):
            for name, parameters in item.items():
                lists = {key: as_list(values) for key, values in block(parameters, f"augmentations: {name}").items()}
                check_combinations(lists.values(), f"augmentations: {name}")
                for values in itertools.product(*lists.values()):
                    words = (f"{key}={value}" for key, value in zip(lists, values, strict=True))
                    specs.append(":".join([str(name), *words]))
        else:
            specs.append(typed(item, str, "augmentations"))
    if not specs:
        raise UsageError("augmentations is an empty list: nothing would be run")
    if any(spec in GROUPS or ".." in spec for spec in specs):
        from dametric.augment import expand  # torch takes seconds to load, and a grid is read without

        specs = expand(specs)
    return tuple(dict.fromkeys(specs))


def named_data(value: Any) -> dict[str, DataSpec]:
    """Data sets by name; two of one source are told apart by size and number of images."""
    named: dict[str, DataSpec] = {}
    for item in as_list(value):
        given = {"source": item} if isinstance(item, str) else block(item, "data")
        for options in crossed(given, DATA_KEYS, "data"):
            name, images = options.pop("name", None), DataSpec.of(options)
            name = name or Path(images.source).name.partition(".")[0]
            if any(name == other for other in named):
                name += images.differences
            if name in named:
                raise UsageError(f"data: two sets are called '{name}': give each a name")
            named[checked_name(name, "data set")] = images
    return named


def named_teachers(value: Any, data: Collection[str]) -> dict[str, TeacherSpec]:
    """Teachers by name: checkpoints, and recipes, of which lists make variants."""
    entries = list(value.items()) if isinstance(value, dict) else [(name, None) for name in as_list(value)]
    named: dict[str, TeacherSpec] = {}
    for family, given in entries:
        if not isinstance(family, str):
            raise UsageError(f"teachers is lines of 'name: options', or a list of architectures, not {shown(value)}")
        where = f"teacher {family}"
        options = {"checkpoint": given} if isinstance(given, str) else block(given, where)
        options = _in_numbers(options)
        variants = list(crossed(options, TEACHER_KEYS, where))
        differ = [key for key in options if len({str(variant.get(key)) for variant in variants}) > 1]
        for variant in variants:
            teacher = TeacherSpec.of(family, variant)
            teacher.check(where)
            for name in teacher.data or ():
                known_name(name, data, f"data of {where}")
            name = "-".join([checked_name(family, "teacher"), *(slug(f"{key}={variant.get(key)}") for key in differ)])
            if name in named and named[name] != teacher:
                raise UsageError(f"two teachers are called '{name}': give each a name")
            named[name] = teacher
    return named


def _in_numbers(options: dict[str, Any]) -> dict[str, Any]:
    """A teacher's options with a normalisation that is named, such as ``mean: imagenet``, in numbers."""
    named = {key: options[key] for key in ("mean", "std") if isinstance(options.get(key), str)}
    if not named:
        return options
    from dametric.models.normalisation import by_name  # torch takes seconds to load, and a grid is read without

    mean, std = by_name(named.get("mean"), named.get("std"))
    wanted = {*named, *({"std"} - options.keys())}  # the name of a mean brings its standard deviation along
    return {**options, **{key: list(value) for key, value in (("mean", mean), ("std", std)) if value and key in wanted}}


def pairs(value: Any, data: Collection[str], teachers: Mapping[str, TeacherSpec]) -> Iterator[Pair]:
    """Every pair that the lines name."""
    for number, line in enumerate(as_list(value), 1):
        where = f"pairs, line {number}"
        if isinstance(line, str):
            teacher, arrow, student = (part.strip() for part in line.partition("->"))
            if not arrow or not teacher or not student:
                raise UsageError(f"{where} is 'teacher -> student', not '{line}'")
            yield from _resolved(Pair(None, teacher, student), where, data, teachers)
            continue
        for given in crossed(block(line, where), {"data": str, "teacher": str, "student": str}, where):
            if "teacher" not in given or "student" not in given:
                raise UsageError(f"{where} needs a teacher and a student")
            yield from _resolved(Pair(**{"data": None, **given}), where, data, teachers)


def _resolved(pair: Pair, where: str, data: Collection[str], teachers: Mapping[str, TeacherSpec]) -> Iterator[Pair]:
    """A pair for each variant of the teacher, and each data set where none is named."""
    variants = [name for name, teacher in teachers.items() if pair.teacher in (name, teacher.family)]
    if not variants:
        families = {teacher.family for teacher in teachers.values()}
        raise unknown(f"teacher in {where}", pair.teacher, {*teachers, *families})
    if pair.data is not None:
        known_name(pair.data, data, f"data in {where}")
    for images in data if pair.data is None else (pair.data,):
        for name in variants:
            if images in (teachers[name].data or (images,)):
                yield Pair(images, name, pair.student)


def score_options(value: Any) -> ScoreSpec:
    """How to score; lists here are lists."""
    options = block(value, "score")
    known_keys(options, SCORE_KEYS, "score")
    given = {key: item for key, item in options.items() if item is not None}
    augs = augmentations(given.pop("augmentations")) if "augmentations" in given else None
    read = {key: typed(item, SCORE_KEYS[key], f"score: {key}") for key, item in given.items()}
    own = {name: read.pop(name) for name in ("student", "split", "dtype") if name in read}
    lists = {key: list(value) if isinstance(value, tuple) else value for key, value in read.items()}
    return ScoreSpec(augmentations=augs, **own, options=lists)


def known_name(name: str, names: Collection[str], what: str) -> None:
    """Refuse a name that nothing in the grid bears."""
    if name not in names:
        raise unknown(what, name, names)
