"""Carrying out the tasks of a sweep by whatever executor is asked for, until they are done or time is over."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from dametric.base.interrupts import until_interrupted
from dametric.errors import Interrupted
from dametric.jobs.budget import Budget
from dametric.jobs.executor import Executor
from dametric.jobs.schedule import Schedule, Task
from dametric.jobs.view import View
from dametric.sweeps.options import RunEnvironment
from dametric.sweeps.perform import perform
from dametric.sweeps.plan import time_left
from dametric.sweeps.study import Study

_RECORDS_LAST = 10.0  # seconds for which what records say of the pace is taken for true


@contextmanager
def scheduled(
    left: list[Task],
    executor: Executor,
    study: Study,
    environment: RunEnvironment,
    *,
    lockstep: int = 1,
    max_runs: int | None = None,
    budget: Budget | None = None,
    whole_runs: bool = False,
    quiet: bool = False,
) -> Iterator[Schedule]:
    """The schedule of tasks, which are to be run while it is open: with a view of them, until Ctrl-C or time is over.

    Raises
    ------
    Interrupted
        On Ctrl-C, after everything is saved.
    """
    fits = _fits(study, environment, budget) if whole_runs and budget is not None else lambda tasks: True
    with until_interrupted() as interrupted:
        with View(_to_be_begun(left, max_runs), quiet) as view, executor as running:
            yield Schedule(
                perform,
                left,
                running,
                view,
                interrupted,
                max_runs=max_runs,
                budget=budget,
                lockstep=lockstep,
                fits=fits,
            )
        if interrupted():
            raise Interrupted("stopped; everything is saved, the same command goes on")


def _fits(study: Study, environment: RunEnvironment, budget: Budget) -> Callable[[Sequence[Task]], bool]:
    """Whether tasks can end within the budget, by the steps recorded so far; what nothing is known of may begin."""
    looked, estimate = time.monotonic(), time_left(study, environment)

    def fits(tasks: Sequence[Task]) -> bool:
        nonlocal looked, estimate
        if time.monotonic() - looked > _RECORDS_LAST:
            looked, estimate = time.monotonic(), time_left(study, environment)
        known = [seconds for task in tasks if math.isfinite(seconds := estimate(task))]
        return sum(known) <= budget.left

    return fits


def _to_be_begun(left: list[Task], max_runs: int | None) -> list[Task]:
    """What the view counts: no more students than may be begun."""
    students = [task.key for task in left if task.kind == "student"]
    beyond = set() if max_runs is None else set(students[max_runs:])
    return [task for task in left if task.key not in beyond]
