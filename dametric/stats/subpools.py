"""How far a conclusion hangs on which augmentations and which teacher-student pairs were looked at."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dametric.stats.coefficients import check_method, coefficient
from dametric.stats.result import Floats, check_count
from dametric.stats.table import wide

COLUMNS = ("of", "size", "pools", "all", "least", "low", "q1", "median", "q3", "high", "most", "positive")
_QUANTILES = {"least": 0.0, "low": 0.05, "q1": 0.25, "median": 0.5, "q3": 0.75, "high": 0.95, "most": 1.0}
LEAST = 3  # augmentations of a pool: fewer have no order to speak of


def subpools(
    frame: pd.DataFrame,
    method: str = "kendall",
    *,
    x: str = "x",
    y: str = "y",
    pools: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """Distribution of the mean coefficient over sub-pools of the augmentations, and of the units.

    A ranking that looks good on one pool of candidates may not on another (Agostinelli et al., ECCV 2022, arXiv
    2204.01403): one number for all of them hides that.

    Parameters
    ----------
    frame : pandas.DataFrame
        As for :func:`pooled`.
    method : {"kendall", "spearman", "pearson", "weighted"}
    x, y : str
        Columns of the score and of the outcome.
    pools : int
        All sub-pools of a size where there are no more than that, else so many at random.
    seed : int

    Returns
    -------
    pandas.DataFrame
        One row for each size, columns ``of`` ("augmentations", 3 to all, every unit counting alike; or "units", 1
        to all, with all augmentations), ``size, pools`` (how many), ``all`` (whether these are all), ``least, low``
        (5 %), ``q1, median, q3, high`` (95 %), ``most``, and ``positive``, the share of pools above zero. Empty
        where there are fewer than three common augmentations. Sub-pools overlap: this is no confidence interval.

    Raises
    ------
    UsageError
        As :func:`pooled`.
    """
    check_method(method)
    check_count("pools", pools)
    table = wide(frame, x, y).varying()
    if table.why_not():
        return pd.DataFrame(columns=list(COLUMNS))
    rng = np.random.default_rng(seed)
    rows = []
    for size in range(LEAST, table.n + 1):
        chosen = _chosen(table.n, size, pools, rng)
        taus = [coefficient(method, a[chosen], b[chosen]) for a, b in zip(table.x, table.y, strict=True)]
        rows.append(_row("augmentations", size, table.n, _mean(np.array(taus))))
    each = coefficient(method, table.x, table.y)
    for size in range(1, len(each) + 1):
        rows.append(_row("units", size, len(each), each[_chosen(len(each), size, pools, rng)].mean(1)))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _chosen(n: int, size: int, pools: int, rng: np.random.Generator) -> NDArray[np.intp]:
    """Sub-pools as rows of places, each in order."""
    if math.comb(n, size) <= pools:
        return np.array(list(combinations(range(n), size)), dtype=np.intp)
    return np.sort(rng.random((pools, n)).argpartition(size - 1, axis=1)[:, :size], axis=1)


def _mean(values: Floats) -> Floats:
    """Over units, which are the rows; units that are constant in a pool do not count in it."""
    known = ~np.isnan(values)
    total = np.where(known, values, 0).sum(0)
    return np.asarray(total[known.any(0)] / known.sum(0)[known.any(0)])


def _row(of: str, size: int, total: int, values: Floats) -> dict[str, object]:
    if not len(values):
        return {"of": of, "size": size, "pools": 0, "all": False, **dict.fromkeys(_QUANTILES, math.nan)}
    numbers = {name: float(np.quantile(values, level)) for name, level in _QUANTILES.items()}
    whole = math.comb(total, size) == len(values)
    positive = float((values > 0).mean())
    return {"of": of, "size": size, "pools": len(values), "all": whole, **numbers, "positive": positive}
