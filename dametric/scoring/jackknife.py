"""Values, standard errors and differences from added-up contributions: the delete-one-block jackknife."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from scipy import stats
from torch import Tensor

from dametric.metrics import Contribution, Design, Metric

MAX_BLOCKS = 512


@dataclass(frozen=True)
class Blocks:
    """Contributions of consecutive units, in blocks.

    Attributes
    ----------
    contribution : dict of Tensor of shape (blocks, ...)
        Added up over the units of each block.
    units : Tensor of shape (blocks,), int64
        Units in each block.
    epoch : Tensor of shape (blocks,), int64
        The pass over the data in which the block was drawn; blocks do not span epochs.
    """

    contribution: Contribution
    units: Tensor
    epoch: Tensor

    def __add__(self, later: Blocks) -> Blocks:
        names = self.contribution
        return Blocks(
            {name: torch.cat([self.contribution[name], later.contribution[name]]) for name in names},
            torch.cat([self.units, later.units]),
            torch.cat([self.epoch, later.epoch]),
        )

    def part(self, start: int, stop: int) -> Blocks:
        """Some of the blocks, from ``start`` up to, not including, ``stop``."""
        contribution = {name: values[start:stop] for name, values in self.contribution.items()}
        return Blocks(contribution, self.units[start:stop], self.epoch[start:stop])

    def merged(self) -> Blocks:
        """Neighbouring blocks of an epoch added up in pairs, so that memory stays bounded however long the pass."""
        start = torch.cat([torch.ones(1, dtype=torch.bool), self.epoch[1:] != self.epoch[:-1]])
        position = torch.arange(len(self.epoch))
        place = position - torch.cummax(torch.where(start, position, 0), 0).values
        new = (place % 2 == 0).cumsum(0) - 1
        count = int(new[-1]) + 1

        def add(values: Tensor) -> Tensor:
            total = torch.zeros(count, *values.shape[1:], dtype=values.dtype, device=values.device)
            return total.index_add_(0, new.to(values.device), values)

        first = torch.zeros(count, dtype=torch.int64).scatter_(0, new.flip(0), self.epoch.flip(0))
        return Blocks({name: add(values) for name, values in self.contribution.items()}, add(self.units), first)

    def cpu(self) -> Blocks:
        """The same with contributions on the CPU."""
        return replace(self, contribution={name: values.cpu() for name, values in self.contribution.items()})


@dataclass(frozen=True)
class Estimate:
    """A value with its error.

    Attributes
    ----------
    value : float
        The estimate: corrected for bias by the jackknife unless the plug-in value was asked for.
    se : float
        Standard error, in units of the value.
    low, high : float
        95 % confidence interval (Student's t with blocks - 1 degrees of freedom).
    plugin : float
        The uncorrected value.
    blocks : int
        Number of deleted samples behind the error.
    """

    value: float
    se: float
    low: float
    high: float
    plugin: float
    blocks: int

    @property
    def relative_se(self) -> float:
        """Standard error as a fraction of the value."""
        return self.se / abs(self.value) if self.value else math.nan


def leave_one_out(blocks: Blocks, metric: Metric, design: Design) -> tuple[Tensor, Tensor]:
    """The metric on all blocks, and on all but each one.

    Returns
    -------
    tuple of Tensor
        Scalar, and shape (blocks,).
    """
    contribution = blocks.contribution
    if metric.centre is None:
        total = {name: values.sum(0) for name, values in contribution.items()}
        deleted = {name: total[name] - values for name, values in contribution.items()}
    else:
        _, epoch = torch.unique(blocks.epoch, return_inverse=True)
        count = int(epoch.max()) + 1
        sums = {
            name: torch.zeros(count, *values.shape[1:], dtype=values.dtype).index_add_(0, epoch, values)
            for name, values in contribution.items()
        }
        parts = metric.centre(sums, design)
        total = {name: values.sum(0) for name, values in parts.items()}
        rest = metric.centre({name: sums[name][epoch] - values for name, values in contribution.items()}, design)
        deleted = {name: total[name] - parts[name][epoch] + rest[name] for name in parts}
    return metric.reduce(total, design), metric.reduce(deleted, design)


def _jackknife(theta: Tensor, deleted: Tensor, units: Tensor) -> tuple[Tensor, Tensor]:
    """Bias-corrected value, and each block's influence on it: the standard error is their root sum of squares.

    Blocks may differ in size: ``h_j = n / m_j``, pseudo-values ``h_j theta - (h_j - 1) theta_(j)`` (Busing, Meijer
    & van der Leeden 1999, doi 10.1023/A:1008800423698); with equal blocks the ordinary jackknife.
    """
    count, h = len(deleted), units.sum() / units.double()
    value = count * theta - ((1 - 1 / h) * deleted).sum()
    pseudo = h * theta - (h - 1) * deleted
    return value, (pseudo - value) / (count * (h - 1)).sqrt()


def estimate(blocks: Blocks, metric: Metric, design: Design, *, plugin: bool = False) -> Estimate:
    """A metric's value with its jackknife standard error and 95 % interval.

    Parameters
    ----------
    blocks : Blocks
        On the CPU.
    metric : Metric
    design : Design
    plugin : bool
        Report the uncorrected value, as published protocols do.

    Returns
    -------
    Estimate
        With NaN for what cannot be known: errors from fewer than two blocks.
    """
    theta, deleted = leave_one_out(blocks, metric, design)
    raw, count = float(theta), len(deleted)
    if count < 2:
        return Estimate(raw, math.nan, math.nan, math.nan, raw, count)
    t = float(stats.t.ppf(0.975, count - 1))
    if metric.positive and raw > 0 and bool((deleted > 0).all()):
        corrected, influence = _jackknife(theta.log(), deleted.log(), blocks.units)
        log_se = float(influence.norm())
        centre = math.log(raw) if plugin else float(corrected)
        value, width = math.exp(centre), math.exp(min(t * log_se, 700))
        return Estimate(value, value * log_se, value / width, value * width, raw, count)
    corrected, influence = _jackknife(theta, deleted, blocks.units)
    value, se = raw if plugin else float(corrected), float(influence.norm())
    return Estimate(value, se, value - t * se, value + t * se, raw, count)


def difference(
    ours: tuple[Blocks, Design, Estimate], theirs: tuple[Blocks, Design, Estimate], metric: Metric
) -> tuple[float, float, float, float]:
    """Difference of a metric between two augmentations scored on the same images.

    The same batches were shown under both, so their errors are paired: a block's influence on the difference is
    the difference of its influences. One of the two may have been shown more blocks, the first of which are shared.

    Parameters
    ----------
    ours, theirs : tuple of Blocks, Design and Estimate
        Blocks of equal number hold the same images.
    metric : Metric

    Returns
    -------
    tuple of float
        Difference ours - theirs, its standard error, and the 95 % interval, in units of the metric.
    """
    value = ours[2].value - theirs[2].value
    influences = []
    for blocks, design, _ in (ours, theirs):
        theta, deleted = leave_one_out(blocks, metric, design)
        influences.append(_jackknife(theta, deleted, blocks.units)[1])
    longest, shortest = (pick(len(influence) for influence in influences) for pick in (max, min))
    if shortest < 2:
        return value, math.nan, math.nan, math.nan
    a, b = (torch.nn.functional.pad(influence, (0, longest - len(influence))) for influence in influences)
    se = float((a - b).norm())
    half = float(stats.t.ppf(0.975, shortest - 1)) * se
    return value, se, value - half, value + half
