"""Values, standard errors and differences from added-up contributions: the delete-one-block jackknife."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import torch
from scipy import stats
from torch import Tensor

from dametric.metrics import Contribution, Design, Metric
from dametric.scoring.population import Passes, Population, of_population
from dametric.scoring.strata import Half, Influence, mean_root

MAX_BLOCKS = 512
_CLASSES = 32  # from which on classes are pooled in strata: fewer are known one by one, or have too few neighbours
_NOISE = 0.1  # squared relative error of a class's variance above which its root, and the jackknife's of it, are wrong
_HALF, _EPOCHS = 8, 4  # blocks that a half has at least; epochs from which on halves have epochs of their own


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

    @classmethod
    def joined(cls, parts: Sequence[Blocks]) -> Blocks:
        """Blocks that follow each other."""
        return cls(
            {name: torch.cat([part.contribution[name] for part in parts]) for name in parts[0].contribution},
            torch.cat([part.units for part in parts]),
            torch.cat([part.epoch for part in parts]),
        )

    def __add__(self, later: Blocks) -> Blocks:
        return Blocks.joined([self, later])

    def part(self, start: int, stop: int) -> Blocks:
        """Some of the blocks, from ``start`` up to, not including, ``stop``."""
        contribution = {name: values[start:stop] for name, values in self.contribution.items()}
        return Blocks(contribution, self.units[start:stop], self.epoch[start:stop])

    def chosen(self, which: Tensor) -> Blocks:
        """Some of the blocks, by a mask of shape (blocks,)."""
        contribution = {name: values[which] for name, values in self.contribution.items()}
        return Blocks(contribution, self.units[which], self.epoch[which])

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
        95 % confidence interval (Student's t with ``dof`` degrees of freedom).
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
        """Standard error as a fraction of the value; of a value that is always 0 it is 0."""
        if self.value:
            return self.se / abs(self.value)
        return 0.0 if self.se == 0 else math.nan


def leave_one_out(
    blocks: Blocks, metric: Metric, design: Design, reduce: Callable[[Contribution, Design], Tensor] | None = None
) -> tuple[Tensor, Tensor]:
    """The metric, or something else that can be made of its contributions, on all blocks and on all but each one.

    Returns
    -------
    tuple of Tensor
        Scalar and shape (blocks,), or whatever ``reduce`` makes and that with a leading dimension of blocks.
    """
    contribution, reduce = blocks.contribution, reduce or metric.reduce
    if metric.centre is None:
        total = {name: values.sum(0) for name, values in contribution.items()}
        deleted = {name: total[name] - values for name, values in contribution.items()}
    else:
        sums, epoch = _of_epochs(blocks)
        parts = metric.centre(sums, design)
        total = {name: values.sum(0) for name, values in parts.items()}
        rest = metric.centre({name: sums[name][epoch] - values for name, values in contribution.items()}, design)
        deleted = {name: total[name] - parts[name][epoch] + rest[name] for name in parts}
    return reduce(total, design), reduce(deleted, design)


def _of_epochs(blocks: Blocks) -> tuple[Contribution, Tensor]:
    """Contributions added up over each epoch, and the place of every block's epoch among these."""
    _, epoch = torch.unique(blocks.epoch, return_inverse=True)
    count = int(epoch.max()) + 1
    sums = {
        name: torch.zeros(count, *values.shape[1:], dtype=values.dtype).index_add_(0, epoch, values)
        for name, values in blocks.contribution.items()
    }
    return sums, epoch


def _on_all(blocks: Blocks, metric: Metric, design: Design) -> float:
    """The metric on all blocks: the first of what :func:`leave_one_out` returns."""
    parts = blocks.contribution if metric.centre is None else metric.centre(_of_epochs(blocks)[0], design)
    return float(metric.reduce({name: values.sum(0) for name, values in parts.items()}, design))


