"""Rows that can be compared: what each batch adds to the error of a row's first metric, as score files keep it."""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import combinations, groupby
from typing import NamedTuple

import torch
from scipy import stats
from torch import Tensor

from dametric.errors import UsageError
from dametric.records.score_rows import BatchInfluence, Difference, MetricValue, ScoreRow
from dametric.scoring.jackknife import Estimate, difference
from dametric.scoring.population import Passes
from dametric.scoring.strata import Influence

ROUNDING = 1e-12  # differences below that are chance roundings, of which the interval may miss zero


class Paired(NamedTuple):
    """A metric of an augmentation, to be compared with that of others on the same batches.

    Attributes
    ----------
    estimate : Estimate
    influence : Influence
        Of each block; a score of two streams has those of both, one after the other.
    passes : Passes or None
    epoch, units : Tensor of shape (blocks,), int64
        The pass over the images, and the number of batches, of each block.
    """

    estimate: Estimate
    influence: Influence
    passes: Passes | None
    epoch: Tensor
    units: Tensor

    @classmethod
    def read(cls, row: ScoreRow, metric: str) -> Paired:
        """Of a row of a score file.

        Raises
        ------
        UsageError
            If the row has no influences, or damaged ones.
        """
        kept, value = row.influence, row.metrics[metric]
        if kept is None:
            raise UsageError(f"{row.aug} has no influences of batches, of which paired differences are made")
        count = sum(run[2] for run in kept.blocks)
        total = _numbers(kept.total, count, row.aug)
        pairs = torch.zeros_like(total) if kept.pairs is None else _numbers(kept.pairs, count, row.aug)
        epoch, units = (torch.tensor([run[k] for run in kept.blocks for _ in range(run[2])]) for k in (0, 1))
        passes = None if kept.complete is None else Passes(epoch, units, kept.complete)
        known = Estimate(value.value, value.se, value.low, value.high, value.plugin, value.blocks)
        return cls(known, Influence(total, pairs, kept.dof, kept.shape), passes, epoch, units)

    def kept(self) -> BatchInfluence:
        """As a score file has it: the same numbers, to the bit."""
        runs = groupby(zip(self.epoch.tolist(), self.units.tolist(), strict=True))
        return BatchInfluence(
            total=_text(self.influence.total),
            dof=self.influence.dof,
            blocks=[[*block, len(list(alike))] for block, alike in runs],
            pairs=_text(self.influence.pairs) if bool(self.influence.pairs.any()) else None,
            shape=self.influence.shape,
            complete=None if self.passes is None else self.passes.complete,
        )

    def gap(self, other: Paired) -> Difference:
        """Paired difference to another augmentation, with its error."""
        ours, theirs = self, other
        if not _alike(ours, theirs):  # neighbouring blocks were added up in a longer pass
            coarse = max(ours, theirs, key=lambda each: int(each.units.max()))
            ours, theirs = (each if each is coarse else each.merged_as(coarse) for each in (ours, theirs))
        longer = ours if len(ours.influence.total) >= len(theirs.influence.total) else theirs
        return Difference(None, *difference(ours[:2], theirs[:2], longer.passes))

    def gaps(self, other: Paired) -> tuple[Difference, Difference]:
        """:meth:`gap` to another augmentation, and that of the other to this one: the same with the sign turned."""
        gap, as_long = self.gap(other), len(self.units) == len(other.units)
        if not _alike(self, other) or (as_long and not torch.equal(self.units, other.units)):
            return gap, other.gap(self)  # which one is merged, or is the longer, is a matter of order
        value, low, high = (0.0 - number for number in (gap.value, gap.high, gap.low))  # of zero, zero
        return gap, Difference(None, value, gap.se, low, high)

    def order(self, other: Paired, level: float) -> int:
        """-1 where this is lower than another one at a two-sided level, 1 where it is higher, else 0."""
        gap, dof = self.gap(other), min(self.influence.dof, other.influence.dof)
        if dof < 1 or not gap.se > 0 or abs(gap.value) <= _quantile(level, dof) * gap.se + ROUNDING:
            return 0
        return -1 if gap.value < 0 else 1

    def merged_as(self, coarse: Paired) -> Paired:
        """The same in the larger blocks of a longer pass: influences of neighbours add up, to the first order."""
        place = torch.searchsorted(coarse.units.cumsum(0), self.units.cumsum(0)).clamp(max=len(coarse.units) - 1)
        count = int(place[-1]) + 1

        def add(values: Tensor) -> Tensor:
            return torch.zeros(count, dtype=values.dtype).index_add_(0, place, values)

        epoch, units = coarse.epoch[:count], add(self.units)
        influence = self.influence._replace(total=add(self.influence.total), pairs=add(self.influence.pairs))
        passes = None if self.passes is None else Passes(epoch, units, self.passes.complete)
        return Paired(self.estimate, influence, passes, epoch, units)


@lru_cache(maxsize=256)
def _quantile(level: float, dof: int) -> float:
    return float(stats.t.isf(level / 2, dof))


def _alike(ours: Paired, theirs: Paired) -> bool:
    """Whether blocks of equal number are of the same batches, but for the last of the shorter one."""
    shorter = min(len(ours.units), len(theirs.units)) - 1
    return torch.equal(ours.units[:shorter], theirs.units[:shorter])


def _text(values: Tensor) -> str:
    return base64.b64encode(values.double().numpy().astype("<f8").tobytes()).decode()


def _numbers(text: str, count: int, aug: str) -> Tensor:
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise UsageError(f"the influences of batches of {aug} are not base64") from error
    if len(raw) != 8 * count:
        raise UsageError(f"{aug} has {count} blocks of batches, and influences of {len(raw) / 8:g}")
    if not count:
        raise UsageError(f"{aug} has no blocks of batches")
    return torch.frombuffer(bytearray(raw), dtype=torch.float64)


def ordered(rows: Sequence[ScoreRow], metric: str) -> list[ScoreRow]:
    """Rows best to worst by a metric, with all paired differences; destroyed images come last.

    Parameters
    ----------
    rows : sequence of ScoreRow
        With influences, scored on the same batches.
    metric : str
    """
    sign = -1 if rows[0].metrics[metric].direction == "higher" else 1
    order = sorted(rows, key=lambda row: (row.destroyed, _sortable(sign, row.metrics[metric])))
    paired = {row.aug: Paired.read(row, metric) for row in order}
    gaps: dict[tuple[str, str], Difference] = {(name, name): own.gap(own) for name, own in paired.items()}  # are zero
    for (name, own), (other, theirs) in combinations(paired.items(), 2):
        gaps[name, other], gaps[other, name] = own.gaps(theirs)
    return [_compared(row, {other: gaps[row.aug, other] for other in paired}, order[0].aug) for row in order]


def _sortable(sign: int, value: MetricValue) -> float:
    return math.inf if math.isnan(value.value) else sign * value.value


def _compared(row: ScoreRow, gaps: dict[str, Difference], best: str) -> ScoreRow:
    gap = gaps[best]
    return replace(
        row,
        difference=replace(gap, to=best),
        tied_with_best=_holds_zero(gap.low, gap.high),
        differences=gaps,
    )


def _holds_zero(low: float, high: float) -> bool:
    """Whether the interval of a difference holds zero, but for rounding; not where it is not known."""
    return low <= ROUNDING and high >= -ROUNDING
