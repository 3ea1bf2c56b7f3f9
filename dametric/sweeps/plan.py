"""What a sweep would do, and how long that takes by the records so far."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from dametric.jobs.schedule import Kind, Task
from dametric.records.runs import load_runs
from dametric.records.tables import records_of
from dametric.sweeps.options import RunEnvironment
from dametric.sweeps.study import Study
from dametric.sweeps.tasks import StudentTask, images


@dataclass(frozen=True)
class Item:
    """A task as a plan sees it.

    Attributes
    ----------
    kind : {"teacher", "student", "score"}
    group : str
        The line of the table that it belongs to.
    like : tuple of str
        What its speed depends on, from the least to the most: for a student data, student, teacher, augmentation.
    epochs, done : float
        In all, and those that are trained already.
    finished : bool
    """

    kind: Kind
    group: str
    like: tuple[str, ...]
    epochs: float
    done: float = 0.0
    finished: bool = False


@dataclass(frozen=True)
class Line:
    """A line of the plan: numbers of tasks, and seconds left for one at a time.

    Attributes
    ----------
    name : str
    count, finished, begun : int
        Tasks; of these finished, and of the others begun.
    unknown, known : int
        Teachers and students that are left, and that no record, or some record, is like.
    seconds : float
        Of the known ones.
    """

    name: str
    count: int
    finished: int
    begun: int
    unknown: int
    known: int
    seconds: float

    def seconds_left(self, jobs: int) -> float:
        """Seconds with so many at a time; NaN where teachers or students are left, and nothing is known of them."""
        if self.known == 0 and self.count > self.finished:
            return math.nan
        return self.seconds / max(1, min(jobs, self.known + self.unknown))


@dataclass(frozen=True)
class Plan:
    """What a sweep would do.

    Attributes
    ----------
    lines : tuple of Line
        Teachers, each pair, scores, and one for all.
    jobs : int
        How many runs at a time.
    folder : Path
    recorded : bool
        Whether there are records to tell times by.
    """

    lines: tuple[Line, ...]
    jobs: int
    folder: Path
    recorded: bool

    @property
    def table(self) -> pd.DataFrame:
        """A row a line: ``runs, finished, begun, left``, and ``seconds``, the time left with ``jobs`` at a time.

        The time is that of teachers and students alone. It is NaN where no record is like any of them, and a lower
        bound where ``unknown`` of them are like no record.
        """
        return pd.DataFrame(
            {
                "runs": line.count,
                "finished": line.finished,
                "begun": line.begun,
                "left": line.count - line.finished,
                "unknown": line.unknown,
                "seconds": line.seconds_left(self.jobs),
            }
            for line in self.lines
        ).set_axis([line.name for line in self.lines])


@dataclass(frozen=True)
class RecordedRun:
    """What of a run's row in the ledger says how fast runs like it are."""

    kind: str
    data: str
    student: str
    teacher: str | None
    aug: str
    seconds: float


class Rates:
    """Seconds an epoch took in runs so far.

    Parameters
    ----------
    records : iterable of (kind, like, epochs, seconds)
        Epochs that are done, and how long they took.
    """

    def __init__(self, records: Iterable[tuple[str, tuple[str, ...], float, float]]) -> None:
        self._sums: dict[tuple[str, tuple[str, ...]], tuple[float, float]] = {}
        for kind, like, epochs, seconds in records:
            if not epochs or not math.isfinite(seconds):
                continue
            for length in range(2, len(like) + 1):
                key = (kind, like[:length])
                before = self._sums.get(key, (0.0, 0.0))
                self._sums[key] = (before[0] + epochs, before[1] + seconds)

    @classmethod
    def of(cls, runs: pd.DataFrame) -> Rates:
        """From :func:`dametric.records.runs.load_runs`."""
        records: list[tuple[str, tuple[str, ...], float, float]] = []
        for row, done in zip(records_of(RecordedRun, runs), epochs_done(runs), strict=True):
            if row.kind == "distill":
                records.append(("student", (row.data, row.student, str(row.teacher), row.aug), done, row.seconds))
            else:
                records.append(("teacher", (row.data, row.student), done, row.seconds))
        return cls(records)

    def seconds(self, item: Item) -> float:
        """Seconds that are left of a task, by the runs most like it; NaN where none is, as for all scores."""
        for length in range(len(item.like), 1, -1):
            known = self._sums.get((item.kind, item.like[:length]))
            if known is not None:
                return (item.epochs - item.done) * known[1] / known[0]
        return math.nan