def jackknife(theta: Tensor, deleted: Tensor, units: Tensor) -> tuple[Tensor, Tensor]:
    """Bias-corrected value, and each block's influence on it: the standard error is their root sum of squares.

    Blocks may differ in size: ``h_j = n / m_j``, pseudo-values ``h_j theta - (h_j - 1) theta_(j)`` (Busing, Meijer
    & van der Leeden 1999, doi 10.1023/A:1008800423698); with equal blocks the ordinary jackknife.
    """
    count, h = len(deleted), units.sum() / units.double()
    value = count * theta - ((1 - 1 / h) * deleted).sum()
    pseudo = h * theta - (h - 1) * deleted
    return value, (pseudo - value) / (count * (h - 1)).sqrt()


def _of_roots(blocks: Blocks, metric: Metric, design: Design) -> tuple[float, Influence] | None:
    """Value and influences of a mean of roots over classes.

    None where the metric is none, where the published plain value is wanted, and where classes or blocks are few.
    """
    if metric.class_variance is None or design.pooled or len(blocks.units) < 2 * _HALF:
        return None
    halves = _halves(blocks, design)
    parts = [blocks.chosen(half) for half in halves]
    found = [leave_one_out(part, metric, design, metric.class_variance) for part in parts]
    if len(found[0][0]) < _CLASSES:
        return None
    if not all(bool(deleted.isfinite().all()) and bool(theta.any()) for theta, deleted in found):
        return None
    first, second = (Half(*pair, part.units) for pair, part in zip(found, parts, strict=True))
    value, *influences = mean_root((first, second))
    if not value > 0:
        return None
    total, pairs = (torch.empty(len(blocks.units), dtype=torch.float64) for _ in range(2))
    for half, influence in zip(halves, influences, strict=True):
        total[half], pairs[half] = influence.total, influence.pairs
    shape = sum(influence.shape for influence in influences) / 2
    return value, Influence(total, pairs, len(total) - 2, shape)


def _hardly_seen(blocks: Blocks, metric: Metric, design: Design) -> bool:
    """Whether a mean of roots over many classes is made of so few images a class that its value says nothing."""
    if metric.class_variance is None or design.pooled or len(blocks.units) < 2:
        return False
    theta, deleted = leave_one_out(blocks, metric, design, metric.class_variance)
    if len(theta) < _CLASSES:
        return False
    noise = (deleted - deleted.mean(0)).square().sum(0) * (1 - 1 / len(deleted))
    return float(noise.mean()) > _NOISE * float(theta.mean()) ** 2


def _halves(blocks: Blocks, design: Design) -> tuple[Tensor, Tensor]:
    """Alternate blocks; alternate epochs where unit means are compared within many epochs, each of which costs one."""
    _, epoch = torch.unique(blocks.epoch, return_inverse=True)
    by_epoch = design.estimator == "units" and int(epoch.max()) + 1 >= _EPOCHS
    odd = (epoch if by_epoch else torch.arange(len(epoch))) % 2 == 1
    return ~odd, odd


