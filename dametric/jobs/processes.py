"""Processes that carry out tasks, one at a time each, and say how it goes.

Every worker has a pipe of its own: what a process that is killed in the midst of a word leaves behind is the end of
that pipe, which the parent sees, and never a lock that others wait for.
"""

from __future__ import annotations

import copy
import os
import pickle
import queue
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any, Literal

import torch

from dametric.base.progress import Advance, hush

Task = Callable[[Any, Advance, Callable[[], bool]], Any]
_EVERY = 0.1  # seconds between two words on how a task goes


@dataclass(frozen=True)
class Event:
    """What is heard of a task.

    Attributes
    ----------
    task : int
        Its number.
    kind : str
        "went on" (by ``steps``, with a note), "done" (``value`` is what the function returned,
        None if it was asked to stop before it began), "raised" (``value``
        is the exception), or "lost" (its process was killed).
    """

    task: int
    kind: Literal["went on", "done", "raised", "lost"]
    steps: float = 0.0
    note: str = ""
    value: Any = None


class Workers:
    """Processes for tasks; a context manager, on whose end they finish what they do.

    Parameters
    ----------
    function : callable
        ``function(task, advance, stop)``, importable by name, as are the tasks' types.
    jobs : int
        How many at once; each gets its share of the cores, and idle threads sleep: two processes with as many
        OpenMP threads as there are cores slow each other several-fold.
    context : multiprocessing context
        Says how processes are started.
    threads : int, optional
        Of each; its share of the cores by default.
    """

    def __init__(self, function: Task, jobs: int, context: Any, threads: int | None = None) -> None:
        self.function, self.jobs, self.context = function, jobs, context
        self.threads = threads or max(1, (os.cpu_count() or 1) // jobs)
        self._idle: list[_Worker] = []
        self._busy: dict[Connection, _Worker] = {}
        self._halted = False

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        everybody = [*self._idle, *self._busy.values()]
        for worker in everybody:
            worker.pipe.close()  # which tells it to save and to leave
        if kind is None or not issubclass(kind, KeyboardInterrupt):
            for worker in everybody:
                worker.process.join()

    @property
    def free(self) -> int:
        """How many tasks can be given now."""
        return self.jobs - len(self._busy)

    def give(self, number: int, task: Any) -> None:
        """Give a task to a worker that is idle, or to a new one."""
        worker = self._idle.pop() if self._idle else self._started()
        worker.number = number
        self._busy[worker.pipe] = worker
        worker.tell((number, task))
        if self._halted:
            worker.tell("halt")

    def halt(self) -> None:
        """Ask all to save what they do and return."""
        if not self._halted:
            for worker in self._busy.values():
                worker.tell("halt")
        self._halted = True

    def events(self, timeout: float) -> list[Event]:
        """What has happened; waits up to ``timeout`` seconds for the first of it."""
        found: list[Event] = []
        for pipe in wait(list(self._busy), timeout):
            worker = self._busy[pipe]  # type: ignore[index]
            try:
                event: Event = worker.pipe.recv()
            except (EOFError, OSError):
                event = Event(worker.number, "lost")
                worker.process.join()
            if event.kind != "went on":
                del self._busy[worker.pipe]
                if event.kind == "lost":
                    worker.pipe.close()
                else:
                    self._idle.append(worker)
            found.append(event)
        return found

    def _started(self) -> _Worker:
        ours, theirs = self.context.Pipe()
        with _environment(OMP_NUM_THREADS=str(self.threads), OMP_WAIT_POLICY="PASSIVE"), _deaf():
            process = self.context.Process(target=_work, args=(theirs, self.function, self.threads))
            process.start()
        theirs.close()  # or the end of the process would not be the end of the pipe
        return _Worker(process, ours)


@dataclass
class _Worker:
    process: Any
    pipe: Connection
    number: int = -1

    def tell(self, word: Any) -> None:
        with suppress(OSError):  # it was killed; the next look at its pipe says so
            self.pipe.send(word)


class _Reporter:
    """A worker's end of the pipe."""

    def __init__(self, pipe: Connection) -> None:
        self.pipe = pipe
        self.tasks: queue.SimpleQueue[tuple[int, Any] | None] = queue.SimpleQueue()
        self.halt = threading.Event()
        self.number, self.steps, self.note, self.last = -1, 0.0, "", -1.0

    def listen(self) -> None:
        """Hear tasks, and the word to stop; the end of the pipe, or of the parent, is one too."""
        while True:
            try:
                word = self.pipe.recv()
            except (EOFError, OSError):
                self.halt.set()
                self.tasks.put(None)
                return
            if word == "halt":
                self.halt.set()
            else:
                self.tasks.put(word)

    def advance(self, steps: float = 1, note: str = "") -> None:
        """Say how it goes, not at every step."""
        self.steps, self.note = self.steps + steps, note or self.note
        if time.monotonic() - self.last >= _EVERY:
            self.flush()

    def flush(self) -> None:
        if self.steps or self.note:
            self.send(Event(self.number, "went on", self.steps, self.note))
        self.steps, self.note, self.last = 0.0, "", time.monotonic()

    def send(self, event: Event) -> None:
        try:
            self.pipe.send(event)
        except OSError:  # the parent is gone: it will be noticed
            self.halt.set()


def _work(pipe: Connection, function: Task, threads: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to all; the parent passes it on
    torch.set_num_threads(threads)
    hush()
    reporter = _Reporter(pipe)
    threading.Thread(target=reporter.listen, daemon=True).start()
    while (given := reporter.tasks.get()) is not None:
        reporter.number, task = given
        reporter.last = -1.0
        answer = _called(function, task, reporter)
        reporter.flush()
        reporter.send(answer)


def _called(function: Task, task: Any, reporter: _Reporter) -> Event:
    try:
        value = None if reporter.halt.is_set() else function(task, reporter.advance, reporter.halt.is_set)
        return Event(reporter.number, "done", value=value)
    except Exception as error:
        try:
            pickle.dumps(copy.copy(error))  # which makes it anew, as reading it would
        except Exception:  # of a library whose errors cannot travel
            error = RuntimeError(f"{type(error).__name__}: {error}")
        return Event(reporter.number, "raised", value=error)


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
    before: dict[str, str | None] = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
