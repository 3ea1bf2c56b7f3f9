"""What the score's choice costs, and the families of augmentations, by plain loops."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
import pytest

from dametric.errors import UsageError
from dametric.stats import family, regret, regret_curve
from tests.loops import each

SCORE = [0.5, 0.1, 0.9, 0.3, 0.7, 0.2]
LOSS = [1.4, 1.3, 1.9, 1.1, 1.2, 1.6]
TOP1 = [0.70, 0.72, 0.60, 0.71, 0.75, 0.66]
ERRORS = [0.01, 0.02, 0.02, 0.01, 0.03, 0.01]


def by_hand(score: Sequence[float], k: int, direction: str) -> tuple[float, float, float]:
    """Loss, points and overlap of one order without ties."""
    turn = 1 if direction == "lower" else -1
    chosen = sorted(range(6), key=lambda i: turn * score[i])[:k]
    best = sorted(range(6), key=lambda i: LOSS[i])[:k]
    loss = min(LOSS[i] for i in chosen) - min(LOSS)
    points = 100 * (max(TOP1) - max(TOP1[i] for i in chosen))
    return loss, points, len(set(chosen) & set(best)) / k


@each("direction", ["lower", "higher"])
@each("k", range(1, 7))
def test_regret_of_the_k_best(k: int, direction: str) -> None:
    found = regret(SCORE, LOSS, k, direction=direction, loss_se=ERRORS, accuracy=TOP1)
    loss, points, overlap = by_hand(SCORE, k, direction)
    assert found.k == k
    assert found.loss == pytest.approx(loss, abs=1e-12)
    assert found.points == pytest.approx(points, abs=1e-10)
    assert found.overlap == pytest.approx(overlap)
    assert found.seed_errors == pytest.approx(loss / math.sqrt(sum(e * e for e in ERRORS) / 6), abs=1e-9)


@each("direction", ["lower", "higher"])
@each("k", range(1, 7))
def test_equal_scores_are_put_in_every_order(k: int, direction: str) -> None:
    score = [0.5, 0.1, 0.5, 0.1, 0.5, 0.9]
    answers = []
    for order in itertools.permutations(range(6)):
        broken = [s + 1e-6 * place for s, place in zip(score, order, strict=True)]
        answers.append(by_hand(broken, k, direction))
    loss, points, overlap = np.mean(answers, axis=0)
    found = regret(score, LOSS, k, direction=direction, accuracy=TOP1)
    assert (found.loss, found.points, found.overlap) == pytest.approx((loss, points, overlap), abs=1e-9)


def test_curve_has_a_row_for_every_k() -> None:
    curve = regret_curve(SCORE, LOSS, loss_se=ERRORS, accuracy=TOP1)
    assert list(curve.columns) == ["k", "loss", "seed_errors", "points", "overlap"]
    assert curve["k"].tolist() == [1, 2, 3, 4, 5, 6]
    for row in curve.itertuples():
        one = regret(SCORE, LOSS, row.k, loss_se=ERRORS, accuracy=TOP1)
        assert (row.loss, row.seed_errors, row.points, row.overlap) == pytest.approx(
            (one.loss, one.seed_errors, one.points, one.overlap)
        )
    assert (curve["loss"].diff().dropna() <= 1e-12).all()
    assert curve["loss"].iloc[-1] == 0
    assert curve["overlap"].iloc[-1] == 1


def test_what_is_not_known_is_nan() -> None:
    found = regret(SCORE, LOSS)
    assert math.isnan(found.seed_errors)
    assert math.isnan(found.points)


def test_bad_lists_are_refused() -> None:
    for k in (0, 7, -1):
        with pytest.raises(UsageError):
            regret(SCORE, LOSS, k)
        with pytest.raises(UsageError):
            regret(SCORE, LOSS, k)
    with pytest.raises(UsageError):
        regret(SCORE, LOSS[:5])
    with pytest.raises(UsageError):
        regret(SCORE, [*LOSS[:5], math.nan])
    with pytest.raises(UsageError):
        regret(SCORE, LOSS, direction="up")
    with pytest.raises(UsageError):
        regret(SCORE, LOSS, accuracy=[70, 72, 60, 71, 75, 66])
    with pytest.raises(UsageError):
        regret_curve(SCORE, LOSS, direction="open")


@each(
    ("aug", "expected"),
    [
        ("identity", "geometric"),
        ("flip", "geometric"),
        ("crop+flip", "geometric"),
        ("crop:pad=2+flip", "geometric"),
        ("cutout", "erase"),
        ("crop+flip+cutout:size=8", "erase"),
        ("autoaugment", "policy"),
        ("randaugment:n=2:m=9", "policy"),
        ("trivialaugment", "policy"),
        ("mixup:alpha=0.2", "mixup"),
        ("cutmix:alpha=0.5", "cutmix"),
        ("cutmix_pick_S", "cutmix"),
        ("cutmix_pick_T", "cutmix"),
        ("crop+flip+cutmix", "cutmix"),
        ("mixup+cutout", "erase+mixup"),
        ("cutout+mixup", "erase+mixup"),
        ("./augs.py:snow:p=0.5", "./augs.py:snow"),
        ("./augs.py:snow", "./augs.py:snow"),
        ("./d:1/my+augs.py:snow+flip", "./d:1/my+augs.py:snow"),
        ("snow:p=0.5", "snow"),
    ],
)
def test_family(aug: str, expected: str) -> None:
    assert family(aug) == expected


@each("aug", ["", "  ", None, 3])
def test_what_is_no_name_has_no_family(aug: object) -> None:
    with pytest.raises(UsageError):
        family(aug)  # type: ignore[arg-type]


def test_an_accuracy_may_be_0_or_1() -> None:
    found = regret([0.0, 1.0, 2.0], [1.2, 1.1, 1.3], accuracy=[0.0, 1.0, 0.5])
    assert found.points == pytest.approx(100)  # the best score has none right, the best accuracy is all
