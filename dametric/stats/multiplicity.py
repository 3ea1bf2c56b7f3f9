"""p-values of many questions at once."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from dametric.errors import UsageError
from dametric.stats.result import Floats


def holm(pvalues: ArrayLike) -> Floats:
    """p-values adjusted for the whole family: the chance of a single false finding stays below the level.

    Parameters
    ----------
    pvalues : array-like of shape (m,)
        NaN is not counted and stays NaN.

    Returns
    -------
    ndarray
        Adjusted by Holm's step-down method (Holm 1979, Scand. J. Stat. 6, 65), in the order given.

    Raises
    ------
    UsageError
        If one is not between 0 and 1.

    Examples
    --------
    >>> holm([0.01, 0.04, 0.03]).round(3).tolist()
    [0.03, 0.06, 0.06]
    """
    return _adjusted(pvalues, lambda p: np.maximum.accumulate(p * np.arange(len(p), 0, -1)))


def benjamini_hochberg(pvalues: ArrayLike) -> Floats:
    """p-values adjusted so that the expected share of false findings among the findings stays below the level.

    Parameters
    ----------
    pvalues : array-like of shape (m,)
        NaN is not counted and stays NaN.

    Returns
    -------
    ndarray
        Adjusted by Benjamini & Hochberg (1995, doi 10.1111/j.2517-6161.1995.tb02031.x), in the order given.

    Raises
    ------
    UsageError
        If one is not between 0 and 1.

    Examples
    --------
    >>> benjamini_hochberg([0.01, 0.04, 0.03]).round(3).tolist()
    [0.03, 0.04, 0.04]
    """

    def adjust(p: Floats) -> Floats:
        shares = np.arange(1, len(p) + 1) / len(p)
        return np.asarray(np.minimum.accumulate((p / shares)[::-1])[::-1])

    return _adjusted(pvalues, adjust)


def _adjusted(pvalues: ArrayLike, adjust: Callable[[Floats], Floats]) -> Floats:
    """Adjusted in ascending order, at most 1."""
    raw = np.asarray(pvalues, dtype=np.float64)
    if raw.ndim != 1:
        raise UsageError("p-values come as a one-dimensional sequence")
    known = np.flatnonzero(~np.isnan(raw))
    if ((raw[known] < 0) | (raw[known] > 1)).any():
        raise UsageError("a p-value is not between 0 and 1")
    order = known[np.argsort(raw[known])]
    out = np.full(len(raw), np.nan)
    out[order] = np.minimum(adjust(raw[order]), 1)
    return out
