"""Short runs until the answer is sure enough: by a trainer that is a pure function, so that everything is known."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from dametric.base.files import write_atomic
from dametric.choosing.answer import points_of, sentences
from dametric.choosing.arms import arms_of
from dametric.choosing.parameters import Parameters, read_parameters
from dametric.choosing.runs import Key, Outcome
from dametric.choosing.settle import Clock, Settling, budget_of, fitting, seconds_kept
from dametric.choosing.state import Question
from dametric.errors import RunFailed, UsageError
from dametric.jobs.executor import Advance, Event, Stop
from dametric.jobs.inline import InlineExecutor
from dametric.records.choices import Choice, ChoiceArm, ChoiceRun, read_choice
from tests.loops import each

STEPS = (100, 400, 2000)
SPECS = ["cutmix", "mixup:alpha=0.5", "mixup:alpha=1", "cutout:length=8"]
PARAMETERS = Parameters({0.02: 1, 0.1: 1}, {0.005: 1, 0.02: 1}, {0.1: 1, 0.4: 1}, {0.0: 1, 0.3: 1})


def question(specs: Sequence[str] = SPECS, steps: tuple[int, ...] = STEPS, **changes: Any) -> Question:
    return replace(Question(arms_of(specs), steps, 0.01, PARAMETERS, base="crop+flip"), **changes)


def loss_of(key: Key, worth: float = 0.05) -> float:
    """Held-out loss: an effect by name, the level by steps, noise by everything, all of them hashes."""

    def part(*names: object) -> float:
        return hashlib.sha256(repr(names).encode()).digest()[0] / 255 - 0.5

    return (
        1 + 50 / key.steps + worth * part(key.aug) + 0.004 * part(key.aug, key.steps, key.seed) + 0.1 * part(key.seed)
    )


@dataclass
class Fake:
    """Runs that are made at once and remembered; an order of those that were carried out."""

    loss: Callable[[Key], float] = loss_of
    failing: Sequence[str] = ()
    known: dict[Key, Outcome] = field(default_factory=dict)
    order: list[Key] = field(default_factory=list)

    def job(self, keys: Sequence[Key]) -> Callable[[Advance, Stop], None]:
        def work(advance: Advance, stop: Stop) -> None:
            for key in keys:
                assert key not in self.known
                self.order.append(key)
                if key.aug in self.failing:
                    self.known[key] = Outcome(key, failed="loss is not a number")
                else:
                    loss = self.loss(key)
                    self.known[key] = Outcome(key, loss, 0.9 - 0.2 * loss)

        return work

    def outcomes(self) -> list[Outcome]:
        return sorted(self.known.values(), key=lambda outcome: repr(outcome.key))


def settle(runs: Fake, folder: Path, asked: Question | None = None, most: int | None = None, **others: Any) -> Choice:
    """The last state, or that after so many runs."""
    with InlineExecutor() as executor:
        choice = None
        for choice in Settling(asked or question(), runs, executor, others.pop("clock", Clock()), folder, **others):
            if most is not None and len(choice.runs) >= most:
                break
        assert choice is not None
        return choice


def test_stopping_after_every_run_changes_nothing(tmp_path: Path) -> None:
    whole = Fake()
    answer = settle(whole, tmp_path, most_steps=4000)
    assert len(whole.order) > 8
    for every in (1, 3):
        parts, count = Fake(), 0
        while count < len(whole.order):
            count += every
            sitting = settle(parts, tmp_path, most_steps=4000, most=count)
        assert parts.order == whole.order
        assert sitting.best == answer.best
    assert settle(parts, tmp_path, most_steps=4000).status == answer.status
    assert parts.order == whole.order


def test_begun_runs_are_ended_first(tmp_path: Path) -> None:
    whole, begun = Fake(), Fake()
    settle(whole, tmp_path, most_steps=2000)
    key = whole.order[0]
    unfinished = Outcome(key)

    class Interrupted(Fake):
        def outcomes(self) -> list[Outcome]:
            return super().outcomes() or [unfinished]

    begun = Interrupted()
    settle(begun, tmp_path, most_steps=2000)
    assert begun.order == whole.order


@each("budget", [100, 350, 1000, 2999, 7000])
def test_a_budget_of_steps_is_kept(tmp_path: Path, budget: int) -> None:
    runs = Fake()
    choice = settle(runs, tmp_path, most_steps=budget)
    spent = sum(key.steps for key in runs.order)
    assert spent <= budget
    assert sum(choice.costs.steps.values()) == spent
    assert choice.status in ("spent", "sure")
    if choice.status == "spent" and spent:
        assert budget - spent < 2 * STEPS[0] * len(SPECS)


def test_it_stops_when_it_is_sure_and_not_before(tmp_path: Path) -> None:
    def far(key: Key) -> float:
        return loss_of(key, 0.01) - 0.3 * (key.aug == "mixup:alpha=1")

    runs = Fake(far)
    choice = settle(runs, tmp_path, most_steps=200_000)
    assert choice.status == "sure"
    assert choice.best == "mixup:alpha=1"
    assert choice.p_within >= 0.95
    assert all(look.p_within < 0.95 for look in choice.looks[1:-1])
    assert choice.sentences[0].startswith("Use mixup:alpha=1: it lowers the held-out loss of crop+flip alone by ")
    assert sum(key.steps for key in runs.order) < 100_000
    with_more = Fake(far, known=dict(runs.known))
    assert settle(with_more, tmp_path, most_steps=400_000).status == "sure"
    assert not with_more.order


def test_a_failing_arm_is_dropped_and_named(tmp_path: Path) -> None:
    runs = Fake(failing=["cutmix"])
    choice = settle(runs, tmp_path, most_steps=5000)
    assert [key.aug for key in runs.order].count("cutmix") == 1
    assert choice.best != "cutmix"
    (arm,) = [arm for arm in choice.arms if arm.failed]
    assert (arm.aug, arm.failed, arm.runs) == ("cutmix", "loss is not a number", 0)
    assert any("cutmix (loss is not a number)" in sentence for sentence in choice.sentences)
    assert "best of 4 with" in choice.sentences[1]
    assert sum(arm.p_best for arm in choice.arms if not arm.failed) == pytest.approx(1)


def test_where_all_others_fail_identity_is_left(tmp_path: Path) -> None:
    choice = settle(Fake(failing=SPECS), tmp_path, most_steps=3000)
    assert choice.best == "identity"
    assert choice.p_best == pytest.approx(1)
    assert len([arm for arm in choice.arms if arm.failed]) == len(SPECS)


def test_identity_must_not_fail(tmp_path: Path) -> None:
    with pytest.raises(RunFailed, match="as they are failed: loss is not a number"):
        settle(Fake(failing=["identity"]), tmp_path, most_steps=5000)


def test_a_budget_below_a_run_says_that_nothing_is_shown(tmp_path: Path) -> None:
    choice = settle(Fake(), tmp_path, most_steps=99)
    assert (choice.status, choice.runs) == ("spent", ())
    assert "no augmentation is shown to beat crop+flip" in choice.sentences[0]
    runs = Fake()
    choice = settle(runs, tmp_path, most_steps=300)
    assert len(runs.order) == 3
    assert choice.status == "spent"
    assert "when the budget was spent" in choice.sentences[1]
    assert choice.sentences[0].startswith(
        ("Use crop+flip alone: nothing is shown", "Nothing is shown to beat crop+flip")
    )


def test_stopping_keeps_the_present_best(tmp_path: Path) -> None:
    runs = Fake()
    choice = settle(runs, tmp_path, stop=lambda: len(runs.order) >= 6)
    assert choice.status == "stopped"
    assert len(runs.order) <= 6 + 4
    assert "when it was stopped" in choice.sentences[1]
    assert read_choice(tmp_path).best == choice.best
    assert read_choice(tmp_path).sentences == choice.sentences


def test_time_that_is_spent_trains_nothing(tmp_path: Path) -> None:
    runs = Fake()
    assert settle(runs, tmp_path, clock=Clock(before=61.0, budget=60.0)).status == "spent"
    assert not runs.order
    slow = Clock(before=0.0, budget=30.0, pace=3.0)  # 90 steps at most
    assert settle(runs, tmp_path, clock=slow).status == "spent"
    assert not runs.order


def test_a_kill_costs_the_clock_no_more_than_its_beat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The time is in a file while it is spent: the next sitting goes on from there, though nobody ended this one."""
    now, seen = [0.0], threading.Event()
    monkeypatch.setattr("dametric.choosing.settle.time.monotonic", lambda: now[0])

    def write(path: Path, text: str) -> None:
        write_atomic(path, text)  # it is read while it is written
        if json.loads(text)["seconds"] == 49.0:
            seen.set()

    monkeypatch.setattr("dametric.choosing.settle.write_atomic", write)
    file, clock = tmp_path / "clock.json", Clock(before=7.0, budget=60.0, start=0.0)
    assert seconds_kept(file) == 0
    with clock.kept(file, every=0.001):
        now[0] = 42.0
        assert seen.wait(30)
        assert seconds_kept(file) == 49.0  # as a kill leaves it
        now[0] = 43.0
    assert seconds_kept(file) == 50.0
    assert not [thread for thread in threading.enumerate() if thread.name == "clock"]
    for broken in ("", "[]", '{"seconds": null}', '{"seconds": "soon"}'):
        file.write_text(broken)
        assert seconds_kept(file) == 0


