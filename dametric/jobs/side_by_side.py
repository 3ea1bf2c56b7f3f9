"""Runs side by side on one machine: processes that share out its cores."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from multiprocessing import get_context
from typing import Any

from dametric.base.interrupts import until_interrupted
from dametric.base.progress import Advance
from dametric.errors import Interrupted, RunFailed
from dametric.jobs.executor import Stop
from dametric.jobs.processes import ProcessExecutor

_BEAT = 0.2  # seconds between two looks at whether to stop


def side_by_side(
    function: Callable[[Any, Advance, Stop], Any], tasks: Sequence[Any], jobs: int, advance: Advance
) -> list[Any]:
    """Call ``function(task, advance, stop)`` for every task, ``jobs`` at a time, each in a process of its own.

    Parameters
    ----------
    function : callable
        Importable by name; so are the tasks' types. It asks ``stop`` whether to save and return.
    tasks : sequence
    jobs : int
        Processes; see :class:`~dametric.jobs.processes.ProcessExecutor`.
    advance : Advance
        Is told of the progress of all.

    Returns
    -------
    list
        What the calls returned, in the order of tasks.

    Raises
    ------
    Interrupted
        On Ctrl-C, after every process has saved what it was doing.
    RunFailed
        If a process was killed; the other tasks are done first.
    """
    answers: dict[int, Any] = {}
    errors: dict[int, Exception] = {}
    waiting = list(enumerate(tasks))[::-1]
    with until_interrupted() as stopped, ProcessExecutor(jobs, get_context("spawn")) as executor:
        while (waiting and not stopped()) or executor.free < jobs:
            while waiting and executor.free and not stopped():
                number, task = waiting.pop()
                executor.give(number, partial(function, task), advance, stopped)
            for event in executor.events(_BEAT):
                if event.kind == "done":
                    answers[event.number] = event.value
                elif event.kind == "raised":
                    errors[event.number] = event.value
                else:
                    text = "a process was killed; what is finished is kept, the same command goes on"
                    errors[event.number] = RunFailed(text)
            if stopped():
                executor.halt()
        if stopped():
            raise Interrupted
    for _, error in sorted(errors.items(), key=lambda item: item[0]):
        raise error
    return [answers[number] for number in range(len(tasks))]
