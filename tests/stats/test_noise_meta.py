"""Noise of the measurements, and the mean over units that may truly differ."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from dametric.errors import UsageError
from dametric.stats import (
    combine,
    correlate,
    expected_tau,
    mixed_model,
    published_frame,
    random_effects,
    reliability,
    tied_tau,
)
from tests.loops import each
from tests.oracles import statistics as oracle

X = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
Y = [1.1, 1.9, 3.2, 3.0, 5.5, 5.4]


def test_reliability_by_hand() -> None:
    # variance of 1..5 is 2.5, of which 0.5 is noise
    assert reliability([1, 2, 3, 4, 5], math.sqrt(0.5)).statistic == pytest.approx(0.8)
    assert reliability([1, 2, 3, 4, 5], [0, 1, 0, 1, 0]).statistic == pytest.approx(1 - 0.4 / 2.5)
    assert reliability([1, 2, 3, 4, 5], 0).statistic == 1
    assert reliability([1, 2, 3, 4, 5], 2).statistic == pytest.approx(-0.6)


def test_bad_errors_are_refused() -> None:
    for wrong in (-1.0, math.nan, [0.1, 0.1]):
        with pytest.raises(UsageError):
            reliability(X, wrong)
        for function in (expected_tau, tied_tau):
            with pytest.raises(UsageError):
                function(X, Y, wrong, 0.1)
            with pytest.raises(UsageError):
                function(X, Y, 0.1, wrong)


def test_expected_tau_without_noise_is_tau() -> None:
    found = expected_tau(X, Y, 0, 0, draws=50)
    tau = oracle.kendall(X, Y)
    assert (found.statistic, found.low, found.high) == pytest.approx((tau, tau, tau))


def test_expected_tau_of_normal_draws() -> None:
    """The sign of a difference has the mean 2 Phi(d / se) - 1, and x and y are drawn apart."""
    se_x, se_y = [0.5, 1, 0.2, 0.8, 0.6, 1], 0.7
    pairs = [(i, j) for i in range(6) for j in range(i)]

    def mean_sign(v: list[float], se: list[float], i: int, j: int) -> float:
        return float(2 * stats.norm.cdf((v[i] - v[j]) / math.hypot(se[i], se[j])) - 1)

    expected = np.mean([mean_sign(X, se_x, i, j) * mean_sign(Y, [se_y] * 6, i, j) for i, j in pairs])
    found = expected_tau(X, Y, se_x, se_y, draws=4000)
    assert found.statistic == pytest.approx(float(expected), abs=0.015)
    assert found.low < found.statistic < found.high <= 1
    assert math.isnan(found.pvalue)


def test_tied_tau_without_noise_is_tau_with_its_pvalue() -> None:
    found, plain = tied_tau(X, Y, 0, 0), correlate(X, Y)
    assert (found.statistic, found.pvalue) == pytest.approx((plain.statistic, plain.pvalue))


def test_small_differences_are_ties() -> None:
    # 1.96 sqrt(2) 0.1 = 0.277: y holds two such pairs (3.2, 3.0) and (5.5, 5.4), both discordant; 13 others agree
    found = tied_tau(X, Y, 0, 0.1)
    assert found.statistic == pytest.approx(13 / math.sqrt(15 * 13))
    assert "2" in found.note


def test_errors_of_differences_may_be_given() -> None:
    half = np.full((6, 6), 0.1 * math.sqrt(2))
    np.fill_diagonal(half, 0)
    one, two = tied_tau(X, Y, 0, half), tied_tau(X, Y, 0, 0.1)
    assert (one.statistic, one.pvalue) == pytest.approx((two.statistic, two.pvalue))
    with pytest.raises(UsageError):
        tied_tau(X, Y, 0, np.triu(half))
    with pytest.raises(UsageError):
        tied_tau(X, Y, 0, half[:5])


def test_tied_pairs_are_counted_in_the_note() -> None:
    found = tied_tau(X, Y, 0.1, 0.1)  # 1.96 sqrt(2) 0.1 = 0.277: of 6 * 5 / 2 pairs only two of y are closer
    assert found.note == "of 15 pairs 0 are tied in x, 2 in y"


def test_all_pairs_tied_is_nan() -> None:
    found = tied_tau(X, Y, 100, 0)
    assert math.isnan(found.statistic)
    assert found.note


EFFECT = np.array([0.1, 0.3, 0.35, 0.65, 0.45])
VARIANCE = np.array([0.003, 0.003, 0.05, 0.01, 0.05])


def by_hand(effect: np.ndarray, variance: np.ndarray) -> tuple[float, float, float, float, float]:
    """DerSimonian & Laird 1986: mean, its standard error, tau^2, Q and I^2."""
    w = 1 / variance
    q = float((w * (effect - (w * effect).sum() / w.sum()) ** 2).sum())
    k = len(effect)
    tau2 = max(0.0, (q - (k - 1)) / float(w.sum() - (w**2).sum() / w.sum()))
    v = 1 / (variance + tau2)
    return float((v * effect).sum() / v.sum()), float(v.sum() ** -0.5), tau2, q, max(0.0, (q - (k - 1)) / q)


def test_dersimonian_and_laird() -> None:
    mean, se, tau2, q, i2 = by_hand(EFFECT, VARIANCE)
    found = combine(EFFECT, VARIANCE, estimator="dl", interval="normal")
    assert found.mean.statistic == pytest.approx(mean)
    assert (found.mean.low, found.mean.high) == pytest.approx((mean - 1.959964 * se, mean + 1.959964 * se), rel=1e-5)
    assert (found.tau2, found.q, found.i2) == pytest.approx((tau2, q, i2))
    assert found.q_pvalue == pytest.approx(stats.chi2.sf(q, 4))
    assert math.isnan(found.mean.pvalue)
    assert found.mean.n == 5


def test_thirteen_trials_of_the_bcg_vaccine() -> None:
    """Colditz et al. 1994, as worked through with R's metafor (Viechtbauer 2010, doi 10.18637/jss.v036.i03)."""
    ill = np.array([4, 6, 3, 62, 33, 180, 8, 505, 29, 17, 186, 5, 27])
    well = np.array([119, 300, 228, 13536, 5036, 1361, 2537, 87886, 7470, 1699, 50448, 2493, 16886])
    ill_control = np.array([11, 29, 11, 248, 47, 372, 10, 499, 45, 65, 141, 3, 29])
    well_control = np.array([128, 274, 209, 12619, 5761, 1079, 619, 87892, 7232, 1600, 27197, 2338, 17825])
    vaccine, control = ill + well, ill_control + well_control
    effect = np.log(ill / vaccine / (ill_control / control))
    variance = 1 / ill - 1 / vaccine + 1 / ill_control - 1 / control
    found = combine(effect, variance, estimator="dl", interval="normal")
    assert found.mean.statistic == pytest.approx(-0.7141, abs=5e-5)
    assert (found.mean.high - found.mean.low) / (2 * 1.959964) == pytest.approx(0.1787, abs=5e-5)
    assert found.tau2 == pytest.approx(0.3088, abs=5e-5)
    assert found.q == pytest.approx(152.2330, abs=5e-4)
    assert found.i2 == pytest.approx(0.9212, abs=5e-5)


