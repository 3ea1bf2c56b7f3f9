"""correlate against scipy, plain loops and the enumeration of all pairings."""

from __future__ import annotations

import math
from itertools import permutations

import numpy as np
import pytest
from scipy import stats

from dametric.errors import UsageError
from dametric.stats import Result, bca, correlate
from dametric.stats.coefficients import coefficient
from dametric.stats.intervals import inside, seeded
from dametric.stats.permutation import some
from tests.loops import each
from tests.oracles import statistics as oracle

ALTERNATIVES = ("two-sided", "greater", "less")
METHODS = ("pearson", "spearman", "kendall", "weighted")
POINTS = {
    "three points": ([1.0, 2.0, 4.0], [0.3, 0.1, 0.9]),
    "five points": ([0.12, 0.7, 0.31, 0.55, 0.9], [1.4, 1.9, 1.1, 2.3, 1.8]),
    "falling": ([1.0, 2.0, 3.0, 4.0, 5.0], [9.0, 7.0, 8.0, 2.0, 1.0]),
    "six points": ([5.1, 1.2, 3.3, 4.8, 0.7, 2.9], [0.9, 0.4, 0.2, 1.3, 0.1, 0.6]),
}
TIED = {
    "ties in x": ([1.0, 1.0, 2.0, 3.0, 4.0], [0.3, 0.1, 0.5, 0.4, 0.9]),
    "ties in y": ([1.0, 2.5, 2.0, 3.0, 4.0, 6.0], [2.0, 2.0, 1.0, 2.0, 5.0, 1.0]),
    "ties in both": ([1.0, 1.0, 2.0, 2.0, 3.0, 3.0], [1.0, 2.0, 2.0, 3.0, 3.0, 3.0]),
    "two values": ([0.0, 0.0, 1.0, 1.0], [0.0, 1.0, 0.0, 1.0]),
}


def scipy_value(method: str, x: list[float], y: list[float]) -> float:
    if method == "weighted":  # it counts the largest most
        return float(stats.weightedtau(-np.asarray(x), -np.asarray(y)).statistic)
    function = {"pearson": stats.pearsonr, "spearman": stats.spearmanr, "kendall": stats.kendalltau}[method]
    return float(function(x, y).statistic)


@each("method", METHODS)
@each("name", [*POINTS, *TIED])
def test_statistic_is_that_of_scipy(method: str, name: str) -> None:
    x, y = {**POINTS, **TIED}[name]
    found = correlate(x, y, method)
    assert found.statistic == pytest.approx(scipy_value(method, x, y), abs=1e-12)
    assert found.n == len(x)
    assert found.alternative == "two-sided"
    assert found.method


@each("alternative", ALTERNATIVES)
@each("method", ["pearson", "spearman", "kendall"])
@each("name", [*POINTS, *TIED])
def test_pvalue_counts_all_pairings(method: str, name: str, alternative: str) -> None:
    x, y = {**POINTS, **TIED}[name]
    expected = oracle.permutation_pvalue(oracle.COEFFICIENTS[method], x, y, alternative)
    assert correlate(x, y, method, alternative).pvalue == pytest.approx(expected, rel=1e-9)


@each("alternative", ALTERNATIVES)
@each("name", POINTS)
def test_weighted_pvalue_counts_all_pairings(name: str, alternative: str) -> None:
    x, y = POINTS[name]
    for best, turn in (("higher", 1.0), ("lower", -1.0)):
        turned = ([turn * v for v in x], [turn * v for v in y])
        found = correlate(x, y, "weighted", alternative, best=best)
        assert found.statistic == pytest.approx(oracle.weighted(*turned), abs=1e-12)
        expected = oracle.permutation_pvalue(oracle.weighted, *turned, alternative)
        assert found.pvalue == pytest.approx(expected, rel=1e-9)


@each("name", ["ties in x", "two values"])
def test_weighted_pvalue_with_ties_counts_all_pairings(name: str) -> None:
    """The point of a pairing is a whole (x, y), so that scipy's rule for ties decides anew for each."""
    x, y = TIED[name]
    for alternative in ALTERNATIVES:
        expected = oracle.permutation_pvalue(lambda a, b: scipy_value("weighted", a, b), x, y, alternative)
        assert correlate(x, y, "weighted", alternative).pvalue == pytest.approx(expected, rel=1e-9)


def test_nine_points_in_order_have_the_smallest_pvalue_there_is() -> None:
    x = np.arange(9.0)
    for method in ("pearson", "spearman", "kendall", "weighted"):
        assert correlate(x, x, method, "greater").pvalue == pytest.approx(1 / math.factorial(9), rel=1e-9)
        assert correlate(x, x, method).pvalue == pytest.approx(2 / math.factorial(9), rel=1e-9)
        assert correlate(x, -x, method, "greater").pvalue == 1


