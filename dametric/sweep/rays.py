"""Tasks on a Ray cluster: each is a Ray task with needs in cores and GPUs.

Where a node sees the sweep's folder, it works there, as a local process would. Where it does not, it is sent the
files a task needs, works in a folder of its own, and sends back what it made, every epoch's state too: so a task whose
node is lost goes on elsewhere from its last saved epoch either way.
"""

from __future__ import annotations

import contextlib
import logging
import os
import tempfile
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dametric.distill.workers import Event
from dametric.errors import UsageError
from dametric.files import write_atomic

_EVERY = 0.5  # seconds between two words to the driver
_NOWHERE = Path("/nowhere")  # stands for a folder that the node chooses
Files = dict[str, bytes]


class Rays:
    """An executor; a context manager.

    Parameters
    ----------
    function : callable
        ``function(task, advance, stop, on_epoch)``, importable on the nodes. Tasks have ``moved(old, new)``.
    address : str
        Of the cluster: "auto", "HOST:PORT", "ray://...", or "local" to start one here.
    root : Path
        The sweep's folder.
    cpus, gpus : float
        Needs of a task.
    shared : bool, optional
        Whether nodes see ``root``; each looks for itself by default.

    Raises
    ------
    UsageError
        If ray is not installed, there is no cluster, or no node can ever hold a task.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        address: str,
        root: Path,
        *,
        cpus: float = 1.0,
        gpus: float = 0.0,
        shared: bool | None = None,
    ) -> None:
        self.ray = _ray()
        self.function, self.address, self.root = function, address, root.absolute()
        self.cpus, self.gpus, self.shared = cpus, gpus, shared
        self.token = self.root / f".sweep-{uuid.uuid4().hex}"
        self._running: dict[Any, int] = {}
        self._started = False

    def __enter__(self) -> Rays:
        ray = self.ray
        if not ray.is_initialized():
            try:
                ray.init(address=self.address, log_to_driver=False, logging_level=logging.ERROR)
            except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
                raise UsageError(
                    f"there is no Ray cluster at '{self.address}': start one with 'ray start --head', or give "
                    f"--ray local ({' '.join(str(error).split())[:200]})"
                ) from error
            self._started = True
        self._check_needs()
        write_atomic(self.token, "")
        here = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(
            ray.get_runtime_context().get_node_id(), soft=False
        )
        self._board = ray.remote(_Board).options(num_cpus=0, scheduling_strategy=here).remote()
        # lost ones are begun again by the schedule, from what they saved
        self._remote = ray.remote(_perform).options(num_cpus=self.cpus, num_gpus=self.gpus, max_retries=0)
        return self

    def __exit__(self, *error: object) -> None:
        self.token.unlink(missing_ok=True)
        for ref in self._running:
            self.ray.cancel(ref, force=True)
        if self._started:
            self.ray.shutdown()

    def _check_needs(self) -> None:
        nodes = [node["Resources"] for node in self.ray.nodes() if node["Alive"]]
        if not any(node.get("CPU", 0) >= self.cpus and node.get("GPU", 0) >= self.gpus for node in nodes):
            has = max(((node.get("CPU", 0), node.get("GPU", 0)) for node in nodes), default=(0, 0))
            raise UsageError(
                f"no node has {self.cpus:g} cores and {self.gpus:g} GPUs for a run: the largest has {has[0]:g} and "
                f"{has[1]:g}; see --cpus-per-run and --gpus-per-run"
            )

    @property
    def free(self) -> int:
        """How many tasks can be given now: what the cluster holds, and as many for Ray to have ready."""
        total = self.ray.cluster_resources()
        room = [total.get(name, 0) / need for name, need in (("CPU", self.cpus), ("GPU", self.gpus)) if need]
        return max(0, int(min(room, default=64)) - len(self._running))

    def give(self, number: int, task: Any) -> None:
        """Hand a task to the cluster, with the files it needs where a node does not see them."""
        files = self.ray.put(_inputs(task, self.root))
        threads = max(1, round(self.cpus))
        token = None if self.shared is False else str(self.token)
        both = (task, task.moved(self.root, _NOWHERE))
        ref = self._remote.remote(self.function, number, both, token, os.getcwd(), [files], self._board, threads)
        self._running[ref] = number

    def halt(self) -> None:
        """Ask all to save what they do and return; those that have not begun do not begin."""
        self.ray.get(self._board.halt.remote())

    def events(self, timeout: float) -> list[Event]:
        """What has happened."""
        ended, _ = self.ray.wait(list(self._running), timeout=timeout) if self._running else ([], [])
        found = self._heard()
        for ref in ended:
            number = self._running.pop(ref)
            try:
                value, files = self.ray.get(ref)
            except self.ray.exceptions.RayTaskError as error:
                cause = error.cause if isinstance(error.cause, Exception) else error
                found.append(Event(number, "raised", value=cause))
            except self.ray.exceptions.RayError:  # its process, its node, or what it returned is gone
                found.append(Event(number, "lost"))
            else:
                self._keep(files)
                found.append(Event(number, "done", value=value))
        return found

    def _heard(self) -> list[Event]:
        events, files = self.ray.get(self._board.read.remote())
        self._keep(files)
        return [event for event in events if event.task in self._running.values()]

    def _keep(self, files: Files) -> None:
        """Write what came back; a record last, since it speaks of the others."""
        for name in sorted(files, key=lambda name: name.endswith("record.json")):
            write_atomic(self.root / name, files[name])


def _ray() -> Any:
    try:
        import ray
        import ray.exceptions
        import ray.util.scheduling_strategies
    except ImportError:
        raise UsageError("--ray needs the package ray: pip install 'dametric[ray]'") from None
    return ray


class _Board:
    """Lives beside the driver: what tasks say, until it is read, and whether to stop."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.files: Files = {}
        self.halted = False

    def write(self, event: Event, files: Files) -> bool:
        self.events.append(event)
        self.files |= files
        return self.halted

    def read(self) -> tuple[list[Event], Files]:
        found = (self.events, self.files)
        self.events, self.files = [], {}
        return found

    def halt(self) -> None:
        self.halted = True


