"""p-values of many questions at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import overload

import numpy as np
from numpy.typing import ArrayLike

from dametric.errors import UsageError
from dametric.stats.result import Floats


def _adjusted(pvalues: Mapping[str, float] | ArrayLike, method: str) -> dict[str, float] | Floats:
    from statsmodels.stats.multitest import multipletests  # type: ignore[import-untyped]  # slow to import

    raw = np.array(list(pvalues.values()) if isinstance(pvalues, Mapping) else pvalues, dtype=np.float64)
    if raw.ndim != 1:
        raise UsageError("p-values come as a one-dimensional sequence or a dict")
    known = ~np.isnan(raw)
    if ((raw[known] < 0) | (raw[known] > 1)).any():
        raise UsageError("a p-value is not between 0 and 1")
    out = np.full(len(raw), np.nan)
    if known.any():
        out[known] = multipletests(raw[known], method=method)[1]
    return dict(zip(pvalues, out.tolist(), strict=True)) if isinstance(pvalues, Mapping) else out


@overload
def holm(pvalues: Mapping[str, float]) -> dict[str, float]: ...
@overload
def holm(pvalues: ArrayLike) -> Floats: ...
def holm(pvalues: Mapping[str, float] | ArrayLike) -> dict[str, float] | Floats:
    """p-values adjusted for the whole family: the chance of a single false finding stays below the level.

    Parameters
    ----------
    pvalues : dict of str to float, or array-like of shape (m,)
        NaN is not counted and stays NaN.

    Returns
    -------
    dict or ndarray
        Adjusted by Holm's step-down method (Holm 1979, Scand. J. Stat. 6, 65), in the order given.

    Raises
    ------
    UsageError
        If one is not between 0 and 1.
    """
    return _adjusted(pvalues, "holm")


@overload
def benjamini_hochberg(pvalues: Mapping[str, float]) -> dict[str, float]: ...
@overload
def benjamini_hochberg(pvalues: ArrayLike) -> Floats: ...
def benjamini_hochberg(pvalues: Mapping[str, float] | ArrayLike) -> dict[str, float] | Floats:
    """p-values adjusted so that the expected share of false findings among the findings stays below the level.

    Parameters
    ----------
    pvalues : dict of str to float, or array-like of shape (m,)
        NaN is not counted and stays NaN.

    Returns
    -------
    dict or ndarray
        Adjusted by Benjamini & Hochberg (1995, doi 10.1111/j.2517-6161.1995.tb02031.x), in the order given.

    Raises
    ------
    UsageError
        If one is not between 0 and 1.
    """
    return _adjusted(pvalues, "fdr_bh")
