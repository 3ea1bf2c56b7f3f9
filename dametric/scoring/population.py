"""The error for other images of the same kind, where the same images were shown several times.

Batches of several passes are no independent replicates: what an image adds to a value comes back in every pass, and
only what an augmentation draws is new. With ``N`` images, ``E`` passes, and variances ``V`` of what one image adds
(its own part ``V_i``, the part of the draw ``V_a``), deletion of batches states ``J = (V_i + V_a) / (N E)``; for a new
set of ``N`` images it is ``V_i / N + V_a / (N E)``. Every complete pass shows each image once, so that the scatter
between passes is ``V_a / N`` alone, and with it ::

    error^2 = E J - (1 - 1 / E) V_a / N

Batches of one pass have no image in common, so that all of them scatter less than as many that were drawn with
replacement. ``J`` is therefore taken from deviations within passes: ``K / (K - E)`` times their sum of squares over
``K`` blocks, once there are several passes.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

_FEW = 4  # complete passes below which their scatter is not trusted, and the draws count as the images do


class Passes(NamedTuple):
    """Which blocks belong to which pass over the images.

    Attributes
    ----------
    epoch : Tensor of shape (blocks,), int64
    units : Tensor of shape (blocks,), int64
        Units in each block.
    complete : int
        Units of a complete pass.
    """

    epoch: Tensor
    units: Tensor
    complete: int

    @property
    def number(self) -> float:
        """How often the images were shown."""
        return float(self.units.sum()) / self.complete if self.complete else 0.0

    @property
    def told_apart(self) -> bool:
        """Whether batches of one pass differ in their images, without which nothing is known of other images."""
        return self.complete >= 2


class Population(NamedTuple):
    """What the images being a sample themselves does to an error.

    Attributes
    ----------
    factor : float
        By which the standard error from deleted blocks grows.
    floor : float
        Part of the squared error, as a share of the one from blocks, that surely no further pass lowers.
    """

    factor: float = 1.0
    floor: float = 0.0


def of_population(influence: Tensor, passes: Passes) -> Population:
    """How an error from deleted blocks changes for a new set of as many images.

    Parameters
    ----------
    influence : Tensor of shape (blocks,)
        Each block's influence on a value, the squares of which add up to the squared error.
    passes : Passes

    Returns
    -------
    Population
        Without change for one pass or less, and where a pass has one batch only.
    """
    square, number = float(influence.square().sum()), passes.number
    if not (passes.told_apart and number > 1 and square > 0):
        return Population()
    _, epoch = torch.unique(passes.epoch, return_inverse=True)
    blocks = epoch.bincount()
    units, shares = (
        torch.zeros(len(blocks), dtype=torch.float64).index_add_(0, epoch, values.double())
        for values in (passes.units, influence)
    )
    within = float((influence - (shares / blocks)[epoch]).square().sum())
    if len(epoch) == len(blocks) or not within > 0:
        return Population(math.sqrt(number))
    whole = units >= passes.complete
    if int(whole.sum()) < _FEW:
        drawn, at_most = 0.0, number
    else:  # V_a / N in units of J; the scatter of few passes may be less than it is, which must not pass for a floor
        within *= len(epoch) / (len(epoch) - len(blocks))
        drawn = min(float((shares[whole] * (units.sum() / units[whole])).var()) / within, number)
        at_most = drawn * (1 + 2 * math.sqrt(2 / (int(whole.sum()) - 1)))
    variance = min(max(number - (1 - 1 / number) * drawn, 1.0), number) * max(within / square, 1.0)
    return Population(math.sqrt(variance), max(number - at_most, 0.0) * within / square)
