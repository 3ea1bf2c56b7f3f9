"""What a sweep has come to: its ledger, its tables, and what is left."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from dametric.base.files import write_atomic
from dametric.base.spreadsheet import csv_text
from dametric.commands.inputs import say
from dametric.commands.runs import deliver
from dametric.errors import RunFailed
from dametric.jobs.schedule import Report, Task
from dametric.records.runs import Run, find_runs, load_runs
from dametric.records.scores import Scores
from dametric.sweeps.options import Place
from dametric.sweeps.study import Study

WORK_LEFT = 3
"""Exit code where nothing went wrong, and the same command has more to do."""


def deliver_sweep(
    report: Report, made: Study, wanted: Sequence[Task], place: Place, *, csv: str | None, json: bool, quiet: bool
) -> int:
    """Show the ledger, say what is left, and choose the exit code."""
    found = [run for run in find_runs(place.root) if run.record] if any(place.root.rglob("record.json")) else []
    keys = {task.key for task in wanted}
    mine = _of_grid(found, made, keys)
    if csv is not None and mine:
        write_atomic(Path(csv) / "runs.csv", csv_text(load_runs(mine)))
        _write_scores(wanted, Path(csv) / "scores.csv")
    deliver(mine, json)
    scores = sorted(
        str(task.payload.output) for task in wanted if task.kind == "score" and task.payload.output.exists()
    )
    students = any(task.kind == "student" for task in wanted)
    if report.held:
        say(f"{len(report.held)} runs are held by another process", quiet)
    if report.left:
        say(f"{len(report.left)} runs are left; the same command goes on", quiet)
    if report.failed:
        titles = {task.key: task.title for task in wanted}
        raise RunFailed("; ".join(f"{titles[key]}: {why}" for key, why in report.failed.items()))
    if report.held or report.left:
        return WORK_LEFT
    if scores and students:
        say(
            f"to see what the scores are worth: dametric correlate {place.root}/scores/*.json {place.root}",
            quiet,
        )
    return 0


def _of_grid(found: Sequence[Run], made: Study, keys: set[str]) -> list[Run]:
    """The runs of a sweep: all below its folder that the grid names, as far as they have begun."""
    wanted = set()
    for task in made.tasks:
        if task.key in keys and task.kind != "score":
            run = made.runs.get(task.key)
            if run is None and Path(task.payload.teacher).exists():
                run = task.payload.work().run
            if run is not None:
                wanted.add(run.folder.resolve())
    return [run for run in found if run.folder.resolve() in wanted]


def _write_scores(wanted: Sequence[Task], path: Path) -> None:
    """All score files as one table: who was scored and shown, and a row an augmentation."""
    parts = []
    for task in wanted:
        if task.kind == "score" and task.payload.output.exists():
            scores = Scores.read(task.payload.output)
            teacher, student, data = (scores.config.get(name) or {} for name in ("teacher", "student", "data"))
            about = {
                "teacher": teacher.get("arch"),
                "teacher_sha256": teacher.get("sha256"),
                "student": student.get("arch"),
                "data": data.get("name"),
            }
            parts.append(scores.table.assign(**about)[[*about, *scores.table.columns]])
    if parts:
        write_atomic(path, csv_text(pd.concat(parts, ignore_index=True)))
