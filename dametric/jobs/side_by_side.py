"""Runs side by side on one machine: processes that share out its cores."""

from __future__ import annotations

from collections.abc import Sequence
from multiprocessing import get_context
from typing import Any

from dametric.base.progress import Advance
from dametric.base.stopping import until_interrupted
from dametric.errors import Interrupted, RunFailed
from dametric.jobs.processes import Task, Workers

_BEAT = 0.2  # seconds between two looks at whether to stop


def side_by_side(function: Task, tasks: Sequence[Any], jobs: int, advance: Advance) -> list[Any]:
    """Call ``function(task, advance, stop)`` for every task, ``jobs`` at a time, each in a process of its own.

    Parameters
    ----------
    function : callable
        Importable by name; so are the tasks' types. It asks ``stop`` whether to save and return.
    tasks : sequence
    jobs : int
        Processes; see :class:`~dametric.jobs.processes.Workers`.
    advance : Advance
        Told of the progress of all.

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
    mistakes: dict[int, Exception] = {}
    waiting = list(enumerate(tasks))[::-1]
    with until_interrupted() as stopped, Workers(function, jobs, get_context("spawn")) as workers:
        while (waiting and not stopped()) or workers.free < jobs:
            while waiting and workers.free and not stopped():
                workers.give(*waiting.pop())
            for event in workers.events(_BEAT):
                if event.kind == "went on":
                    advance(event.steps, note=event.note)
                elif event.kind == "done":
                    answers[event.task] = event.value
                elif event.kind == "raised":
                    mistakes[event.task] = event.value
                else:
                    text = "a process was killed; what is finished is kept, the same command goes on"
                    mistakes[event.task] = RunFailed(text)
            if stopped():
                workers.halt()
        if stopped():
            raise Interrupted
    for _, error in sorted(mistakes.items(), key=lambda item: item[0]):
        raise error
    return [answers[number] for number in range(len(tasks))]
