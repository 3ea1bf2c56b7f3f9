"""Permutation p-values: every pairing where that can be done, random pairings seeded where not.

A statistic of a pairing is a function of many permutations at once. Coefficients are not computed anew for each:
Pearson and Spearman are sums ``sum_i M[i, p_i]``, Kendall (and the weighted tau without ties) sums over pairs
``sum_{i<j} T[ij, p_i, p_j]``; sums over several units are such sums again, so that permuting the labels of all
units jointly costs no more than of one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations, permutations

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from dametric.stats.coefficients import coefficient, pair_weights, standardised, top_rank
from dametric.stats.exact import CountedLaw, known_law
from dametric.stats.result import Floats

Pairing = NDArray[np.intp]
Statistic = Callable[[Pairing], Floats]
MAX_EXACT = 10
_BASE = 8  # permutations of this many are listed, longer ones are made from them
_ROUNDING = 1e-11  # values closer than this are the same value of a coefficient, or of a mean of coefficients
_AT_ONCE = 4_000_000
_KEPT = 1_000_000  # places of random permutations that are remembered: 8 MB


@lru_cache(maxsize=_BASE + 1)
def _all(n: int) -> Pairing:
    """All permutations of n, one a column."""
    return np.array(list(permutations(range(n))), dtype=np.intp).reshape(-1, n).T.copy()


def every(n: int) -> Iterable[Pairing]:
    """All n! permutations in parts, each of shape (n, at most 40,320); the identity is the first column."""
    return _kept(n) if n <= _BASE + 1 else _made(n)


@lru_cache(maxsize=2)
def _kept(n: int) -> tuple[Pairing, ...]:
    """For nine points 26 MB, which every test of the published augmentations uses."""
    return tuple(_made(n))


def _made(n: int) -> Iterator[Pairing]:
    if n <= _BASE:
        yield _all(n)
        return
    base = _all(_BASE)
    for start in permutations(range(n), n - _BASE):
        rest = np.array([i for i in range(n) if i not in start], dtype=np.intp)
        yield np.concatenate([np.repeat(np.array(start, dtype=np.intp)[:, None], base.shape[1], 1), rest[base]])


def some(n: int, resamples: int, seed: int) -> Iterable[Pairing]:
    """Random permutations in parts, each of shape (n, several)."""
    return _kept_draws(n, resamples, seed) if n * resamples <= _KEPT else _draws(n, resamples, seed)


@lru_cache(maxsize=4)
def _kept_draws(n: int, resamples: int, seed: int) -> tuple[Pairing, ...]:
    """One analysis asks for the same ones in every test."""
    return tuple(_draws(n, resamples, seed))


def _draws(n: int, resamples: int, seed: int) -> Iterator[Pairing]:
    rng, step = np.random.default_rng(seed), max(1, _AT_ONCE // n**2)
    for start in range(0, resamples, step):
        count = min(step, resamples - start)
        yield np.ascontiguousarray(rng.permuted(np.tile(np.arange(n), (count, 1)), axis=1).T)


@dataclass(frozen=True)
class Law:
    """The values of a statistic over pairings.

    Attributes
    ----------
    values : ndarray
        In any order.
    exact : bool
        Whether these are all pairings.
    """

    values: Floats
    exact: bool

    @property
    def mean(self) -> float:
        """Mean under independence."""
        return float(self.values.mean())

    def pvalue(self, observed: float, alternative: str) -> float:
        """p of an observed value: (1 + b) / (1 + B) where pairings were drawn; two-sided is twice the smaller side."""
        slack, extra = _ROUNDING * max(1.0, abs(observed)), 0 if self.exact else 1
        greater, less = (  # at least one: what was observed is itself a pairing, whatever rounding says
            max(1, int(np.count_nonzero(side)) + extra) / (len(self.values) + extra)
            for side in (self.values >= observed - slack, self.values <= observed + slack)
        )
        return {"greater": greater, "less": less, "two-sided": min(1.0, 2 * min(greater, less))}[alternative]


def law(statistic: Statistic, n: int, *, exact: bool, resamples: int = 9999, seed: int = 0) -> Law:
    """The values of a statistic over all pairings of n points, or over random ones."""
    parts = every(n) if exact else some(n, resamples, seed)
    return Law(np.concatenate([statistic(part) for part in parts]), exact)


def linear(matrix: Floats) -> Statistic:
    """Sum over i of ``matrix[i, p_i]``."""

    def statistic(p: Pairing) -> Floats:
        total = matrix[0].take(p[0])
        for i in range(1, len(matrix)):
            total += matrix[i].take(p[i])
        return np.asarray(total)

    return statistic


def quadratic(table: Floats) -> Statistic:
    """Sum over pairs i < j of ``table[ij, n p_i + p_j]``, for a table of shape (n (n-1) / 2, n * n)."""
    n = math.isqrt(table.shape[1])
    if n > MAX_EXACT:
        return _by_pairs(table, n)
    # looking four places up at once is quicker, while the tables are small
    groups = [tuple(range(start, min(start + 2, n))) for start in range(0, n, 2)]
    merged = [(g, h, _merged(table, groups, g, h)) for g, h in combinations(range(len(groups)), 2)]

    def statistic(p: Pairing) -> Floats:
        codes = [p[group[0]] if len(group) == 1 else p[group[0]] * n + p[group[1]] for group in groups]
        total = np.zeros(p.shape[1])
        for g, h, values in merged:
            total += values.take(codes[g] * n ** len(groups[h]) + codes[h])
        return total

    return statistic


def _by_pairs(table: Floats, n: int) -> Statistic:
    """Each pair looked up by itself."""

    def statistic(p: Pairing) -> Floats:
        total, codes = np.zeros(p.shape[1]), p * n
        for row, (i, j) in zip(table, combinations(range(n), 2), strict=True):
            total += row.take(codes[i] + p[j])
        return total

    return statistic


def _merged(table: Floats, groups: list[tuple[int, ...]], g: int, h: int) -> Floats:
    """What the places of two groups add to the sum, for all values there; pairs inside a group are added once."""
    n, places = math.isqrt(table.shape[1]), groups[g] + groups[h]
    total = np.zeros((n,) * len(places))
    for row, (i, j) in zip(table, combinations(range(n), 2), strict=True):
        if i in places and j in places:
            inside = (i in groups[g]) == (j in groups[g])
            if not inside or (h == g + 1 and (i in groups[g] or h == len(groups) - 1)):
                total += row.reshape([n if place in (i, j) else 1 for place in places])
    return total.ravel()


def signs(values: Floats) -> Floats:
    """Sign of ``values[i] - values[j]``, shape (n, n)."""
    return np.sign(values[:, None] - values)


def sign_table(a: Floats, b: Floats) -> Floats:
    """Table of a tau-b for matrices of signs; ties are zeros."""
    size = math.sqrt(np.count_nonzero(a) * np.count_nonzero(b)) / 2
    return a[np.triu_indices(len(a), 1)][:, None] * b.ravel() / size


def _weighted_table(x: Floats, y: Floats) -> Floats:
    """Table of the weighted tau where neither x nor y has ties and higher counts more."""
    a, b, pairs = signs(x), signs(y), np.triu_indices(len(x), 1)
    weights = [pair_weights(top_rank(values, values)) for values in (x, y)]
    square = np.zeros_like(b)
    square[pairs] = weights[1]
    square += square.T
    table = (weights[0] * a[pairs])[:, None] * b.ravel() + a[pairs][:, None] * (square * b).ravel()
    return np.asarray(table / (2 * weights[0].sum()))


def _tied(x: Floats, y: Floats) -> bool:
    return any(len(np.unique(row)) < x.shape[-1] for row in (*np.atleast_2d(x), *np.atleast_2d(y)))


def exact_up_to(method: str, x: Floats, y: Floats, limit: int = MAX_EXACT) -> int:
    """Number of points up to which all pairings are tried: eight for the weighted tau where there are ties, which has
    to be computed anew for each."""
    return min(limit, _BASE) if method == "weighted" and _tied(x, y) else limit


def pairing_statistic(method: str, x: Floats, y: Floats, best: str = "lower") -> Statistic:
    """Mean over units of a coefficient between x and re-paired y, neither constant in any unit.

    Parameters
    ----------
    method : str
    x, y : ndarray of shape (units, n)
    best : {"lower", "higher"}
        For the weighted tau.

    Returns
    -------
    callable
        From permutations of shape (n, many), which re-pair all units alike, to values of shape (many,).
    """
    units = len(x)
    if method == "spearman":
        x, y = stats.rankdata(x, axis=1), stats.rankdata(y, axis=1)
    if method in ("pearson", "spearman"):
        return linear(np.einsum("ui,uj->ij", standardised(x), standardised(y)) / units)
    if method == "kendall":
        return quadratic(np.sum([sign_table(signs(a), signs(b)) for a, b in zip(x, y, strict=True)], axis=0) / units)
    turn = -1.0 if best == "lower" else 1.0
    if not _tied(x, y):
        tables = [_weighted_table(turn * a, turn * b) for a, b in zip(x, y, strict=True)]
        return quadratic(np.sum(tables, axis=0) / units)

    def statistic(p: Pairing) -> Floats:
        rows = [coefficient(method, a, b[p.T], best) for a, b in zip(x, y, strict=True)]
        return np.asarray(np.mean(rows, axis=0))

    return statistic


@lru_cache(maxsize=4)
def _rank_law(method: str, x: tuple[float, ...], y: tuple[float, ...], best: str) -> Law:
    rows = np.array([x]), np.array([y])
    return law(pairing_statistic(method, *rows, best), len(x), exact=True)


def coefficient_law(
    method: str, x: Floats, y: Floats, best: str = "lower", *, resamples: int = 9999, seed: int = 0
) -> Law | CountedLaw:
    """What a coefficient would be if x and y were paired at random: exact up to :func:`exact_up_to` points, and as far
    as :func:`known_law` goes where there are no ties.

    What depends on ranks alone is remembered: without ties it is the same for all data of a size.
    """
    if len(x) > exact_up_to(method, x, y):
        known = None if _tied(x, y) else known_law(method, len(x))
        if known is not None:
            return known
        statistic = pairing_statistic(method, x[None], y[None], best)
        return law(statistic, len(x), exact=False, resamples=resamples, seed=seed)
    if method == "pearson":
        return law(pairing_statistic(method, x[None], y[None]), len(x), exact=True)
    ranks = (tuple(np.sort(stats.rankdata(values)).tolist()) for values in (x, y))
    return _rank_law(method, *ranks, best)
