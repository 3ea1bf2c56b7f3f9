"""The coefficients themselves, for many rows at once: permutations, resamples and draws go through here."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from dametric.errors import unknown
from dametric.stats.result import Floats

Method = Literal["pearson", "spearman", "kendall", "weighted"]
METHODS: tuple[str, ...] = get_args(Method)
LABELS = {
    "pearson": "Pearson's r",
    "spearman": "Spearman's rho",
    "kendall": "Kendall's tau-b",
    "weighted": "weighted tau (additive hyperbolic)",
}
_PAIRS_AT_ONCE = 4_000_000  # signs of pairs held at once: some 100 MB in all


def check_method(method: str) -> None:
    """Refuse an unknown coefficient with a UsageError that names the nearest ones."""
    if method not in METHODS:
        raise unknown("coefficient", method, METHODS)


def pair_signs(values: Floats) -> NDArray[np.int8]:
    """Sign of ``values[i] - values[j]`` for all pairs i < j: shape (..., n) to (..., n (n-1) / 2)."""
    first, second = (values.take(place, axis=-1) for place in np.triu_indices(values.shape[-1], 1))
    return np.asarray((first > second).view(np.int8) - (first < second).view(np.int8))


def coefficient(method: str, x: Floats, y: Floats, best: str = "lower") -> Floats:
    """A coefficient between each row of ``x`` and the same row of ``y``.

    Parameters
    ----------
    method : {"pearson", "spearman", "kendall", "weighted"}
        tau-b for kendall; for weighted as :func:`scipy.stats.weightedtau` with ``rank=True``.
    x, y : ndarray of shape (rows, n) or (n,)
        Broadcast against each other.
    best : {"lower", "higher"}
        Which end of both counts most; for the weighted tau alone.

    Returns
    -------
    ndarray of shape (rows,)
        NaN where a row is constant.
    """
    check_method(method)
    x, y = np.broadcast_arrays(np.atleast_2d(x), np.atleast_2d(y))
    if method == "spearman":
        x, y = stats.rankdata(x, axis=1), stats.rankdata(y, axis=1)
    if method in ("pearson", "spearman"):
        return _pearson(x, y)
    sign = -1 if method == "weighted" and best == "lower" else 1
    step = max(1, _PAIRS_AT_ONCE // x.shape[1] ** 2)
    rows = _weighted if method == "weighted" else _kendall
    parts = [rows(sign * x[start : start + step], sign * y[start : start + step]) for start in range(0, len(x), step)]
    return np.concatenate(parts)


def _ratio(above: Floats, below: Floats) -> Floats:
    """Division that gives NaN where there is nothing to divide by, kept within [-1, 1] of rounding."""
    ratio = np.full(np.shape(above), np.nan)
    np.divide(above, below, out=ratio, where=below > 0)
    return np.asarray(np.clip(ratio, -1, 1))


def standardised(values: Floats) -> Floats:
    """Rows centred and of unit length; zero where a row is constant."""
    centred = values - values.mean(-1, keepdims=True)
    centred[np.ptp(values, axis=-1) == 0] = 0  # the mean of equal numbers may differ from them by rounding
    scale = np.abs(centred).max(-1, keepdims=True)
    centred /= np.where(scale > 0, scale, 1)  # so that squares neither vanish nor overflow
    length = np.sqrt((centred**2).sum(-1, keepdims=True))
    return np.asarray(centred / np.where(length > 0, length, 1))


def _pearson(x: Floats, y: Floats) -> Floats:
    x, y = standardised(x), standardised(y)
    varies = np.asarray(x.any(1) & y.any(1), dtype=np.float64)
    return _ratio(np.asarray((x * y).sum(1)), varies)


def _kendall(x: Floats, y: Floats) -> Floats:
    a, b = pair_signs(x), pair_signs(y)
    size = np.sqrt(np.count_nonzero(a, axis=1).astype(np.float64) * np.count_nonzero(b, axis=1))
    return _ratio(np.asarray((a * b).sum(1, dtype=np.int32), dtype=np.float64), size)


def top_rank(x: Floats, y: Floats) -> NDArray[np.intp]:
    """Place of each point, 0 for the largest x; ties by the larger y, then by the later position, as scipy has it."""
    order = np.lexsort((y, x), axis=-1)[..., ::-1]
    rank = np.empty_like(order)
    np.put_along_axis(rank, order, np.broadcast_to(np.arange(x.shape[-1]), order.shape), axis=-1)
    return rank


def pair_weights(rank: NDArray[np.intp]) -> Floats:
    """Weight 1/(r+1) + 1/(s+1) of exchanging places r and s, for all pairs i < j."""
    i, j = np.triu_indices(rank.shape[-1], 1)
    weight = 1.0 / (1.0 + rank)
    return weight[..., i] + weight[..., j]


def _weighted(x: Floats, y: Floats) -> Floats:
    a, b = pair_signs(x), pair_signs(y)
    total = np.zeros(len(x))
    for rank in (top_rank(x, y), top_rank(y, x)):
        weights = pair_weights(rank)
        size = np.sqrt((weights * (a != 0)).sum(1) * (weights * (b != 0)).sum(1))
        total += _ratio((weights * (a * b)).sum(1), size) / 2
    return total