def read_parameters_of(choice: Choice) -> dict[float, float]:
    return {float(value): weight for value, weight in choice.parameters["spread"].items()}


def test_every_state_is_written_as_json(tmp_path: Path) -> None:
    with InlineExecutor() as executor:
        for choice in Settling(question(), Fake(), executor, Clock(), tmp_path, most_steps=1500):
            text = (tmp_path / "choice.json").read_text(encoding="utf-8")
            document = json.loads(text, parse_constant=lambda token: pytest.fail(token))
            assert document["status"] == choice.status
            assert len(document["runs"]) == len(choice.runs)
            read = read_choice(tmp_path)
            assert read_parameters_of(read) == choice.parameters["spread"]
            assert replace(read, parameters={}).finite() == replace(choice, parameters={}).finite()
    assert [look.runs for look in choice.looks] == sorted({look.runs for look in choice.looks})


def test_losses_without_a_number_end(tmp_path: Path) -> None:
    """Said to be finished, with infinity."""

    class Endless(Fake):
        def job(self, keys: Sequence[Key]) -> Callable[[Advance, Stop], None]:
            for key in keys:
                self.known.pop(key, None)
            assert len(self.order) < 50
            return super().job(keys)

    runs = Endless(lambda key: math.inf if key.aug == "cutmix" else loss_of(key))
    with contextlib.suppress(RunFailed):
        assert settle(runs, tmp_path, most_steps=5000).best != "cutmix"


