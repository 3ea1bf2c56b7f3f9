"""Laws of rank coefficients without ties that are known exactly beyond the sizes at which all pairings are tried."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations

import numpy as np

from dametric.stats.result import Floats

MOST = {"kendall": 60, "spearman": 15}  # points; Spearman's takes a second at 15, and ten times as long at 18
_ROUNDING = 1e-11


@dataclass(frozen=True)
class CountedLaw:
    """The values that a statistic can have, and how often each comes up.

    Attributes
    ----------
    values, shares : ndarray
        Shares add up to 1.
    exact : bool
        Always true.
    """

    values: Floats
    shares: Floats
    exact: bool = True

    @property
    def mean(self) -> float:
        """Mean under independence."""
        return float(self.values @ self.shares)

    def pvalue(self, observed: float, alternative: str) -> float:
        """p of an observed value; two-sided is twice the smaller side."""
        greater, less = (
            min(1.0, float(self.shares[side].sum()))
            for side in (self.values >= observed - _ROUNDING, self.values <= observed + _ROUNDING)
        )
        return {"greater": greater, "less": less, "two-sided": min(1.0, 2 * min(greater, less))}[alternative]


@lru_cache(maxsize=32)
def kendall_law(n: int) -> CountedLaw:
    """Kendall's tau of n points without ties: the number of discordant pairs is a sum of independent uniform numbers
    from 0 to k - 1, k from 2 to n (Kendall 1938, doi 10.1093/biomet/30.1-2.81)."""
    shares = np.ones(1)
    for k in range(2, n + 1):
        shares = np.convolve(shares, np.full(k, 1 / k))
    pairs = n * (n - 1) // 2
    return CountedLaw(1 - 2 * np.arange(pairs + 1) / pairs, shares)


@lru_cache(maxsize=4)
def spearman_law(n: int) -> CountedLaw:
    """Spearman's rho of n points without ties, from the number of permutations with each sum of squared differences.

    The first half of the ranks takes some places and the second half the others: the sums of both are counted for
    every choice of places, and every pair of such sums adds up.
    """
    half = n // 2
    first, second = _partial_sums(n, range(half)), _partial_sums(n, range(half, n))
    everything = (1 << n) - 1
    pairs = np.array([(place, second[0][everything ^ mask]) for mask, place in first[0].items()])
    ways = [half_sums[rows] for (_, half_sums), rows in zip((first, second), pairs.T, strict=True)]
    counts = np.zeros((n**3 - n) // 3 + 1)
    odd = ways[0][:, 1::2].any(1)  # the sums of one set are all even or all odd, and those of its partner alike
    for parity in (0, 1):
        one, two = (part[odd == bool(parity), parity::2] for part in ways)
        joint = one.T @ two
        sums = 2 * np.add.outer(*(np.arange(size) for size in joint.shape)) + 2 * parity
        found = np.bincount(sums.ravel(), weights=joint.ravel(), minlength=len(counts))
        counts += found[: len(counts)]
    return CountedLaw(1 - 6 * np.arange(len(counts)) / (n**3 - n), counts / math.factorial(n))


def _partial_sums(n: int, ranks: range) -> tuple[dict[int, int], Floats]:
    """How often these ranks, put into each set of places, give each sum of squared differences.

    Returns
    -------
    dict of int to int, ndarray of shape (sets, sums)
        Set, as bits, to its row.
    """
    most = sum(max(rank, n - 1 - rank) ** 2 for rank in ranks)
    rows, counts = {0: 0}, np.ones((1, most + 1)) * (np.arange(most + 1) == 0)
    for size, rank in enumerate(ranks, start=1):
        sets = {sum(1 << place for place in places): row for row, places in enumerate(combinations(range(n), size))}
        found = np.zeros((len(sets), most + 1))
        for place in range(n):
            having = [mask for mask in sets if mask >> place & 1]
            into, out = [sets[mask] for mask in having], [rows[mask ^ (1 << place)] for mask in having]
            step = (rank - place) ** 2
            found[into, step:] += counts[out, : most + 1 - step]
        rows, counts = sets, found
    return rows, counts


def known_law(method: str, n: int) -> CountedLaw | None:
    """The exact law of a coefficient of n points without ties, where it is known."""
    if n > MOST.get(method, 0):
        return None
    return kendall_law(n) if method == "kendall" else spearman_law(n)
