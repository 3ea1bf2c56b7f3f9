"""The correlation without the noise of both axes, and its interval."""

from __future__ import annotations

import math

import numpy as np
import pytest

from dametric.errors import UsageError
from dametric.stats import correlate, disattenuated
from tests.oracles import statistics as oracle

X = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
Y = [1.1, 1.9, 3.2, 3.0, 5.5, 5.4]


def test_it_is_r_over_the_root_of_both_reliabilities() -> None:
    found = disattenuated(X, Y, 0.4, 0.6, resamples=200)
    both = (1 - 0.16 / np.var(X, ddof=1)) * (1 - 0.36 / np.var(Y, ddof=1))
    assert found.statistic == pytest.approx(oracle.pearson(X, Y) / math.sqrt(both))
    assert found.low < found.statistic
    assert math.isnan(found.pvalue)
    assert disattenuated(X, Y, 0.4, 0.6, resamples=200) == found


def test_without_noise_it_is_r_with_about_fishers_interval() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=15)
    y = x + rng.normal(size=15)
    found, plain = disattenuated(x, y, 0, 0), correlate(x, y, "pearson", resamples=1)
    assert found.statistic == pytest.approx(plain.statistic)
    assert (found.low, found.high) == pytest.approx((plain.low, plain.high), abs=0.03)


def test_of_noise_alone_it_is_nan() -> None:
    for found in (disattenuated(X, Y, 5, 0.1), disattenuated(X[:3], Y[:3], 0.1, 0.1), disattenuated(X, X, 0.1, 0.1)):
        assert math.isnan(found.statistic)
        assert math.isnan(found.low)
        assert found.note


def test_bad_errors_are_refused() -> None:
    for wrong in (-1.0, math.nan, [0.1, 0.1]):
        with pytest.raises(UsageError):
            disattenuated(X, Y, wrong, 0.1)
        with pytest.raises(UsageError):
            disattenuated(X, Y, 0.1, wrong)


def test_turning_an_axis_turns_the_interval_and_scale_does_not_matter() -> None:
    one, turned = disattenuated(X, Y, 0.4, 0.6), disattenuated(X, [-y for y in Y], 0.4, 0.6)
    assert (turned.statistic, -turned.high, -turned.low) == pytest.approx((-one.statistic, one.low, one.high))
    other = disattenuated([10 * x + 3 for x in X], Y, 4, 0.6)
    assert (other.statistic, other.low, other.high) == pytest.approx((one.statistic, one.low, one.high), rel=1e-4)


def test_more_noise_gives_a_wider_interval_that_ends_at_one() -> None:
    rng = np.random.default_rng(4)
    x = rng.normal(size=12)
    y = 0.3 * x + rng.normal(size=12)
    quiet, loud = disattenuated(x, y, 0.1, 0.1), disattenuated(x, y, 0.6, 0.6)
    assert loud.high - loud.low > quiet.high - quiet.low
    over = disattenuated(X, Y, 0.9, 0.9)
    assert over.statistic > 1
    assert over.high == 1
    assert "above 1" in over.note


def law_by_loops(spread: tuple[float, float], rho: float, studies: int) -> list[float]:
    """The statistic of simulated studies of six points with this spread and errors 0.4 and 0.6, study by study."""
    rng = np.random.default_rng(11)
    true_x, true_y = (math.sqrt(total**2 - se**2) for total, se in zip(spread, (0.4, 0.6), strict=True))
    found = []
    for _ in range(studies):
        one, rest = rng.normal(size=6), rng.normal(size=6)
        x = true_x * one + 0.4 * rng.normal(size=6)
        y = true_y * (rho * one + math.sqrt(1 - rho**2) * rest) + 0.6 * rng.normal(size=6)
        both = (1 - 0.16 / np.var(x, ddof=1), 1 - 0.36 / np.var(y, ddof=1))
        if min(both) > 0:
            r = oracle.pearson(x.tolist(), y.tolist())
            found.append(math.atanh(r) - math.atanh(rho * math.sqrt(both[0] * both[1])))
    return found


def test_limits_are_the_correlations_that_are_just_not_rejected() -> None:
    y = [3.0, 1.9, 3.2, 1.1, 5.4, 4.0]
    found = disattenuated(X, y, 0.4, 0.6, confidence=0.8)
    spread = float(np.std(X, ddof=1)), float(np.std(y, ddof=1))
    both = math.sqrt((1 - 0.16 / spread[0] ** 2) * (1 - 0.36 / spread[1] ** 2))
    for limit, share in ((found.low, 0.1), (found.high, 0.9)):
        seen = math.atanh(oracle.pearson(X, y)) - math.atanh(limit * both)
        assert np.mean(np.array(law_by_loops(spread, limit, 4000)) >= seen) == pytest.approx(share, abs=0.025)
