"""Lines with and without errors in both variables, and what hangs on single points."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from dametric.errors import UsageError
from dametric.stats import correlate, leave_out, ols, york
from tests.loops import each
from tests.oracles import statistics as oracle

# Pearson's data with York's weights: York et al. 2004, Am. J. Phys. 72, 367, doi 10.1119/1.1632486, table II.
X = np.array([0.0, 0.9, 1.8, 2.6, 3.3, 4.4, 5.2, 6.1, 6.5, 7.4])
Y = np.array([5.9, 5.4, 4.4, 4.6, 3.5, 3.7, 2.8, 2.8, 2.4, 1.5])
SE_X = 1 / np.sqrt([1000.0, 1000, 500, 800, 200, 80, 60, 20, 1.8, 1])
SE_Y = 1 / np.sqrt([1.0, 1.8, 4, 8, 20, 20, 70, 70, 100, 500])


def test_pearsons_data_with_yorks_weights() -> None:
    found = york(X, Y, SE_X, SE_Y)
    assert found.slope.statistic == pytest.approx(-0.480533, abs=5e-7)
    assert found.intercept.statistic == pytest.approx(5.479910, abs=5e-7)
    assert found.slope_se == pytest.approx(0.0579850, abs=5e-7)
    assert found.intercept_se == pytest.approx(0.294971, abs=5e-6)
    assert found.dof == 8
    assert found.chi2 / found.dof == pytest.approx(1.4833, abs=5e-5)
    assert found.fit_pvalue == pytest.approx(stats.chi2.sf(found.chi2, 8))


def test_wald_interval_of_york() -> None:
    found = york(X, Y, SE_X, SE_Y, confidence=0.9)
    half = 1.6448536269514722 * found.slope_se
    b = found.slope.statistic
    assert (found.slope.low, found.slope.high) == pytest.approx((b - half, b + half), rel=1e-9)
    assert found.slope.pvalue == pytest.approx(2 * stats.norm.sf(abs(b) / found.slope_se))


def test_york_without_error_of_x_is_weighted_least_squares() -> None:
    import statsmodels.api as sm  # slow to import

    found = york(X, Y, 1e-9, SE_Y)
    fit = sm.WLS(Y, sm.add_constant(X), weights=1 / SE_Y**2).fit(cov_type="fixed scale")
    assert (found.intercept.statistic, found.slope.statistic) == pytest.approx(tuple(fit.params), rel=1e-7)
    assert (found.intercept_se, found.slope_se) == pytest.approx(tuple(fit.bse), rel=1e-6)
    assert found.covariance == pytest.approx(fit.cov_params()[0, 1], rel=1e-6)
    assert found.chi2 == pytest.approx(float((((Y - fit.fittedvalues) / SE_Y) ** 2).sum()), rel=1e-7)


def test_york_treats_both_variables_alike() -> None:
    one, two = york(X, Y, SE_X, SE_Y), york(Y, X, SE_Y, SE_X)
    assert one.slope.statistic == pytest.approx(1 / two.slope.statistic, rel=1e-8)
    assert one.chi2 == pytest.approx(two.chi2, rel=1e-8)


def test_york_is_the_smallest_weighted_distance() -> None:
    """With correlated errors too: no line near it has a smaller one."""
    r = 0.3
    found = york(X, Y, SE_X, SE_Y, r)

    def chi2(a: float, b: float) -> float:
        return float(((Y - a - b * X) ** 2 / (SE_Y**2 + b**2 * SE_X**2 - 2 * b * r * SE_X * SE_Y)).sum())

    a, b = found.intercept.statistic, found.slope.statistic
    least = chi2(a, b)
    assert found.chi2 == pytest.approx(least, rel=1e-9)
    for da, db in ((1e-3, 0), (-1e-3, 0), (0, 1e-3), (0, -1e-3), (1e-3, -3e-4), (-1e-3, 3e-4)):
        assert chi2(a + da, b + db) > least


def test_york_finds_the_least_distance_of_all_slopes_from_a_start_that_points_the_other_way() -> None:
    """Few points of very unequal weight: on the way there the denominator of York's step is negative."""
    x, y = np.array([-3.0, -1, 2, 2]), np.array([-5.0, 5, 1, -1])
    se_x, se_y = np.array([3.0, 1, 1, 2]), np.array([0.5, 0.5, 1, 0.5])

    def chi2(slope: float) -> float:
        weights = 1 / (se_y**2 + slope**2 * se_x**2)
        residual = y - slope * x
        return float((weights * (residual - np.average(residual, weights=weights)) ** 2).sum())

    found = york(x, y, se_x, se_y)
    assert found.chi2 == pytest.approx(chi2(found.slope.statistic), rel=1e-12)
    assert found.chi2 == pytest.approx(min(map(chi2, np.tan(np.linspace(-1.57, 1.57, 10001)))), rel=1e-6)


def test_york_that_cannot_be_had() -> None:
    for x, y in (([1.0, 2], [3.0, 4]), ([1.0, 1, 1], [3.0, 4, 5])):
        found = york(x, y, 0.1, 0.1)
        assert math.isnan(found.slope.statistic)
        assert found.slope.note
    for wrong in (0.0, -1.0, math.nan, [0.1, 0.2]):
        with pytest.raises(UsageError):
            york(X, Y, wrong, SE_Y)
        with pytest.raises(UsageError):
            york(X, Y, SE_X, wrong)
    with pytest.raises(UsageError):
        york(X, Y, SE_X, SE_Y, 1.0)


def test_york_that_cannot_be_had_still_counts_its_degrees_of_freedom() -> None:
    for n in (2, 3, 7):
        found = york([1.0] * n, np.arange(n), 0.1, 0.1)
        assert (found.dof, found.slope.n) == (n - 2, n)


