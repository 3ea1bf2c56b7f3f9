"""Sweeps from Python: a whole study in one call, and its plan."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from dametric.base import limits
from dametric.base.arguments import argument
from dametric.base.files import check_writable, write_atomic
from dametric.base.option_groups import AccuracyOptions
from dametric.base.progress import say
from dametric.errors import UsageError
from dametric.jobs.budget import Budget, seconds_of
from dametric.jobs.executor import Executor, own_executor
from dametric.jobs.inline import InlineExecutor
from dametric.jobs.processes import ProcessExecutor
from dametric.jobs.schedule import Report
from dametric.models.accuracy import ACCURACY_IMAGES
from dametric.models.failures import network_errors
from dametric.sweeps.carry_out import scheduled
from dametric.sweeps.look import look_ahead, say_what_is_trained_again
from dametric.sweeps.plan import Plan, plan_of
from dametric.sweeps.request import GridLike, Request, ray_cluster, read_request, usual_jobs
from dametric.sweeps.results import Swept, swept
from dametric.training.attempt import tidy

if TYPE_CHECKING:
    from dametric.jobs.cluster import Cluster


def sweep(
    grid: GridLike,
    output: str | os.PathLike[str] | None = None,
    *,
    overrides: Sequence[str] = (),
    only: Sequence[str] = (),
    shard: str | None = None,
    max_runs: int | None = None,
    time_budget: str | float | None = None,
    jobs: int | None = None,
    lockstep: int | None = None,
    eval_every: int | str | None = None,
    keep: str | None = None,
    deterministic: bool | None = None,
    whole_runs: bool = False,
    executor: Executor | Callable[[], Executor] | str | None = None,
    ray: str | None = None,
    cpus_per_run: float = 1.0,
    gpus_per_run: float = 0.0,
    device: str | None = None,
    quiet: bool = False,
) -> Swept:
    """Carry out a grid of runs: train teachers, distil students, make score files; what is done is not repeated.

    With ``jobs`` above 1, call it below ``if __name__ == "__main__":`` in a script: processes are spawned, and each
    imports the script.

    Parameters
    ----------
    grid : path-like or mapping
        A study in YAML, see :mod:`dametric.sweeps.grid`, or what is read from one.
    output : path-like, optional
        The folder of everything; ``runs/NAME`` of a grid's file by default.
    overrides : sequence of str
        ``training.epochs=2``: in place of what the grid says, the value in YAML.
    only : sequence of str
        ``KEY=PATTERN``: only such runs, any of the patterns of a key and all keys.
    shard : str, optional
        ``2/8``: the second of eight shares of the runs.
    max_runs : int, optional
        Begin no more students than so many.
    time_budget : str or float, optional
        Save everything and stop before so much time has passed: ``"9m"``, or seconds.
    jobs : int, optional
        Runs side by side, each in a process; 1 for this process. One a core by default, on a GPU one.
    lockstep : int, optional
        Train up to so many students of one teacher and seed together; the grid's, or 1.
    eval_every : int or "last", optional
        Epochs between two looks at the test images; the grid's, or 1.
    keep : {"last", "none"}, optional
        What is kept of a finished run's weights; the grid's, or "last".
    deterministic : bool, optional
        On a GPU, go on to the same bits; the grid's, or not.
    whole_runs : bool
        Begin within ``time_budget`` no run that cannot end in it, by the pace of runs like it.
    executor : Executor, callable or str, optional
        What carries out the runs in place of processes, see :class:`dametric.jobs.executor.Executor`: one, a callable
        that returns one, or where that is (``"./file.py:name"``).
    ray : str, optional
        On a Ray cluster: "auto", "HOST:PORT", "ray://...", or "local" to start one here. All nodes share ``output``.
    cpus_per_run, gpus_per_run : float
        With ``ray``: needs of a run in cores and GPUs.
    device : str, optional
        CUDA where there is one.
    quiet : bool
        No progress on stderr.

    Returns
    -------
    Swept
        The runs, the score files, what failed and what is left.

    Raises
    ------
    UsageError
        For anything in the grid or the arguments that cannot be, before anything is trained; for a full disk.
    Interrupted
        On Ctrl-C, after everything is saved; a second one does not wait for that.

    Examples
    --------
    >>> recipe = {"epochs": 1, "batch_size": 32, "dtype": "float32"}
    >>> grid = {
    ...     "data": {"source": "digits", "train_images": 64, "image_size": 8},
    ...     "teachers": {"resnet8": recipe},
    ...     "pairs": ["resnet8 -> resnet8"],
    ...     "augmentations": ["identity", "cutmix"],
    ...     "training": recipe,
    ... }
    >>> swept = sweep(grid, "runs/example", jobs=1, quiet=True)
    >>> swept.exit_status, swept.table["status"].tolist()
    (0, ['finished', 'finished', 'finished'])
    >>> plan(grid, "runs/example").table["left"].tolist()
    [0, 0, 0]
    """
    for name, value, most in (
        ("max_runs", max_runs, limits.RUNS),
        ("jobs", jobs, limits.PROCESSES),
        ("lockstep", lockstep, limits.PROCESSES),
    ):
        _check_count(name, value, most)
    budget = _budget(time_budget)
    if whole_runs and budget is None:
        raise UsageError(f"{argument('whole_runs')} is about what can end in a time: give {argument('time_budget')}")
    request = read_request(grid, output, overrides, only, shard, eval_every, keep, deterministic, device)
    images = request.grid.accuracy_images
    looked_at = AccuracyOptions(ACCURACY_IMAGES if images is None else images)
    together = _lockstep(request, lockstep, ray)
    own = _own(executor, ray, jobs)
    folder = request.environment.root
    check_writable(folder / "sweep.yaml")
    with network_errors(), ray_cluster(ray, device, cpus_per_run, gpus_per_run) as cluster:
        placed = request.on(cluster, lambda: budget is not None and budget.over, quiet)
        if placed is None:
            say("the time budget is over, and no node had a place", quiet)
            return Swept(folder, left=tuple(row.title for row in request.rows))
        study, tasks = placed.study(quiet)
        left = [task for task in tasks if task.key not in study.finished]
        say_what_is_trained_again(left, study.again, quiet)
        for work in study.done:
            tidy(work)
        report = Report()
        if left:
            look_ahead(left, quiet, looked_at.most)
            _keep(folder / "sweep.yaml", yaml.safe_dump(request.grid.document, sort_keys=False))
            with scheduled(
                left,
                own or _executor(cluster, folder, usual_jobs(jobs, device, len(left))),
                study,
                placed.environment,
                lockstep=together,
                max_runs=max_runs,
                budget=budget,
                whole_runs=whole_runs,
                quiet=quiet,
            ) as schedule:
                report = schedule.run()
            if budget is not None and report.left and (budget.over or whole_runs):
                reason = "is over; everything is saved" if budget.over else "is too short for a run that is left"
                say(f"the time budget {reason}, the same command goes on", quiet)
    return swept(report, study, tasks, folder)


def plan(
    grid: GridLike,
    output: str | os.PathLike[str] | None = None,
    *,
    overrides: Sequence[str] = (),
    only: Sequence[str] = (),
    shard: str | None = None,
    jobs: int | None = None,
    eval_every: int | str | None = None,
    keep: str | None = None,
    deterministic: bool | None = None,
    ray: str | None = None,
    cpus_per_run: float = 1.0,
    gpus_per_run: float = 0.0,
    device: str | None = None,
    quiet: bool = False,
) -> Plan:
    """What a sweep with these arguments would do: what is finished, what is left, how long that takes by the records.

    Everything is checked as :func:`sweep` does, and nothing is written.

    Parameters
    ----------
    grid, output, overrides, only, shard, jobs, eval_every, keep, deterministic
        As :func:`sweep` takes them.
    ray, cpus_per_run, gpus_per_run, device, quiet
        As :func:`sweep` takes them.

    Returns
    -------
    Plan
        With ``table``, a row for the teachers, each pair, the scores, and all.

    Raises
    ------
    UsageError
        For anything in the grid or the arguments that cannot be.

    Examples
    --------
    >>> grid = {
    ...     "data": {"source": "digits", "train_images": 64},
    ...     "teachers": ["resnet8"],
    ...     "pairs": ["resnet8 -> resnet8"],
    ...     "augmentations": ["identity", "cutmix"],
    ...     "seeds": "0-2",
    ... }
    >>> plan(grid, "runs/another").table[["runs", "finished", "left"]]
                                runs  finished  left
    teachers                       1         0     1
    digits: resnet8 -> resnet8     6         0     6
    all                            7         0     7
    """
    _check_count("jobs", jobs, limits.PROCESSES)
    request = read_request(grid, output, overrides, only, shard, eval_every, keep, deterministic, device)
    _lockstep(request, None, ray)
    check_writable(request.environment.root / "sweep.yaml")
    with network_errors(), ray_cluster(ray, device, cpus_per_run, gpus_per_run) as cluster:
        placed = request.on(cluster, lambda: False, quiet)
        assert placed is not None  # nothing says stop
        study, tasks = placed.study(quiet)
        left = [task for task in tasks if task.key not in study.finished]
        say_what_is_trained_again(left, study.again, quiet)
        count = usual_jobs(jobs, device, len(left)) if cluster is None else cluster.places
        return plan_of(study, tasks, placed.environment, count)


def _check_count(name: str, value: int | None, most: int) -> None:
    if value is None:
        return
    limits.whole(argument(name), value, most)
    if value < 1:
        raise UsageError(f"{argument(name)} is a number from 1 up, not {value}")


def _budget(time_budget: str | float | None) -> Budget | None:
    if time_budget is None:
        return None
    seconds = seconds_of(time_budget) if isinstance(time_budget, str) else float(time_budget)
    if not seconds > 0:
        raise UsageError(f"{argument('time_budget')} is a time above 0, not {time_budget}")
    return Budget(seconds, time.monotonic())


def _lockstep(request: Request, lockstep: int | None, ray: str | None) -> int:
    """How many students go together: as asked, or as the grid says."""
    if ray is not None:
        if lockstep is not None:
            raise UsageError(
                f"{argument('lockstep')} is for runs on this machine: on a Ray cluster each run is a task of its own"
            )
        return 1
    count = lockstep if lockstep is not None else 1 if request.grid.lockstep is None else request.grid.lockstep
    if type(count) is not int or count < 1:
        raise UsageError(f"{request.grid.path}: lockstep is a number of students from 1 up, not {count}")
    return count


def _own(
    executor: Executor | Callable[[], Executor] | str | None, ray: str | None, jobs: int | None
) -> Executor | None:
    if executor is None:
        return None
    if ray is not None or jobs is not None:
        other = argument("jobs") if ray is None else argument("ray")
        raise UsageError(f"{argument('executor')} says where runs are carried out, so {other} has no meaning beside it")
    return own_executor(executor)


def _executor(cluster: Cluster | None, folder: Path, jobs: int) -> Executor:
    if cluster is not None:
        from dametric.jobs.ray_executor import RayExecutor

        return RayExecutor(cluster, folder)
    return InlineExecutor() if jobs == 1 else ProcessExecutor(jobs)


def _keep(path: Path, text: str) -> None:
    """Write what was asked, once: a sweep that is begun again and again leaves nothing half-written of it."""
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        write_atomic(path, text)