class _Telling:
    """A task's line to the board."""

    def __init__(self, board: Any, number: int, folder: Path | None) -> None:
        import ray

        self.ray, self.board, self.number, self.folder = ray, board, number, folder
        self.steps, self.note, self.last, self.saved = 0.0, "", 0.0, False
        self.answer: Any = None
        self.halted = bool(ray.get(board.write.remote(Event(number, "went on"), {})))

    def advance(self, steps: float = 1, note: str = "") -> None:
        self.steps, self.note = self.steps + steps, note or self.note
        now = time.monotonic()
        if now - self.last < _EVERY and not self.saved:
            return
        files: Files = {}
        if self.saved and self.folder is not None:  # the step after an epoch: its state is written by now
            files = _made(self.folder)
        self.last, self.saved = now, False
        self._hear()
        self.answer = self.board.write.remote(Event(self.number, "went on", self.steps, self.note), files)
        self.steps, self.note = 0.0, ""

    def _hear(self) -> None:
        if self.answer is not None and self.ray.wait([self.answer], timeout=0)[0]:
            self.halted = self.halted or bool(self.ray.get(self.answer))

    def stop(self) -> bool:
        self._hear()
        return self.halted

    def epoch(self, row: Any) -> None:
        self.saved = True


def _perform(
    function: Callable[..., Any],
    number: int,
    tasks: tuple[Any, Any],
    token: str | None,
    where: str,
    files: list[Any],
    board: Any,
    threads: int,
) -> tuple[Any, Files]:
    """Do a task on a node; what it returned, and the files it made where the driver does not see them."""
    import ray
    import torch

    torch.set_num_threads(threads)
    with contextlib.suppress(OSError):
        os.chdir(where)  # where names of files are meant from; a node that has no such folder reads none by name
    if token is not None and os.path.exists(token):
        telling = _Telling(board, number, None)
        if telling.halted:
            return None, {}
        return function(tasks[0], telling.advance, telling.stop, telling.epoch), {}
    with tempfile.TemporaryDirectory(prefix="dametric-") as scratch:
        folder = Path(scratch)
        for name, content in ray.get(files[0]).items():
            write_atomic(folder / name, content)
        before = _made(folder)
        telling = _Telling(board, number, folder)
        if telling.halted:
            return None, {}
        value = function(tasks[1].moved(_NOWHERE, folder), telling.advance, telling.stop, telling.epoch)
        after = _made(folder)
        return value, {name: content for name, content in after.items() if before.get(name) != content}


def _made(folder: Path) -> Files:
    """Everything below a folder but locks and files that are being written."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    }


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
