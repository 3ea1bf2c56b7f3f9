"""The blocks of a grid's YAML: data, teachers, pairs, augmentations, scoring."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from dametric.base.names import checked_name, slug
from dametric.errors import UsageError, unknown
from dametric.sweeps.reading import KEYS, as_list, block, check_combinations, crossed, known_keys, shown, typed


def augmentations(value: Any) -> tuple[str, ...]:
    """Specifications as the file writes them: words, ``paper``, or ``name: {parameter: [values]}``, crossed."""
    specs: list[str] = []
    for item in as_list(value):
        if isinstance(item, dict):
            for name, parameters in item.items():
                lists = {key: as_list(values) for key, values in block(parameters, f"augmentations: {name}").items()}
                check_combinations(lists.values(), f"augmentations: {name}")
                for values in itertools.product(*lists.values()):
                    words = (f"{key}={value}" for key, value in zip(lists, values, strict=True))
                    specs.append(":".join([str(name), *words]))
        elif item == "paper":
            from dametric.augment import PAPER  # torch takes seconds to load, and a grid is read without

            specs += PAPER
        else:
            specs.append(typed(item, str, "augmentations"))
    if not specs:
        raise UsageError("augmentations is an empty list: nothing would be run")
    return tuple(dict.fromkeys(specs))


def named_data(value: Any) -> dict[str, dict[str, Any]]:
    """Data sets by name; two of one source are told apart by size and number of images."""
    sets: list[dict[str, Any]] = []
    for item in as_list(value):
        given = {"source": item} if isinstance(item, str) else block(item, "data")
        sets += crossed(given, KEYS["data"], "data")
    named: dict[str, dict[str, Any]] = {}
    for options in sets:
        if "source" not in options:
            raise UsageError("data: which images? give source, a name (see dametric ls data) or a path")
        name = options.pop("name", None) or Path(options["source"]).name.partition(".")[0]
        count = options.get("train_images")
        if count is not None and count < 1:
            raise UsageError(f"data: train_images is a number of images, not {count}")
        if any(name == other for other in named):  # told apart by what differs
            name += "".join(
                f"-{key}={options[key]}"
                for key in ("image_size", "train_images", "label_column", "config")
                if key in options
            )
        if name in named:
            raise UsageError(f"data: two sets are called '{name}': give each a name")
        named[checked_name(name, "data set")] = options
    return named


def named_teachers(value: Any, data: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Teachers by name: checkpoints, and recipes, of which lists make variants."""
    entries = list(value.items()) if isinstance(value, dict) else [(name, None) for name in as_list(value)]
    named: dict[str, dict[str, Any]] = {}
    known = ("family", "checkpoint", "weights", "arch", "mean", "std", "data")
    for family, given in entries:
        if not isinstance(family, str):
            raise UsageError(f"teachers is lines of 'name: options', or a list of architectures, not {shown(value)}")
        where = f"teacher {family}"
        options = {"checkpoint": given} if isinstance(given, str) else block(given, where)
        options = _in_numbers(options)
        variants = list(crossed(options, KEYS["teacher"], where))
        differ = [key for key in options if len({str(variant.get(key)) for variant in variants}) > 1]
        for variant in variants:
            teacher = {"family": family, **({} if "checkpoint" in variant else {"arch": family}), **variant}
            recipe = [str(key) for key in teacher if key not in known]
            if "checkpoint" in teacher and recipe:
                raise UsageError(f"{where}: a checkpoint is not trained, so it has no {recipe[0]}")
            if "checkpoint" not in teacher and {"mean", "std"} & set(teacher):
                raise UsageError(f"{where}: mean and std are those of the data it is trained on")
            if "checkpoint" not in teacher and "weights" in teacher:
                raise UsageError(f"{where}: weights says which of a checkpoint's are meant")
            for name in teacher.get("data", ()):
                known_name(name, data, f"data of {where}")
            name = "-".join([checked_name(family, "teacher"), *(slug(f"{key}={teacher.get(key)}") for key in differ)])
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


def pairs(
    value: Any, data: Mapping[str, Any], teachers: Mapping[str, dict[str, Any]]
) -> Iterator[tuple[str, str, str]]:
    """Every (data, teacher, student) that the lines name."""
    for number, line in enumerate(as_list(value), 1):
        where = f"pairs, line {number}"
        if isinstance(line, str):
            teacher, arrow, student = (part.strip() for part in line.partition("->"))
            if not arrow or not teacher or not student:
                raise UsageError(f"{where} is 'teacher -> student', not '{line}'")
            line = {"teacher": teacher, "student": student}
        for pair in crossed(block(line, where), {"data": str, "teacher": str, "student": str}, where):
            if "teacher" not in pair or "student" not in pair:
                raise UsageError(f"{where} needs a teacher and a student")
            yield from _resolved(pair, where, data, teachers)


def _resolved(
    pair: Mapping[str, Any], where: str, data: Mapping[str, Any], teachers: Mapping[str, dict[str, Any]]
) -> Iterator[tuple[str, str, str]]:
    called = pair["teacher"]
    variants = [name for name, teacher in teachers.items() if called in (name, teacher["family"])]
    if not variants:
        raise unknown(f"teacher in {where}", called, {*teachers, *(teacher["family"] for teacher in teachers.values())})
    if "data" in pair:
        known_name(pair["data"], data, f"data in {where}")
    for images in [pair["data"]] if "data" in pair else data:
        for name in variants:
            if images in teachers[name].get("data", (images,)):
                yield images, name, pair["student"]


def score_options(value: Any) -> dict[str, Any]:
    """How to score; lists here are lists."""
    options = block(value, "score")
    known_keys(options, KEYS["score"], "score")
    given = {key: item for key, item in options.items() if item is not None}
    if "augmentations" in given:
        given["augmentations"] = augmentations(given["augmentations"])
    return {
        key: item if key == "augmentations" else typed(item, KEYS["score"][key], f"score: {key}")
        for key, item in given.items()
    }


def known_name(name: str, names: Mapping[str, Any], what: str) -> None:
    """Refuse a name that nothing in the grid bears."""
    if name not in names:
        raise unknown(what, name, names)
