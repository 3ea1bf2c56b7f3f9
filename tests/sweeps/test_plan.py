"""Plans: counts and times by the records so far, by hand."""

from __future__ import annotations

import math
from pathlib import Path

import pandas as pd
import pytest

from dametric.cli.sweep import plan_table
from dametric.errors import UsageError
from dametric.jobs.budget import seconds_of
from dametric.sweeps.plan import Item, Plan, Rates, duration, lines_of
from dametric.sweeps.request import shard_of

LIKE = ("digits", "resnet8", "resnet20", "cutmix")
RECORDS = [
    ("student", LIKE, 4.0, 8.0),  # 2 s an epoch
    ("student", (*LIKE[:3], "flip"), 1.0, 1.0),
    ("student", ("digits", "resnet8", "resnet56", "flip"), 1.0, 6.0),
    ("teacher", ("digits", "resnet20"), 10.0, 50.0),
    ("student", ("digits", "wrn_16_1", "resnet20", "flip"), 0.0, 0.0),
    ("student", ("digits", "wrn_16_1", "resnet20", "flip"), 2.0, math.nan),
]


def student(*like: str, epochs: float = 10, done: float = 0, finished: bool = False) -> Item:
    return Item("student", "pair", like, epochs, done, finished)


@pytest.mark.parametrize(
    ("item", "seconds"),
    [
        (student(*LIKE), 20.0),
        (student(*LIKE, done=4), 12.0),
        (student(*LIKE[:3], "mixup"), 10 * 9 / 5),  # by the two of this pair
        (student(*LIKE[:2], "another", "mixup"), 10 * 15 / 6),  # by all of this student
        (student("svhn", *LIKE[1:]), math.nan),
        (student("digits", "wrn_16_1", "resnet20", "flip"), math.nan),
        (Item("teacher", "teachers", ("digits", "resnet20"), 30), 150.0),
        (Item("teacher", "teachers", ("digits", "resnet8"), 30), math.nan),
        (Item("score", "scores", (), 1), math.nan),
    ],
)
def test_time_is_that_of_the_runs_most_like_it(item: Item, seconds: float) -> None:
    assert Rates(RECORDS).seconds(item) == pytest.approx(seconds, nan_ok=True)


def test_lines_add_up() -> None:
    items = [
        student(*LIKE, finished=True, done=10),
        student(*LIKE, done=5),
        student(*LIKE),
        student("svhn", *LIKE[1:]),
        Item("teacher", "teachers", ("digits", "resnet20"), 2),
    ]
    pair, teachers, everything = lines_of(items, Rates(RECORDS))
    assert (pair.count, pair.finished, pair.begun, pair.unknown, pair.seconds) == (4, 1, 1, 1, 30.0)
    assert (teachers.count, teachers.seconds) == (1, 10.0)
    assert (everything.name, everything.count, everything.unknown, everything.seconds) == ("all", 5, 1, 40.0)


def test_a_time_is_shown_as_far_as_it_is_known() -> None:
    def times(*items: Item, jobs: int = 1) -> list[str]:
        plan = Plan(tuple(lines_of(items, Rates(RECORDS))), jobs, Path(), True)
        seconds = plan.table["seconds"]
        shown = list(map(str, plan_table(plan).columns[-1].cells))
        assert [math.isnan(value) for value in seconds] == [text in ("?", "-") for text in shown]
        return shown

    scores, other = Item("score", "scores", (), 1), student("svhn", *LIKE[1:])
    assert times(scores) == ["-", "-"]
    assert times(other, scores) == ["?", "-", "?"]
    assert times(student(*LIKE), scores) == ["20 s", "-", "20 s"]
    assert times(student(*LIKE), student(*LIKE), other, jobs=2) == ["more than 20 s"] * 2
    assert times(student(*LIKE, finished=True), Item("score", "scores", (), 1, finished=True)) == ["0 s"] * 3


def test_rates_of_a_ledger() -> None:
    rows = [
        {"kind": "distill", "data": "digits", "student": "resnet8", "teacher": "resnet20", "aug": "cutmix"},
        {"kind": "train", "data": "digits", "student": "resnet20", "teacher": None, "aug": "crop+flip"},
    ]
    whole = {"epoch": 2, "step": math.nan, "train_images": 100, "batch_size": 30, "seconds": 6.0}
    runs = pd.DataFrame([{**row, **whole} for row in rows])
    rates = Rates.of(runs)
    assert rates.seconds(student(*LIKE)) == 30.0
    assert rates.seconds(Item("teacher", "teachers", ("digits", "resnet20"), 5)) == 15.0
    part = Rates.of(runs.assign(step=4))  # of epochs of three steps each
    assert part.seconds(student(*LIKE)) == 10 * 6.0 / (4 / 3)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 s"), (99.4, "99 s"), (720, "12 min"), (11_100, "3 h 05 min"), (187_200, "2 d 4 h")],
)
def test_durations_for_humans(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_times_and_shares_as_users_write_them() -> None:
    found = [seconds_of(text) for text in ("9m", "1h30m", "90s", "90", "1.5h", "2m5s")]
    assert found == [540, 5400, 90, 90, 5400, 125]
    for text in ("", "m", "-5m", "5 minutes", "0s", "30m1h"):
        with pytest.raises(UsageError):
            seconds_of(text)
    assert shard_of("2/8") == (2, 8)
    for text in ("0/2", "3/2", "1", "a/b", "1/2/3", "-1/2"):
        with pytest.raises(UsageError):
            shard_of(text)
