"""A grid in YAML, and the runs it describes: pure, nothing is read but the file.

::

    about: what this is for                     free text
    data: {source: digits, image_size: 16}      or a list of such; also root, download, lazy, train_images, name, ...
    teachers:
      resnet20: {epochs: 30, schedule: onecycle}   a recipe: trained first if it is missing; arch is the name by default
      big: {checkpoint: big.pth}                   or a file
    pairs:
      - resnet20 -> resnet8                     teacher -> student
      - {teacher: big, student: [resnet8, wrn_16_1]}
    augmentations: [paper, "mixup:alpha=0.2", {cutmix: {alpha: [0.5, 2]}}]
    seeds: 0-2
    training: {epochs: [240, 960]}              options of `dametric distill`
    eval_every: last                            how runs are carried out: also keep, lockstep, accuracy_images
    exclude:                                    rows that match all of a line are left out
      - {student: wrn_16_1, aug: [flip, "mixup*"]}
    include:                                    rows that are added; what a line leaves out is as in the grid
      - {teacher: big, student: resnet8, aug: identity, epochs: 960}
    score: {rel_se: 0.01, student: identity}    a score file for every teacher (for every pair, if a student is named)

A list of values is crossed with every other list. Each row is one run: data, teacher, student, augmentation, seed and
training options.
"""

from __future__ import annotations

import copy
import itertools
import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from dametric.base import limits
from dametric.base.arguments import argument
from dametric.errors import UsageError
from dametric.records.recipes import matches, patterns, word
from dametric.sweeps.blocks import augmentations, known_name, named_data, named_teachers, pairs, score_options
from dametric.sweeps.reading import (
    BLOCKS,
    KEYS,
    SETTINGS,
    as_list,
    block,
    crossed,
    known_keys,
    overridden,
    read_yaml,
    typed,
    whole_numbers,
)

_ROW = ("data", "teacher", "student", "aug", "seed")
Training = tuple[tuple[str, Any], ...]


@dataclass(frozen=True)
class RunSpec:
    """One student to be distilled.

    Attributes
    ----------
    data, teacher : str
        Names in the grid.
    student, aug : str
        An architecture and an augmentation's specification.
    seed : int
    training : tuple of (name, value)
        Options that the grid sets.
    """

    data: str
    teacher: str
    student: str
    aug: str
    seed: int
    training: Training = ()

    @property
    def title(self) -> str:
        """A few words for humans."""
        return f"{self.teacher} -> {self.student}, {self.aug}, seed {self.seed}"

    def value(self, key: str) -> Any:
        """What a filter compares: a name, or a training option."""
        return getattr(self, key) if key in _ROW else dict(self.training).get(key)


@dataclass(frozen=True)
class Grid:
    """A study: its ingredients by name, and its runs.

    Attributes
    ----------
    path : str
        The file it is from, or "the grid".
    data, teachers : dict of str to dict
        Options as the file sets them; a teacher's ``family`` is the name that pairs call it by.
    rows : tuple of RunSpec
        In the order of the file, without repetitions.
    training : tuple
        The training options that come first; the runs of others go to folders that name the difference.
    score : dict or None
        Options of scoring, None where nothing is to be scored.
    settings : dict
        How runs are carried out, as far as the file says.
    document : dict
        The file with its overrides.
    """

    path: str
    data: dict[str, dict[str, Any]]
    teachers: dict[str, dict[str, Any]]
    rows: tuple[RunSpec, ...]
    training: Training = ()
    score: dict[str, Any] | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    document: dict[str, Any] = field(default_factory=dict, compare=False)

    def only(self, filters: Sequence[str]) -> Grid:
        """The rows that match ``KEY=PATTERN``: any of the patterns of one key, and every key.

        Raises
        ------
        UsageError
            If a key does not exist, or nothing matches.
        """
        wanted = patterns(filters, (*_ROW, *KEYS["training"]), "student=resnet8 or aug=cutmix*")
        rows = tuple(row for row in self.rows if _matches(row, wanted))
        if not rows:
            raise UsageError(f"no run of {self.path} matches {' '.join(argument('only', text) for text in filters)}")
        return replace(self, rows=rows)

    def folder(self, training: Training) -> str:
        """Where runs with these options go below the output folder: empty for the first options of the grid."""
        if training == self.training:
            return ""
        first, other = dict(self.training), dict(training)
        differ = {**first, **other}
        words = (f"{key}={word(other.get(key, 'default'))}" for key in differ if first.get(key) != other.get(key))
        return re.sub(r"[^A-Za-z0-9.+=,_-]+", "_", ",".join(words))


def read_grid(grid: str | os.PathLike[str] | Mapping[str, Any], overrides: Sequence[str] = ()) -> Grid:
    """Read a grid.

    Parameters
    ----------
    grid : path-like or mapping
        The file, or what YAML would make of it.
    overrides : sequence of str
        ``training.epochs=2``: in place of what the grid says.

    Raises
    ------
    UsageError
        For keys that do not exist (with the nearest that do), values of the wrong kind, names that nothing bears.

    Examples
    --------
    >>> grid = read_grid(
    ...     {
    ...         "data": "digits",
    ...         "teachers": ["resnet20"],
    ...         "pairs": ["resnet20 -> resnet8"],
    ...         "augmentations": ["identity", {"cutmix": {"alpha": [0.5, 2]}}],
    ...     },
    ...     ["seeds=0-1"],
    ... )
    >>> [row.aug for row in grid.rows if row.seed == 1]
    ['identity', 'cutmix:alpha=0.5', 'cutmix:alpha=2']
    """
    if isinstance(grid, Mapping):
        path = "the grid"
        document = overridden(copy.deepcopy(dict(grid)), overrides, path)
    else:
        path = os.fspath(grid)
        document = read_yaml(path, overrides)
    try:
        return _grid(path, document)
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from None


