"""Whether a score says more than another one: Kendall's partial tau."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import stats

from dametric.stats.coefficients import coefficient
from dametric.stats.permutation import Pairing, law
from dametric.stats.result import (
    Floats,
    Result,
    check_alternative,
    check_count,
    counted,
    notes_of,
    undefined,
    vector,
)
from dametric.stats.table import beside

_EXACT = 8


def partial(
    frame: pd.DataFrame,
    alternative: str = "two-sided",
    *,
    x: str = "x",
    y: str = "y",
    given: str = "z",
    resamples: int = 9999,
    seed: int = 0,
) -> Result:
    """Mean over units of Kendall's partial tau of score and outcome given a third variable.

    ``(tau_xy - tau_xz tau_yz) / sqrt((1 - tau_xz^2) (1 - tau_yz^2))`` (Kendall 1942, Biometrika 32, 277, doi
    10.1093/biomet/32.3-4.277), with tau-b: what is left of the agreement of x and y when what both have in common
    with z, such as the teacher's entropy, is taken away.

    Parameters
    ----------
    frame : pandas.DataFrame
        Columns unit, aug, and those named next; one row for each unit and augmentation.
    alternative : {"two-sided", "greater", "less"}
    x, y, given : str
        Columns of the score, of the outcome and of the third variable.
    resamples, seed : int
        Of the random permutations above eight augmentations.

    Returns
    -------
    Result
        ``n`` counts augmentations. The p-value permutes, jointly for all units, the residuals of the outcome's
        ranks on the third variable's ranks (Freedman & Lane 1983, J. Bus. Econ. Stat. 1, 292, doi
        10.1080/07350015.1983.10509354): approximate. No interval. Units in which a variable is constant, or orders
        exactly as the third does, are left out and named; NaN where none is left.

    Raises
    ------
    UsageError
        If a column is missing, a number is not finite, a unit has an augmentation twice, and for unknown names.
    """
    check_alternative(alternative)
    check_count("resamples", resamples)
    one, third = beside(frame, x, given, y)
    with_x, with_y = (np.array([_tau(a, b) for a, b in zip(part, third.x, strict=True)]) for part in (one.x, one.y))
    free = (np.abs(with_x) < 1 - 1e-12) & (np.abs(with_y) < 1 - 1e-12)
    bound = [unit for unit, is_free in zip(one.units, free, strict=True) if not is_free]
    note = notes_of(
        one.note, third.note, f"left out because {given} orders as they do: {', '.join(bound)}" if bound else ""
    )
    kept = set(one.units) - set(bound)
    one, third, with_x = one.only(kept), third.only(kept), with_x[free]
    label = f"mean partial Kendall's tau-b given {given} over {counted(len(one.units), 'unit')}"
    why = one.why_not()
    if why:  # of what was left out, where that is all
        return undefined(one.n, label, alternative, note if bound and not one.units else notes_of(why, note))
    ranks, others = stats.rankdata(one.y, axis=1), stats.rankdata(third.x, axis=1)
    fitted = _fitted(ranks, others)
    rest = ranks - fitted

    def mean(p: Pairing) -> Floats:
        total: Floats = np.zeros(p.shape[1])
        for a, z, fit, left, fixed in zip(one.x, third.x, fitted, rest, with_x, strict=True):
            outcome = np.round(fit + left[p.T], 9)  # what is equal stays equal
            total += _share(coefficient("kendall", a, outcome), fixed, coefficient("kendall", z, outcome))
        return total / len(one.units)

    value = float(mean(np.arange(one.n)[:, None])[0])
    exact = one.n <= _EXACT
    found = law(mean, one.n, exact=exact, resamples=resamples, seed=seed)
    how = "all permutations" if exact else f"{resamples} random permutations"
    label = f"{label}; residuals of ranks permuted jointly (Freedman-Lane), {how}"
    return Result(value, found.pvalue(value, alternative), n=one.n, method=label, alternative=alternative, note=note)


def partial_tau(
    x: ArrayLike,
    y: ArrayLike,
    given: ArrayLike,
    alternative: str = "two-sided",
    *,
    resamples: int = 9999,
    seed: int = 0,
) -> Result:
    """Kendall's partial tau of two variables given a third, of one unit: see :func:`partial`.

    Parameters
    ----------
    x, y, given : array-like of shape (n,)
    alternative : {"two-sided", "greater", "less"}
    resamples, seed : int

    Returns
    -------
    Result

    Raises
    ------
    UsageError
        For input that is not three equally long sequences of finite numbers, and unknown names.
    """
    a = vector("x", x)
    b, c = (vector(name, values, len(a)) for name, values in (("y", y), ("given", given)))
    frame = pd.DataFrame({"unit": "all", "aug": [str(i) for i in range(len(a))], "x": a, "y": b, "given": c})
    return partial(frame, alternative, given="given", resamples=resamples, seed=seed)


def _tau(a: Floats, b: Floats) -> float:
    return float(coefficient("kendall", a, b)[0]) if len(a) else math.nan


def _fitted(y: Floats, z: Floats) -> Floats:
    """Least squares of each row of y on the same row of z."""
    centred = z - z.mean(1, keepdims=True)
    slope = (centred * y).sum(1, keepdims=True) / (centred**2).sum(1, keepdims=True)
    return np.asarray(y.mean(1, keepdims=True) + slope * centred)


def _share(xy: Floats, xz: float, yz: Floats) -> Floats:
    """0 where a permuted outcome is constant or orders as the third variable does: nothing is left of it."""
    below = np.sqrt((1 - xz**2) * np.clip(1 - yz**2, 0, None))
    out = np.zeros_like(below)
    np.divide(xy - xz * yz, below, out=out, where=below > 1e-9)
    return np.nan_to_num(out)
