"""What carries out jobs and reports on them: the one interface of everything that a sweep can run on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal, Protocol

from dametric.base.progress import Advance
from dametric.base.user_code import load_object
from dametric.errors import UsageError

Stop = Callable[[], bool]
"""Returns whether to save and return."""
Job = Callable[[Advance, Stop], Any]
"""Something to be done: called with ``advance`` and ``stop``, it returns what came of it. It can be pickled."""


@dataclass(frozen=True)
class Event:
    """How a job ended.

    Attributes
    ----------
    number : int
        Number of the job.
    kind : {"done", "raised", "lost"}
        It returned ``value`` (None if it was asked to stop before it began), it raised the exception ``value``, or
        its process was killed; what it had saved is gone on with.
    value : object
    """

    number: int
    kind: Literal["done", "raised", "lost"]
    value: Any = None


class Executor(Protocol):
    """Carries out jobs; a context manager, which starts what it needs and ends it again.

    One thread talks to it: it gives jobs while some are free, then asks for events, again and again. A class of one's
    own with these members is all that ``dametric.sweep(..., executor=...)`` asks for; it need not inherit from this
    one. ``examples/executor.py`` is one in forty lines. Jobs may run side by side in processes, not in threads of one
    process: torch's tracing, which scoring uses, is the same for all threads.

    Examples
    --------
    >>> class Immediate:
    ...     def __init__(self):
    ...         self.ended = []
    ...     def __enter__(self):
    ...         return self
    ...     def __exit__(self, *error):
    ...         pass
    ...     @property
    ...     def free(self):
    ...         return 1 - len(self.ended)
    ...     def give(self, number, job, advance, stop):
    ...         self.ended.append(Event(number, "done", job(advance, stop)))
    ...     def halt(self):
    ...         pass
    ...     def events(self, timeout):
    ...         ended, self.ended = self.ended, []
    ...         return ended
    >>> with own_executor(Immediate) as executor:
    ...     executor.give(7, lambda advance, stop: "finished", lambda steps=1, note="": None, lambda: False)
    ...     executor.events(0.2)
    [Event(number=7, kind='done', value='finished')]
    """

    def __enter__(self) -> Executor: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    @property
    def free(self) -> int:
        """How many more jobs can be given now."""

    def give(self, number: int, job: Job, advance: Advance, stop: Stop) -> None:
        """Take a job, now or later to be called as ``job(advance, stop)``.

        ``advance`` and ``stop`` belong to this process, any thread of it. A job that is called in another process gets
        two of the executor's own: what the first is told there is passed on to ``advance`` here, and the second is
        true there once :meth:`halt` has been called here.
        """

    def halt(self) -> None:
        """Ask all jobs to save and return, those that are given later too; may be called again."""

    def events(self, timeout: float) -> list[Event]:
        """Ends of jobs since the last call; waits up to ``timeout`` seconds for the first. An end is reported once."""


_MEMBERS = ("__enter__", "__exit__", "free", "give", "halt", "events")


def own_executor(executor: Executor | Callable[[], Executor] | str) -> Executor:
    """An executor of the user's own.

    Parameters
    ----------
    executor : Executor, callable or str
        One, something that returns one when it is called without arguments (a class), or where such a thing is:
        ``"./file.py:name"``, ``"package.module:name"``.

    Raises
    ------
    UsageError
        If it cannot be loaded, cannot be made, or lacks a member.
    """
    given: Any = load_object(executor, "executor") if isinstance(executor, str) else executor
    if isinstance(given, type) or not hasattr(given, "give"):
        if not callable(given):
            raise UsageError(
                f"an executor has the method 'give', or is a function that returns one; {given!r} is a "
                f"{type(given).__name__}"
            )
        given = given()
    missing = [name for name in _MEMBERS if not hasattr(given, name)]
    if missing:
        raise UsageError(
            f"the executor {type(given).__name__} has no '{missing[0]}': see dametric.jobs.executor.Executor"
        )
    ready: Executor = given
    return ready
