"""The line of loss on score, and how much of it hangs on single augmentations and families."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from dametric.errors import unknown
from dametric.stats.coefficients import check_method, coefficient
from dametric.stats.families import family
from dametric.stats.result import Floats, Result, check_fraction, too_few, vector, why_degenerate


@dataclass(frozen=True)
class Line:
    """A least-squares line with errors that do not assume equal scatter.

    Attributes
    ----------
    slope, intercept : Result
        With HC3 intervals and two-sided p-values (Student's t with n - 2 degrees of freedom).
    slope_se, intercept_se : float
        HC3 standard errors.
    covariance : ndarray of shape (2, 2)
        HC3 covariance of intercept and slope.
    r_squared : float
        Share of the variance of y that the line explains.
    cook : ndarray of shape (n,)
        Cook's distance of every point.
    flagged : tuple of int
        Points with a Cook's distance above 4 / n.
    """

    slope: Result
    intercept: Result
    slope_se: float
    intercept_se: float
    covariance: Floats
    r_squared: float
    cook: Floats
    flagged: tuple[int, ...]

    def band(self, x: ArrayLike, confidence: float = 0.95) -> tuple[Floats, Floats, Floats]:
        """The line at ``x`` and the confidence band of the mean (not of single points).

        Parameters
        ----------
        x : array-like of shape (m,)
        confidence : float
            Fraction, pointwise.

        Returns
        -------
        tuple of ndarray of shape (m,)
            Line, low, high.
        """
        check_fraction("confidence", confidence)
        at = vector("x", x)
        design = np.stack([np.ones_like(at), at], 1)
        line = design @ np.array([self.intercept.statistic, self.slope.statistic])
        se = np.sqrt(np.einsum("ij,jk,ik->i", design, self.covariance, design))
        n = self.slope.n
        half = se * (stats.t.ppf((1 + confidence) / 2, n - 2) if n > 2 else math.nan)
        return line, line - half, line + half


def ols(x: ArrayLike, y: ArrayLike, *, confidence: float = 0.95) -> Line:
    """Ordinary least squares of y on x with HC3 errors (MacKinnon & White 1985, doi 10.1016/0304-4076(85)90158-7).

    Parameters
    ----------
    x, y : array-like of shape (n,)
    confidence : float
        Of the intervals, a fraction.

    Returns
    -------
    Line
        NaN throughout, with the reason in ``slope.note``, for fewer than three points or constant x; NaN errors
        where a point fixes the line by itself (leverage 1) or all points lie on the line.

    Raises
    ------
    UsageError
        For input that is not two equally long sequences of finite numbers.
    """
    check_fraction("confidence", confidence)
    a, b = vector("x", x), vector("y", y)
    vector("y", b, len(a))
    n = len(a)
    why = too_few(n, "point", 3) if n < 3 else why_degenerate({"x": a})
    if why:
        nothing = Result(math.nan, n=n, method="OLS", alternative="two-sided", note=why)
        return Line(nothing, nothing, math.nan, math.nan, np.full((2, 2), math.nan), math.nan, np.full(n, math.nan), ())
    from statsmodels.regression.linear_model import OLS  # type: ignore[import-untyped]  # slow to import

    centre, scale = a.mean(), np.ptp(a)  # scores of 0.005 beside a column of ones condition the fit badly
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        model = OLS(b, np.stack([np.ones(n), (a - centre) / scale], 1))
        fit, robust = model.fit(), model.fit(cov_type="HC3", use_t=True)
        back = np.array([[1, -centre / scale], [0, 1 / scale]])
        values, covariance = back @ fit.params, back @ robust.cov_params() @ back.T
        cook = np.asarray(fit.get_influence().cooks_distance[0])
        r_squared = float(fit.rsquared) if np.ptp(b) else math.nan
    exact = float(fit.ssr) <= 1e-24 * max(float((b**2).sum()), 1e-300)
    note = ""
    if exact or not np.isfinite(covariance).all() or not (np.diag(covariance) > 0).all():
        note = "all points lie on the line" if exact else "one point fixes the line by itself: HC3 has no errors"
        covariance, cook = np.full((2, 2), math.nan), np.full(n, math.nan) if exact else cook
    intercept, slope = (_wald(values[i], covariance[i, i], n, confidence, note) for i in (0, 1))
    flagged = tuple(int(i) for i in np.flatnonzero(cook > 4 / n))
    errors = np.sqrt(np.diag(covariance))
    return Line(slope, intercept, float(errors[1]), float(errors[0]), covariance, r_squared, cook, flagged)


def _wald(value: float, variance: float, n: int, confidence: float, note: str) -> Result:
    se = math.sqrt(variance)
    half = se * float(stats.t.ppf((1 + confidence) / 2, n - 2))
    p = 2 * float(stats.t.sf(abs(value) / se, n - 2)) if se > 0 else math.nan
    return Result(float(value), p, value - half, value + half, n, "OLS; HC3 errors, Student's t", "two-sided", note)


@dataclass(frozen=True)
class Ranges:
    """A coefficient on all points, and with parts of them left out.

    Attributes
    ----------
    full : float
        On all points.
    low, high : float
        Smallest and largest value with one part left out; NaN values do not count.
    values : dict of str to float
        Value without each part; NaN where fewer than three points are left or the rest is constant.
    by : str
        "aug" or "family": what was left out.
    note : str
    """

    full: float
    low: float
    high: float
    values: dict[str, float]
    by: str
    note: str = ""


def leave_out(
    x: ArrayLike,
    y: ArrayLike,
    augs: Sequence[str],
    method: str = "kendall",
    *,
    by: str = "aug",
) -> Ranges:
    """How a coefficient changes when one augmentation, or one family of them, is left out.

    Parameters
    ----------
    x, y : array-like of shape (n,)
    augs : sequence of str
        Names of the points.
    method : {"kendall", "spearman", "pearson", "weighted"}
    by : {"aug", "family"}

    Returns
    -------
    Ranges

    Raises
    ------
    UsageError
        For input that is not finite numbers of one length with one name each, and unknown names.
    """
    a = vector("x", x, len(augs))
    b = vector("y", y, len(augs))
    if by not in ("aug", "family"):
        raise unknown("part to leave out", by, ("aug", "family"))
    check_method(method)
    parts = list(augs) if by == "aug" else list(map(family, augs))
    label = np.array(parts, dtype=object)
    values = {part: _without(a, b, label != part, method) for part in dict.fromkeys(parts)}
    known = [value for value in values.values() if not math.isnan(value)]
    low, high = (min(known), max(known)) if known else (math.nan, math.nan)
    lost = len(values) - len(known)
    note = f"undefined without {lost} of {len(values)}" if lost else ""
    return Ranges(_without(a, b, np.ones(len(a), dtype=bool), method), low, high, values, by, note)


def _without(x: Floats, y: Floats, keep: NDArray[np.bool_], method: str) -> float:
    x, y = x[keep], y[keep]
    if why_degenerate({"x": x, "y": y}):
        return math.nan
    return float(coefficient(method, x, y)[0])
