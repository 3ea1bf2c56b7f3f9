"""What a sweep would do, and how long that takes by the records so far."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import pandas as pd
from rich.table import Table

from dametric.jobs.schedule import Kind


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
        found = []
        for row, done in zip(runs.to_dict("records"), epochs_done(runs), strict=True):
            kind = "student" if row["kind"] == "distill" else "teacher"
            like = (row["data"], row["student"])
            like += (row["teacher"], row["aug"]) if kind == "student" else ()
            found.append((kind, like, done, row["seconds"]))
        return cls(found)

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
    return [float(value) for value in (steps / (images // size)).fillna(runs["epoch"])]


def plan(items: Sequence[Item], rates: Rates) -> list[Line]:
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


def table(lines: Sequence[Line], jobs: int) -> Table:
    """The plan as a table; times are for ``jobs`` at a time, "?" where no run so far is like it, "-" for scores."""
    made = Table(box=None, pad_edge=False, header_style="bold")
    made.add_column("", no_wrap=True)
    for name in ("runs", "finished", "begun", "left", "time left"):
        made.add_column(name, justify="right", no_wrap=True)
    for line in lines:
        numbers = (line.count, line.finished, line.begun, line.count - line.finished)
        made.add_row(line.name, *map(str, numbers), _time_left(line, jobs))
    return made


def _time_left(line: Line, jobs: int) -> str:
    if line.count == line.finished:
        return "0 s"
    if line.known == 0:
        return "?" if line.unknown else "-"
    more = "more than " if line.unknown else ""
    return more + duration(line.seconds / max(1, min(jobs, line.known + line.unknown)))


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