def test_paule_and_mandel_make_q_equal_its_degrees_of_freedom() -> None:
    found = combine(EFFECT, VARIANCE)
    v = 1 / (VARIANCE + found.tau2)
    mean = float((v * EFFECT).sum() / v.sum())
    assert found.tau2 > 0
    assert float((v * (EFFECT - mean) ** 2).sum()) == pytest.approx(4, rel=1e-3)
    assert found.mean.statistic == pytest.approx(mean)


def test_interval_of_knapp_and_hartung() -> None:
    found = combine(EFFECT, VARIANCE, estimator="dl", confidence=0.9)
    mean, _, tau2, _, _ = by_hand(EFFECT, VARIANCE)
    v = 1 / (VARIANCE + tau2)
    se = math.sqrt(float((v * (EFFECT - mean) ** 2).sum() / (4 * v.sum())))
    half = float(stats.t.ppf(0.95, 4)) * se
    assert (found.mean.low, found.mean.high) == pytest.approx((mean - half, mean + half), rel=1e-6)


@each("estimator", ["dl", "iterated"])
def test_equal_effects_have_no_variance_between_them(estimator: str) -> None:
    found = combine([0.5, 0.52, 0.48], [0.1, 0.2, 0.1], estimator=estimator, interval="normal")
    assert found.tau2 == 0
    assert found.i2 == 0
    weights = np.array([10, 5, 10])
    assert found.mean.statistic == pytest.approx(float(weights @ [0.5, 0.52, 0.48]) / 25)


