"""An executor of one's own: runs one after the other in this process, each written down as it begins and ends.

    dametric sweep experiments/digits.yaml --executor ./examples/executor.py:Logged

From Python: ``dametric.sweep(grid, executor=Logged("digits.log"))``. One for a scheduler or a cloud has the same
members: ``give`` submits a job, which can be pickled, and ``events`` says which have ended.
"""

from __future__ import annotations

import time
from typing import Any

from dametric.jobs.executor import Event


class Logged:
    """Carries out jobs when it is asked what happened.

    Parameters
    ----------
    log : str
        A file, to which a line is added when a job begins and one when it ends.
    """

    def __init__(self, log: str = "jobs.log") -> None:
        self.log, self.given = log, list[Any]()

    def __enter__(self) -> Logged:
        return self

    def __exit__(self, *error: object) -> None:
        self.given.clear()

    @property
    def free(self) -> int:
        return 1 - len(self.given)

    def give(self, number: int, job: Any, advance: Any, stop: Any) -> None:
        self.given.append((number, job, advance, stop))

    def halt(self) -> None:
        """In this process ``stop`` says so already."""

    def events(self, timeout: float) -> list[Event]:
        return [self.done(*self.given.pop())] if self.given else []

    def done(self, number: int, job: Any, advance: Any, stop: Any) -> Event:
        self.write(f"job {number} begins")
        try:
            event = Event(number, "done", job(advance, stop))
        except Exception as error:
            event = Event(number, "raised", error)
        self.write(f"job {number}: {event.kind}")
        return event

    def write(self, line: str) -> None:
        with open(self.log, "a", encoding="utf-8") as file:
            file.write(f"{time.strftime('%H:%M:%S')} {line}\n")
