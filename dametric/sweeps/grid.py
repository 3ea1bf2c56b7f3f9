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
    eval_every: last                            how runs are carried out: also keep, lockstep, ...
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
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from dametric.base import limits
from dametric.base.arguments import argument
from dametric.errors import UsageError
from dametric.records.recipes import matches, patterns, word
from dametric.sweeps.blocks import (
    DataSpec,
    Pair,
    ScoreSpec,
    TeacherSpec,
    augmentations,
    known_name,
    named_data,
    named_teachers,
    pairs,
    score_options,
)
from dametric.sweeps.reading import (
    BLOCKS,
    TRAINING_KEYS,
    GridBlocks,
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
    data : dict of str to DataSpec
    teachers : dict of str to TeacherSpec
    rows : tuple of RunSpec
        In the order of the file, without repetitions.
    training : tuple
        The training options that come first; the runs of others go to folders that name the difference.
    score : ScoreSpec or None
        None where nothing is to be scored.
    eval_every, keep, deterministic, lockstep, accuracy_images : optional
        How runs are carried out, as far as the file says.
    document : dict
        The file with its overrides.
    """

    path: str
    data: dict[str, DataSpec]
    teachers: dict[str, TeacherSpec]
    rows: tuple[RunSpec, ...]
    training: Training = ()
    score: ScoreSpec | None = None
    eval_every: Any = None
    keep: Any = None
    deterministic: Any = None
    lockstep: Any = None
    accuracy_images: Any = None
    document: dict[str, Any] = field(default_factory=dict, compare=False)

    def only(self, filters: Sequence[str]) -> Grid:
        """The rows that match ``KEY=PATTERN``: any of the patterns of one key, and every key.

        Raises
        ------
        UsageError
            If a key does not exist, or nothing matches.
        """
        wanted = patterns(filters, (*_ROW, *TRAINING_KEYS), "student=resnet8 or aug=cutmix*")
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


@dataclass(frozen=True)
class _Axes:
    """Lists that are crossed."""

    pairs: tuple[Pair, ...]
    augs: tuple[str, ...]
    seeds: tuple[int, ...]
    trainings: tuple[Training, ...]

    def rows(self, where: str) -> Iterator[RunSpec]:
        """Every combination."""
        count = math.prod(len(values) for values in (self.pairs, self.trainings, self.augs, self.seeds))
        if count > limits.RUNS:
            raise UsageError(f"{where} asks for {limits.number(count)} runs, at most {limits.RUNS:,} go into one grid")
        for pair, training in itertools.product(self.pairs, self.trainings):
            for aug, seed in itertools.product(self.augs, self.seeds):
                yield RunSpec(str(pair.data), pair.teacher, pair.student, aug, seed, training)


@dataclass(frozen=True)
class _Line:
    """A line of include or exclude: what it names, and training options."""

    where: str
    data: Any = None
    teacher: Any = None
    student: Any = None
    aug: Any = None
    seed: Any = None
    training: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, line: Any, where: str) -> _Line:
        options = block(line, where)
        known_keys(options, (*_ROW, *TRAINING_KEYS), where)
        training = {key: item for key, item in options.items() if key in TRAINING_KEYS}
        return cls(where, **{key: item for key, item in options.items() if key in _ROW}, training=training)

    @property
    def seeds(self) -> tuple[int, ...]:
        return whole_numbers(self.seed, f"{self.where}: seed")

    @property
    def named(self) -> dict[str, Any]:
        """Everything that it says, by key."""
        return {key: value for key in _ROW if (value := getattr(self, key)) is not None} | self.training


def _grid(path: str, document: dict[str, Any]) -> Grid:
    given = block(document, "the grid")
    known_keys(given, BLOCKS, "the grid")
    for needed in ("data", "teachers", "pairs", "augmentations"):
        if not given.get(needed):
            raise UsageError(f"there is no '{needed}:'")
    blocks = GridBlocks(**given)
    data = named_data(blocks.data)
    teachers = named_teachers(blocks.teachers, data)
    axes = _Axes(
        tuple(pairs(blocks.pairs, data, teachers)),
        augmentations(blocks.augmentations),
        whole_numbers(0 if "seeds" not in given else blocks.seeds, "seeds"),
        tuple(_trainings(block(blocks.training, "training"), "training")),
    )
    rows = list(axes.rows("the grid"))
    for line in _lines(blocks.exclude, "exclude"):
        unwanted = _exclusion(line, rows)
        rows = [row for row in rows if not _matches(row, unwanted)]
    for line in _lines(blocks.include, "include"):
        rows += _included(line, axes, data, teachers).rows(line.where)
        if len(rows) > limits.RUNS:
            raise UsageError(f"the grid asks for more than {limits.RUNS:,} runs, at most so many go into one grid")
    if not rows:
        raise UsageError("no run is left")
    return Grid(
        path,
        data,
        teachers,
        tuple(dict.fromkeys(rows)),
        axes.trainings[0],
        None if blocks.score is None else score_options(blocks.score),
        blocks.eval_every,
        blocks.keep,
        blocks.deterministic,
        blocks.lockstep,
        blocks.accuracy_images,
        document,
    )


def _lines(value: Any, name: str) -> Iterator[_Line]:
    lines = as_list(value or [])
    if len(lines) > limits.LINES:
        raise UsageError(f"{name} has more than {limits.LINES:,} lines")
    return (_Line.of(line, f"{name}, line {number}") for number, line in enumerate(lines, 1))


def _trainings(options: Mapping[str, Any], where: str) -> list[Training]:
    return [tuple(sorted(training.items())) for training in crossed(options, TRAINING_KEYS, where)]


def _included(line: _Line, axes: _Axes, data: Collection[str], teachers: Mapping[str, TeacherSpec]) -> _Axes:
    """The lists of a line: a grid of its own, in which what is left out is as in the file's."""
    where = line.where
    if (line.teacher is None) != (line.student is None):
        raise UsageError(f"{where}: name both teacher and student, or neither")
    if line.teacher is not None:
        names = {"data": line.data, "teacher": line.teacher, "student": line.student}
        chosen = {key: value for key, value in names.items() if value is not None}
        axes = replace(axes, pairs=tuple(pairs([chosen], data, teachers)))
    elif line.data is not None:
        wanted = [typed(name, str, where) for name in as_list(line.data)]
        for name in wanted:
            known_name(name, data, f"data in {where}")
        axes = replace(axes, pairs=tuple(pair for pair in axes.pairs if pair.data in wanted))
    if line.aug is not None:
        axes = replace(axes, augs=augmentations(line.aug))
    if line.seed is not None:
        axes = replace(axes, seeds=line.seeds)
    if line.training:
        own = _trainings(line.training, where)
        changed = [_changed(dict(training), dict(by)) for training in axes.trainings for by in own]
        axes = replace(axes, trainings=tuple(dict.fromkeys(tuple(sorted(each.items())) for each in changed)))
    return axes


def _changed(training: dict[str, Any], by: dict[str, Any]) -> dict[str, Any]:
    """Training options as others change them: epochs stand in place of steps, and steps of epochs."""
    lengths = ("epochs", "steps")
    kept = {name: value for name, value in training.items() if name not in lengths or not by.keys() & set(lengths)}
    return {**kept, **by}


def _exclusion(line: _Line, rows: Sequence[RunSpec]) -> dict[str, list[str]]:
    if not line.named:
        raise UsageError(f"{line.where} is empty, which would leave out everything")
    wanted = {key: [word(item) for item in as_list(value)] for key, value in line.named.items()}
    if line.seed is not None:
        wanted["seed"] = [str(seed) for seed in line.seeds]
    if not any(_matches(row, wanted) for row in rows):
        raise UsageError(f"{line.where} matches no run: {line.named}")
    return wanted


def _matches(row: RunSpec, wanted: Mapping[str, Sequence[str]]) -> bool:
    """Whether every key has one of its patterns."""
    return all(any(matches(row.value(key), pattern) for pattern in patterns) for key, patterns in wanted.items())