def test_the_answer_does_not_hang_on_one_that_diverged(tmp_path: Path) -> None:
    """A finite loss far above the others."""
    runs = Fake(lambda key: loss_of(key) + 20.0 * (key.aug == "cutmix"))
    choice = settle(runs, tmp_path, most_steps=8000)
    assert choice.best != "cutmix"
    calm = Fake()
    expected = settle(calm, tmp_path, question(SPECS[1:]), most_steps=8000)
    assert choice.regret < 5 * max(expected.regret, 0.002)


def test_candidates_of_all_kinds_are_settled(tmp_path: Path) -> None:
    specs = [
        "oneof(cutmix,cutout:length=4)",
        "cutmix:p=0.5",
        "rotate:degrees=0",
        "./augs.py:snow",
        "./augs.py:rain:p=0.5",
    ]
    for asked in (question(specs), question(["cutmix"]), question([f"mixup:alpha={a}" for a in range(1, 60)])):
        runs = Fake()
        choice = settle(runs, tmp_path, asked, most_steps=300)
        assert sum(arm.p_best for arm in choice.arms) == pytest.approx(1)
        assert len(choice.arms) == len(asked.arms)


CHOICE = Choice(
    status="spent",
    best="cutmix",
    p_best=0.8,
    p_within=0.9,
    regret=0.01,
    gain=0.05,
    gain_low=0.02,
    gain_high=0.08,
    p_gain=0.99,
    epsilon=0.01,
    hour_more=0.004,
    arms=(ChoiceArm("identity", p_best=0.01), ChoiceArm("cutmix", p_best=0.8), ChoiceArm("mixup", p_best=0.19)),
    runs=(ChoiceRun("cutmix", 100, 0.05, 0, 1.0),),
)


