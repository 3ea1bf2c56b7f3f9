"""The mean over classes of a square root, from few images of each class.

T. stddev is ``mean_c sqrt(theta_c)`` with ``theta_c`` a variance. Where a class has about one image (1,000 classes, 20
batches), the root of its estimate is nearly unrelated to ``sqrt(theta_c)``, and no power series in ``1 / images``
mends that: the plain value is 20 % too low, its jackknife 5 % too high. No unbiased estimate of a root exists. But the
mean over *many* classes can be known without knowing any one of them, because ``sqrt`` is nearly a parabola over
classes that resemble each other, and first and second moments of ``theta`` have unbiased estimates.

1.  The blocks are dealt into two halves. One half puts the classes in order of their estimates; in that order they are
    cut into strata of neighbours, each of them just large enough that the other half knows its mean ``m`` with a
    squared relative error of 0.02 or less. How large that is, is judged from 16 neighbours and more at once: a class
    whose rare large rows have not been drawn looks better known than it is. A class that is known that well is a
    stratum of its own.
2.  The other half, which had no part in that order, gives each stratum's value: with ``x`` the squared coefficient of
    variation of ``theta`` in the stratum, sampling noise taken off, ::

        mean of sqrt(theta) = sqrt(m) (1 - (x / 8) / (1 + 5 x / 16)) = sqrt(m) (1 - x / 8 + 5 x^2 / 128 - ...)

    The first two terms hold for any distribution; the noise of ``m`` itself is taken off by the same subtraction
    (for a stratum of one class they are the second-order correction of a root). The coefficient of ``x^2`` depends
    on the distribution (gamma 1/128, lognormal 9/128). The middle is taken, with the distance to either as the bounds
    of a further error, which counts where strata are wide; what the noise of ``x`` adds is taken off. Strata of fewer
    than 8 classes go by the first two terms.
3.  The halves change places, and the two values are averaged.

The error is that of deleting one block at a time with the strata held. Deletion counts the part of an influence that
only pairs of blocks make twice (the variance of a degenerate U-statistic of degree two), so half of that is taken off.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from dametric.metrics.base import ratio

KNOWN = 0.02
"""Squared relative error up to which the mean of a stratum counts as known."""
GAMMA, LOGNORMAL = 1 / 16, 9 / 16
"""How soon the fall with the squared spread slows down, for two distributions between which classes may lie."""
CURVATURE = (GAMMA + LOGNORMAL) / 2
CELL = 16
"""Neighbouring classes that are looked at together to see how well they are known."""
_TIED = 2.0**30  # classes whose estimates differ by rounding only, on another chip or in other chunks, are in one order
_ENOUGH = 8  # classes that tell how well a spread within a stratum is known


class Influence(NamedTuple):
    """What each block adds to the error of a value.

    Attributes
    ----------
    total : Tensor of shape (blocks,)
        In units of the value; the root sum of squares is a standard error.
    pairs : Tensor of shape (blocks,)
        The part of it that only pairs of blocks make, which deletion counts twice.
    dof : int
        Degrees of freedom of the error.
    shape : float
        Error from not knowing how classes are distributed within strata, in units of the value.
    """

    total: Tensor
    pairs: Tensor
    dof: int
    shape: float = 0.0

    @property
    def se(self) -> float:
        """Standard error, in units of the value."""
        twice = self.total.square().sum()
        once = float(torch.maximum(twice - self.pairs.square().sum() / 2, twice / 2))
        return math.sqrt(once + self.shape**2)


class Half(NamedTuple):
    """Half of the blocks.

    Attributes
    ----------
    theta : Tensor of shape (classes,)
        Each class's variance from these blocks.
    deleted : Tensor of shape (blocks, classes)
        The same without one block.
    units : Tensor of shape (blocks,)
        Units in each block.
    """

    theta: Tensor
    deleted: Tensor
    units: Tensor


class _Classes(NamedTuple):
    """A half's knowledge of each class: pseudo-values behave like estimates from a block each."""

    share: Tensor  # (blocks, 1), of a block in the half
    scale: Tensor  # (blocks, 1), weight of a block's squared deviation in the sampling variance of the mean
    pseudo: Tensor  # (blocks, classes)

    @property
    def mean(self) -> Tensor:
        return (self.share * self.pseudo).sum(0)

    @property
    def noise(self) -> Tensor:
        """Sampling variance of the mean."""
        return (self.scale * (self.pseudo - self.mean).square()).sum(0)

    def without_each(self) -> tuple[Tensor, Tensor]:
        """Mean and noise without one block: two of shape (blocks, classes)."""
        blocks, own = len(self.pseudo), self.share * self.pseudo
        mean = (own.sum(0) - own) / (1 - self.share)
        moments = [self.scale * self.pseudo.pow(power) for power in range(3)]
        zero, one, two = (moment.sum(0) - moment for moment in moments)
        return mean, (two - 2 * mean * one + mean.square() * zero) * (blocks / (blocks - 2))


