"""The correlation without the noise of both axes, and its interval."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import ArrayLike

from dametric.errors import UsageError
from dametric.stats import correlate, disattenuated
from tests.loops import each
from tests.oracles import statistics as oracle

X = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
Y = [1.1, 1.9, 3.2, 3.0, 5.5, 5.4]


def test_it_is_r_over_the_root_of_both_reliabilities() -> None:
    found = disattenuated(X, Y, 0.4, 0.6, resamples=200)
    both = (1 - 0.16 / np.var(X, ddof=1)) * (1 - 0.36 / np.var(Y, ddof=1))
    assert found.statistic == pytest.approx(oracle.pearson(X, Y) / math.sqrt(both))
    assert found.low < found.statistic
    assert math.isnan(found.pvalue)
    assert repr(disattenuated(X, Y, 0.4, 0.6, resamples=200)) == repr(found)  # NaN is not equal to itself


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


def test_noise_just_above_the_spread_is_told_apart_from_noise_just_below() -> None:
    """The variance of x is 3.5."""
    below, above = disattenuated(X, Y, 1.87, 0.1, resamples=200), disattenuated(X, Y, 1.88, 0.1, resamples=200)
    assert math.isfinite(below.statistic)
    assert math.isnan(above.statistic)
    assert above.note == "the noise of x explains all of its spread"


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


def test_noise_that_hides_everything_leaves_every_correlation_possible() -> None:
    found = disattenuated(X, [3.0, 1.0, 4.0, 1.5, 5.0, 2.0], 1.2, 1.2, resamples=2000)
    assert (found.low, found.high) == (-1, 1)
    assert -1 < found.statistic < 1


def test_simulated_studies_of_which_none_can_be_used_are_no_error() -> None:
    """One study for each of some seeds, with as much noise as signal: in several of them noise explains everything."""
    for seed in range(6):
        found = disattenuated(X, [3.0, 1.0, 4.0, 1.5, 5.0, 2.0], 1.2, 1.2, resamples=1, seed=seed)
        assert -1 <= found.low <= found.high <= 1


def law(spread: tuple[float, float], se: tuple[float, float], rho: float, n: int, studies: int) -> np.ndarray:
    """The statistic of simulated studies of n points with this spread, as textbooks write it."""
    rng = np.random.default_rng(11)
    one, rest, error_x, error_y = rng.normal(size=(4, studies, n))
    true_x, true_y = (math.sqrt(total**2 - own**2) for total, own in zip(spread, se, strict=True))
    x = true_x * one + se[0] * error_x
    y = true_y * (rho * one + math.sqrt(1 - rho**2) * rest) + se[1] * error_y
    reliable = [1 - own**2 / values.var(axis=1, ddof=1) for own, values in zip(se, (x, y), strict=True)]
    known = np.min(reliable, axis=0) > 0
    a, b = (values[known] - values[known].mean(axis=1, keepdims=True) for values in (x, y))
    r = (a * b).sum(axis=1) / np.sqrt((a * a).sum(axis=1) * (b * b).sum(axis=1))
    return np.arctanh(r) - np.arctanh(rho * np.sqrt(reliable[0][known] * reliable[1][known]))


@each(
    ("x", "y", "se"),
    [
        ([-2.1, -0.9, 0.2, 0.8, 1.9], [-0.3, 0.9, -1.4, 0.2, 0.7], (0.7, 0.4)),
        (np.linspace(-1.7, 1.7, 18), np.linspace(-0.9, 0.9, 18) + 1.1 * np.sin(5 * np.arange(18)), (0.4, 0.5)),
    ],
)
def test_limits_are_the_correlations_that_are_just_not_rejected(
    x: ArrayLike, y: ArrayLike, se: tuple[float, float]
) -> None:
    found, n = disattenuated(x, y, *se, confidence=0.5, resamples=20_000), np.size(x)
    spread = float(np.std(x, ddof=1)), float(np.std(y, ddof=1))
    both = math.sqrt((1 - (se[0] / spread[0]) ** 2) * (1 - (se[1] / spread[1]) ** 2))
    for limit, share in ((found.low, 0.25), (found.high, 0.75)):
        assert -1 < limit < 1
        seen = math.atanh(np.corrcoef(x, y)[0, 1]) - math.atanh(limit * both)
        assert np.mean(law(spread, se, limit, n, 20_000) >= seen) == pytest.approx(share, abs=0.012)