def measured(
    blocks: Blocks, metric: Metric, design: Design, *, plugin: bool = False, passes: Passes | None = None
) -> tuple[Estimate, Influence]:
    """A metric's value with its standard error and 95 % interval, and each block's influence on it.

    The value is the jackknife's, or, for a mean of roots over classes, that of :mod:`dametric.scoring.strata`.

    Parameters
    ----------
    blocks : Blocks
        On the CPU.
    metric : Metric
    design : Design
    plugin : bool
        Report the uncorrected value, as published protocols do.
    passes : Passes, optional
        How often the images were shown: beyond once the errors, and the correction for bias, are those for new images,
        see :mod:`dametric.scoring.population`.

    Returns
    -------
    estimate : Estimate
        With NaN for what cannot be known: errors from fewer than two blocks.
    influence : Influence
        In units of the metric.
    """
    count, of_roots = len(blocks.units), None if plugin else _of_roots(blocks, metric, design)
    if of_roots is not None:
        value, influence = of_roots
        grown = influence.se * _population(influence, passes).factor
        return _on_logarithm(value, grown / value, influence.dof, _on_all(blocks, metric, design), count), influence
    theta, deleted = leave_one_out(blocks, metric, design)
    raw = float(theta)
    if not plugin and _hardly_seen(blocks, metric, design):
        unknown = torch.full((count,), math.nan, dtype=torch.float64)
        return Estimate(math.nan, math.nan, math.nan, math.nan, raw, count), Influence(unknown, unknown, count - 1)
    corrected, shares = jackknife(theta, deleted, blocks.units)
    influence = Influence(shares, torch.zeros_like(shares), count - 1)
    if count < 2:
        return Estimate(raw, math.nan, math.nan, math.nan, raw, count), influence
    if metric.positive and raw > 0 and bool((deleted > 0).all()):
        of_log, log_shares = jackknife(theta.log(), deleted.log(), blocks.units)
        factor = _population(Influence(log_shares, log_shares, 0), passes).factor
        value = math.exp(math.log(raw) + (0 if plugin else factor**2 * (float(of_log) - math.log(raw))))
        return _on_logarithm(value, factor * float(log_shares.norm()), count - 1, raw, count), influence
    factor = _population(influence, passes).factor
    value, se = raw + (0 if plugin else factor**2 * (float(corrected) - raw)), factor * influence.se
    half = _quantile(count - 1) * se
    return Estimate(value, se, value - half, value + half, raw, count), influence


def _population(influence: Influence, passes: Passes | None) -> Population:
    return Population() if passes is None else of_population(influence.total, passes)


def estimate(blocks: Blocks, metric: Metric, design: Design, *, plugin: bool = False) -> Estimate:
    """A metric's value with its standard error and 95 % interval; see :func:`measured`."""
    return measured(blocks, metric, design, plugin=plugin)[0]


@lru_cache(maxsize=256)
def _quantile(dof: int) -> float:
    """Half the width of a 95 % interval, in standard errors."""
    return float(stats.t.ppf(0.975, dof))


def _on_logarithm(value: float, log_se: float, dof: int, raw: float, count: int) -> Estimate:
    width = math.exp(min(_quantile(dof) * log_se, 700))
    return Estimate(value, value * log_se, value / width, value * width, raw, count)


def difference(
    ours: tuple[Estimate, Influence], theirs: tuple[Estimate, Influence], passes: Passes | None = None
) -> tuple[float, float, float, float]:
    """Difference of a metric between two augmentations scored on the same images.

    The same batches were shown under both, so their errors are paired: a block's influence on the difference is
    the difference of its influences. One of the two may have been shown more blocks, the first of which are shared.

    Parameters
    ----------
    ours, theirs : tuple of Estimate and Influence
        From :func:`measured`, of blocks of which those of equal number hold the same images.
    passes : Passes, optional
        Of the longer one: the error is that for new images.

    Returns
    -------
    tuple of float
        Difference ours - theirs, its standard error, and the 95 % interval, in units of the metric.
    """
    value = ours[0].value - theirs[0].value
    first, second = ours[1], theirs[1]
    longest, dof = max(len(first.total), len(second.total)), min(first.dof, second.dof)
    if dof < 1:
        return value, math.nan, math.nan, math.nan

    def gap(one: Tensor, other: Tensor) -> Tensor:
        a, b = (torch.nn.functional.pad(shares, (0, longest - len(shares))) for shares in (one, other))
        return a - b

    shape = abs(first.shape - second.shape)  # classes that are alike under one augmentation are so under the other
    between = Influence(gap(first.total, second.total), gap(first.pairs, second.pairs), dof, shape)
    se = between.se * _population(between, passes).factor
    half = _quantile(dof) * se
    return value, se, value - half, value + half
