"""Jobs on a Ray cluster: each is a Ray task with needs in cores and GPUs.

All nodes share the sweep's folder, and each task looks whether its node does. A job works there as it would in a
process of this machine, so one whose node is lost goes on elsewhere from its last saved epoch.
"""

from __future__ import annotations

import contextlib
import os
import platform
import time
import uuid
from pathlib import Path
from typing import Any

from dametric.base.arguments import Voice, argument, speaking, voice
from dametric.base.files import write_atomic
from dametric.base.progress import Advance
from dametric.errors import UsageError
from dametric.jobs.cluster import Cluster
from dametric.jobs.executor import Event, Job, Stop

_EVERY = 0.5  # seconds between two messages to the driver
Progress = tuple[int, float, str]
"""Progress of a job: its number, steps, a note."""


class RayExecutor:
    """An executor on a cluster; a context manager.

    Parameters
    ----------
    cluster : Cluster
        A connection that is open.
    root : Path
        The sweep's folder, which all nodes see.
    """

    def __init__(self, cluster: Cluster, root: Path) -> None:
        self.cluster, self.ray = cluster, cluster.ray
        self.token = root.absolute() / f".sweep-{uuid.uuid4().hex}"
        self._running: dict[Any, int] = {}
        self._advances: dict[int, Advance] = {}  # of those that are running
        self._begun: set[int] = set()  # those that have sent something
        self._cancelled: set[int] = set()  # by us, before they sent anything
        self._halted = False

    def __enter__(self) -> RayExecutor:
        ray, needs = self.ray, {"num_cpus": self.cluster.cpus, "num_gpus": self.cluster.gpus}
        write_atomic(self.token, self.token.name)
        here = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(
            ray.get_runtime_context().get_node_id(), soft=False
        )
        self._board = ray.remote(MessageBoard).options(num_cpus=0, scheduling_strategy=here).remote()
        # lost ones are begun again by the schedule, from what they saved
        self._remote = ray.remote(ray_task).options(**needs, max_retries=0)
        return self

    def __exit__(self, *error: object) -> None:
        self.token.unlink(missing_ok=True)
        for ref in self._running:
            self.ray.cancel(ref, force=True)

    @property
    def free(self) -> int:
        """How many more jobs can be given now."""
        return max(0, self.cluster.places - len(self._running))

    def give(self, number: int, job: Job, advance: Advance, stop: Stop) -> None:
        """Hand a job to the cluster."""
        threads = max(1, round(self.cluster.cpus))
        ref = self._remote.remote(number, job, self.token, os.getcwd(), self._board, threads, voice())
        self._running[ref] = number
        self._advances[number] = advance

    def halt(self) -> None:
        """Ask all jobs to save and return; those that have not begun do not begin."""
        if not self._halted:
            self.ray.get(self._board.halt.remote())
        self._halted = True
        for ref, number in self._running.items():
            if number not in self._begun | self._cancelled:  # nor wait for a place that others hold
                self.ray.cancel(ref)
                self._cancelled.add(number)

    def events(self, timeout: float) -> list[Event]:
        """Jobs that have ended; passes on the progress of the others."""
        ended, _ = self.ray.wait(list(self._running), timeout=timeout) if self._running else ([], [])
        for number, steps, note in self.ray.get(self._board.read.remote()):
            if number in self._advances:
                self._begun.add(number)
                self._advances[number](steps, note)
        return [self._ended(ref) for ref in ended]

    def _ended(self, ref: Any) -> Event:
        number = self._running.pop(ref)
        self._begun.discard(number)
        del self._advances[number]
        try:
            return Event(number, "done", self.ray.get(ref))
        except self.ray.exceptions.RayError as error:
            if number in self._cancelled or isinstance(error, self.ray.exceptions.TaskCancelledError):
                return Event(number, "done")  # however it took it: what it began is as if it had been killed
            if isinstance(error, self.ray.exceptions.RayTaskError):
                return Event(number, "raised", error.cause if isinstance(error.cause, Exception) else error)
            return Event(number, "lost")  # its process, its node, or what it returned is gone


class MessageBoard:
    """Messages of jobs until the driver reads them, and whether to stop; an actor on the driver's node."""

    def __init__(self) -> None:
        self.messages: list[Progress] = []
        self.halted = False

    def write(self, message: Progress) -> bool:
        """Store a message; returns whether to stop."""
        self.messages.append(message)
        return self.halted

    def read(self) -> list[Progress]:
        """The messages since the last call."""
        messages, self.messages = self.messages, []
        return messages

    def halt(self) -> None:
        """Ask all jobs to stop."""
        self.halted = True


class _Reporter:
    """Sends a job's progress to the board."""

    def __init__(self, board: Any, number: int) -> None:
        import ray

        self.ray, self.board, self.number = ray, board, number
        self.steps, self.note, self.last = 0.0, "", 0.0
        self.answer: Any = None
        self.halted = bool(ray.get(board.write.remote((number, 0.0, ""))))

    def advance(self, steps: float = 1, note: str = "") -> None:
        self.steps, self.note = self.steps + steps, note or self.note
        if time.monotonic() - self.last < _EVERY:
            return
        self.stop()
        self.answer = self.board.write.remote((self.number, self.steps, self.note))
        self.steps, self.note, self.last = 0.0, "", time.monotonic()

    def stop(self) -> bool:
        if self.answer is not None and self.ray.wait([self.answer], timeout=0)[0]:
            self.halted = self.halted or bool(self.ray.get(self.answer))
        return self.halted


def ray_task(number: int, job: Job, token: Path, folder: str, board: Any, threads: int, speaker: Voice) -> Any:
    """Do a job on a node.

    Raises
    ------
    UsageError
        If the node does not see the sweep's folder.
    """
    import torch

    with speaking(speaker):
        check_shared(token)
        torch.set_num_threads(threads)
        with contextlib.suppress(OSError):
            os.chdir(folder)  # where names of files are meant from; a node that has no such folder reads none by name
        reporter = _Reporter(board, number)
        return None if reporter.halted else job(reporter.advance, reporter.stop)


def check_shared(token: Path) -> None:
    """Refuse a folder that is not the one in which the driver has written its token."""
    try:
        shared = token.read_text(encoding="utf-8") == token.name
    except OSError:
        shared = False
    if not shared:
        raise UsageError(
            f"{platform.node()}, a node of the cluster, does not share {token.parent} with this machine: give "
            f"{argument('output')} a folder on storage that all nodes share, or use {argument('shard')} in place of "
            f"{argument('ray')}"
        )
