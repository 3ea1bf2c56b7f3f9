"""What measurement noise does to a correlation: reliability, attenuation, and ranks that cannot be told apart."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from dametric.errors import UsageError
from dametric.stats.coefficients import coefficient
from dametric.stats.permutation import MAX_EXACT, law, quadratic, sign_table, signs
from dametric.stats.result import (
    Floats,
    Result,
    check_alternative,
    check_count,
    check_fraction,
    errors_of,
    undefined,
    vector,
    why_degenerate,
)


def reliability(values: ArrayLike, se: ArrayLike) -> Result:
    """Share of the variance between augmentations that is not measurement noise: 1 - mean(se^2) / Var(values).

    Parameters
    ----------
    values : array-like of shape (n,)
        Means over seeds, or scores.
    se : float or array-like of shape (n,)
        Their standard errors.

    Returns
    -------
    Result
        1 without noise, 0 or below where the noise explains all of the spread; no p-value, no interval.

    Raises
    ------
    UsageError
        For input that is not finite numbers of one length, and negative errors.
    """
    a = vector("values", values)
    errors = errors_of("se", se, len(a))
    why = why_degenerate({"values": a})
    if why:
        return undefined(len(a), "reliability", "", why)
    value = 1 - float((errors**2).mean() / a.var(ddof=1))
    note = "the noise is as large as the spread, so there is nothing to rank by" if value <= 0 else ""
    return Result(value, n=len(a), method="reliability", note=note)


def expected_tau(
    x: ArrayLike,
    y: ArrayLike,
    se_x: ArrayLike,
    se_y: ArrayLike,
    *,
    confidence: float = 0.95,
    draws: int = 2000,
    seed: int = 0,
) -> Result:
    """Kendall's tau-b if everything were measured once more: mean and range over draws within the errors.

    Parameters
    ----------
    x, y : array-like of shape (n,)
    se_x, se_y : float or array-like of shape (n,)
        Standard errors of the normal draws around x and y.
    confidence : float
        Fraction of the draws between ``low`` and ``high``.
    draws, seed : int

    Returns
    -------
    Result
        Mean and quantiles over the draws, without p-value. Drawing around values that hold noise already adds it
        twice, so the mean is pulled towards zero where noise matters: far below the tau of the points, it says
        that their ranks are not settled. Which augmentations were chosen is not part of the range.

    Raises
    ------
    UsageError
        For input that is not finite numbers of one length, and negative errors.
    """
    check_fraction("confidence", confidence)
    check_count("draws", draws)
    a, b, errors = measured(x, y, se_x, se_y)
    label = f"expected Kendall's tau-b under the stated errors ({draws} draws)"
    why = why_degenerate({"x": a, "y": b})
    if why:
        return undefined(len(a), label, "", why)
    rng, shape = np.random.default_rng(seed), (draws, len(a))
    first = a + errors[0] * rng.standard_normal(shape)
    taus = coefficient("kendall", first, b + errors[1] * rng.standard_normal(shape))
    low, high = np.quantile(taus, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Result(float(taus.mean()), math.nan, float(low), float(high), len(a), label)


def tied_tau(
    x: ArrayLike,
    y: ArrayLike,
    se_x: ArrayLike,
    se_y: ArrayLike,
    alternative: str = "two-sided",
    *,
    confidence: float = 0.95,
    resamples: int = 9999,
    seed: int = 0,
) -> Result:
    """Kendall's tau-b in which a difference within its confidence interval of zero counts as a tie.

    ``sum s_ij t_ij / sqrt(sum s_ij^2 sum t_ij^2)`` over pairs, where s and t are the signs of the differences in x
    and y, zero where ``|x_i - x_j|`` is not above ``z`` times its standard error. Such ties need not be transitive.

    Parameters
    ----------
    x, y : array-like of shape (n,)
    se_x, se_y : float, or array-like of shape (n,) or (n, n)
        Standard errors of the values, whose differences then have ``sqrt(se_i^2 + se_j^2)``; or a symmetric matrix
        of the standard errors of the differences themselves, which paired measurement makes smaller.
    alternative : {"two-sided", "greater", "less"}
    confidence : float
        Of the interval of a difference (normal), a fraction.
    resamples, seed : int
        For the permutation p where n is above 10.

    Returns
    -------
    Result
        With permutation p and without interval; ``note`` says how many pairs are tied. NaN where all pairs of a
        variable are.

    Raises
    ------
    UsageError
        For input that is not finite numbers of fitting shapes, and negative errors.
    """
    check_alternative(alternative)
    check_fraction("confidence", confidence)
    check_count("resamples", resamples)
    a, b = vector("x", x), vector("y", y)
    vector("y", b, len(a))
    z, n = float(stats.norm.ppf((1 + confidence) / 2)), len(a)
    label = f"Kendall's tau-b with ties at the {100 * confidence:g} % noise level"
    matrices = [
        signs(values) * (abs(values[:, None] - values) > z * difference_errors(name, se, n))
        for values, name, se in ((a, "se_x", se_x), (b, "se_y", se_y))
    ]
    why = why_degenerate({"x": a, "y": b})
    pairs = n * (n - 1) // 2
    tied = [pairs - np.count_nonzero(matrix) // 2 for matrix in matrices]
    if why or max(tied) == pairs:
        return undefined(n, label, alternative, why or "no pair can be told apart from noise in x or in y")
    statistic = quadratic(sign_table(*matrices))
    value = float(statistic(np.arange(n)[:, None])[0])
    found = law(statistic, n, exact=n <= MAX_EXACT, resamples=resamples, seed=seed)
    how = "exact permutation p" if found.exact else f"permutation p from {resamples} random pairings"
    note = f"of {pairs} pairs {tied[0]} are tied in x, {tied[1]} in y"
    nan = math.nan
    return Result(value, found.pvalue(value, alternative), nan, nan, n, f"{label}; {how}", alternative, note)


def difference_errors(name: str, se: ArrayLike, n: int) -> Floats:
    """Standard errors of all differences, shape (n, n), from those of the values or as they are given.

    Raises
    ------
    UsageError
        If they are neither n numbers nor a symmetric n by n matrix of finite numbers not below 0.
    """
    if np.ndim(se) != 2:
        return np.asarray(np.sqrt(np.add.outer(*[errors_of(name, se, n) ** 2] * 2)))
    matrix = np.asarray(se, dtype=np.float64)
    if matrix.shape != (n, n) or not np.isfinite(matrix).all() or (matrix < 0).any():
        raise UsageError(f"{name} is not a {n} by {n} matrix of finite standard errors of differences")
    if not np.allclose(matrix, matrix.T, rtol=1e-6, atol=0):
        raise UsageError(f"{name} is not symmetric: the error of i - j is that of j - i")
    return matrix


def measured(x: ArrayLike, y: ArrayLike, se_x: ArrayLike, se_y: ArrayLike) -> tuple[Floats, Floats, list[Floats]]:
    """Points and the standard errors of both axes, checked."""
    a, b = vector("x", x), vector("y", y)
    vector("y", b, len(a))
    return a, b, [errors_of("se_x", se_x, len(a)), errors_of("se_y", se_y, len(a))]
