"""A p-value that knows families: settings of one family are no independent evidence, whole families are permuted."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import permutations, product

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dametric.stats.coefficients import LABELS, check_method
from dametric.stats.families import by_strength
from dametric.stats.permutation import Law, Pairing, pairing_statistic
from dametric.stats.result import Result, check_alternative, check_count, check_fraction, counted, notes_of, undefined
from dametric.stats.table import wide

MOST_LISTED = 100_000  # pairings that are all tried; of more, random ones are drawn


@dataclass(frozen=True)
class Families:
    """The pairings that keep families whole: equal ones exchanged, and the order inside each kept or reversed.

    Attributes
    ----------
    names : tuple of str
    places : tuple of tuple of int
        Of each family's augmentations, the weakest first.
    """

    names: tuple[str, ...]
    places: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, augs: Sequence[str]) -> Families:
        """The families of augmentations that are named by specifications."""
        found = by_strength(augs)
        return cls(tuple(found), tuple(tuple(places) for places in found.values()))

    @property
    def single(self) -> bool:
        """Whether no family has more than one augmentation, so that any pairing keeps them whole."""
        return all(len(places) == 1 for places in self.places)

    @property
    def count(self) -> int:
        """Number of pairings."""
        return math.prod(
            math.factorial(len(same)) * (2 ** len(same) if size > 1 else 1) for size, same in self._sizes().items()
        )

    def floor(self, alternative: str, resamples: int) -> float:
        """The smallest p-value that can come out."""
        least = 1 / self.count if self.count <= MOST_LISTED else 1 / (1 + resamples)
        return min(1.0, 2 * least) if alternative == "two-sided" else least

    def sizes(self) -> str:
        """How many settings each has, in words."""
        return ", ".join(f"{name} {len(places)}" for name, places in zip(self.names, self.places, strict=True))

    def _sizes(self) -> dict[int, NDArray[np.intp]]:
        """Families of equal size together: size to places, shape (families, size)."""
        sizes = sorted({len(places) for places in self.places})
        return {
            size: np.array([places for places in self.places if len(places) == size], dtype=np.intp) for size in sizes
        }

    def every(self) -> Pairing:
        """All pairings, shape (augmentations, pairings); the first one is the identity."""
        parts = []
        for size, same in self._sizes().items():
            order = np.array(list(permutations(range(len(same)))), dtype=np.intp)
            turned = np.array(list(product((0, 1), repeat=len(same))) if size > 1 else [[0] * len(same)], dtype=np.intp)
            ways = np.stack([same, same[:, ::-1]])
            parts.append((same.ravel(), ways[turned[None], order[:, None]].reshape(-1, same.size)))
        found = np.empty((sum(len(at) for at, _ in parts), self.count), dtype=np.intp)
        before = 1
        for at, options in parts:
            after = self.count // before // len(options)
            found[at] = np.tile(np.repeat(options.T, after, axis=1), before)
            before *= len(options)
        return found

    def some(self, resamples: int, seed: int) -> Pairing:
        """Random pairings, shape (augmentations, resamples)."""
        rng = np.random.default_rng(seed)
        found = np.empty((sum(map(len, self.places)), resamples), dtype=np.intp)
        for same in self._sizes().values():
            order = rng.permuted(np.tile(np.arange(len(same)), (resamples, 1)), axis=1)
            turned = rng.integers(0, 2, order.shape)
            ways = np.stack([same, same[:, ::-1]])
            found[same.ravel()] = ways[turned, order].reshape(resamples, -1).T
        return found


def _in_parts(pairings: Pairing, step: int = 20_000) -> Iterable[Pairing]:
    return (np.ascontiguousarray(pairings[:, at : at + step]) for at in range(0, pairings.shape[1], step))


def by_families(
    frame: pd.DataFrame,
    method: str = "kendall",
    alternative: str = "greater",
    *,
    x: str = "x",
    y: str = "y",
    most: float = 0.05,
    resamples: int = 9999,
    seed: int = 0,
) -> tuple[Result, float]:
    """Mean coefficient over units, tested by permuting whole families of augmentations, jointly for all units.

    Settings of one family share what the family does, and a strength inside it often moves score and loss steadily:
    a test that re-pairs settings one by one takes both for evidence, and rejects far above its level. Here families
    of equal size are exchanged as wholes, and inside each the order of strengths is kept or reversed, so that the
    level holds with any effects of families and with trends of strength whose sign differs from family to family.

    Parameters
    ----------
    frame : pandas.DataFrame
        Columns unit, aug (specifications, which say the family), and those named next.
    method : {"kendall", "spearman", "pearson", "weighted"}
    alternative : {"two-sided", "greater", "less"}
    x, y : str
        Columns of the score and of the outcome.
    most : float
        No p-value where the smallest possible one is above that.
    resamples, seed : int
        Random pairings, p = (1 + b) / (1 + B), where there are more than 100,000.

    Returns
    -------
    Result, float
        ``n`` counts augmentations; and the smallest p-value that could have come out (NaN where there is none).

    Raises
    ------
    UsageError
        If a column is missing, a number is not finite, a unit has an augmentation twice, and for unknown names.
    """
    check_method(method)
    check_alternative(alternative)
    check_count("resamples", resamples)
    check_fraction("most", most)
    table = wide(frame, x, y).varying()
    label = f"mean {LABELS[method]} over {counted(len(table.units), 'unit')}"
    why = table.why_not()
    if why:
        return undefined(table.n, label, alternative, notes_of(why, table.note)), math.nan
    families = Families.of(table.augs)
    statistic = pairing_statistic(method, table.x, table.y)
    value, floor = float(statistic(np.arange(table.n)[:, None])[0]), families.floor(alternative, resamples)
    if floor > most:
        note = f"families of unequal or single settings ({families.sizes()}) allow no p-value below {floor:.2g}"
        return Result(value, n=table.n, method=label, alternative=alternative, note=notes_of(note, table.note)), floor
    exact = families.count <= MOST_LISTED
    pairings = families.every() if exact else families.some(resamples, seed)
    law = Law(np.concatenate([statistic(part) for part in _in_parts(pairings)]), exact)
    how = f"all {families.count} ways" if exact else f"{resamples} random ways"
    label = f"{label}; whole families permuted and turned round, {how}"
    p = law.pvalue(value, alternative)
    return Result(value, p, n=table.n, method=label, alternative=alternative, note=table.note), floor
