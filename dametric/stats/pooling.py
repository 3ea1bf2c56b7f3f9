"""Many teacher-student-data units: what holds for all of them, and what they only share."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import stats

from dametric.errors import UsageError, unknown
from dametric.stats.coefficients import LABELS, check_method
from dametric.stats.intervals import inside, seeded
from dametric.stats.permutation import Pairing, Statistic, exact_up_to, law, linear, pairing_statistic
from dametric.stats.result import Floats, Result, check_alternative, check_count, counted, notes_of, too_few, undefined
from dametric.stats.table import Table, wide

EXACT_AUGS = 9
_EXACT_UNITS = 9


def pooled(
    frame: pd.DataFrame,
    method: str = "kendall",
    alternative: str = "two-sided",
    *,
    statistic: str = "coefficient",
    x: str = "x",
    y: str = "y",
    resamples: int = 9999,
    seed: int = 0,
) -> Result:
    """Mean coefficient over units, tested by permuting the augmentation labels of all units at once.

    One permutation re-pairs scores and outcomes in every unit alike, so that what units share (the same
    augmentations are good everywhere) is not counted as independent evidence: with shared effects the joint test
    keeps its level where treating all points, or all units, as independent does not.

    Parameters
    ----------
    frame : pandas.DataFrame
        Columns unit, aug, and those named next; one row for each unit and augmentation.
    method : {"kendall", "spearman", "pearson", "weighted"}
    alternative : {"two-sided", "greater", "less"}
    statistic : {"coefficient", "fisher"}
        Mean of the coefficients, or of their Fisher z (given as tanh of the mean). A rank coefficient of exactly 1
        in size counts as half-way to the next possible value, Pearson's as 1 - 1e-6.
    x, y : str
        Columns of the score and of the outcome.
    resamples, seed : int
        For Monte Carlo, p = (1 + b) / (1 + B), above nine augmentations; up to nine (eight for the weighted tau
        with ties) all permutations are tried, and the smallest possible p is 1 / n! (two-sided 2 / n!).

    Returns
    -------
    Result
        ``n`` counts augmentations. No interval: see :func:`random_effects`. Augmentations that a unit lacks, and
        units in which score or outcome is constant, are left out, and ``note`` names them; with fewer than three
        augmentations in common the numbers are NaN.

    Raises
    ------
    UsageError
        If a column is missing, a number is not finite, a unit has an augmentation twice, and for unknown names.
    """
    check_method(method)
    check_alternative(alternative)
    check_count("resamples", resamples)
    if statistic not in ("coefficient", "fisher"):
        raise unknown("statistic", statistic, ("coefficient", "fisher"))
    table = wide(frame, x, y).varying()
    label = f"mean {LABELS[method]} over {counted(len(table.units), 'unit')}" + (
        " by Fisher's z" * (statistic == "fisher")
    )
    why = table.why_not()
    if why:
        return undefined(table.n, label, alternative, notes_of(why, table.note))
    mean = pairing_statistic(method, table.x, table.y)
    if statistic == "fisher":
        mean = _mean_z(method, table)
    value = float(mean(np.arange(table.n)[:, None])[0])
    exact = table.n <= exact_up_to(method, table.x, table.y, EXACT_AUGS)
    found = law(mean, table.n, exact=exact, resamples=resamples, seed=seed)
    how = "exact" if found.exact else f"{resamples} random permutations"
    label = f"{label}; augmentation labels permuted jointly, {how}"
    shown = math.tanh(value) if statistic == "fisher" else value
    p = found.pvalue(value, alternative)
    return Result(shown, p, n=table.n, method=label, alternative=alternative, note=table.note)


def _mean_z(method: str, table: Table) -> Statistic:
    each = [pairing_statistic(method, x[None], y[None]) for x, y in zip(table.x, table.y, strict=True)]

    def statistic(p: Pairing) -> Floats:
        z = [np.arctanh(inside(method, np.round(one(p), 12), table.n)) for one in each]
        return np.asarray(
            np.round(np.mean(z, axis=0), 9)
        )  # rounding makes equal what only the order of sums keeps apart

    return statistic


def naive(frame: pd.DataFrame, *, x: str = "x", y: str = "y") -> Result:
    """Pearson's r over all points of all units, standardised within units, as if they were independent: a warning.

    Raises as :func:`pooled`; shown beside the joint test, it says how much evidence is only apparent.
    """
    table = wide(frame, x, y).varying()
    label, why = "Pearson's r over all points, standardised within units; Student's t", table.why_not()
    if why:
        return undefined(table.x.size, label, "two-sided", notes_of(why, table.note))
    found = stats.pearsonr(*(stats.zscore(values, axis=1).ravel() for values in (table.x, table.y)))
    note = "not valid: points of a unit, and units that share augmentations, are not independent"
    n = table.x.size
    nan = math.nan
    return Result(
        float(found.statistic), float(found.pvalue), nan, nan, n, label, "two-sided", notes_of(note, table.note)
    )


def kendalls_w(values: ArrayLike, *, resamples: int = 9999, seed: int = 0) -> Result:
    """Kendall's coefficient of concordance: how far the units agree in ordering the augmentations.

    ``W = 12 S / (m^2 (n^3 - n) - m sum(t^3 - t))`` for m units and n augmentations, with S the sum of squared
    deviations of the rank sums and t the sizes of ties within units (Kendall & Babington Smith 1939, doi
    10.1214/aoms/1177732186).

    Parameters
    ----------
    values : array-like of shape (units, augs)
        Scores or losses; they are ranked within units.
    resamples, seed : int
        The p-value comes from permuting each unit by itself: all permutations where there are no more than
        ``resamples``, else p = (1 + b) / (1 + B).

    Returns
    -------
    Result
        0 (no agreement) to 1; ``n`` counts augmentations. NaN for fewer than two units or three augmentations, or
        constant units.

    Raises
    ------
    UsageError
        If the values are not a table of finite numbers.
    """
    check_count("resamples", resamples)
    table = np.asarray(values, dtype=np.float64)
    if table.ndim != 2 or not np.isfinite(table).all():
        raise UsageError("Kendall's W takes a table of finite numbers, one row a unit, one column an augmentation")
    m, n = table.shape
    label = f"Kendall's W of {counted(m, 'unit')}"
    why = ""
    if m < 2 or n < 3:
        why = too_few(m, "unit", 2) if m < 2 else too_few(n, "augmentation", 3)
    elif (np.ptp(table, axis=1) == 0).any():
        why = "a unit is constant"
    if why:
        return undefined(n, label, "greater", why)
    ranks = stats.rankdata(table, axis=1)
    ties = sum(float((np.unique(row, return_counts=True)[1] ** 3.0).sum() - n) for row in ranks)
    below = m**2 * (n**3 - n) - m * ties

    def concordance(*rows: Floats, axis: int = -1) -> Floats:
        total = sum(rows[1:], rows[0])
        return np.asarray(12 * ((total - total.mean(axis=axis, keepdims=True)) ** 2).sum(axis=axis) / below)

    found = stats.permutation_test(
        tuple(ranks),
        concordance,
        permutation_type="pairings",
        vectorized=True,
        n_resamples=resamples,
        batch=2000,
        alternative="greater",
        axis=-1,
        **seeded(seed),
    )
    how = "each unit permuted by itself"
    return Result(float(found.statistic), float(found.pvalue), n=n, method=f"{label}; {how}", alternative="greater")


def double_centred(values: Floats) -> Floats:
    """A table standardised within rows, then without its row and column means."""
    z = (values - values.mean(1, keepdims=True)) / values.std(1, ddof=1, keepdims=True)
    return np.asarray(z - z.mean(0))


def incremental(
    frame: pd.DataFrame,
    alternative: str = "two-sided",
    *,
    x: str = "x",
    y: str = "y",
    resamples: int = 9999,
    seed: int = 0,
) -> Result:
    """Whether a score knows more of a unit than a fixed list of augmentations does.

    Scores and outcomes are standardised within units, and what units have in common (the mean of each
    augmentation) is taken away; what is left is correlated over all points. The p-value comes from giving the
    units each other's scores: all permutations of up to nine units, Monte Carlo above. A score that fails this test
    is not shown to be better than one list for all.

    Parameters
    ----------
    frame : pandas.DataFrame
        As for :func:`pooled`.
    alternative : {"two-sided", "greater", "less"}
    x, y : str
    resamples, seed : int

    Returns
    -------
    Result
        Pearson's r of the double-centred tables; ``n`` counts units. NaN for fewer than three units or
        augmentations, or where nothing is left after centring.

    Raises
    ------
    UsageError
        As :func:`pooled`.
    """
    check_alternative(alternative)
    check_count("resamples", resamples)
    table = wide(frame, x, y).varying()
    units, label = len(table.units), "Pearson's r after double centring"
    why = table.why_not(3)
    if why:
        return undefined(units, label, alternative, notes_of(why, table.note))
    a, b = double_centred(table.x), double_centred(table.y)
    size = math.sqrt(float((a**2).sum() * (b**2).sum()))
    if size < 1e-12 * a.size:
        note = "scores or outcomes are the same in all units: nothing is left beyond a fixed list"
        return undefined(units, label, alternative, notes_of(note, table.note))
    statistic = linear(a @ b.T / size)
    value = float(statistic(np.arange(units)[:, None])[0])
    found = law(statistic, units, exact=units <= _EXACT_UNITS, resamples=resamples, seed=seed)
    how = "exact" if found.exact else f"{resamples} random permutations"
    p = found.pvalue(value, alternative)
    label = f"{label}; scores permuted over units, {how}"
    return Result(value, p, n=units, method=label, alternative=alternative, note=table.note)


def least_p(units: int, alternative: str, resamples: int) -> float:
    """The smallest p-value that :func:`incremental` can give for this many units."""
    least = 1 / math.factorial(units) if units <= _EXACT_UNITS else 1 / (1 + resamples)
    return min(1.0, 2 * least) if alternative == "two-sided" else least


def units_needed(alternative: str, alpha: float) -> int:
    """The fewest units for which :func:`incremental` can reject at this level."""
    return next((units for units in range(2, _EXACT_UNITS) if least_p(units, alternative, 1) <= alpha), _EXACT_UNITS)