def epochs_done(runs: pd.DataFrame) -> list[float]:
    """Epochs done of every run of a ledger's table, of which the last may be a part."""
    images, size, steps = (pd.to_numeric(runs[name]) for name in ("train_images", "batch_size", "step"))
    return [float(value) for value in (steps / (images // size)).fillna(runs.epoch)]


def lines_of(items: Sequence[Item], rates: Rates) -> list[Line]:
    """The lines of a plan, and one for all.

    Parameters
    ----------
    items : sequence of Item
    rates : Rates
    """
    groups: dict[str, list[Item]] = {}
    for item in items:
        groups.setdefault(item.group, []).append(item)
    return [*(_line(name, part, rates) for name, part in groups.items()), _line("all", list(items), rates)]


def _line(name: str, items: Sequence[Item], rates: Rates) -> Line:
    left = [item for item in items if not item.finished]
    seconds = [rates.seconds(item) for item in left if item.kind != "score"]
    known = [value for value in seconds if math.isfinite(value)]
    begun = sum(item.done > 0 for item in left)
    return Line(name, len(items), len(items) - len(left), begun, len(seconds) - len(known), len(known), sum(known))


def duration(seconds: float) -> str:
    """Seconds for humans: "40 s", "12 min", "3 h 05 min", "2 d 4 h"."""
    whole = round(seconds)
    if whole < 100:
        return f"{whole} s"
    minutes = round(seconds / 60)
    if minutes < 100:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60:02d} min"
    hours = round(seconds / 3600)
    return f"{hours // 24} d {hours % 24} h"


def plan_of(study: Study, tasks: Sequence[Task], environment: RunEnvironment, jobs: int) -> Plan:
    """The plan of some tasks of a study."""
    records, rates, done = _recorded(environment)
    lines = lines_of([_item(task, study, done) for task in tasks], rates)
    return Plan(tuple(lines), jobs, environment.root, records is not None)


def time_left(study: Study, environment: RunEnvironment) -> Callable[[Task], float]:
    """Seconds that a task will take, by the records so far; NaN where none is like it, and for scores."""
    _, rates, done = _recorded(environment)
    return lambda task: rates.seconds(_item(task, study, done))


def _recorded(environment: RunEnvironment) -> tuple[pd.DataFrame | None, Rates, dict[str, float]]:
    """The ledger as it is, how fast it went, and epochs done by folder."""
    if not any(environment.root.rglob("record.json")):
        return None, Rates(()), {}
    records = load_runs(environment.root)
    return records, Rates.of(records), dict(zip(records.folder, epochs_done(records), strict=True))


def _item(task: Task, study: Study, epochs: dict[str, float]) -> Item:
    run = study.runs.get(task.key)
    begun = run is not None and run.checkpoint.exists()  # without it training starts over
    done = float(epochs.get(str(run.folder), 0)) if begun and run is not None else 0.0
    finished = task.key in study.finished
    if task.kind == "score":
        return Item("score", "scores", (), 1.0, 0.0, finished)
    if task.kind == "teacher":
        payload = task.payload
        name = images(payload.common.images)[0].name
        return Item("teacher", "teachers", (name, payload.arch), task.units, done, finished)
    spec = study.specs[task.key]
    payload = task.payload
    name = images(payload.common.images)[0].name
    arch = _arch(study, task, payload)
    group = f"{spec.data}: {spec.teacher} -> {spec.student}"
    return Item("student", group, (name, spec.student, arch, spec.aug), task.units, done, finished)


def _arch(study: Study, task: Task, payload: StudentTask) -> str:
    for other in study.tasks:
        if other.key in task.needs:
            return str(other.payload.arch)
    context = payload.context()
    return context.teacher.arch if context.teacher is not None else ""