@each(
    ("changes", "there", "absent"),
    [
        ({}, "Use cutmix: it lowers the held-out loss of crop+flip alone by 0.0500 nats [0.0200, 0.0800].", "points"),
        ({}, "Not excluded as the best (probability): mixup (.19).", "identity ("),
        ({}, "An hour more is expected to lower the regret from 0.0100 to 0.0040 nats.", "less than"),
        ({"hour_more": 0.01}, "An hour more is expected to buy less than 0.0005 nats.", "to lower"),
        ({"hour_more": 1e-9}, "to lower the regret from 0.0100 to less than 0.0005 nats.", "0.0000"),
        ({"hour_more": math.nan}, "is not known", "is expected to lower"),
        ({"points": 20.0, "points_low": 10.0, "points_high": 30.0}, "about 1.0 points of accuracy [0.2, 2.4]", "nan"),
        ({"p_gain": 0.94}, "Nothing is shown to beat crop+flip: cutmix looks best", "Use "),
        ({"p_gain": 0.96, "gain_low": -0.001}, "Nothing is shown to beat crop+flip: cutmix looks best", "Use "),
        ({"p_gain": 0.94}, "but may be worse (probability .06)", "Use "),
        ({"best": "identity", "p_gain": 0.0}, "Use crop+flip alone: nothing is shown to beat it.", "Use identity"),
        ({"runs": ()}, "no augmentation is shown to beat crop+flip", "Use "),
        ({"status": "sure"}, "which is what was asked for", "spent"),
        ({"status": "stopped"}, "when it was stopped", "spent"),
        ({"status": "running"}, "so far", "spent"),
        ({}, "best of 3 with probability .80, and within 0.01 nats of the best with probability .90", "nan"),
        ({}, "expected regret 0.0100 nats", "nan"),
    ],
)
def test_sentences(changes: dict[str, Any], there: str, absent: str) -> None:
    text = " ".join(sentences(replace(CHOICE, **changes), "crop+flip", ["A remark."]))
    assert there in text
    assert absent not in text
    assert text.endswith("A remark.")


def test_many_improbable_ones_are_not_excluded_together() -> None:
    arms = (ChoiceArm("cutmix", p_best=0.4), *(ChoiceArm(f"a{place}", p_best=0.03) for place in range(20)))
    text = " ".join(sentences(replace(CHOICE, arms=arms, p_best=0.4), "crop+flip"))
    assert "xcluded" in text


def test_points_are_said_only_where_the_runs_say_them() -> None:
    def runs(tops: Sequence[float]) -> list[ChoiceRun]:
        return [ChoiceRun("a", 100, 0.05, 0, 1 + 0.1 * place, top) for place, top in enumerate(tops)]

    clear = points_of(runs([0.9, 0.88, 0.861, 0.839, 0.82, 0.80]))
    assert clear.low < clear.slope < clear.high
    assert clear.slope == pytest.approx(20, abs=0.5)  # percent for a nat
    for nothing in ([], [0.9] * 2, [math.nan] * 6, [0.9, 0.8, 0.9, 0.8, 0.9, 0.8], [0.8, 0.82, 0.84, 0.86, 0.88, 0.9]):
        assert math.isnan(points_of(runs(nothing)).slope)


@each(
    ("text", "expected"),
    [("30m", (1800, math.inf)), (90, (90, math.inf)), ("20 steps", (math.inf, 20)), ("1h30m", (5400, math.inf))],
)
def test_budgets(text: str | float, expected: tuple[float, float]) -> None:
    assert budget_of(text) == expected


@each("text", ["soon", "", "0", "-5m", 0, -1, "0steps", "steps", "-3steps", "1.5steps", "²steps", math.nan])
def test_what_is_no_budget(text: str | float) -> None:
    with pytest.raises(UsageError):
        budget_of(text)


