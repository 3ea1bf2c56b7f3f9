"""Which of several might be the best, from their paired differences."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats
from scipy.optimize import brentq

from dametric.stats.result import Floats

_LARGE = 1e6  # degrees of freedom that are as good as infinitely many


def best_set(gaps: ArrayLike, errors: ArrayLike, dof: ArrayLike, confidence: float = 0.95) -> NDArray[np.bool_]:
    """Those of several that are not shown to be worse than another.

    Each is compared one-sided with all others at a level that is divided by their number (Bonferroni), so that the
    best of all is among those that are returned with at least the confidence (Hsu 1981, Ann. Stat. 9, 1026).

    Parameters
    ----------
    gaps : array-like of shape (k, k)
        By how much the first is worse than the second; NaN where it is not known.
    errors : array-like of shape (k, k)
        Standard errors of the differences.
    dof : array-like of shape (k, k)
        Their degrees of freedom.
    confidence : float
        Of the whole set, a fraction.

    Returns
    -------
    ndarray of shape (k,), bool

    Examples
    --------
    >>> gaps = [[0.0, -0.1, -3.0], [0.1, 0.0, -2.9], [3.0, 2.9, 0.0]]
    >>> best_set(gaps, np.ones((3, 3)), np.full((3, 3), 19)).tolist()
    [True, True, False]
    """
    gap, error = np.asarray(gaps, float), np.asarray(errors, float)
    others = max(len(gap) - 1, 1)
    limit = stats.t.ppf(1 - (1 - confidence) / others, np.asarray(dof, float)) * error
    worse = (gap > limit) & ~np.eye(len(gap), dtype=bool)
    return np.asarray(~worse.any(axis=1))


def dof_of(low: ArrayLike, high: ArrayLike, errors: ArrayLike) -> Floats:
    """Degrees of freedom of 95 % intervals of Student's t; NaN where there is no interval.

    Examples
    --------
    >>> dof_of([-2.093], [2.093], [1.0]).round().tolist()
    [19.0]
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        factors = (np.asarray(high, float) - np.asarray(low, float)) / 2 / np.asarray(errors, float)
    return np.asarray(np.vectorize(_dof, otypes=[float])(factors))


def _dof(factor: float) -> float:
    if not np.isfinite(factor):
        return np.nan
    if factor <= stats.t.ppf(0.975, _LARGE):
        return _LARGE
    least = 0.5
    if factor >= stats.t.ppf(0.975, least):
        return least
    return float(brentq(lambda dof: stats.t.ppf(0.975, dof) - factor, least, _LARGE))