def test_three_points_are_enough_for_york() -> None:
    found = york([0.0, 1, 2], [1.0, 3, 5], 0.1, 0.2)
    assert (found.slope.statistic, found.intercept.statistic) == pytest.approx((2, 1))
    assert found.dof == 1


def test_ols_is_that_of_statsmodels_with_hc3() -> None:
    import statsmodels.api as sm  # slow to import

    found = ols(X, Y)
    plain = sm.OLS(Y, sm.add_constant(X)).fit()
    robust = plain.get_robustcov_results("HC3", use_t=True)
    assert (found.intercept.statistic, found.slope.statistic) == pytest.approx(tuple(plain.params))
    assert (found.intercept_se, found.slope_se) == pytest.approx(tuple(robust.bse))
    assert (found.intercept.pvalue, found.slope.pvalue) == pytest.approx(tuple(robust.pvalues))
    low_high = [
        v for end in ((found.intercept.low, found.intercept.high), (found.slope.low, found.slope.high)) for v in end
    ]
    assert low_high == pytest.approx(robust.conf_int().ravel().tolist())
    assert found.r_squared == pytest.approx(plain.rsquared)
    np.testing.assert_allclose(found.covariance, robust.cov_params())
    np.testing.assert_allclose(found.cook, plain.get_influence().cooks_distance[0])


def test_hc3_by_its_formula() -> None:
    found = ols(X, Y)
    design = np.column_stack([np.ones(10), X])
    inverse = np.linalg.inv(design.T @ design)
    leverage = np.einsum("ij,jk,ik->i", design, inverse, design)
    residual = Y - design @ (inverse @ design.T @ Y)
    meat = design.T @ np.diag((residual / (1 - leverage)) ** 2) @ design
    np.testing.assert_allclose(found.covariance, inverse @ meat @ inverse, rtol=1e-9)


def test_one_far_point_is_flagged() -> None:
    y = 2 * X + 0.01 * np.sin(7 * X)
    y[9] += 5
    found = ols(X, y)
    assert 9 in found.flagged
    assert found.flagged == tuple(i for i, d in enumerate(found.cook) if d > 4 / 10)
    y[9] -= 5
    y[1] += 0.02
    found = ols(X, y)
    assert any(4 / 10 < d < 1 for d in found.cook)
    assert found.flagged == tuple(i for i, d in enumerate(found.cook) if d > 4 / 10)


def test_band_of_the_line() -> None:
    import statsmodels.api as sm  # slow to import

    found = ols(X, Y)
    places = np.array([-1.0, 0.0, 4.0])
    line, low, high = found.band(places, 0.9)
    robust = sm.OLS(Y, sm.add_constant(X)).fit().get_robustcov_results("HC3", use_t=True)
    np.testing.assert_allclose(line, robust.params[0] + robust.params[1] * places)
    design = np.column_stack([np.ones(3), places])
    half = stats.t.ppf(0.95, 8) * np.sqrt(np.einsum("ij,jk,ik->i", design, robust.cov_params(), design))
    np.testing.assert_allclose(low, line - half)
    np.testing.assert_allclose(high, line + half)


def test_lines_that_cannot_be_had() -> None:
    for x, y in (([1.0, 2], [3.0, 4]), ([1.0, 1, 1], [3.0, 4, 5])):
        found = ols(x, y)
        assert math.isnan(found.slope.statistic)
        assert found.slope.note
    exact = ols([1.0, 2, 3, 4], [2.0, 4, 6, 8])
    assert exact.slope.statistic == pytest.approx(2)
    assert math.isnan(exact.slope_se)
    with pytest.raises(UsageError):
        ols([1.0, 2, 3], [1.0, 2])


AUGS = ["identity", "flip", "crop+flip", "cutout", "mixup", "cutmix", "cutmix:alpha=0.5", "autoaugment"]
SCORE = [8.0, 7.5, 7.0, 6.0, 3.0, 2.0, 1.0, 5.0]
LOSS = [1.9, 1.7, 1.8, 1.5, 1.0, 1.1, 1.2, 1.6]


@each("method", ["kendall", "spearman", "pearson"])
def test_one_augmentation_left_out(method: str) -> None:
    coefficient = oracle.COEFFICIENTS[method]
    found = leave_out(SCORE, LOSS, AUGS, method)
    expected = {name: coefficient(SCORE[:i] + SCORE[i + 1 :], LOSS[:i] + LOSS[i + 1 :]) for i, name in enumerate(AUGS)}
    assert found.by == "aug"
    assert found.values == pytest.approx(expected)
    assert (found.low, found.high) == pytest.approx((min(expected.values()), max(expected.values())))
    assert found.full == pytest.approx(correlate(SCORE, LOSS, method).statistic)


def test_one_family_left_out() -> None:
    found = leave_out(SCORE, LOSS, AUGS, by="family")
    families = {"geometric": [0, 1, 2], "erase": [3], "mixup": [4], "cutmix": [5, 6], "policy": [7]}
    expected = {}
    for name, places in families.items():
        keep = [i for i in range(8) if i not in places]
        expected[name] = oracle.kendall([SCORE[i] for i in keep], [LOSS[i] for i in keep])
    assert found.by == "family"
    assert found.values == pytest.approx(expected)
    assert (found.low, found.high) == pytest.approx((min(expected.values()), max(expected.values())))


def test_too_few_left_are_nan() -> None:
    found = leave_out(SCORE[:4], LOSS[:4], AUGS[:4], by="family")
    assert math.isnan(found.values["geometric"])
    assert found.low == found.high == found.values["erase"]
    with pytest.raises(UsageError):
        leave_out(SCORE, LOSS, AUGS[:3])
    with pytest.raises(UsageError):
        leave_out(SCORE, LOSS, AUGS, by="student")
