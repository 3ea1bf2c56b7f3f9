"""`dametric sweep --dry-run`."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pandas as pd

from dametric.cli.console import wide_console
from dametric.commands import sweep_tasks as tasks
from dametric.commands.sweep_options import Place
from dametric.commands.sweep_study import Study
from dametric.jobs.schedule import Task
from dametric.records.runs import load_runs
from dametric.sweep.plan import Item, Rates, epochs_done, plan, table


def print_plan(made: Study, wanted: Sequence[Task], place: Place, jobs: int) -> None:
    """The plan on stdout: what is finished, what is left, and how long that takes by the records so far."""
    records, rates, done = _recorded(place)
    items = [_item(task, made, done) for task in wanted]
    lines = plan(items, rates)
    console = wide_console()
    console.print(table(lines, jobs))
    beside = f"{jobs} at a time" if jobs > 1 else "one after the other"
    if records is None:
        console.print("times show once there are epochs to go by: --max-runs 1 makes some and keeps them")
    else:
        console.print(f"times: {beside}, by the epochs recorded in {place.root}; scores are not counted")


def time_left(made: Study, place: Place) -> Callable[[Task], float]:
    """Seconds that a task will take, by the records so far; NaN where none is like it, and for scores."""
    _, rates, done = _recorded(place)
    return lambda task: rates.seconds(_item(task, made, done))


def _recorded(place: Place) -> tuple[pd.DataFrame | None, Rates, dict[str, float]]:
    """The ledger as it is, how fast it went, and epochs done by folder."""
    if not any(place.root.rglob("record.json")):
        return None, Rates(()), {}
    records = load_runs(place.root)
    return records, Rates.of(records), dict(zip(records["folder"], epochs_done(records), strict=True))


def _item(task: Task, made: Study, epochs: dict[str, float]) -> Item:
    run = made.runs.get(task.key)
    begun = run is not None and run.checkpoint.exists()  # without it training starts over
    done = float(epochs.get(str(run.folder), 0)) if begun and run is not None else 0.0
    over = task.key in made.finished
    if task.kind == "score":
        return Item("score", "scores", (), 1.0, 0.0, over)
    if task.kind == "teacher":
        payload = task.payload
        name = tasks.images(payload.common.data)[0].name
        return Item("teacher", "teachers", (name, payload.arch), task.units, done, over)
    spec = made.specs[task.key]
    payload = task.payload
    name = tasks.images(payload.common.data)[0].name
    arch = _arch(made, task, payload)
    group = f"{spec.data}: {spec.teacher} -> {spec.student}"
    return Item("student", group, (name, spec.student, arch, spec.aug), task.units, done, over)


def _arch(made: Study, task: Task, payload: tasks.StudentTask) -> str:
    for other in made.tasks:
        if other.key in task.needs:
            return str(other.payload.arch)
    setting = payload.setting()
    return setting.teacher.arch if setting.teacher is not None else ""
