"""The interval of Kendall's tau against the law of tau, had in other ways."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from dametric.stats import correlate
from dametric.stats.coefficients import coefficient
from dametric.stats.kendall import MOST_SIMULATED, kendall_interval, variance
from tests.loops import each


def taus(rho: float, n: int, studies: int, seed: int = 7) -> np.ndarray:
    """tau of studies with this correlation."""
    x, rest = np.random.default_rng(seed).standard_normal((2, studies, n))
    return coefficient("kendall", x, rho * x + math.sqrt(1 - rho**2) * rest)


def correlation(tau: float) -> float:
    return math.sin(math.pi / 2 * tau)


def test_three_points_in_one_order_have_a_probability_in_closed_form() -> None:
    """All three pairs agree with a probability that is an orthant of four differences; mid-p counts half of it."""
    low, high, _ = kendall_interval(1, 3)
    rho = correlation(low)
    covariance = np.array(
        [[2, -1, 2 * rho, -rho], [-1, 2, -rho, 2 * rho], [2 * rho, -rho, 2, -1], [-rho, 2 * rho, -1, 2]]
    )
    agree = 6 * float(stats.multivariate_normal(cov=covariance).cdf(np.zeros(4), rng=np.random.default_rng(0)))
    assert agree / 2 == pytest.approx(0.025, abs=0.002)
    assert high == 1


@each(("n", "tau"), [(5, 0.4), (9, 1 / 9), (9, 8 / 9), (12, -1 / 3), (27, 0.9), (40, 0.3), (40, 0.9)])
def test_limits_are_the_truths_under_which_tau_is_at_the_edge(n: int, tau: float) -> None:
    """Simulated anew at both limits; steps count half."""
    studies = 40_000 if n < 20 else 10_000
    near = 0.004 if n <= MOST_SIMULATED else 0.012  # beyond, tau is taken as normal
    low, high, _ = kendall_interval(tau, n)
    for limit, sign in ((low, 1), (high, -1)):
        found = sign * taus(correlation(limit), n, studies)
        beyond = (found > sign * tau + 1e-9).mean() + (abs(found - sign * tau) < 1e-9).mean() / 2
        assert beyond == pytest.approx(0.025, abs=near)


@each("n", [3, 5, 9, 18, MOST_SIMULATED, MOST_SIMULATED + 1, 60])
def test_limits_rise_with_tau_and_hold_it(n: int) -> None:
    pairs = n * (n - 1) // 2
    values = 2 * np.arange(pairs + 1) / pairs - 1
    low, high = np.array([kendall_interval(float(tau), n)[:2] for tau in values]).T
    assert (np.diff(low) >= 0).all()
    assert (np.diff(high) >= 0).all()
    assert (low <= values + 1e-12).all()
    assert (high >= values - 1e-12).all()
    np.testing.assert_allclose(low, -high[::-1], rtol=1e-9)
    assert (low[0], high[-1]) == (-1, 1)
    assert -1 < low[-1] < 1


def test_wider_for_more_confidence_and_for_fewer_points() -> None:
    def width(n: int, confidence: float) -> float:
        low, high, _ = kendall_interval(0.6, n, confidence)
        return high - low

    assert width(9, 0.99) > width(9, 0.95) > width(9, 0.8)
    assert width(6, 0.95) > width(9, 0.95) > width(18, 0.95) > width(40, 0.95)


@each("tau", [0, 0.3, 0.6, 0.9])
def test_both_ways_meet_where_they_change_over(tau: float) -> None:
    simulated, normal = (kendall_interval(tau, MOST_SIMULATED + more)[:2] for more in (0, 1))
    assert simulated == pytest.approx(normal, abs=0.015)


def test_between_two_steps_limits_are_in_proportion() -> None:
    """Nine points with one tie in x: tau-b lies between the taus of two whole numbers of pairs."""
    lower, upper = (np.array(kendall_interval(2 * pairs / 36 - 1, 9)[:2]) for pairs in (30, 31))
    between = np.array(kendall_interval(2 * 30.25 / 36 - 1, 9)[:2])
    np.testing.assert_allclose(between, 0.75 * lower + 0.25 * upper, rtol=1e-9)


def test_variance_is_that_of_simulated_studies() -> None:
    assert variance(np.array([0.0]), 9) == pytest.approx(2 * (2 * 9 + 5) / (9 * 9 * 8))  # Kendall 1938
    for n, rho in ((5, 0.8), (12, 0.5), (20, 0.95)):
        found = taus(rho, n, 20_000)
        assert variance(np.array([2 / math.pi * math.asin(rho)]), n) == pytest.approx(found.var(), rel=0.05)


def test_correlate_shows_it_and_says_what_it_assumes() -> None:
    x = np.arange(9.0)
    y = np.array([1, 0, 2, 3, 5, 4, 6, 8, 7.0])
    found = correlate(x, y)
    assert (found.low, found.high) == kendall_interval(30 / 36, 9)[:2]
    assert "normal copula" in found.method
    perfect = correlate(x, x)
    assert 0.7 < perfect.low < 1 == perfect.high
    assert correlate(x, np.exp(y)) == found


def test_coverage_where_the_jackknife_failed() -> None:
    """Nine points, correlation .95: .999 by the jackknife, and none where leaving out changes nothing."""
    found = [kendall_interval(float(tau), 9)[:2] for tau in taus(0.95, 9, 4000)]
    truth = 2 / math.pi * math.asin(0.95)
    assert 0.92 < np.mean([low <= truth <= high for low, high in found]) < 0.97
