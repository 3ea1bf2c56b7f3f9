"""What happens on a node of a Ray cluster: a task, the words it sends to the driver, the files it sends back."""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dametric.base.files import write_atomic
from dametric.jobs.processes import Event

NOWHERE = Path("/nowhere")
"""Stands for a folder that the node chooses."""
_EVERY = 0.5  # seconds between two words to the driver
Files = dict[str, bytes]


@dataclass(frozen=True)
class Computes:
    """What a run computes on, with the needs it has.

    Attributes
    ----------
    device : {"cpu", "cuda"}
    name : str
        Of the GPU, empty for a CPU.
    dtype : str
        The fastest there.
    """

    device: str
    name: str
    dtype: str


def computes(device: str | None = None) -> Computes:
    """What this process computes on, CUDA by default where there is one, as everywhere in the package."""
    import torch

    from dametric.models import preferred_dtype

    device = "cuda" if device != "cpu" and torch.cuda.is_available() else "cpu"
    name = torch.cuda.get_device_name() if device == "cuda" else ""
    return Computes(device, name, str(preferred_dtype(device)).removeprefix("torch."))


class Board:
    """Lives beside the driver: what tasks say, until it is read, and whether to stop.

    Files are those of nodes that do not see the sweep's folder, by the number of their task.
    """

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.files: dict[int, Files] = {}
        self.halted = False

    def write(self, event: Event, files: Files | None) -> bool:
        """Take a word, and files (none at all, where a node sees the folder); whether to stop."""
        self.events.append(event)
        if files is not None:
            self.files.setdefault(event.task, {}).update(files)
        return self.halted

    def read(self) -> tuple[list[Event], dict[int, Files]]:
        """Everything that is new."""
        found = (self.events, self.files)
        self.events, self.files = [], {}
        return found

    def halt(self) -> None:
        """Tell everybody to stop."""
        self.halted = True


class _Telling:
    """A task's line to the board."""

    def __init__(self, board: Any, number: int, folder: Path | None) -> None:
        import ray

        self.ray, self.board, self.number, self.folder = ray, board, number, folder
        self.steps, self.note, self.last, self.saved = 0.0, "", 0.0, False
        self.answer: Any = None
        first: Files | None = None if folder is None else {}
        self.halted = bool(ray.get(board.write.remote(Event(number, "went on"), first)))

    def advance(self, steps: float = 1, note: str = "") -> None:
        self.steps, self.note = self.steps + steps, note or self.note
        now = time.monotonic()
        if now - self.last < _EVERY and not self.saved:
            return
        files: Files | None = None
        if self.saved and self.folder is not None:  # the step after an epoch: its state is written by now
            files = made(self.folder)
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


def perform(
    function: Callable[..., Any],
    number: int,
    tasks: tuple[Any, Any],
    token: str | None,
    where: str,
    files: list[Any],
    board: Any,
    threads: int,
) -> tuple[Any, Files | None]:
    """Do a task on a node; what it returned, and the files it made where the driver does not see them."""
    import ray
    import torch

    torch.set_num_threads(threads)
    with contextlib.suppress(OSError):
        os.chdir(where)  # where names of files are meant from; a node that has no such folder reads none by name
    if token is not None and os.path.exists(token):
        telling = _Telling(board, number, None)
        if telling.halted:
            return None, None
        return function(tasks[0], telling.advance, telling.stop, telling.epoch), None
    with tempfile.TemporaryDirectory(prefix="dametric-") as scratch:
        folder = Path(scratch)
        for name, content in ray.get(files[0]).items():
            write_atomic(folder / name, content)
        before = made(folder)
        telling = _Telling(board, number, folder)
        if telling.halted:
            return None, {}
        value = function(tasks[1].moved(NOWHERE, folder), telling.advance, telling.stop, telling.epoch)
        after = made(folder)
        return value, {name: content for name, content in after.items() if before.get(name) != content}


def made(folder: Path) -> Files:
    """Everything below a folder but locks and files that are being written."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    }
