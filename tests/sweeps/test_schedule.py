"""The schedule with an executor that does nothing but answer."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from typing import Any

import pytest

from dametric.errors import UsageError
from dametric.jobs.executor import Event
from dametric.jobs.schedule import RETRIES, Outcome, Report, Schedule, Task

FINISHED = Outcome("finished")


def unused(payload: Any, advance: Any, stop: Any) -> Any:
    """What an executor would call."""
    raise AssertionError


class Silent:
    """Watches, and remembers what was said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def began(self, task: Task) -> None: ...
    def went_on(self, task: Task, steps: float, note: str) -> None: ...
    def ended(self, task: Task, outcome: Outcome) -> None: ...
    def say(self, line: str) -> None:
        self.lines.append(line)


class Answers:
    """Ends tasks in random order with the answers it was given, in turn; with "finished" when they are used up."""

    def __init__(self, tasks: list[Task], jobs: int, answers: dict[str, list[Any]], seed: int = 0) -> None:
        self.tasks, self.jobs, self.answers = tasks, jobs, {key: list(given) for key, given in answers.items()}
        self.draw, self.running, self.order, self.halted, self.most = random.Random(seed), list[int](), [], False, 0

    @property
    def free(self) -> int:
        return self.jobs - len(self.running)

    def __enter__(self) -> Answers:
        return self

    def __exit__(self, *error: object) -> None: ...

    def give(self, number: int, job: Any, advance: Any, stop: Any) -> None:
        assert not self.halted
        self.order.append(self.tasks[number].key)
        self.running.append(number)
        self.most = max(self.most, len(self.running))

    def halt(self) -> None:
        self.halted = True

    def events(self, timeout: float) -> list[Event]:
        if not self.running:
            return []
        number = self.running.pop(self.draw.randrange(len(self.running)))
        given = self.answers.get(self.tasks[number].key, [])
        answer = given.pop(0) if given else FINISHED
        if self.halted:
            return [Event(number, "done", value=Outcome("saved"))]
        if isinstance(answer, Exception):
            return [Event(number, "raised", value=answer)]
        return [Event(number, "lost") if answer == "lost" else Event(number, "done", value=answer)]


def tasks(students: int = 4) -> list[Task]:
    found = [Task("t", "teacher", "t", None), Task("u", "teacher", "u", None)]
    found += [Task(f"s{n}", "student", f"s{n}", None, ("tu"[n % 2],)) for n in range(students)]
    return [*found, Task("c", "score", "c", None, ("t", "s0"))]


@pytest.fixture(autouse=True)
def _no_sleep(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]

    def tick() -> float:
        clock[0] += 0.5
        return clock[0]

    monkeypatch.setattr("dametric.jobs.schedule.time.sleep", lambda seconds: None)
    monkeypatch.setattr("dametric.jobs.schedule.time.monotonic", tick)


def carry_out(
    jobs: int = 2, answers: dict[str, list[Any]] | None = None, seed: int = 0, **more: Any
) -> tuple[Report, Answers, Silent]:
    todo, watcher = tasks(), Silent()
    executor = Answers(todo, jobs, answers or {}, seed)
    stop: Callable[[], bool] = more.pop("stop", lambda: False)
    return Schedule(unused, todo, executor, watcher, stop, **more).run(), executor, watcher


def test_everything_is_done_once_after_what_it_needs() -> None:
    for jobs, seed in itertools.product((1, 2, 3, 10), range(5)):
        report, executor, _ = carry_out(jobs, seed=seed)
        assert sorted(executor.order) == sorted(task.key for task in tasks())
        assert executor.most <= jobs
        for task in tasks():
            for need in task.needs:
                assert report.finished.index(need) < report.finished.index(task.key)
                assert executor.order.index(need) < executor.order.index(task.key)
        assert (report.failed, report.held, report.left) == ({}, [], [])


def test_a_lost_task_is_begun_again_but_not_for_ever() -> None:
    report, executor, watcher = carry_out(answers={"s1": ["lost"] * RETRIES, "s2": ["lost"] * (RETRIES + 1)})
    assert executor.order.count("s1") == executor.order.count("s2") == RETRIES + 1
    assert "s1" in report.finished
    assert report.failed == {"s2": f"its process was lost {RETRIES + 1} times"}
    assert len(watcher.lines) == 2 * RETRIES


def test_what_needs_a_failed_one_fails_unbegun() -> None:
    report, executor, _ = carry_out(answers={"t": [Outcome("failed", "why")]})
    assert report.failed.keys() == {"t", "s0", "s2", "c"}
    assert report.failed["t"] == "why"
    assert report.failed["s0"] == report.failed["s2"] == "it needs t, which failed"
    assert set(report.finished) == {"u", "s1", "s3"}
    assert not {"s0", "s2", "c"} & set(executor.order)


def test_what_others_hold_is_asked_again_at_the_end_and_left() -> None:
    busy = Outcome("busy")
    report, executor, watcher = carry_out(answers={"s1": [busy], "s3": [busy] * 9})
    assert report.held == ["s3"]
    assert "s1" in report.finished
    assert executor.order.count("s3") == 2
    assert set(executor.order[-2:]) <= {"s1", "s3"}
    assert len(watcher.lines) == 2


