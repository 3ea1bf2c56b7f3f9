"""The order of tasks and their outcomes: one loop for this process, many processes, or a cluster."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal, Protocol

from dametric.base.progress import Advance
from dametric.errors import UsageError
from dametric.jobs.budget import Budget
from dametric.jobs.executor import Event, Executor, Stop

RETRIES = 3
"""How often a task whose process was lost is begun again, before it counts as failed."""
_BEAT = 0.2  # seconds between two looks at whether to stop
_AGAIN = 1.0  # seconds between two looks at what another process holds

Kind = Literal["teacher", "student", "score"]
Status = Literal["finished", "failed", "busy", "saved"]
Perform = Callable[[Any, Advance, Stop], Any]


@dataclass(frozen=True)
class Task:
    """A job to be carried out once.

    Attributes
    ----------
    key : str
        Its name among the tasks.
    kind : {"teacher", "student", "score"}
    title : str
        A few words for humans.
    payload : object
        What the function that does it is given; it can be pickled.
    needs : tuple of str
        Keys of tasks that come first.
    units : float
        How much progress it makes in all; epochs.
    alike : tuple, optional
        Tasks for which this is equal can be done in lockstep.
    """

    key: str
    kind: Kind
    title: str
    payload: Any
    needs: tuple[str, ...] = ()
    units: float = 1.0
    alike: tuple[Any, ...] | None = None


@dataclass(frozen=True)
class Outcome:
    """Outcome of a task: "busy" if another process holds it, "saved" if it was asked to stop."""

    status: Status
    text: str = ""


class Watcher(Protocol):
    """Is told of the progress of all tasks."""

    def began(self, task: Task) -> None: ...
    def went_on(self, task: Task, steps: float, note: str) -> None: ...
    def ended(self, task: Task, outcome: Outcome) -> None: ...
    def say(self, line: str) -> None: ...


@dataclass
class Report:
    """Outcomes of all tasks, by key."""

    finished: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    held: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)


class Schedule:
    """Tasks on their way through an executor.

    Parameters
    ----------
    function : callable
        ``function(payload, advance, stop)`` does a task, or several that go together, and returns the Outcome of each;
        it can be pickled.
    tasks : sequence of Task
        In the order in which they are begun, as far as their needs allow.
    executor : Executor
    watcher : Watcher
    stop : callable
        Whether to save everything and stop.
    max_runs : int, optional
        Begin no more students than this.
    budget : Budget, optional
    lockstep : int
        Give the function the payloads of up to so many alike tasks at once, as a tuple; it answers with a list.
    fits : callable, optional
        Whether tasks that would be begun together can end in time; those that cannot are left.
    """

    def __init__(
        self,
        function: Perform,
        tasks: Sequence[Task],
        executor: Executor,
        watcher: Watcher,
        stop: Callable[[], bool],
        *,
        max_runs: int | None = None,
        budget: Budget | None = None,
        lockstep: int = 1,
        fits: Callable[[Sequence[Task]], bool] = lambda tasks: True,
    ) -> None:
        self.lockstep, self.fits = lockstep, fits
        self.groups: dict[int, list[Task]] = {}  # what was given together, by the number of the first
        self.function, self.tasks, self.executor, self.watcher = function, list(tasks), executor, watcher
        self.stop, self.max_runs, self.budget = stop, max_runs, budget
        self.numbers = {task.key: number for number, task in enumerate(tasks)}
        self.waiting = dict.fromkeys(self.numbers)  # keys, in order
        self.running: set[int] = set()
        self.held: dict[str, float] = {}  # by other processes; when that was seen last
        self.once_more: set[str] = set()
        self.losses: dict[str, int] = {}
        self.begun = 0
        self.report, self.finished = Report(), set[str]()
        self.trouble: Exception | None = None

    def run(self) -> Report:
        """Carry out all tasks that can be carried out.

        Raises
        ------
        UsageError
            What a task says that cannot be, a full disk for example, once the others have saved what they do.
        """
        while True:
            halting = self._stopping()
            if halting:
                self.executor.halt()
            else:
                self._give()
            if not self.running and (halting or not self._later()):
                break
            if not self.running:
                time.sleep(_BEAT)  # for another process
            for event in self.executor.events(_BEAT):
                self.hear(event)
        if self.trouble is not None:
            raise self.trouble
        self.report.held = list(self.held)
        self.report.left = [key for key in self.waiting if key not in self.held]
        return self.report

    def went_on(self, number: int, steps: float = 1, note: str = "") -> None:
        """Record the progress of a task, or those that were given together."""
        group = self.groups.get(number, [])
        if self.budget is not None and group:
            self.budget.record_message(number)
        for task in group:
            self.watcher.went_on(task, steps / len(group), note)

    def hear(self, event: Event) -> None:
        """Record the end of a task, or those that were given together."""
        self.running.discard(event.number)
        group = self.groups.pop(event.number)
        if self.budget is not None:
            self.budget.record_message(event.number, over=True)
        outcomes = event.value if isinstance(event.value, list) else [event.value] * len(group)
        if event.kind == "lost":
            for task in reversed(group):  # each goes before all others
                self._lost(task)
            return
        for task, outcome in zip(group, outcomes, strict=True):
            if event.kind == "raised":
                self.waiting[task.key] = None
                self.trouble = self.trouble or event.value
                self.watcher.ended(task, Outcome("saved" if isinstance(event.value, UsageError) else "failed"))
            else:
                self._done(task, outcome or Outcome("saved"))

    def _stopping(self) -> bool:
        over = self.budget is not None and self.budget.over
        return self.trouble is not None or self.stop() or over

    def _give(self) -> None:
        ready = self._ready()
        for key in ready:
            if not self.executor.free:
                return
            if key not in self.waiting:  # it went with one before it
                continue
            if key in self.held:
                self.once_more.add(key)
            group = self._group(key, ready) if self._open(key) else []
            if not group:
                continue
            number = self.numbers[key]
            for task in group:
                self.begun += task.kind == "student"
                del self.waiting[task.key]
                self.watcher.began(task)
            self.running.add(number)
            self.groups[number] = group
            if self.budget is not None:
                self.budget.record_message(number)
            payloads = tuple(task.payload for task in group)
            job = partial(self.function, payloads if len(group) > 1 else payloads[0])
            self.executor.give(number, job, partial(self.went_on, number), self._stopping)

    def _group(self, key: str, ready: Sequence[str]) -> list[Task]:
        """A task, and those that can go in lockstep with it; as many as can end in time."""
        first = self.tasks[self.numbers[key]]
        room = self.lockstep if self.max_runs is None else min(self.lockstep, self.max_runs - self.begun)
        group = [first]
        if first.alike is not None and key not in self.held:
            others = (self.tasks[self.numbers[other]] for other in ready if other in self.waiting and other != key)
            alike = (task for task in others if task.alike == first.alike and task.key not in self.held)
            group += itertools.islice(alike, max(0, room - 1))
        while group and not self.fits(group):
            group.pop()
        return group

    def _ready(self) -> list[str]:
        now = time.monotonic()
        ready = [key for key in self.waiting if key not in self.held and self._may(key) and self._open(key)]
        if not ready and not self.running:  # nothing is left but what others hold
            awaited = self._awaited()
            for key, seen in self.held.items():
                if (key in awaited and now - seen > _AGAIN) or (key not in awaited and key not in self.once_more):
                    ready.append(key)
        return ready

    def _later(self) -> bool:
        """Whether something can still become ready: what another process holds, if others need it or for a last try."""
        return bool(self._awaited()) or any(key not in self.once_more and self._open(key) for key in self.held)

    def _open(self, key: str) -> bool:
        """Whether the task fits into all limits."""
        student = self.tasks[self.numbers[key]].kind == "student"
        return self.max_runs is None or not student or self.begun < self.max_runs

    def _awaited(self) -> set[str]:
        """Teachers that another process is training, and that something needs."""
        needed = {need for key in self.waiting for need in self.tasks[self.numbers[key]].needs}
        return {key for key in needed & self.held.keys() if self.tasks[self.numbers[key]].kind == "teacher"}

    def _may(self, key: str) -> bool:
        needs = self.tasks[self.numbers[key]].needs
        return all(need not in self.numbers or need in self.finished for need in needs)

    def _lost(self, task: Task) -> None:
        self.losses[task.key] = self.losses.get(task.key, 0) + 1
        self.held.pop(task.key, None)
        self._uncount(task)
        if self.losses[task.key] > RETRIES:
            self._done(task, Outcome("failed", f"its process was lost {self.losses[task.key]} times"))
            return
        self.watcher.ended(task, Outcome("saved"))
        self.watcher.say(f"{task.title}: its process was lost; it goes on from its last saved epoch")
        self.waiting = {task.key: None, **self.waiting}

    def _done(self, task: Task, outcome: Outcome) -> None:
        self.watcher.ended(task, outcome)
        if outcome.status == "finished":
            self.held.pop(task.key, None)
            self.report.finished.append(task.key)
            self.finished.add(task.key)
        elif outcome.status == "failed":
            self.held.pop(task.key, None)
            self.report.failed[task.key] = outcome.text
            self._blocked(task)
        else:
            self.waiting[task.key] = None
            if outcome.status == "saved":
                self.held.pop(task.key, None)
            if outcome.status == "busy":
                if task.key not in self.held:
                    self.watcher.say(f"{task.title}: another process is running it")
                self._uncount(task)
                self.held[task.key] = time.monotonic()

    def _uncount(self, task: Task) -> None:
        self.begun -= task.kind == "student"

    def _blocked(self, failed: Task) -> None:
        """Mark the tasks that need a failed one as failed."""
        for key in list(self.waiting):
            if key in self.waiting and failed.key in self.tasks[self.numbers[key]].needs:
                del self.waiting[key]
                self.report.failed[key] = f"it needs {failed.title}, which failed"
                self._blocked(self.tasks[self.numbers[key]])
