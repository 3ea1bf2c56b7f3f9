"""Two metrics on the same augmentations: which predicts better."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from dametric.errors import UsageError, unknown
from dametric.stats.coefficients import LABELS, coefficient
from dametric.stats.intervals import bca_of
from dametric.stats.permutation import Law
from dametric.stats.result import (
    Floats,
    Result,
    check_alternative,
    check_count,
    check_fraction,
    counted,
    notes_of,
    too_few,
    undefined,
)
from dametric.stats.table import Table, beside

_EXACT_SWAPS = 12


def williams(r12: float, r13: float, r23: float, n: int, alternative: str = "two-sided") -> Result:
    """Williams' test of two Pearson correlations that share a variable.

    ``t = (r12 - r13) sqrt((n - 1) (1 + r23) / (2 (n - 1) / (n - 3) |R| + rbar^2 (1 - r23)^3))`` with n - 3 degrees
    of freedom, ``|R| = 1 - r12^2 - r13^2 - r23^2 + 2 r12 r13 r23``, ``rbar = (r12 + r13) / 2`` (Williams 1959;
    Steiger 1980, Psychol. Bull. 87, 245, eq. 7, doi 10.1037/0033-2909.87.2.245).

    Parameters
    ----------
    r12, r13 : float
        Correlation of the outcome with the first and with the second metric.
    r23 : float
        Correlation of the two metrics.
    n : int
        Points.
    alternative : {"two-sided", "greater", "less"}
        "greater": r12 is the larger.

    Returns
    -------
    Result
        The t statistic with its p-value, for one unit; NaN for fewer than four points, and where the two metrics
        are the same.

    Raises
    ------
    UsageError
        For correlations outside [-1, 1] or that no three variables can have together.
    """
    check_alternative(alternative)
    check_count("n", n, 0)
    for name, r in (("r12", r12), ("r13", r13), ("r23", r23)):
        if not -1 <= r <= 1:
            raise UsageError(f"{name} is {r:g}: give a correlation between -1 and 1")
    determinant = 1 - r12**2 - r13**2 - r23**2 + 2 * r12 * r13 * r23
    if determinant < -1e-9:
        raise UsageError(f"no three variables correlate by {r12:g}, {r13:g} and {r23:g} with each other")
    label = "Williams' t"
    if n < 4:
        return undefined(n, label, alternative, too_few(n, "point", 4))
    below = 2 * (n - 1) / (n - 3) * max(0.0, determinant) + ((r12 + r13) / 2) ** 2 * (1 - r23) ** 3
    if below < 1e-14 or r23 <= -1:
        return undefined(n, label, alternative, "the two metrics are the same up to sign and scale")
    t = (r12 - r13) * math.sqrt((n - 1) * (1 + r23) / below)
    sides = {"greater": stats.t.sf(t, n - 3), "less": stats.t.cdf(t, n - 3), "two-sided": 2 * stats.t.sf(abs(t), n - 3)}
    return Result(t, float(sides[alternative]), n=n, method=f"{label}, {n - 3} df", alternative=alternative)


def swap_test(
    frame: pd.DataFrame,
    first: str,
    second: str,
    method: str = "kendall",
    alternative: str = "two-sided",
    *,
    y: str = "y",
    resamples: int = 9999,
    seed: int = 0,
) -> Result:
    """Whether one metric ranks the outcomes better than another, over all units, by exchanging their ranks.

    If the two were equally good, an augmentation's ranks under them could be exchanged (in all units at once). The
    statistic is the mean over units of the difference of the coefficients of the ranks.

    Parameters
    ----------
    frame : pandas.DataFrame
        Columns unit, aug, and those named next; one row for each unit and augmentation.
    first, second : str
        Columns of the two metrics, both with the sign that should correlate positively with the outcome.
    method : {"kendall", "spearman", "weighted"}
    alternative : {"two-sided", "greater", "less"}
        "greater": the first one is better.
    y : str
        Column of the outcome.
    resamples, seed : int
        For Monte Carlo, p = (1 + b) / (1 + B), above twelve augmentations; up to twelve all 2^n exchanges are made.

    Returns
    -------
    Result
        The difference first - second; ``n`` counts augmentations. No interval: see :func:`bootstrap_difference`.

    Raises
    ------
    UsageError
        If a column is missing, a number is not finite, a unit has an augmentation twice, and for unknown names.
    """
    check_alternative(alternative)
    check_count("resamples", resamples)
    if method not in ("kendall", "spearman", "weighted"):
        raise unknown("rank coefficient", method, ("kendall", "spearman", "weighted"))
    one, two, n, label, why = _two(frame, first, second, y, method)
    if why:
        return undefined(n, label, alternative, why)
    ranks = [stats.rankdata(table.x, axis=1) for table in (one, two)]
    exact = n <= _EXACT_SWAPS
    if exact:
        swapped = (np.arange(2**n)[:, None] >> np.arange(n)) & 1 == 1
    else:
        swapped = np.random.default_rng(seed).random((resamples, n)) < 0.5

    def difference(swap: NDArray[np.bool_]) -> Floats:
        total: Floats = np.zeros(len(swap))
        for a, b, outcome in zip(*ranks, one.y, strict=True):
            with_a = coefficient(method, np.where(swap, b, a), outcome)
            with_b = coefficient(method, np.where(swap, a, b), outcome)
            total += np.nan_to_num(with_a) - np.nan_to_num(with_b)  # exchanges can make all ranks equal: no order
        return total / len(one.units)

    value = float(difference(np.zeros((1, n), dtype=bool))[0])
    found = Law(difference(swapped), exact)
    how = "exact" if exact else f"{resamples} random exchanges"
    label = f"{label}; ranks exchanged jointly, {how}"
    p = found.pvalue(value, alternative)
    return Result(value, p, n=n, method=label, alternative=alternative, note=one.note)


def bootstrap_difference(
    frame: pd.DataFrame,
    first: str,
    second: str,
    method: str = "kendall",
    *,
    y: str = "y",
    confidence: float = 0.95,
    resamples: int = 1999,
    seed: int = 0,
) -> Result:
    """Interval of the difference of two metrics' mean coefficients, augmentations resampled jointly for all units.

    Parameters
    ----------
    frame, first, second, method, y
        As for :func:`swap_test`; "pearson" too.
    confidence : float
        Fraction.
    resamples, seed : int

    Returns
    -------
    Result
        The difference first - second with its BCa interval (:func:`scipy.stats.bootstrap`), rough below some 15
        augmentations; NaN ends where resamples do not vary. No p-value.

    Raises
    ------
    UsageError
        As :func:`swap_test`.
    """
    check_fraction("confidence", confidence)
    check_count("resamples", resamples)
    one, two, n, label, why = _two(frame, first, second, y, method)
    label = f"{label}; BCa interval over augmentations ({resamples} resamples)"
    if why:
        return undefined(n, label, "", why)

    def difference(index: NDArray[np.intp], axis: int = -1) -> Floats:
        at = index.reshape(-1, index.shape[-1]).astype(np.intp)
        each = [
            coefficient(method, a[at], outcome[at]) - coefficient(method, b[at], outcome[at])
            for a, b, outcome in zip(one.x, two.x, one.y, strict=True)
        ]
        return np.asarray(np.mean(each, axis=0)).reshape(index.shape[:-1])

    value = float(difference(np.arange(n)[None])[0])
    low, high = bca_of((np.arange(n),), difference, confidence, resamples, seed)
    lost = "" if math.isfinite(low) else "resamples are constant or do not vary, so there is no BCa interval"
    return Result(value, math.nan, low, high, n, label, "", notes_of(one.note, lost))


def _two(frame: pd.DataFrame, first: str, second: str, y: str, method: str) -> tuple[Table, Table, int, str, str]:
    """Both metrics in the units where both vary, number of augmentations, label, and why there is nothing."""
    if method not in LABELS:
        raise unknown("coefficient", method, LABELS)
    one, two = beside(frame, first, second, y)
    label = f"difference of mean {LABELS[method]} over {counted(len(one.units), 'unit')}"
    return one, two, one.n, label, notes_of(one.why_not(), *(part.note for part in (one, two)) if one.why_not() else ())