def test_effects_that_cannot_be_combined() -> None:
    found = combine([0.5], [0.1])
    assert math.isnan(found.mean.statistic)
    assert found.mean.note
    for effect, variance in (([0.5, 0.6], [0.1, 0.0]), ([0.5, math.nan], [0.1, 0.1]), ([0.5, 0.6], [0.1])):
        with pytest.raises(UsageError):
            combine(effect, variance)
    with pytest.raises(UsageError):
        combine(EFFECT, VARIANCE, estimator="reml")
    with pytest.raises(UsageError):
        combine(EFFECT, VARIANCE, interval="t")


def units(count: int, n: int, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(count, n))
    y = x + rng.normal(size=(count, n)) * np.linspace(0.3, 2, count)[:, None]
    rows = [
        {"unit": f"u{u}", "aug": f"a{a}", "x": x[u, a], "y": y[u, a]}
        for u in range(count)
        for a in range(n + u - count)
    ]
    return pd.DataFrame(rows)


def test_random_effects_are_those_of_fishers_z() -> None:
    frame = units(4, 11)
    parts = [part for _, part in frame.groupby("unit")]
    z = np.array([math.atanh(oracle.pearson(part["x"].tolist(), part["y"].tolist())) for part in parts])
    mean, se, tau2, q, i2 = by_hand(z, np.array([1 / (len(part) - 3) for part in parts]))
    found = random_effects(frame, estimator="dl", interval="normal")
    ends = (math.tanh(mean), math.tanh(mean - 1.959964 * se), math.tanh(mean + 1.959964 * se))
    assert (found.mean.statistic, found.mean.low, found.mean.high) == pytest.approx(ends, rel=1e-5)
    assert (found.tau2, found.q, found.i2) == pytest.approx((tau2, q, i2))
    assert found.mean.n == 4
    assert "depend" in found.mean.note
    with pytest.raises(UsageError):
        random_effects(frame, "kendall")


def test_small_units_are_left_out_and_named() -> None:
    frame = units(4, 11)
    small = pd.DataFrame({"unit": "small", "aug": ["a", "b", "c"], "x": [1.0, 2, 3], "y": [1.0, 3, 2]})
    found = random_effects(pd.concat([frame, small]))
    assert found.mean.statistic == pytest.approx(random_effects(frame).mean.statistic)
    assert "small" in found.mean.note


def test_mixed_model_finds_the_components() -> None:
    rng = np.random.default_rng(5)
    count, n = 6, 9
    shared = rng.normal(size=n)
    x = rng.normal(size=(count, n))
    y = x + 1.5 * shared + 0.2 * rng.normal(size=(count, n))
    frame = pd.DataFrame(
        [{"unit": f"u{u}", "aug": f"a{a}", "x": x[u, a], "y": y[u, a]} for u in range(count) for a in range(n)]
    )
    found = mixed_model(frame)
    assert found.converged
    assert found.n == 54
    assert 0 < found.slope < 1
    assert found.aug > found.residual
    assert found.aug > found.unit_slope
    assert math.isnan(mixed_model(frame[frame["unit"] == "u0"]).slope)


@pytest.mark.parametrize("column", ["x", "y"])
def test_mixed_model_leaves_out_a_unit_that_is_constant(column: str) -> None:
    frame = units(3, 6)
    constant = frame[frame["unit"] == frame["unit"].iloc[0]].assign(**{"unit": "constant", column: 2.5})
    assert repr(mixed_model(pd.concat([frame, constant]))) == repr(mixed_model(frame))


@pytest.mark.parametrize("slope", [3.0, -2.0])
def test_mixed_model_of_points_on_a_line_is_none(slope: float) -> None:
    frame = units(3, 6)
    found = mixed_model(frame.assign(y=1 + slope * frame["x"]))
    assert math.isnan(found.slope)
    assert "all points lie on a line" in found.note


def test_mixed_model_of_the_published_points_is_at_its_optimum() -> None:
    """Gradient methods stop at a log-likelihood of -19.5, se .086, for these eight units; the optimum is at -14.1."""
    frame = published_frame().rename(columns={"score": "x", "test_loss": "y"})
    frame = frame[frame["unit"].str.startswith(("cifar100", "tinyimagenet"))]
    found = mixed_model(frame)
    assert found.converged
    assert found.slope == pytest.approx(0.9505, abs=2e-4)
    assert found.slope_se == pytest.approx(0.0434, abs=2e-4)
    assert found.unit_slope == pytest.approx(0, abs=1e-4)