def test_exact_kendall_without_ties_is_that_of_scipy_for_nine_points() -> None:
    rng = np.random.default_rng(4)
    x, y = rng.normal(size=(2, 9))
    y += x
    for alternative in ("greater", "less"):
        expected = stats.kendalltau(x, y, method="exact", alternative=alternative).pvalue
        assert correlate(x, y, "kendall", alternative).pvalue == pytest.approx(expected, rel=1e-9)


@each("method", ["pearson", "spearman", "kendall"])
def test_twelve_points_are_paired_at_random_where_no_law_is_known(method: str) -> None:
    rng = np.random.default_rng(11)
    x = rng.normal(size=12)
    y = 0.5 * x + rng.normal(size=12)
    found = correlate(x, y, method, "greater", resamples=9999, seed=3)
    if method == "pearson":
        count = found.pvalue * 10_000  # 1 + b
        assert count == pytest.approx(round(count), abs=1e-6)
        assert round(count) >= 1
    left, right = (stats.rankdata(x), stats.rankdata(y)) if method == "spearman" else (x, y)
    sums = rng.permuted(np.tile(right, (20_000, 1)), axis=1) @ left
    expected = {
        "kendall": stats.kendalltau(x, y, method="exact", alternative="greater").pvalue,
        "pearson": float(np.mean(sums >= left @ right - 1e-9)),
        "spearman": float(np.mean(sums >= left @ right - 1e-9)),
    }[method]
    assert found.pvalue == pytest.approx(expected, abs=5 * math.sqrt(expected * (1 - expected) / 10_000))
    assert correlate(x, y, method, "greater", resamples=9999, seed=3) == found


def test_random_pairings_never_give_zero() -> None:
    x = np.maximum(np.arange(14.0), 1)  # a tie: without one Kendall's and Spearman's laws are known
    for method in METHODS:
        assert correlate(x, x, method, "greater", resamples=99).pvalue == pytest.approx(1 / 100)
        assert correlate(x, x, method, resamples=99).pvalue == pytest.approx(2 / 100)


@each("confidence", [0.8, 0.95])
def test_pearson_interval_is_fishers(confidence: float) -> None:
    x, y = POINTS["six points"]
    found = correlate(x, y, "pearson", confidence=confidence)
    width = stats.norm.ppf((1 + confidence) / 2) / math.sqrt(3)
    z = math.atanh(found.statistic)
    assert (found.low, found.high) == pytest.approx((math.tanh(z - width), math.tanh(z + width)), rel=1e-10)


def test_spearman_interval_has_the_variance_of_bonett_and_wright() -> None:
    x, y = POINTS["six points"]
    found = correlate(x, y, "spearman", alternative="greater")
    z, width = math.atanh(found.statistic), 1.959963984540054 * math.sqrt((1 + found.statistic**2 / 2) / 3)
    assert (found.low, found.high) == pytest.approx((math.tanh(z - width), math.tanh(z + width)), rel=1e-10)


def test_weighted_tau_has_no_interval() -> None:
    found = correlate(*POINTS["six points"], "weighted")
    assert math.isnan(found.low)
    assert math.isnan(found.high)


@each("method", ["spearman", "kendall", "weighted"])
def test_ranks_alone_count(method: str) -> None:
    x, y = (np.asarray(v) for v in POINTS["six points"])
    one, two = correlate(x, y, method), correlate(np.exp(x), y**3, method)
    assert (one.statistic, one.pvalue) == pytest.approx((two.statistic, two.pvalue), rel=1e-12)


@each("name", [*POINTS, *TIED])
@each("method", ["pearson", "spearman", "kendall"])
def test_sign_and_order_of_the_variables(method: str, name: str) -> None:
    x, y = (np.asarray(v) for v in {**POINTS, **TIED}[name])
    one = correlate(x, y, method, "greater")
    swapped, turned = correlate(y, x, method, "greater"), correlate(x, -y, method, "less")
    assert (swapped.statistic, swapped.pvalue) == pytest.approx((one.statistic, one.pvalue), rel=1e-9)
    assert (-turned.statistic, turned.pvalue) == pytest.approx((one.statistic, one.pvalue), rel=1e-9)
    if not math.isnan(one.low):
        assert (-turned.high, -turned.low) == pytest.approx((one.low, one.high), rel=1e-9)


@each("method", METHODS)
def test_scale_place_and_order_of_the_points_do_not_matter(method: str) -> None:
    x, y = (np.asarray(v) for v in POINTS["six points"])
    one, order = correlate(x, y, method), [3, 1, 5, 0, 2, 4]
    for other in (correlate(1e6 + 1e-3 * x, 40 * y - 7, method), correlate(x[order], y[order], method)):
        assert (other.statistic, other.pvalue) == pytest.approx((one.statistic, one.pvalue), rel=1e-6)


