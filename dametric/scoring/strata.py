"""The mean over classes of a square root, from few images of each class.

T. stddev is ``mean_c sqrt(theta_c)`` with ``theta_c`` a variance. Where a class has about one image (1,000 classes, 20
batches), the root of its estimate is nearly unrelated to ``sqrt(theta_c)``, and no power series in ``1 / images``
mends that: the plain value is 20 % too low, its jackknife 5 % too high. No unbiased estimate of a root exists. But the
mean over *many* classes can be known without knowing any one of them, because ``sqrt`` is nearly a parabola over
classes that resemble each other, and first and second moments of ``theta`` have unbiased estimates.

1.  The blocks are dealt into two halves. The classes are put in order of their estimates from one half, and cut into
    strata of neighbours, each of them just large enough that the other half knows the stratum's mean ``m`` with a
    squared relative error of 0.02 or less. A class that is known that well is a stratum of its own.
2.  The other half, which had no part in that choice, gives each stratum's value: with ``x`` the squared coefficient
    of variation of ``theta`` in the stratum, sampling noise taken off, ::

        mean of sqrt(theta) = sqrt(m) (1 - x / 8 + 5 x^2 / 128)

    The first two terms hold for any distribution; the noise of ``m`` itself is taken off by the same subtraction
    (for a stratum of one class they are the second-order correction of a root). The coefficient of ``x^2`` depends
    on the distribution (gamma 1/128, lognormal 9/128): the middle is off by ``x^2 / 32`` at most for these.
3.  The halves change places, and the two values are averaged.

The error is that of deleting one block at a time with the strata held. Deletion counts the part of an influence that
only pairs of blocks make twice (the variance of a degenerate U-statistic of degree two), so half of that is taken off.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from dametric.metrics.base import ratio

KNOWN = 0.02
"""Squared relative error up to which the mean of a stratum counts as known."""
CURVATURE = 5 / 128
"""Coefficient of the squared spread: between a gamma distribution's 1/128 and a lognormal's 9/128."""
APART = 3.0
"""Standard errors of their difference by which neighbours differ that no stratum holds together."""
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
    """

    total: Tensor
    pairs: Tensor
    dof: int

    @property
    def se(self) -> float:
        """Standard error, in units of the value."""
        twice = self.total.square().sum()
        return float(torch.maximum(twice - self.pairs.square().sum() / 2, twice / 2).sqrt())


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


@dataclass(frozen=True)
class _Stratum:
    """Neighbouring classes: how many, and the sums of their estimates and of the sampling variances of these."""

    count: int
    total: float
    noise: float

    def __add__(self, other: _Stratum) -> _Stratum:
        return _Stratum(self.count + other.count, self.total + other.total, self.noise + other.noise)

    @property
    def known(self) -> bool:
        return self.total > 0 and self.noise <= KNOWN * self.total**2 * (1 + 1e-9)  # counts of images make exact ties

    def apart(self, other: _Stratum) -> bool:
        gap = self.total / self.count - other.total / other.count
        return gap**2 > APART**2 * (self.noise / self.count**2 + other.noise / other.count**2)


def cut(mean: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """Strata of classes that resemble each other, as small as they can be known.

    Parameters
    ----------
    mean, noise : Tensor of shape (classes,)
        Each class's estimate and its sampling variance.

    Returns
    -------
    order : Tensor of shape (classes,), int64
        The classes in order of their estimates.
    sizes : Tensor of shape (strata,), int64
        How many of them, in that order, make a stratum.
    """
    order = (mean / mean.abs().mean() * _TIED).round().argsort(stable=True)
    strata: list[_Stratum] = []
    for value, own in zip(mean[order].tolist(), noise[order].tolist(), strict=True):
        one = _Stratum(1, value, own)
        if not strata or strata[-1].known or strata[-1].apart(one):
            strata.append(one)
        else:
            strata[-1] += one
    if len(strata) > 1 and not strata[-1].known and not strata[-2].apart(strata[-1]):
        strata[-2:] = [strata[-2] + strata[-1]]
    return order, torch.tensor([stratum.count for stratum in strata])


def _values(mean: Tensor, noise: Tensor, sizes: Tensor) -> tuple[Tensor, Tensor]:
    """Mean root over all classes, and the mean of each class's stratum: shapes (...) and (..., classes)."""
    stratum = torch.repeat_interleave(torch.arange(len(sizes)), sizes)

    def average(values: Tensor) -> Tensor:
        total = torch.zeros(*values.shape[:-1], len(sizes), dtype=values.dtype)
        return total.index_add_(-1, stratum, values) / sizes

    m = average(mean)
    own = m[..., stratum]
    spread = torch.where(own > 0, ((mean - own).square() - noise) / own.square(), 0)
    x = average(spread)
    uncertain = ratio(average(spread.square()) - x.square(), (sizes - 1).expand(x.shape))
    square = torch.where(sizes >= _ENOUGH, x.square() - uncertain, 0)
    return (m.clamp(min=0).sqrt() * (1 - x / 8 + CURVATURE * square) * sizes).sum(-1) / sizes.sum(), own


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
        order, sizes = cut(other.mean, other.noise)
        own = own._replace(pseudo=own.pseudo[:, order])
        theta, stratum = _values(own.mean, own.noise, sizes)
        deleted, _ = _values(*own.without_each(), sizes)
        share, scale = own.share[:, 0], own.scale[:, 0].sqrt()
        pseudo = (theta - (1 - share) * deleted) / share
        straight = torch.where(stratum > 0, (own.pseudo - own.mean) / (2 * stratum.sqrt()), 0).mean(1)
        total = (pseudo - (share * pseudo).sum()) * scale / 2
        influences.append(Influence(total, total - straight * scale / 2, len(share) - 1))
        value += float(theta) / 2 if bool((stratum >= 0).all()) else math.nan
    return value, influences[0], influences[1]
