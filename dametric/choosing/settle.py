"""Short runs, one after the other or side by side, until the answer is sure enough or the budget is spent."""

from __future__ import annotations

import json
import math
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from dametric.base.files import read_text, write_atomic
from dametric.base.progress import Advance, say
from dametric.choosing.runs import Key, Outcome, Runs
from dametric.choosing.state import ENOUGH, Belief, Question, answer
from dametric.errors import RunFailed, UsageError
from dametric.jobs.budget import seconds_of
from dametric.jobs.executor import Event, Executor, Stop
from dametric.records.choices import NAME, Choice, ChoiceCosts, ChoiceLook

_EVERY = 2.0  # seconds: what a kill may cost the clock
_PATIENCE = 5.0  # seconds until a run that another process holds is asked for again
_LOSSES = 3  # processes lost with one run before that is an error


@dataclass
class Clock:
    """Time spent on a choice, over all its sittings.

    Attributes
    ----------
    before : float
        Seconds of the sittings before this one.
    budget : float
        Seconds in all.
    pace : float
        Student-steps a second of one run, by a trial before there is a record; NaN where nothing is known.
    start : float
        When this sitting began, on the monotonic clock.
    """

    before: float = 0.0
    budget: float = math.inf
    pace: float = math.nan
    start: float = field(default_factory=time.monotonic)

    @property
    def spent(self) -> float:
        """Seconds spent."""
        return self.before + time.monotonic() - self.start

    @property
    def left(self) -> float:
        """Seconds left."""
        return self.budget - self.spent

    @contextmanager
    def kept(self, file: Path, every: float = _EVERY) -> Iterator[None]:
        """Write the time that is spent to a file, again and again: a process that is killed cannot say it."""
        ended = threading.Event()

        def save() -> None:
            with suppress(OSError):  # whatever else is written there says so
                write_atomic(file, json.dumps({"seconds": round(self.spent, 3)}) + "\n")

        def keep() -> None:
            while not ended.wait(every):
                save()

        thread = threading.Thread(target=keep, name="clock", daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
            save()

    def steps_a_second(self, outcomes: Sequence[Outcome]) -> float:
        """By the records, the slower the more often it was seen; else by the trial."""
        known = [outcome for outcome in outcomes if outcome.finished and outcome.seconds > 0]
        seconds = sum(outcome.seconds for outcome in known)
        return sum(outcome.key.steps for outcome in known) / seconds if seconds else self.pace


def seconds_kept(file: Path) -> float:
    """What :meth:`Clock.kept` wrote last; 0 where there is nothing of the kind."""
    try:
        return max(float(json.loads(read_text(file))["seconds"]), 0.0)
    except (OSError, UsageError, ValueError, TypeError, KeyError):
        return 0.0


@dataclass
class Settling:
    """A choice that is being settled; iterate over it for the state after every run.

    Attributes
    ----------
    question : Question
    runs : Runs
    executor : Executor
        Entered already.
    clock : Clock
    folder : Path
        For the answer.
    scored : ChoiceCosts
        What scoring took.
    stop : callable
        Whether to save and stop.
    advance : Advance
    most_steps : float
        Student-steps in all.
    looks : tuple of ChoiceLook
        Of the sittings before.
    lockstep : int
        Runs that are given together.
    patience : float
        Seconds until a run that came back unfinished, since another process holds it, is given again.
    """

    question: Question
    runs: Runs
    executor: Executor
    clock: Clock
    folder: Path
    scored: ChoiceCosts = field(default_factory=ChoiceCosts)
    stop: Stop = lambda: False
    advance: Advance = lambda steps=1, note="": None
    most_steps: float = math.inf
    looks: tuple[ChoiceLook, ...] = ()
    lockstep: int = 1
    patience: float = _PATIENCE

    def __post_init__(self) -> None:
        self._aside: dict[Key, float] = {}
        self._going: dict[int, tuple[Key, ...]] = {}
        self._lost: dict[Key, int] = {}
        self._number = 0

    def __iter__(self) -> Iterator[Choice]:
        outcomes = self.runs.outcomes()
        belief, choice = self._look(outcomes, "running")
        yield choice
        sure = ending = False
        while True:
            if not ending:  # executors are halted for ever, whatever the runs say that end after that
                sure = _sure(choice)
                ending = sure or self._over()
            if not ending:
                self._fill(belief, outcomes)
            if not self._going and (ending or not self._aside):
                break
            if ending:
                self.executor.halt()
            returned = self._returned()
            known = self.runs.outcomes() if returned or not self._going else outcomes
            self._set_aside(returned, known)
            if returned or known != outcomes:
                outcomes = known
                belief, choice = self._look(outcomes, "running")
                yield choice
        if sure and not _sure(choice):
            say("runs that were going on have made the answer less sure again: the same call goes on")
        status = "sure" if _sure(choice) else "stopped" if self.stop() or sure else "spent"
        yield self._look(outcomes, status)[1]

    def _returned(self) -> list[Key]:
        """Runs that came back from where they are carried out, finished or not."""
        if not self._going:
            time.sleep(min(self.patience, 0.5))
            return []
        return [key for event in self.executor.events(0.2) for key in self._ended(event)]

    def _set_aside(self, returned: Sequence[Key], outcomes: Sequence[Outcome]) -> None:
        """Leave those that came back unfinished to the process that holds them, for a while."""
        now, known = time.monotonic(), {outcome.key for outcome in outcomes if outcome.finished or outcome.failed}
        self._aside |= dict.fromkeys(returned, now + self.patience)
        self._aside = {key: until for key, until in self._aside.items() if key not in known and until > now}

    def _look(self, outcomes: Sequence[Outcome], status: str) -> tuple[Belief, Choice]:
        belief = Belief.of(self.question, outcomes)
        if belief.failed.get("identity"):
            raise RunFailed(f"the student of the images as they are failed: {belief.failed['identity']}")
        training = sum(outcome.seconds for outcome in outcomes if outcome.finished)
        costs = replace(self.scored, seconds=self.clock.spent, runs=training)
        pace = self.clock.steps_a_second(outcomes) * (len(self._going) + self.executor.free)
        choice = answer(belief, outcomes, status, costs, self.looks, 3600 * pace)
        self.looks = choice.looks
        choice.write(self.folder / NAME)
        return belief, choice

    def _fill(self, belief: Belief, outcomes: Sequence[Outcome]) -> None:
        """Give runs while there is place for them and time to end them."""
        begun = [outcome.key for outcome in outcomes if not outcome.finished and not outcome.failed]
        while self.executor.free > 0:
            group: list[Key] = []
            while len(group) < self.lockstep and (key := self._next(belief, outcomes, begun, group)) is not None:
                group.append(key)
            if not group:
                return
            self._number += 1
            self._going[self._number] = tuple(group)
            self.executor.give(self._number, self.runs.job(group), self.advance, self._over)

    def _next(
        self, belief: Belief, outcomes: Sequence[Outcome], begun: Sequence[Key], group: Sequence[Key]
    ) -> Key | None:
        """The next run: first what was begun, then what is worth most; for a group one of its seed."""
        pending = [*self._pending, *group]
        most = self._affordable(outcomes, pending, group)
        waiting = [key for key in begun if key not in pending and belief.place(key)[0] >= 0 and key.steps <= most]
        if waiting:
            return next((key for key in waiting if not group or key.seed == group[0].seed), None)
        expecting = belief.with_pending(pending)
        step = expecting.step(most)
        if step is None:
            return None
        key = expecting.key(step.runs[0])
        return key if not group or key.seed == group[0].seed else None

    @property
    def _pending(self) -> list[Key]:
        return [*(key for group in self._going.values() for key in group), *self._aside]

    def _affordable(self, outcomes: Sequence[Outcome], pending: Sequence[Key], group: Sequence[Key]) -> float:
        """Student-steps that a run may have to end in time, where those of its group are trained beside it."""
        spent = sum(outcome.key.steps for outcome in outcomes if outcome.finished or outcome.failed)
        spent += self.scored.student_steps + sum(key.steps for key in pending)
        pace = self.clock.steps_a_second(outcomes)
        in_time = self.clock.left * pace - sum(key.steps for key in group) if math.isfinite(pace) else math.inf
        return min(self.most_steps - spent, in_time)

    def _over(self) -> bool:
        return self.stop() or self.clock.left <= 0

    def _ended(self, event: Event) -> tuple[Key, ...]:
        keys = self._going.pop(event.number)
        if event.kind == "raised":
            raise event.value
        if event.kind == "lost":
            for key in keys:
                self._lost[key] = self._lost.get(key, 0) + 1
                if self._lost[key] >= _LOSSES:
                    raise RunFailed(f"the process of {key.aug} (seed {key.seed}) was lost {_LOSSES} times")
                say(f"{key.aug}, seed {key.seed}: its process was lost; the run is given to another one")
            return ()
        return keys


def _sure(choice: Choice) -> bool:
    """Whether the answer is what was asked for."""
    return choice.p_within >= ENOUGH and bool(choice.runs)


def budget_of(text: str | float) -> tuple[float, float]:
    """Seconds and student-steps that may be spent: ``"30m"``, seconds, or ``"20000steps"``.

    Examples
    --------
    >>> budget_of("200steps"), budget_of(30)
    ((inf, 200.0), (30.0, inf))
    """
    if isinstance(text, str) and text.replace(" ", "").endswith("steps"):
        number = text.replace(" ", "").removesuffix("steps")
        if not number.isdecimal() or int(number) < 1:
            raise UsageError(f"a budget of steps is a number from 1 up, such as 20000steps, not '{text}'")
        return math.inf, float(number)
    seconds = seconds_of(text, "budget") if isinstance(text, str) else float(text)
    if not seconds > 0:
        raise UsageError(f"a budget is a time such as 30m or 2h, or 20000steps, not {text}")
    return seconds, math.inf


def fitting(steps: int, fractions: Sequence[float], least: int) -> tuple[int, ...]:
    """Steps of a run at each fraction of a schedule; those below ``least`` are left out, but never the whole.

    Examples
    --------
    >>> fitting(2000, (0.05, 0.2, 1.0), 50), fitting(200, (0.05, 0.2, 1.0), 50)
    ((100, 400, 2000), (200,))
    """
    if not fractions or not all(0 < fraction <= 1 for fraction in fractions):
        raise UsageError(f"fractions of the schedule lie above 0 and up to 1, not {list(fractions)}")
    every = sorted({round(fraction * steps) for fraction in (*fractions, 1.0)})
    return tuple(count for count in every if count >= least or count == steps)
