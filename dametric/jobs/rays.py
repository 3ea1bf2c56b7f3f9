"""Tasks on a Ray cluster: each is a Ray task with needs in cores and GPUs.

Where a node sees the sweep's folder, it works there, as a local process would. Where it does not, it is sent the
files a task needs, works in a folder of its own, and sends back what it made, every epoch's state too: so a task whose
node is lost goes on elsewhere from its last saved epoch either way. What comes back is written under the lock that a
process on the spot would hold, so that two drivers on one folder never mix what they write.
"""

from __future__ import annotations

import hashlib
import os
import uuid
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from dametric.base.files import write_atomic
from dametric.base.locks import BusyError
from dametric.jobs.cluster import Cluster
from dametric.jobs.node import NOWHERE, Board, Files, perform
from dametric.jobs.processes import Event
from dametric.jobs.schedule import Outcome


class Rays:
    """An executor; a context manager.

    Parameters
    ----------
    cluster : Cluster
        A connection that is open.
    function : callable
        ``function(task, advance, stop, on_epoch)``, importable on the nodes. Tasks have ``moved(old, new)``,
        ``inputs()``, ``held`` and ``claimed()``.
    root : Path
        The sweep's folder.
    shared : bool, optional
        Whether nodes see ``root``; each looks for itself by default.
    """

    def __init__(self, cluster: Cluster, function: Callable[..., Any], root: Path, shared: bool | None = None) -> None:
        self.cluster, self.ray = cluster, cluster.ray
        self.function, self.root, self.shared = function, root.absolute(), shared
        self.token = self.root / f".sweep-{uuid.uuid4().hex}"
        self._running: dict[Any, int] = {}
        self._begun: set[int] = set()  # those that have said something
        self._given: dict[int, tuple[Any, dict[str, str]]] = {}  # tasks, with digests of what they were sent
        self._claims: dict[int, ExitStack] = {}
        self._refused: list[Event] = []
        self._halted = False
        self._cancelled: set[int] = set()  # by us, before they said anything

    def __enter__(self) -> Rays:
        ray, needs = self.ray, {"num_cpus": self.cluster.cpus, "num_gpus": self.cluster.gpus}
        write_atomic(self.token, "")
        here = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(
            ray.get_runtime_context().get_node_id(), soft=False
        )
        self._board = ray.remote(Board).options(num_cpus=0, scheduling_strategy=here).remote()
        # lost ones are begun again by the schedule, from what they saved
        self._remote = ray.remote(perform).options(**needs, max_retries=0)
        return self

    def __exit__(self, *error: object) -> None:
        self.token.unlink(missing_ok=True)
        for ref in self._running:
            self.ray.cancel(ref, force=True)
        for claim in self._claims.values():
            claim.close()

    @property
    def free(self) -> int:
        """How many tasks can be given now."""
        return max(0, self.cluster.places - len(self._running))

    def give(self, number: int, task: Any) -> None:
        """Hand a task to the cluster, with the files it needs where a node does not see them."""
        if task.held:
            self._refused.append(Event(number, "done", value=Outcome("busy")))
            return
        sent = _inputs(task, self.root)
        files = self.ray.put(sent)
        threads = max(1, round(self.cluster.cpus))
        token = None if self.shared is False else str(self.token)
        both = (task, task.moved(self.root, NOWHERE))
        ref = self._remote.remote(self.function, number, both, token, os.getcwd(), [files], self._board, threads)
        self._running[ref] = number
        self._given[number] = (task, _digests(sent))

    def halt(self) -> None:
        """Ask all to save what they do and return; those that have not begun do not begin."""
        if not self._halted:
            self.ray.get(self._board.halt.remote())
        self._halted = True
        for ref, number in self._running.items():
            if number not in self._begun | self._cancelled:  # nor wait for a place that others hold
                self.ray.cancel(ref)
                self._cancelled.add(number)

    def events(self, timeout: float) -> list[Event]:
        """What has happened."""
        ended, _ = self.ray.wait(list(self._running), timeout=timeout) if self._running else ([], [])
        found = self._heard()
        for ref in ended:
            if ref in self._running:  # what was heard may have ended it
                number = self._running.pop(ref)
                found.append(self._ended(number, ref))
                self._forget(number)
        found += self._refused
        self._refused = []
        return found

    def _ended(self, number: int, ref: Any) -> Event:
        try:
            value, files = self.ray.get(ref)
        except self.ray.exceptions.RayError as error:
            if number in self._cancelled or isinstance(error, self.ray.exceptions.TaskCancelledError):
                return Event(number, "done")  # however it took it: what it began is as if it had been killed
            if isinstance(error, self.ray.exceptions.RayTaskError):
                return Event(number, "raised", value=error.cause if isinstance(error.cause, Exception) else error)
            return Event(number, "lost")  # its process, its node, or what it returned is gone
        mine = files is None or self._keep(number, files)
        return Event(number, "done", value=value if mine else Outcome("busy"))

    def _heard(self) -> list[Event]:
        events, files = self.ray.get(self._board.read.remote())
        here = set(self._running.values())
        self._begun |= here & {event.task for event in events}
        found = [event for event in events if event.task in here]
        for number in here & files.keys():
            if not self._keep(number, files[number]):
                (ref,) = (ref for ref, its in self._running.items() if its == number)
                self.ray.cancel(ref, force=True)
                del self._running[ref]
                self._forget(number)
                found.append(Event(number, "done", value=Outcome("busy")))
        return found

    def _keep(self, number: int, files: Files) -> bool:
        """Write what came back, a record last, since it speaks of the others; not if another process was faster."""
        if number not in self._claims and not self._claim(number):
            return False
        for name in sorted(files, key=lambda name: name.endswith("record.json")):
            write_atomic(self.root / name, files[name])
        return True

    def _claim(self, number: int) -> bool:
        """Hold what a task writes, if nobody does and nobody has gone on with it since it was given."""
        task, sent = self._given[number]
        with ExitStack() as stack:
            try:
                stack.enter_context(task.claimed())
            except BusyError:
                return False
            if _digests(_inputs(task, self.root)) == sent:
                self._claims[number] = stack.pop_all()
        return number in self._claims

    def _forget(self, number: int) -> None:
        self._begun.discard(number)
        del self._given[number]
        claim = self._claims.pop(number, None)
        if claim is not None:
            claim.close()


def _inputs(task: Any, root: Path) -> Files:
    """What a task reads or goes on with, named as below the folder it is moved to."""
    found: Files = {}
    for path in task.inputs():
        full = Path(path).absolute()
        if full.is_file():
            inside = full.is_relative_to(root)
            name = full.relative_to(root).as_posix() if inside else f"elsewhere/{full.name}"
            found[name] = full.read_bytes()
    return found


def _digests(files: Files) -> dict[str, str]:
    return {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
