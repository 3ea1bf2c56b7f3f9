"""`dametric sweep`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from dametric.commands import sweep_tasks as tasks
from dametric.commands.inputs import chosen_device, network_errors, say, warn_near_chance
from dametric.commands.sweep_options import Place
from dametric.commands.sweep_plan import print_plan
from dametric.commands.sweep_study import Study, chosen, study
from dametric.commands.training import deliver
from dametric.distill.interrupt import until_interrupted
from dametric.distill.workers import Workers
from dametric.errors import Interrupted, RunFailed, UsageError
from dametric.files import check_writable, write_atomic
from dametric.ledger import Run, find_runs, load_runs
from dametric.results import Scores
from dametric.sweep.budget import Budget, seconds_of
from dametric.sweep.grid import read_grid
from dametric.sweep.local import Inline
from dametric.sweep.schedule import Executor, Report, Schedule, Task
from dametric.sweep.view import View

WORK_LEFT = 3
"""Exit code where nothing went wrong, and the same command has more to do."""
_MANY = 8  # processes by default, at most


@dataclass(frozen=True)
class SweepOptions:
    """Everything `dametric sweep` was asked."""

    grid: str
    output: str | None = None
    overrides: Sequence[str] = ()
    only: Sequence[str] = ()
    shard: str | None = None
    max_runs: int | None = None
    time_budget: str | None = None
    jobs: int | None = None
    ray: str | None = None
    cpus_per_run: float = 1.0
    gpus_per_run: float = 0.0
    device: str | None = None
    csv: str | None = None
    dry_run: bool = False
    json: bool = False
    quiet: bool = False


def run(options: SweepOptions, start: float) -> int:
    """Plan, and carry out; the exit code: 0 all done, 1 a run failed, 3 work is left.

    Parameters
    ----------
    options : SweepOptions
    start : float
        When the command began, on the monotonic clock.
    """
    budget = None if options.time_budget is None else Budget(seconds_of(options.time_budget), start)
    part = None if options.shard is None else shard_of(options.shard)
    grid = read_grid(options.grid, options.overrides)
    rows = grid.only(options.only).rows if options.only else grid.rows
    place = Place(Path(options.output or Path("runs") / Path(options.grid).stem), options.device)
    check_writable(place.root / "sweep.yaml")
    if options.csv is not None:
        check_writable(Path(options.csv) / "runs.csv")
    tasks.forget()
    with network_errors():
        made = study(grid, place)
        wanted = chosen(made, rows, part)
        left = [task for task in wanted if task.key not in made.finished]
        jobs = _jobs(options, len(left))
        if options.dry_run:
            print_plan(made, wanted, place, jobs)
            return 0
        if left:
            _look_at_teachers(left, options.quiet)
            _keep(place.root / "sweep.yaml", yaml.safe_dump(grid.document, sort_keys=False))
        report = _carry_out(left, options, jobs, budget, place) if left else Report()
    return _deliver(report, made, wanted, place, options)


def _keep(path: Path, text: str) -> None:
    """Write what was asked, once: a sweep that is begun again and again leaves nothing half-written of it."""
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        write_atomic(path, text)


def shard_of(text: str) -> tuple[int, int]:
    """``2/8``: the second of eight shares.

    Raises
    ------
    UsageError
        For anything else.
    """
    first, slash, second = text.partition("/")
    if not slash or not first.isdecimal() or not second.isdecimal() or not 1 <= int(first) <= int(second):
        raise UsageError(f"--shard is a share of how many, from 1/4 to 4/4 for example, not '{text}'")
    return int(first), int(second)


def _jobs(options: SweepOptions, count: int) -> int:
    """Processes on a CPU are best with a core each; a GPU is shared by those who ask for it."""
    if options.jobs is not None:
        return options.jobs
    if options.ray is not None or chosen_device(options.device).type == "cuda":
        return 1
    return max(1, min(os.cpu_count() or 1, _MANY, count))


def _look_at_teachers(left: Sequence[Task], quiet: bool) -> None:
    """Say how good the teachers are that were given, and refuse those that are broken, before the first run."""
    seen = set()
    for task in left:
        if task.kind != "student" or task.needs:
            continue
        payload: tasks.StudentTask = task.payload
        about = (payload.common.data, payload.teacher)
        if about in seen or not Path(payload.teacher).exists():
            continue
        seen.add(about)
        where = tasks.setting(
            payload.common.data, payload.common.device, payload.teacher, payload.arch, payload.mean, payload.std
        )
        top1 = where.clean["top1"]
        warn_near_chance(top1, where.train.num_classes, len(where.test), "students")
        say(f"teacher {payload.teacher}: {100 * top1:.2f} % top-1 on {len(where.test)} test images", quiet)


def _carry_out(left: list[Task], options: SweepOptions, jobs: int, budget: Budget | None, place: Place) -> Report:
    schedules: list[Schedule] = []
    with (
        until_interrupted() as interrupted,
        View(left, options.quiet) as view,
    ):

        def stop() -> bool:
            return interrupted() or (budget is not None and budget.over)

        with _executor(options, jobs, place, stop, lambda event: schedules[0].hear(event)) as executor:
            schedules.append(Schedule(left, executor, view, interrupted, max_runs=options.max_runs, budget=budget))
            report = schedules[0].run()
        if interrupted():
            raise Interrupted("stopped; everything is saved, the same command goes on")
    if budget is not None and budget.over and report.left:
        say("the time budget is over; everything is saved, the same command goes on", options.quiet)
    return report


@contextmanager
def _executor(
    options: SweepOptions, jobs: int, place: Place, stop: Callable[[], bool], emit: Callable[[Any], None]
) -> Iterator[Executor]:
    if options.ray is not None:
        from dametric.sweep.rays import Rays

        with Rays(tasks.perform, options.ray, place.root, cpus=options.cpus_per_run, gpus=options.gpus_per_run) as rays:
            yield rays
    elif jobs == 1:
        yield Inline(tasks.perform, stop, emit)
    else:
        with Workers(tasks.perform, jobs, get_context("spawn")) as workers:
            yield workers


def _deliver(report: Report, made: Study, wanted: Sequence[Task], place: Place, options: SweepOptions) -> int:
    """Show the ledger, say what is left, and choose the exit code."""
    found = [run for run in find_runs(place.root) if run.record] if any(place.root.rglob("record.json")) else []
    keys = {task.key for task in wanted}
    mine = _of_grid(found, made, keys)
    if options.csv is not None and mine:
        write_atomic(Path(options.csv) / "runs.csv", load_runs(mine).to_csv(index=False))
        _write_scores(wanted, Path(options.csv) / "scores.csv")
    deliver(mine, options.json)
    scores = sorted(
        str(task.payload.output) for task in wanted if task.kind == "score" and task.payload.output.exists()
    )
    students = any(task.kind == "student" for task in wanted)
    if report.held:
        say(f"{len(report.held)} runs are held by another process", options.quiet)
    if report.left:
        say(f"{len(report.left)} runs are left; the same command goes on", options.quiet)
    if report.failed:
        titles = {task.key: task.title for task in wanted}
        raise RunFailed("; ".join(f"{titles[key]}: {why}" for key, why in report.failed.items()))
    if report.held or report.left:
        return WORK_LEFT
    if scores and students:
        say(
            f"to see what the scores are worth: dametric correlate {place.root}/scores/*.json {place.root}",
            options.quiet,
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
            student = scores.config.get("student") or {}
            about = {
                "teacher": scores.config["teacher"]["arch"],
                "teacher_sha256": scores.config["teacher"]["sha256"],
                "student": student.get("arch"),
                "data": scores.config["data"]["name"],
            }
            parts.append(scores.table.assign(**about)[[*about, *scores.table.columns]])
    if parts:
        write_atomic(path, pd.concat(parts, ignore_index=True).to_csv(index=False))