@each("method", METHODS)
@each(("x", "y"), [([1, 1, 1, 1], [1, 2, 3, 4]), ([1, 2, 3, 4], [2, 2, 2, 2]), ([1, 2], [3, 4]), ([], [])])
def test_what_has_no_correlation_is_nan_with_the_reason(method: str, x: list[float], y: list[float]) -> None:
    found = correlate(x, y, method)
    assert isinstance(found, Result)
    assert all(math.isnan(v) for v in (found.statistic, found.pvalue, found.low, found.high))
    assert found.note


@each(
    ("x", "y"),
    [
        ([1, 2, math.nan, 4], [1, 2, 3, 4]),
        ([1, 2, 3, 4], [1, 2, 3, math.inf]),
        ([1, 2, 3], [1, 2, 3, 4]),
        ([[1, 2], [3, 4]], [[1, 2], [3, 4]]),
        (["a", "b", "c"], [1, 2, 3]),
    ],
)
def test_bad_points_are_refused(x: list[float], y: list[float]) -> None:
    with pytest.raises(UsageError):
        correlate(x, y)
    with pytest.raises(UsageError):
        bca(x, y)


def test_unknown_names_and_numbers_are_refused() -> None:
    x, y = POINTS["five points"]
    with pytest.raises(UsageError, match="kendal"):
        correlate(x, y, "kendal")
    with pytest.raises(UsageError):
        correlate(x, y, alternative="bigger")
    with pytest.raises(UsageError):
        correlate(x, y, "weighted", best="highest")
    for confidence in (0.0, 1.0, 95):
        with pytest.raises(UsageError):
            correlate(x, y, confidence=confidence)
    with pytest.raises(UsageError):
        correlate(x, y, resamples=0)


def test_bca_is_that_of_scipy() -> None:
    rng = np.random.default_rng(2)
    x = rng.normal(size=15)
    y = x + rng.normal(size=15)
    found = bca(x, y, resamples=1999, seed=1)
    assert found.statistic == pytest.approx(stats.pearsonr(x, y).statistic)
    assert math.isnan(found.pvalue)
    expected = stats.bootstrap(
        (x, y),
        lambda a, b, axis=-1: stats.pearsonr(a, b, axis=axis).statistic,
        paired=True,
        n_resamples=1999,
        method="BCa",
        vectorized=True,
        **seeded(1),
    ).confidence_interval
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=0.03)
    assert repr(bca(x, y, resamples=1999, seed=1)) == repr(found)  # NaN is not equal to itself


@each("seed", range(12))
def test_pvalue_of_random_points_on_a_grid(seed: int) -> None:
    """Decimal fractions with many ties: what is equal must count as equal in spite of rounding."""
    rng = np.random.default_rng(seed)
    x, y = (np.array([0, 3, *rng.integers(0, 4, 3)]) / 10 for _ in range(2))
    rng.shuffle(y)
    for method in ("pearson", "spearman", "kendall"):
        for alternative in ALTERNATIVES:
            expected = oracle.permutation_pvalue(oracle.COEFFICIENTS[method], x.tolist(), y.tolist(), alternative)
            assert correlate(x, y, method, alternative).pvalue == pytest.approx(expected, rel=1e-9)


def test_an_exact_p_is_never_zero_whatever_rounding_says() -> None:
    assert correlate([0.1 + 0.2, 0.3, 0.3], [1, 2, 3], "pearson").pvalue > 0


@pytest.mark.parametrize("method", ["pearson", "spearman", "kendall", "weighted"])
def test_rows_of_which_one_side_is_constant_have_no_coefficient(method: str) -> None:
    constant, rising = np.full((1, 4), 0.1), np.arange(4.0)[None]
    both = coefficient(method, np.concatenate([constant, rising, rising]), np.concatenate([rising, constant, rising]))
    assert np.isnan(both[:2]).all()
    assert both[2] == pytest.approx(1)


@pytest.mark.parametrize(("n", "resamples"), [(5, 99), (30, 9999), (3000, 2)])
def test_random_pairings_are_as_many_as_were_asked_for(n: int, resamples: int) -> None:
    parts = list(some(n, resamples, 0))
    assert sum(part.shape[1] for part in parts) == resamples
    assert all(np.array_equal(np.sort(part, axis=0), np.tile(np.arange(n)[:, None], part.shape[1])) for part in parts)


@each("method", ["kendall", "spearman"])
def test_a_perfect_rank_coefficient_counts_as_half_way_to_the_next_value(method: str) -> None:
    n = 5
    coefficient = {"kendall": stats.kendalltau, "spearman": stats.spearmanr}[method]
    values = sorted({round(float(coefficient(range(n), order)[0]), 12) for order in permutations(range(n))})
    assert inside(method, np.array([1.0, values[-2], -1.0]), n) == pytest.approx(
        [(1 + values[-2]) / 2, values[-2], -(1 + values[-2]) / 2]
    )
