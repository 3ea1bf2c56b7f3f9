"""Processes that carry out jobs, one at a time each, and report their progress.

Every worker has a pipe of its own: what a process that is killed in the midst of a message leaves behind is the end of
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
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from typing import Any

import torch

from dametric.base.devices import share_gpus
from dametric.base.progress import Advance
from dametric.base.terminal import mute
from dametric.jobs.executor import Event, Job, Stop

_HALT = "halt"

_EVERY = 0.1  # seconds between two messages on the progress of a job


@dataclass(frozen=True)
class _Progress:
    """Progress of a job, as its worker reports it."""

    steps: float
    note: str


class ProcessExecutor:
    """Processes for jobs; a context manager, which waits at its end for the jobs that are running.

    Jobs are importable by name, as is what they hold.

    Parameters
    ----------
    jobs : int
        How many at once; each gets one of the machine's GPUs, or a share of one's memory, where there are any.
        Each gets its share of the cores, and idle threads sleep: two processes with as many
        OpenMP threads as there are cores slow each other several-fold.
    context : multiprocessing context, optional
        How processes are started; spawned by default, which is the same on every system.
    threads : int, optional
        Threads of each process; its share of the cores by default.
    """

    def __init__(self, jobs: int, context: Any = None, threads: int | None = None) -> None:
        self.jobs, self.context = jobs, context or get_context("spawn")
        self.threads = threads or max(1, (os.cpu_count() or 1) // jobs)
        self._idle: list[_Worker] = []
        self._busy: dict[Connection, _Worker] = {}
        self._halted = False

    def __enter__(self) -> ProcessExecutor:
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
        """How many more jobs can be given now."""
        return self.jobs - len(self._busy)

    def give(self, number: int, job: Job, advance: Advance, stop: Stop) -> None:
        """Give a job to a worker that is idle, or to a new one."""
        worker = self._idle.pop() if self._idle else self._started()
        worker.number, worker.advance = number, advance
        self._busy[worker.pipe] = worker
        worker.tell((number, job))
        if self._halted:
            worker.tell(_HALT)

    def halt(self) -> None:
        """Ask all jobs to save and return."""
        if not self._halted:
            for worker in self._busy.values():
                worker.tell(_HALT)
        self._halted = True

    def events(self, timeout: float) -> list[Event]:
        """Jobs that have ended; passes on the progress of the others."""
        ended: list[Event] = []
        for pipe in wait(list(self._busy), timeout):
            worker = self._busy[pipe]  # type: ignore[index]
            try:
                message: _Progress | Event = worker.pipe.recv()
            except (EOFError, OSError):
                message = Event(worker.number, "lost")
                worker.process.join()
            if isinstance(message, _Progress):
                worker.advance(message.steps, message.note)
                continue
            del self._busy[worker.pipe]
            if message.kind == "lost":
                worker.pipe.close()
            else:
                self._idle.append(worker)
            ended.append(message)
        return ended

    def _started(self) -> _Worker:
        parent_end, worker_end = self.context.Pipe()
        with _environment(OMP_NUM_THREADS=str(self.threads), OMP_WAIT_POLICY="PASSIVE"), _ignoring_ctrl_c():
            taken = {worker.place for worker in (*self._idle, *self._busy.values())}
            place = min(set(range(self.jobs)) - taken)
            process = self.context.Process(target=_work, args=(worker_end, self.threads, place, self.jobs))
            process.start()
        worker_end.close()  # or the end of the process would not be the end of the pipe
        return _Worker(process, parent_end, place)


@dataclass
class _Worker:
    process: Any
    pipe: Connection
    place: int  # among those that share the machine
    number: int = -1
    advance: Advance = lambda steps=1, note="": None

    def tell(self, message: Any) -> None:
        with suppress(OSError):  # it was killed; the next look at its pipe says so
            self.pipe.send(message)


class _Reporter:
    """A worker's end of the pipe."""

    def __init__(self, pipe: Connection) -> None:
        self.pipe = pipe
        self.jobs: queue.SimpleQueue[tuple[int, Job] | None] = queue.SimpleQueue()
        self.halted = threading.Event()
        self.steps, self.note, self.last = 0.0, "", -1.0

    def listen(self) -> None:
        """Receive jobs and the order to stop; the end of the pipe, or of the parent, is also one."""
        try:
            while True:
                message = self.pipe.recv()
                if message == _HALT:
                    self.halted.set()
                else:
                    self.jobs.put(message)
        except (EOFError, OSError):
            pass
        finally:  # also where a job cannot be imported here: the parent sees that the process ends
            self.halted.set()
            self.jobs.put(None)

    def advance(self, steps: float = 1, note: str = "") -> None:
        """Report progress, though not at every step."""
        self.steps, self.note = self.steps + steps, note or self.note
        if time.monotonic() - self.last >= _EVERY:
            self.flush()

    def flush(self) -> None:
        if self.steps or self.note:
            self.send(_Progress(self.steps, self.note))
        self.steps, self.note, self.last = 0.0, "", time.monotonic()

    def send(self, message: _Progress | Event) -> None:
        try:
            self.pipe.send(message)
        except OSError:  # the parent is gone: it will be noticed
            self.halted.set()


def _work(pipe: Connection, threads: int, place: int, processes: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to all; the parent passes it on
    torch.set_num_threads(threads)
    share_gpus(place, processes)
    mute()
    reporter = _Reporter(pipe)
    threading.Thread(target=reporter.listen, daemon=True).start()
    while (given := reporter.jobs.get()) is not None:
        number, job = given
        reporter.last = -1.0
        answer = _called(number, job, reporter)
        reporter.flush()
        reporter.send(answer)


def _called(number: int, job: Job, reporter: _Reporter) -> Event:
    try:
        value = None if reporter.halted.is_set() else job(reporter.advance, reporter.halted.is_set)
        return Event(number, "done", value)
    except Exception as error:
        try:
            pickle.dumps(copy.copy(error))  # which makes it anew, as reading it would
        except Exception:  # of a library whose errors cannot travel
            error = RuntimeError(f"{type(error).__name__}: {error}")
        return Event(number, "raised", error)


@contextmanager
def _ignoring_ctrl_c() -> Iterator[None]:
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
