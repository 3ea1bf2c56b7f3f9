"""`choose` by scores that a warm student gives: made once, counted in the budget, listed in the costs."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from dametric.choosing import scored
from dametric.choosing.api import choose
from dametric.choosing.parameters import read_parameters
from dametric.choosing.student_scores import DIRECTIONS, warm_scores
from dametric.errors import UsageError
from dametric.models import build
from dametric.records.choices import Choice
from dametric.records.scores import Scores
from dametric.reports.choice_page import build as page_of

SHORT: dict[str, Any] = {"steps": 40, "batch_size": 32, "device": "cpu", "dtype": "float32", "quiet": True}
SHORT |= {"image_size": 8, "train_images": 300, "fractions": (0.5, 1), "base_aug": "none"}
AUGS = ["cutmix", "mixup"]


@pytest.fixture(autouse=True)
def _short_warm_student(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dametric.choosing.warm.LEAST", 12)
    monkeypatch.setattr(scored, "warm_scores", partial(warm_scores, batches=2, size=16))
    monkeypatch.setattr(scored, "_BATCHES", 2)
    monkeypatch.setattr(scored, "_PASS", dict.fromkeys(scored._PASS, 3))


def settle(folder: Path, metric: Any, budget: str, **more: Any) -> Choice:
    torch.manual_seed(0)
    teacher = build("resnet8", 10, 8)
    return list(
        choose(teacher, "resnet8", "digits", AUGS, output=folder, metric=metric, budget=budget, **SHORT, **more)
    )[-1]


def test_every_score_of_a_warm_student_is_read_once_and_paid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    metrics = ["grad_align", "t_stddev", *(name for name in DIRECTIONS if name != "grad_align")]
    budget = 250
    choice = settle(tmp_path, metrics, f"{budget}steps")
    assert [list(arm.scores) for arm in choice.arms] == [metrics] * 3
    kept = Scores.read(tmp_path / "scores.json")
    for arm in choice.arms:
        row = next(row for row in kept.rows if row.aug == arm.aug)
        assert arm.scores == {name: pytest.approx(row.metrics[name].value, nan_ok=True) for name in metrics}
        assert arm.score == pytest.approx(arm.scores["grad_align"], nan_ok=True)
    for name, direction in DIRECTIONS.items():
        assert kept.rows[0].metrics[name].direction == direction
    costs = choice.costs
    assert costs.student > 0
    own = sum(value.cost or 0 for row in kept.rows for name, value in row.metrics.items() if name in DIRECTIONS)
    assert 12 + own <= costs.student_steps < 12 + own + 1
    assert costs.student_steps + sum(run.steps for run in choice.runs) == choice.looks[-1].steps <= budget
    (line,) = [line for line in choice.sentences if line.startswith("Time:")]
    assert f"warm student and its scores {costs.student:.0f} s ({costs.student_steps:,} steps)" in line
    assert set(metrics) <= set(page_of(choice).leads[0].table.columns)

    def refuse(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("read again")

    monkeypatch.setattr(scored, "warm_scores", refuse)
    monkeypatch.setattr(scored, "score", refuse)
    again = settle(tmp_path, metrics, f"{budget}steps")
    assert (again.runs, again.arms, again.best) == (choice.runs, choice.arms, choice.best)
    assert again.costs.student_steps == costs.student_steps


def test_what_was_made_before_a_stop_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(*args: Any, **kwargs: Any) -> None:
        raise RuntimeError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(scored, "warm_scores", killed)
        with pytest.raises(RuntimeError, match="killed"):
            settle(tmp_path, "ridge_student", "120steps")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / scored.LEDGER).rglob("last.pt")}
    assert before
    choice = settle(tmp_path, "ridge_student", "120steps")
    assert choice.config["metric"] == "ridge_student"
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / scored.LEDGER).rglob("last.pt")}


def test_a_score_has_the_weight_of_its_own_metric_alone() -> None:
    known = read_parameters()
    weighty = type(known)(**{**vars(known), "slope": 0.5, "slope_spread": 0.2})
    assert weighty.for_metric("t_stddev") is weighty
    assert (weighty.for_metric("grad_align").slope, weighty.for_metric("grad_align").slope_spread) == (0, 0)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"metric": "grad_align", "budget": "20steps"}, "grad_align of 3 candidates take about"),
        ({"metric": "ts_gap", "budget": "120steps"}, "of a student there are grad_align"),
        ({"metric": [], "budget": "120steps"}, "metric names none"),
    ],
)
def test_what_cannot_be_is_said_first(tmp_path: Path, more: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        settle(tmp_path, more.pop("metric"), more.pop("budget"), **more)


def test_scores_of_a_student_are_refused_with_a_trainer_of_ones_own(tmp_path: Path) -> None:
    settings = {name: value for name, value in SHORT.items() if name not in ("batch_size", "base_aug")}
    with pytest.raises(UsageError, match=r"branch_loss.*leave it out"):
        choose(
            build("resnet8", 10, 8),
            "resnet8",
            "digits",
            AUGS,
            output=tmp_path,
            metric="branch_loss",
            runner="x.py:f",
            **settings,
        )
