"""Tasks in this process, one after the other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dametric.jobs.processes import Event, Task


class Inline:
    """An executor that does a task when it is asked what happened.

    Parameters
    ----------
    function : callable
        ``function(task, advance, stop)``.
    stop : callable
        Asked whether to save and return.
    emit : callable
        Told of progress meanwhile.
    """

    def __init__(self, function: Task, stop: Callable[[], bool], emit: Callable[[Event], None]) -> None:
        self.function, self.stop, self.emit = function, stop, emit
        self._given: tuple[int, Any] | None = None
        self._halted = False

    @property
    def free(self) -> int:
        """How many tasks can be given now."""
        return 0 if self._given else 1

    def give(self, number: int, task: Any) -> None:
        """Take a task."""
        self._given = (number, task)

    def halt(self) -> None:
        """Stop where it is."""
        self._halted = True

    def events(self, timeout: float) -> list[Event]:
        """Do the task that was given, if there is one."""
        if self._given is None:
            return []
        number, task = self._given

        def advance(steps: float = 1, note: str = "") -> None:
            self.emit(Event(number, "went on", steps, note))

        try:
            value = self.function(task, advance, lambda: self._halted or self.stop())
            return [Event(number, "done", value=value)]
        except Exception as error:
            return [Event(number, "raised", value=error)]
        finally:
            self._given = None
