"""Runs side by side on one machine: processes that share out its cores."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context, parent_process
from typing import Any

import torch

from dametric.distill.interrupt import until_interrupted
from dametric.errors import Interrupted, RunFailed
from dametric.progress import Advance

Task = Callable[[Any, Advance, Callable[[], bool]], Any]
_BEAT = 0.2  # seconds between two looks at workers and their parent


def side_by_side(function: Task, tasks: Sequence[Any], jobs: int, advance: Advance) -> list[Any]:
    """Call ``function(task, advance, stop)`` for every task, ``jobs`` at a time, each in a process of its own.

    Parameters
    ----------
    function : callable
        Importable by name; so are the tasks' types. It asks ``stop`` whether to save and return.
    tasks : sequence
    jobs : int
        Processes; each gets its share of the cores, and idle threads sleep: two processes with as many OpenMP
        threads as there are cores slow each other several-fold.
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
        If a process was killed.
    """
    context = get_context("spawn")
    reports, halt = context.SimpleQueue(), context.Event()
    threads = max(1, (os.cpu_count() or 1) // jobs)
    listener = threading.Thread(target=_listen, args=(reports, advance), daemon=True)
    listener.start()
    try:
        with (
            _environment(OMP_NUM_THREADS=str(threads), OMP_WAIT_POLICY="PASSIVE"),
            until_interrupted() as stopped,
            ProcessPoolExecutor(jobs, context, _begin, (reports, halt, threads)) as pool,
        ):
            with _deaf():
                futures = [pool.submit(_call, function, task) for task in tasks]
            while wait(futures, _BEAT).not_done:
                if stopped():
                    halt.set()
            if stopped():
                raise Interrupted
            return [future.result() for future in futures]
    except BrokenProcessPool as error:
        raise RunFailed("a process was killed; what is finished is kept, the same command goes on") from error
    finally:
        reports.put(None)
        listener.join()


class _Worker:
    """What a worker process knows of its parent."""

    reports: Any
    halt: Any
    busy = threading.Lock()

    @classmethod
    def stop(cls) -> bool:
        return cls.halt.is_set() or cls.orphaned()

    @staticmethod
    def orphaned() -> bool:
        """Whether the parent has gone, even before this process was ready."""
        parent = parent_process()
        return parent is None or not parent.is_alive()

    @classmethod
    def watch(cls) -> None:
        """End the process once its parent is gone, and it has saved what it was doing."""
        while not cls.orphaned():
            threading.Event().wait(_BEAT)
        with cls.busy:
            os._exit(1)


def _begin(reports: Any, halt: Any, threads: int) -> None:
    _Worker.reports, _Worker.halt = reports, halt
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to all; the parent passes it on
    torch.set_num_threads(threads)
    threading.Thread(target=_Worker.watch, daemon=True).start()


def _call(function: Task, task: Any) -> Any:
    def advance(steps: float = 1, note: str = "") -> None:
        _Worker.reports.put((steps, note))

    with _Worker.busy:
        return None if _Worker.stop() else function(task, advance, _Worker.stop)


def _listen(reports: Any, advance: Advance) -> None:
    while (report := reports.get()) is not None:
        steps, note = report
        advance(steps, note=note)


@contextmanager
def _deaf() -> Iterator[None]:
    """Let processes that are started meanwhile inherit that Ctrl-C is ignored, from their first moment on."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def _environment(**values: str) -> Iterator[None]:
    """Set variables for processes that are started meanwhile: OpenMP reads them when it is loaded."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
