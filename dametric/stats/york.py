"""A straight line where both variables have errors."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from dametric.errors import UsageError
from dametric.stats.result import Floats, Result, check_fraction, errors_of, too_few, vector, why_degenerate

_STEPS = 1000


@dataclass(frozen=True)
class YorkLine:
    """A line with errors in both variables.

    Attributes
    ----------
    slope, intercept : Result
        With normal intervals and two-sided Wald p-values from the stated errors alone.
    slope_se, intercept_se : float
        Standard errors from the stated errors of the points.
    covariance : float
        Of intercept and slope.
    chi2 : float
        Weighted sum of squared distances from the line.
    dof : int
        n - 2.
    fit_pvalue : float
        Probability of a larger ``chi2`` if the points lie on the line but for the stated errors. Small: they scatter
        more than that.
    scale : float
        sqrt(chi2 / dof): multiply the standard errors by it to count scatter beyond the stated errors.
    """

    slope: Result
    intercept: Result
    slope_se: float
    intercept_se: float
    covariance: float
    chi2: float
    dof: int
    fit_pvalue: float
    scale: float


def york(
    x: ArrayLike, y: ArrayLike, se_x: ArrayLike, se_y: ArrayLike, r: ArrayLike = 0.0, *, confidence: float = 0.95
) -> YorkLine:
    """Best straight line with errors in both variables.

    Iterates ``b = sum(W beta V) / sum(W beta U)`` with ``W = w_x w_y / (w_x + b^2 w_y - 2 b r alpha)``, ``alpha =
    sqrt(w_x w_y)``, ``U, V`` the distances from the weighted means and ``beta = W (U / w_y + b V / w_x - (b U + V) r
    / alpha)``; ``se_b = 1 / sqrt(sum W u^2)``, ``se_a^2 = 1 / sum W + xbar^2 se_b^2`` at the adjusted points (York,
    Evensen, Martinez & De Basabe Delgado 2004, Am. J. Phys. 72, 367, doi 10.1119/1.1632486).

    Parameters
    ----------
    x, y : array-like of shape (n,)
    se_x, se_y : float or array-like of shape (n,)
        Standard errors, above 0.
    r : float or array-like of shape (n,)
        Correlation of the errors of x and y within a point, between -1 and 1.
    confidence : float
        Of the intervals, a fraction.

    Returns
    -------
    YorkLine
        NaN throughout, with the reason in ``slope.note``, for fewer than three points, constant x, or no
        convergence.

    Raises
    ------
    UsageError
        For input that is not finite numbers of one length, errors that are not above 0, and r not within (-1, 1).
    """
    check_fraction("confidence", confidence)
    a, b = vector("x", x), vector("y", y)
    vector("y", b, len(a))
    n = len(a)
    w_x, w_y = (errors_of(name, se, n, positive=True) ** -2.0 for name, se in (("se_x", se_x), ("se_y", se_y)))
    rho = vector("r", np.full(n, r) if np.ndim(r) == 0 else r, n)
    if n and (abs(rho) >= 1).any():
        raise UsageError(f"r is {rho[abs(rho).argmax()]:g}: give a correlation between -1 and 1, without the ends")
    why = too_few(n, "point", 3) if n < 3 else why_degenerate({"x": a})
    if why:
        return _nothing(n, why)
    slope, weights, beta = _iterate(a, b, w_x, w_y, rho)
    if math.isnan(slope):
        return _nothing(n, f"no convergence in {_STEPS} steps")
    x_bar, y_bar = (float(np.average(values, weights=weights)) for values in (a, b))
    intercept = y_bar - slope * x_bar
    adjusted = float(np.average(x_bar + beta, weights=weights))
    slope_var = 1 / float((weights * (x_bar + beta - adjusted) ** 2).sum())
    intercept_var = 1 / float(weights.sum()) + adjusted**2 * slope_var
    chi2, dof = float((weights * (b - slope * a - intercept) ** 2).sum()), n - 2
    fit = float(stats.chi2.sf(chi2, dof))
    note = "the points scatter about the line more than their errors say" if fit < 0.05 else ""
    slope_result = _wald(slope, slope_var, n, confidence, note)
    return YorkLine(
        slope_result,
        _wald(intercept, intercept_var, n, confidence, note),
        math.sqrt(slope_var),
        math.sqrt(intercept_var),
        -adjusted * slope_var,
        chi2,
        dof,
        fit,
        math.sqrt(chi2 / dof),
    )


def _iterate(x: Floats, y: Floats, w_x: Floats, w_y: Floats, r: Floats) -> tuple[float, Floats, Floats]:
    """Slope, weights and beta at convergence; NaN where there is none."""
    alpha = np.sqrt(w_x * w_y)
    slope, unit = float(np.cov(x, y)[0, 1] / np.var(x, ddof=1)), float(np.std(y) / np.std(x))
    for _ in range(_STEPS):
        weights = w_x * w_y / (w_x + slope**2 * w_y - 2 * slope * r * alpha)
        u, v = x - np.average(x, weights=weights), y - np.average(y, weights=weights)
        beta = weights * (u / w_y + slope * v / w_x - (slope * u + v) * r / alpha)
        below = float((weights * beta * u).sum())
        if below == 0:
            break
        last, slope = slope, float((weights * beta * v).sum()) / below
        if abs(slope - last) <= 1e-13 * (abs(slope) + unit):
            return slope, weights, beta
    return math.nan, w_x, w_y


def _wald(value: float, variance: float, n: int, confidence: float, note: str) -> Result:
    se = math.sqrt(variance)
    half = float(stats.norm.ppf((1 + confidence) / 2)) * se
    p = 2 * float(stats.norm.sf(abs(value) / se))
    return Result(value, p, value - half, value + half, n, "York 2004; stated errors, normal", "two-sided", note)


def _nothing(n: int, why: str) -> YorkLine:
    nothing = Result(math.nan, n=n, method="York 2004", alternative="two-sided", note=why)
    nan = math.nan
    return YorkLine(nothing, nothing, nan, nan, nan, nan, n - 2, nan, nan)