def _classes(half: Half) -> _Classes:
    share = (half.units.double() / half.units.sum())[:, None]
    pseudo = (half.theta - (1 - share) * half.deleted) / share
    return _Classes(share, share / (1 - share) / len(share), pseudo)


def _cells(classes: int) -> list[int]:
    """Classes of each cell."""
    return [CELL] * (classes // CELL) + [classes % CELL] * (classes % CELL > 0)


def _sums_of_cells(values: Tensor) -> list[list[float]]:
    """Sums of each line of values over neighbours, cell by cell: read at once, since each reading takes its time."""
    padded = torch.nn.functional.pad(values, (0, -values.shape[1] % CELL))
    sums: list[list[float]] = padded.unflatten(1, (-1, CELL)).sum(2).T.tolist()
    return sums


def cut(order_by: Tensor, mean: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """Strata of classes that resemble each other, as small as they can be known.

    Parameters
    ----------
    order_by : Tensor of shape (classes,)
        Each class's estimate from the other half.
    mean, noise : Tensor of shape (classes,)
        Each class's estimate from this half and its sampling variance, of which only sums over neighbours count.

    Returns
    -------
    order : Tensor of shape (classes,), int64
        The classes in order of ``order_by``.
    sizes : Tensor of shape (strata,), int64
        How many of them, in that order, make a stratum.
    """
    order = (order_by / order_by.abs().mean() * _TIED).round().argsort(stable=True)
    sizes: list[int] = []
    count, total, error = 0, 0.0, 0.0
    for (m, v), cell in zip(_sums_of_cells(torch.stack([mean[order], noise[order]])), _cells(len(order)), strict=True):
        count, total, error = count + cell, total + m, error + v
        within = KNOWN * total**2 * (1 + 1e-9)  # counts of images make exact ties
        if total > 0 and error <= within:
            parts = count if error == 0 else min(count, int(within / error))
            sizes += [count * (k + 1) // parts - count * k // parts for k in range(parts)]
            count, total, error = 0, 0.0, 0.0
    if count:
        sizes = [*sizes[:-1], sizes[-1] + count] if sizes else [count]
    return order, torch.tensor(sizes)


def _values(mean: Tensor, noise: Tensor, sizes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean root over all classes, its error by shape, and the mean of each class's stratum.

    Of shapes (...), (...) and (..., classes).
    """
    stratum = torch.repeat_interleave(torch.arange(len(sizes)), sizes)

    def average(values: Tensor) -> Tensor:
        total = torch.zeros(*values.shape[:-1], len(sizes), dtype=values.dtype)
        return total.index_add_(-1, stratum, values) / sizes

    m = average(mean)
    own = m[..., stratum]
    spread = torch.where(own > 0, ((mean - own).square() - noise) / own.square(), 0)
    x = average(spread)
    uncertain = ratio(average(spread.square()) - x.square(), (sizes - 1).expand(x.shape))
    slower = (1 + CURVATURE * x.clamp(min=0)).where(sizes >= _ENOUGH, torch.ones_like(x))
    bent = torch.where(sizes >= _ENOUGH, CURVATURE / 8 * uncertain / slower**3, 0)
    root, y = m.clamp(min=0).sqrt() * sizes / sizes.sum(), (x.square() - uncertain.nan_to_num(0)).clamp(min=0).sqrt()
    off = (y / 8 / (1 + GAMMA * y) - y / 8 / (1 + LOGNORMAL * y)) / 2 / math.sqrt(3)
    return (root * (1 - x / 8 / slower - bent)).sum(-1), (root * off).sum(-1), own


def mean_root(halves: tuple[Half, Half]) -> tuple[float, Influence, Influence]:
    """Mean over classes of the square root of each class's variance.

    Parameters
    ----------
    halves : tuple of two Half
        Of a few blocks each at least.

    Returns
    -------
    value : float
        NaN where so little is known that a stratum's variance comes out negative.
    influences : two of Influence
        Of the blocks of either half.
    """
    known = [_classes(half) for half in halves]
    value, influences = 0.0, []
    for own, other in (known, known[::-1]):
        order, sizes = cut(other.mean, own.mean, own.noise)
        own = own._replace(pseudo=own.pseudo[:, order])
        theta, off, stratum = _values(own.mean, own.noise, sizes)
        deleted, _, _ = _values(*own.without_each(), sizes)
        share, scale = own.share[:, 0], own.scale[:, 0].sqrt()
        pseudo = (theta - (1 - share) * deleted) / share
        straight = torch.where(stratum > 0, (own.pseudo - own.mean) / (2 * stratum.sqrt()), 0).mean(1)
        total = (pseudo - (share * pseudo).sum()) * scale / 2
        influences.append(Influence(total, total - straight * scale / 2, len(share) - 1, float(off)))
        value += float(theta) / 2 if bool((stratum >= 0).all()) else math.nan
    return value, influences[0], influences[1]
