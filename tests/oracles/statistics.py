"""Slow, plain re-implementations of the statistics: loops over points and pairs, all permutations one by one."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Sequence

Coefficient = Callable[[Sequence[float], Sequence[float]], float]
NEAR = 1e-9  # what rounding may do to values that are equal


def ranks(values: Sequence[float]) -> list[float]:
    """From 1 for the smallest; equal values share the mean of their places."""
    return [sum(w < v for w in values) + (sum(w == v for w in values) + 1) / 2 for v in values]


def pearson(x: Sequence[float], y: Sequence[float]) -> float:
    mx, my = sum(x) / len(x), sum(y) / len(y)
    above = sum((a - mx) * (b - my) for a, b in zip(x, y, strict=True))
    return above / math.sqrt(sum((a - mx) ** 2 for a in x) * sum((b - my) ** 2 for b in y))


def spearman(x: Sequence[float], y: Sequence[float]) -> float:
    return pearson(ranks(x), ranks(y))


def sign(value: float) -> int:
    return (value > 0) - (value < 0)


def kendall(x: Sequence[float], y: Sequence[float]) -> float:
    """tau-b."""
    pairs = list(itertools.combinations(range(len(x)), 2))
    s = [sign(x[i] - x[j]) for i, j in pairs]
    t = [sign(y[i] - y[j]) for i, j in pairs]
    above = sum(a * b for a, b in zip(s, t, strict=True))
    return above / math.sqrt(sum(a * a for a in s) * sum(b * b for b in t))


def weighted(x: Sequence[float], y: Sequence[float]) -> float:
    """Vigna's additive hyperbolic tau of points without ties, the largest counting most: mean of both rankings."""
    pairs = list(itertools.combinations(range(len(x)), 2))

    def one(by: Sequence[float]) -> float:
        place = [sum(w > v for w in by) for v in by]
        weight = [1 / (place[i] + 1) + 1 / (place[j] + 1) for i, j in pairs]
        agree = [sign(x[i] - x[j]) * sign(y[i] - y[j]) for i, j in pairs]
        return sum(w * a for w, a in zip(weight, agree, strict=True)) / sum(weight)

    return (one(x) + one(y)) / 2


COEFFICIENTS: dict[str, Coefficient] = {
    "pearson": pearson,
    "spearman": spearman,
    "kendall": kendall,
    "weighted": weighted,
}


def pvalue(observed: float, values: Iterable[float], alternative: str) -> float:
    """Share of the values at least as extreme; two-sided is twice the smaller side, at most 1."""
    values = list(values)
    greater = sum(v >= observed - NEAR for v in values) / len(values)
    less = sum(v <= observed + NEAR for v in values) / len(values)
    return {"greater": greater, "less": less, "two-sided": min(1.0, 2 * min(greater, less))}[alternative]


def permutation_pvalue(coefficient: Coefficient, x: Sequence[float], y: Sequence[float], alternative: str) -> float:
    values = [coefficient(x, [y[i] for i in order]) for order in itertools.permutations(range(len(y)))]
    return pvalue(coefficient(x, y), values, alternative)


def joint_pvalue(
    coefficient: Coefficient, x: Sequence[Sequence[float]], y: Sequence[Sequence[float]], alternative: str
) -> float:
    """Of the mean coefficient over units, the same permutation in all of them."""

    def mean(order: Sequence[int]) -> float:
        return sum(coefficient(a, [b[i] for i in order]) for a, b in zip(x, y, strict=True)) / len(x)

    places = range(len(x[0]))
    return pvalue(mean(places), map(mean, itertools.permutations(places)), alternative)


def double_centred(rows: Sequence[Sequence[float]]) -> list[list[float]]:
    """Each row standardised, then row and column means taken away."""
    table = []
    for row in rows:
        m = sum(row) / len(row)
        sd = math.sqrt(sum((v - m) ** 2 for v in row) / len(row))
        table.append([(v - m) / sd for v in row])
    columns = [sum(column) / len(table) for column in zip(*table, strict=True)]
    return [[v - c for v, c in zip(row, columns, strict=True)] for row in table]


def concordance(rows: Sequence[Sequence[float]]) -> float:
    """Kendall's W with its correction for ties."""
    m, n = len(rows), len(rows[0])
    ranked = [ranks(row) for row in rows]
    sums = [sum(column) for column in zip(*ranked, strict=True)]
    mean = sum(sums) / n
    ties = sum(row.count(v) ** 3 - row.count(v) for row in map(list, rows) for v in set(row))
    return 12 * sum((s - mean) ** 2 for s in sums) / (m**2 * (n**3 - n) - m * ties)
