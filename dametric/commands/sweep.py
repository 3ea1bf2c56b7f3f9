"""`dametric sweep`."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from dametric.base import limits
from dametric.base.files import check_writable, write_atomic
from dametric.base.stopping import until_interrupted
from dametric.commands import sweep_tasks as tasks
from dametric.commands.inputs import chosen_device, network_errors, say
from dametric.commands.sweep_look import look_ahead, say_what_is_trained_again
from dametric.commands.sweep_options import Place, read_images
from dametric.commands.sweep_perform import perform
from dametric.commands.sweep_plan import print_plan, time_left
from dametric.commands.sweep_results import WORK_LEFT, deliver_sweep
from dametric.commands.sweep_study import Study, chosen, study
from dametric.commands.training import eval_every, keep_weights
from dametric.errors import Interrupted, UsageError
from dametric.jobs.budget import Budget, seconds_of
from dametric.jobs.inline import Inline
from dametric.jobs.processes import Workers
from dametric.jobs.schedule import Executor, Report, Schedule, Task
from dametric.jobs.view import View
from dametric.sweep.grid import Grid, read_grid
from dametric.training.attempt import tidy

if TYPE_CHECKING:
    from dametric.jobs.cluster import Cluster

_RECORDS_LAST = 10.0  # seconds for which what records say of the pace is taken for true
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
    lockstep: int | None = None
    eval_every: str | None = None
    keep: str | None = None
    whole_runs: bool = False
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
    if options.whole_runs and budget is None:
        raise UsageError("--whole-runs asks what can end within a --time-budget: give one")
    part = None if options.shard is None else shard_of(options.shard)
    grid = read_grid(options.grid, options.overrides)
    rows = grid.only(options.only).rows if options.only else grid.rows
    place = Place(
        Path(options.output or Path("runs") / Path(options.grid).stem), options.device, **_looks(options, grid)
    )
    lockstep = _lockstep(options, grid)
    check_writable(place.root / "sweep.yaml")
    if options.csv is not None:
        check_writable(Path(options.csv) / "runs.csv")
    tasks.forget()
    with network_errors(), _cluster(options) as cluster:
        found = place if cluster is None else _place(cluster, place, budget, options.quiet)
        if found is None:
            say("the time budget is over, and no node had a place", options.quiet)
            return WORK_LEFT
        read_images(grid, options.quiet)
        made = study(grid, found, options.quiet)
        wanted = chosen(made, rows, part)
        left = [task for task in wanted if task.key not in made.finished]
        say_what_is_trained_again(left, made.again, options.quiet)
        jobs = _jobs(options, len(left)) if cluster is None else cluster.places
        if options.dry_run:
            print_plan(made, wanted, found, jobs)
            return 0
        for work in made.done:
            tidy(work)
        if left:
            look_ahead(left, options.quiet)
            _keep(place.root / "sweep.yaml", yaml.safe_dump(grid.document, sort_keys=False))
        fits = _fits(made, place, budget) if options.whole_runs and budget is not None else lambda tasks: True
        report = _carry_out(left, options, jobs, budget, place, cluster, lockstep, fits) if left else Report()
    return deliver_sweep(report, made, wanted, place, csv=options.csv, json=options.json, quiet=options.quiet)


@contextmanager
def _cluster(options: SweepOptions) -> Iterator[Cluster | None]:
    """The Ray cluster that was asked for, if one was."""
    if options.ray is None:
        yield None
        return
    from dametric.jobs.cluster import Cluster

    if options.device not in (None, "cpu", "cuda"):
        raise UsageError(f"--ray hands out the GPUs: --device cpu or cuda, not {options.device}")
    with Cluster(options.ray, cpus=options.cpus_per_run, gpus=options.gpus_per_run) as cluster:
        yield cluster


def _place(cluster: Cluster, place: Place, budget: Budget | None, quiet: bool) -> Place | None:
    """What runs compute on at the nodes, which need not be what this machine has; None if no node answers in time.

    The dtype of a run is chosen by its device and is part of what names it: it is chosen once, for all nodes.
    """
    found = cluster.computes(
        place.device,
        stop=lambda: budget is not None and budget.over,
        waiting=lambda: say("waiting for a node of the cluster to have a free place", quiet),
    )
    if found is None:
        return None
    if place.device == "cuda" and found.device == "cpu":
        raise UsageError("torch finds no CUDA device at the nodes for a run: see --gpus-per-run, or use --device cpu")
    if place.device == "cpu":
        return replace(place, dtype=found.dtype)
    if cluster.gpus and found.device == "cpu":
        said = f"runs get {cluster.gpus:g} GPUs each, but torch finds no CUDA device there: they compute on the CPU"
        say(said, quiet)
    elif cluster.has_gpus and not cluster.gpus:
        say("runs get none of the cluster's GPUs: --gpus-per-run 0.25 would put four on each", quiet)
    elif found.name:
        say(f"runs compute on {found.name}, {cluster.places} at a time", quiet)
    return replace(place, device=None, dtype=found.dtype)  # each node chooses its device


def _looks(options: SweepOptions, grid: Grid) -> dict[str, Any]:
    """How often test images are looked at, and what is kept: as the flags say, or the grid."""
    every = options.eval_every if options.eval_every is not None else grid.settings.get("eval_every", 1)
    keep = options.keep if options.keep is not None else grid.settings.get("keep", "last")
    return {"eval_every": eval_every(str(every)), "keep": keep_weights(str(keep))}


def _lockstep(options: SweepOptions, grid: Grid) -> int:
    """How many students go together: as the flag says, or the grid."""
    if options.ray is not None:
        if options.lockstep is not None:
            raise UsageError("--lockstep is for runs on this machine: on a Ray cluster each run is a task of its own")
        return 1
    count = options.lockstep if options.lockstep is not None else grid.settings.get("lockstep", 1)
    if type(count) is not int or count < 1:
        raise UsageError(f"{grid.path}: lockstep is a number of students from 1 up, not {count}")
    return count


def _fits(made: Study, place: Place, budget: Budget) -> Callable[[Sequence[Task]], bool]:
    """Whether tasks can end within the budget, by the steps recorded so far; what nothing is known of may begin."""
    looked, estimate = time.monotonic(), time_left(made, place)

    def fits(tasks: Sequence[Task]) -> bool:
        nonlocal looked, estimate
        if time.monotonic() - looked > _RECORDS_LAST:
            looked, estimate = time.monotonic(), time_left(made, place)
        known = [seconds for task in tasks if math.isfinite(seconds := estimate(task))]
        return sum(known) <= budget.left

    return fits


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
    which, count = (limits.read_whole(part, limits.RUNS) for part in (first, second))
    if not slash or which is None or count is None or which > count:
        raise UsageError(f"--shard is a share of how many, from 1/4 to 4/4 for example, not '{text}'")
    return which, count


def _jobs(options: SweepOptions, count: int) -> int:
    """Processes on a CPU are best with a core each; a GPU is shared by those who ask for it."""
    if options.jobs is not None:
        return options.jobs
    if chosen_device(options.device).type == "cuda":
        return 1
    return max(1, min(os.cpu_count() or 1, _MANY, count))


def _carry_out(
    left: list[Task],
    options: SweepOptions,
    jobs: int,
    budget: Budget | None,
    place: Place,
    cluster: Cluster | None,
    lockstep: int,
    fits: Callable[[Sequence[Task]], bool],
) -> Report:
    schedules: list[Schedule] = []
    with (
        until_interrupted() as interrupted,
        View(_to_be_begun(left, options.max_runs), options.quiet) as view,
    ):

        def stop() -> bool:
            return interrupted() or (budget is not None and budget.over)

        with _executor(cluster, jobs, place, stop, lambda event: schedules[0].hear(event)) as executor:
            limits: dict[str, Any] = {"max_runs": options.max_runs, "budget": budget, "fits": fits}
            schedules.append(Schedule(left, executor, view, interrupted, lockstep=lockstep, **limits))
            report = schedules[0].run()
        if interrupted():
            raise Interrupted("stopped; everything is saved, the same command goes on")
    if budget is not None and report.left and (budget.over or options.whole_runs):
        said = "is over; everything is saved" if budget.over else "is too short for a run that is left"
        say(f"the time budget {said}, the same command goes on", options.quiet)
    return report


def _to_be_begun(left: list[Task], max_runs: int | None) -> list[Task]:
    """What the view counts: no more students than may be begun."""
    students = [task.key for task in left if task.kind == "student"]
    beyond = set() if max_runs is None else set(students[max_runs:])
    return [task for task in left if task.key not in beyond]


@contextmanager
def _executor(
    cluster: Cluster | None, jobs: int, place: Place, stop: Callable[[], bool], emit: Callable[[Any], None]
) -> Iterator[Executor]:
    if cluster is not None:
        from dametric.jobs.rays import Rays

        with Rays(cluster, perform, place.root) as rays:
            yield rays
    elif jobs == 1:
        yield Inline(perform, stop, emit)
    else:
        with Workers(perform, jobs, get_context("spawn")) as workers:
            yield workers
