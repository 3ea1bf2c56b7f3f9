"""Jobs in this process, one after the other."""

from __future__ import annotations

from dametric.base.progress import Advance
from dametric.jobs.executor import Event, Job, Stop


class InlineExecutor:
    """An executor that carries out a job when it is asked for events."""

    def __init__(self) -> None:
        self._given: tuple[int, Job, Advance, Stop] | None = None
        self._halted = False

    def __enter__(self) -> InlineExecutor:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    @property
    def free(self) -> int:
        """How many more jobs can be given now."""
        return 0 if self._given else 1

    def give(self, number: int, job: Job, advance: Advance, stop: Stop) -> None:
        """Take a job."""
        self._given = (number, job, advance, stop)

    def halt(self) -> None:
        """Ask the job to save and return."""
        self._halted = True

    def events(self, timeout: float) -> list[Event]:
        """Do the job that was given, if there is one."""
        if self._given is None:
            return []
        number, job, advance, stop = self._given
        try:
            return [Event(number, "done", job(advance, lambda: self._halted or stop()))]
        except Exception as error:
            return [Event(number, "raised", error)]
        finally:
            self._given = None