def _grid(path: str, document: dict[str, Any]) -> Grid:
    blocks = block(document, "the grid")
    known_keys(blocks, BLOCKS, "the grid")
    for needed in ("data", "teachers", "pairs", "augmentations"):
        if not blocks.get(needed):
            raise UsageError(f"there is no '{needed}:'")
    data = named_data(blocks["data"])
    teachers = named_teachers(blocks["teachers"], data)
    trainings = _trainings(block(blocks.get("training"), "training"), "training")
    base: dict[str, Any] = {
        "pairs": list(pairs(blocks["pairs"], data, teachers)),
        "aug": augmentations(blocks["augmentations"]),
        "seed": whole_numbers(blocks.get("seeds", 0), "seeds"),
        "training": trainings,
    }
    rows = list(_product(base, "the grid"))
    for name in ("include", "exclude"):
        if len(as_list(blocks.get(name) or [])) > limits.LINES:
            raise UsageError(f"{name} has more than {limits.LINES:,} lines")
    for number, line in enumerate(as_list(blocks.get("exclude") or []), 1):
        unwanted = _exclusion(line, f"exclude, line {number}", rows)
        rows = [row for row in rows if not _matches(row, unwanted)]
    for number, line in enumerate(as_list(blocks.get("include") or []), 1):
        rows += _included(line, f"include, line {number}", base, data, teachers)
        if len(rows) > limits.RUNS:
            raise UsageError(f"the grid asks for more than {limits.RUNS:,} runs, at most so many go into one grid")
    if not rows:
        raise UsageError("no run is left")
    score = None if blocks.get("score") is None else score_options(blocks["score"])
    settings = {name: blocks[name] for name in SETTINGS if blocks.get(name) is not None}
    return Grid(path, data, teachers, tuple(dict.fromkeys(rows)), trainings[0], score, settings, document)


def _trainings(options: Mapping[str, Any], where: str) -> list[Training]:
    return [tuple(sorted(one.items())) for one in crossed(options, KEYS["training"], where)]


def _product(base: Mapping[str, Any], where: str) -> Iterator[RunSpec]:
    count = math.prod(len(base[name]) for name in ("pairs", "training", "aug", "seed"))
    if count > limits.RUNS:
        raise UsageError(f"{where} asks for {limits.number(count)} runs, at most {limits.RUNS:,} go into one grid")
    for (data, teacher, student), training in itertools.product(base["pairs"], base["training"]):
        for aug, seed in itertools.product(base["aug"], base["seed"]):
            yield RunSpec(data, teacher, student, aug, seed, training)


def _included(
    line: Any, where: str, base: Mapping[str, Any], data: Mapping[str, Any], teachers: Mapping[str, dict[str, Any]]
) -> Iterator[RunSpec]:
    """Rows of a line: a grid of its own, in which what is left out is as in the file's."""
    options = block(line, where)
    known_keys(options, (*_ROW, *KEYS["training"]), where)
    own = {key: item for key, item in options.items() if key in KEYS["training"]}
    names = {key: options[key] for key in ("data", "teacher", "student") if key in options}
    if len(names.keys() & {"teacher", "student"}) == 1:
        raise UsageError(f"{where}: name both teacher and student, or neither")
    grid = dict(base)
    if "teacher" in names:
        grid["pairs"] = list(pairs([names], data, teachers))
    elif "data" in names:
        wanted = [typed(name, str, where) for name in as_list(names["data"])]
        for name in wanted:
            known_name(name, data, f"data in {where}")
        grid["pairs"] = [pair for pair in base["pairs"] if pair[0] in wanted]
    if "aug" in options:
        grid["aug"] = augmentations(options["aug"])
    if "seed" in options:
        grid["seed"] = whole_numbers(options["seed"], f"{where}: seed")
    if own:
        changed = [
            _changed(dict(training), dict(one)) for training in base["training"] for one in _trainings(own, where)
        ]
        grid["training"] = list(dict.fromkeys(tuple(sorted(one.items())) for one in changed))
    return _product(grid, where)


def _changed(training: dict[str, Any], by: dict[str, Any]) -> dict[str, Any]:
    """Training options as others change them: epochs stand in place of steps, and steps of epochs."""
    lengths = ("epochs", "steps")
    kept = {name: value for name, value in training.items() if name not in lengths or not by.keys() & set(lengths)}
    return {**kept, **by}


def _exclusion(line: Any, where: str, rows: Sequence[RunSpec]) -> dict[str, list[str]]:
    options = block(line, where)
    known_keys(options, (*_ROW, *KEYS["training"]), where)
    if not options:
        raise UsageError(f"{where} is empty, which would leave out everything")
    wanted = {key: [word(item) for item in as_list(value)] for key, value in options.items()}
    if "seed" in options:
        wanted["seed"] = [str(seed) for seed in whole_numbers(options["seed"], f"{where}: seed")]
    if not any(_matches(row, wanted) for row in rows):
        raise UsageError(f"{where} matches no run: {options}")
    return wanted


def _matches(row: RunSpec, wanted: Mapping[str, Sequence[str]]) -> bool:
    """Whether every key has one of its patterns."""
    return all(any(matches(row.value(key), pattern) for pattern in patterns) for key, patterns in wanted.items())