def test_a_student_that_another_process_holds_is_not_waited_for() -> None:
    report, executor, _ = carry_out(answers={"s0": [Outcome("busy")] * 9})
    assert report.held == ["s0"]
    assert report.left == ["c"], "it needs it"
    assert executor.order.count("s0") == 2
    report, _, _ = carry_out(answers={"s0": [Outcome("busy")] * 9}, max_runs=3)
    assert report.held == ["s0"]


def test_a_teacher_that_another_process_trains_is_waited_for() -> None:
    report, executor, _ = carry_out(answers={"t": [Outcome("busy")] * 5})
    assert executor.order.count("t") == 6
    assert len(report.finished) == len(tasks())
    assert report.held == report.left == []


def test_no_more_students_than_asked() -> None:
    report, _, _ = carry_out(max_runs=2, answers={"s0": ["lost"], "s1": [Outcome("busy")]})
    assert len([key for key in report.finished if key.startswith("s")]) == 2
    assert {*report.left, *report.held} == {"s0", "s1", "s2", "s3", "c"} - set(report.finished)


def test_stopping_leaves_the_rest() -> None:
    count = [0]

    def stop() -> bool:
        count[0] += 1
        return count[0] > 4

    report, executor, _ = carry_out(stop=stop)
    assert executor.halted
    assert report.left
    assert sorted([*report.finished, *report.left]) == sorted(task.key for task in tasks())


def test_what_cannot_be_is_raised_once_the_others_have_saved() -> None:
    with pytest.raises(UsageError, match="cannot write"):
        carry_out(3, answers={"s0": [UsageError("cannot write x: full")]})


class Groups(Answers):
    """Takes alike tasks together, and answers for each."""

    def __init__(self, todo: list[Task], jobs: int, answers: dict[str, list[Any]], seed: int = 0) -> None:
        super().__init__(todo, jobs, answers, seed)
        self.groups: list[tuple[str, ...]] = []
        self.together: dict[int, tuple[str, ...]] = {}

    def give(self, number: int, job: Any, advance: Any, stop: Any) -> None:
        super().give(number, job, advance, stop)
        (payload,) = job.args
        self.together[number] = payload if isinstance(payload, tuple) else (payload,)
        self.groups.append(self.together[number])

    def events(self, timeout: float) -> list[Event]:
        if not self.running:
            return []
        number = self.running.pop(self.draw.randrange(len(self.running)))
        found = [given.pop(0) if (given := self.answers.get(key)) else FINISHED for key in self.together[number]]
        return [Event(number, "lost" if "lost" in found else "done", value=found if len(found) > 1 else found[0])]


def in_groups(lockstep: int, answers: dict[str, list[Any]] | None = None, **more: Any) -> tuple[Report, Groups]:
    """Six students of two teachers that can go in lockstep by teacher, with their key for what is given."""
    todo = [Task("t", "teacher", "t", "t"), Task("u", "teacher", "u", "u")]
    alike = {"t": ("t", 64), "u": ("u", 64)}
    for number, need in enumerate("ttuttu"):
        todo.append(Task(f"s{number}", "student", "", f"s{number}", (need,), 1.0, alike[need]))
    executor = Groups(todo, 1, answers or {})
    return Schedule(unused, todo, executor, Silent(), lambda: False, lockstep=lockstep, **more).run(), executor


def test_alike_students_are_given_together() -> None:
    for lockstep, expected in (
        (1, [("s0",), ("s1",), ("s2",), ("s3",), ("s4",), ("s5",)]),
        (2, [("s0", "s1"), ("s2", "s5"), ("s3", "s4")]),
        (3, [("s0", "s1", "s3"), ("s2", "s5"), ("s4",)]),
        (9, [("s0", "s1", "s3", "s4"), ("s2", "s5")]),
    ):
        report, executor = in_groups(lockstep)
        assert executor.groups[2:] == expected, "teachers first: nothing goes with them"
        assert len(report.finished) == 8
        assert (report.failed, report.held, report.left) == ({}, [], [])


def test_what_comes_of_one_is_not_what_comes_of_its_group() -> None:
    answers = {"s0": [Outcome("failed", "why")], "s1": [Outcome("busy")], "s3": [Outcome("saved")]}
    report, executor = in_groups(4, answers)
    assert report.failed == {"s0": "why"}
    assert sorted(report.finished) == ["s1", "s2", "s3", "s4", "s5", "t", "u"]
    assert executor.groups.count(("s1",)) == 1, "what another process held is tried again by itself"
    report, executor = in_groups(4, {"s1": ["lost"]})
    assert len(report.finished) == 8
    assert executor.groups[2] == executor.groups[3] == ("s0", "s1", "s3", "s4"), "the whole group goes on"


def test_a_group_is_no_larger_than_the_students_that_may_be_begun() -> None:
    report, executor = in_groups(4, max_runs=3)
    assert executor.groups[2:] == [("s0", "s1", "s3")]
    assert sorted(report.left) == ["s2", "s4", "s5"]


def test_nothing_is_begun_that_cannot_end_in_time() -> None:
    """Of a group as many as can; the others are left."""
    report, executor = in_groups(4, fits=lambda group: len(group) <= 2)
    assert executor.groups[2:] == [("s0", "s1"), ("s2", "s5"), ("s3", "s4")]
    assert not report.left
    report, executor = in_groups(4, fits=lambda group: all(task.key != "s2" for task in group))
    assert report.left == ["s2"]
    assert ("s5",) in executor.groups
    report, executor = in_groups(4, fits=lambda group: False)
    assert executor.groups == []
    assert len(report.left) == 8