def test_fractions_that_are_too_short_are_left_out() -> None:
    assert fitting(2000, (0.05, 0.2, 1.0), 20) == (100, 400, 2000)
    assert fitting(2000, (0.05, 0.2, 1.0), 101) == (400, 2000)
    assert fitting(10, (0.05, 0.2, 1.0), 20) == (10,)
    assert read_parameters().for_schedule(1000, (0.05, 1.0))[1] == ""


class TwoPlaces:
    """Two jobs at once, as processes have them: what is given after it was halted comes back as it was."""

    def __init__(self) -> None:
        self.given: list[tuple[int, Any, bool]] = []
        self.halted, self.untouched = False, 0

    def __enter__(self) -> TwoPlaces:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    @property
    def free(self) -> int:
        return 2 - len(self.given)

    def give(self, number: int, job: Any, advance: Advance, stop: Stop) -> None:
        self.given.append((number, job, self.halted))

    def halt(self) -> None:
        self.halted = True

    def events(self, timeout: float) -> list[Event]:
        number, job, late = self.given.pop(0)
        if late:
            self.untouched += 1
            assert self.untouched < 10, "runs are given for ever that nobody carries out"
        else:
            job(lambda steps=1, note="": None, lambda: False)
        return [Event(number, "done")]


def test_a_run_that_ends_after_it_was_sure_ends_the_choice_too(tmp_path: Path) -> None:
    unsure = 0
    for salt in range(60):
        executor = TwoPlaces()

        def loss(key: Key, salt: int = salt) -> float:
            return loss_of(replace(key, aug=f"{key.aug} {salt}"), 0.02)

        runs = Fake(loss)
        settling = Settling(replace(question(), epsilon=0.02), runs, executor, Clock(), tmp_path, most_steps=60_000)
        *_, choice = settling
        assert executor.untouched == 0
        assert choice.status == ("sure" if choice.p_within >= 0.95 else "stopped" if executor.halted else "spent")
        unsure += choice.status == "stopped"
        if unsure:
            return
    pytest.fail("no run made an answer less sure again")


def test_a_run_that_another_process_holds_is_left_to_it(tmp_path: Path) -> None:
    held = Key("identity", 100, 0)

    class Held(Fake):
        given = 0

        def job(self, keys: Sequence[Key]) -> Callable[[Advance, Stop], None]:
            if held not in keys:
                return super().job(keys)
            self.given += 1
            return super().job(keys) if self.given == 3 else lambda advance, stop: None

        def outcomes(self) -> list[Outcome]:
            return [*super().outcomes(), *([] if held in self.known else [Outcome(held)])]

    runs = Held()
    choice = settle(runs, tmp_path, most_steps=1500, patience=0.01)
    assert runs.given == 3
    assert held in runs.order
    assert runs.order[0] != held, "others go on meanwhile"
    assert choice.status in ("spent", "sure")


def test_those_of_a_group_are_trained_in_the_time_of_the_group(tmp_path: Path) -> None:
    given: list[Sequence[Key]] = []

    class Watched(Fake):
        def job(self, keys: Sequence[Key]) -> Callable[[Advance, Stop], None]:
            given.append(tuple(keys))
            return super().job(keys)

    clock = Clock(budget=25.0, pace=100.0)  # 2500 steps
    with InlineExecutor() as executor:
        settling = Settling(question(steps=(1000,)), Watched(), executor, clock, tmp_path, lockstep=4)
        states = iter(settling)
        next(states), next(states)
    assert len(given[0]) == 2


def test_runs_that_diverge_are_paid(tmp_path: Path) -> None:
    runs = Fake(failing=SPECS)
    choice = settle(runs, tmp_path, question(steps=(2000,)), most_steps=6000)
    assert sum(key.steps for key in runs.order) == 6000 == sum(choice.costs.steps.values())
    assert choice.status == "spent"


def test_where_no_other_candidate_is_left_that_is_said() -> None:
    arms = (ChoiceArm("identity", p_best=1.0), ChoiceArm("cutmix", failed="it diverged"))
    text = " ".join(sentences(replace(CHOICE, arms=arms, best="identity", p_best=1.0), "crop+flip"))
    assert "No other candidate is left." in text
    assert "All others are excluded" not in text
