"""What a score of augmentations by a student is: values, errors, covariances, cost."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from scipy import stats
from torch import Tensor

from dametric.metrics.base import Direction


@dataclass(frozen=True, eq=False)
class ErrorPart:
    """One source of error of all augmentations' values, independent of the others.

    Attributes
    ----------
    source : str
        "batches", "held-out images", "seeds, own" or "seeds, common".
    covariance : Tensor of shape (augmentations, augmentations), float64
    dof : float
        Degrees of freedom of the variances.
    left_out : Tensor of shape (augmentations, parts), float64, or None
        The values without each batch, or without each part of the held-out images; None for seeds.
    """

    source: str
    covariance: Tensor
    dof: float
    left_out: Tensor | None = None

    @classmethod
    def jackknife(cls, source: str, left_out: Tensor) -> ErrorPart:
        """From the values without each of some parts of equal size.

        Parameters
        ----------
        source : str
        left_out : Tensor of shape (augmentations, parts), float64
        """
        parts = left_out.shape[1]
        apart = left_out - left_out.mean(1, keepdim=True)
        return cls(source, apart @ apart.T * (parts - 1) / parts, parts - 1, left_out)


class StatedDifference(NamedTuple):
    """A paired difference, its standard error and 95 % interval."""

    value: float
    se: float
    low: float
    high: float


@dataclass(frozen=True, eq=False)
class StudentScore:
    """A score of some augmentations, read with a warm student.

    Attributes
    ----------
    metric : str
    direction : {"lower", "higher"}
        Which values are better, stated before any result.
    augs : tuple of str
    values : Tensor of shape (augmentations,), float64
        Plug-in values; NaN where there is a reason.
    errors : tuple of ErrorPart
    cost : float
        Of one augmentation, in student-steps: forward and backward of one step's views. A forward alone counts a third.
    student : str
        Identity of the warm student.
    parts : int
        Batches behind the value, or seeds.
    reasons : dict
        Why a value is NaN, by augmentation.

    Examples
    --------
    >>> losses = torch.tensor([[1.0, 1.2, 1.1, 1.3], [1.1, 1.3, 1.2, 1.4]], dtype=torch.float64)
    >>> errors = (ErrorPart.jackknife("batches", losses),)
    >>> score = StudentScore("branch_loss", "lower", ("cutmix", "mixup"), losses.mean(1), errors, 10.0)
    >>> round(score.difference("cutmix", "mixup").value, 6)
    -0.1
    """

    metric: str
    direction: Direction
    augs: tuple[str, ...]
    values: Tensor
    errors: tuple[ErrorPart, ...]
    cost: float
    student: str = ""
    parts: int = 0
    reasons: dict[str, str] = field(default_factory=dict)

    @property
    def covariance(self) -> Tensor:
        """Covariance of the values' errors, paired between augmentations: shape (augmentations, augmentations)."""
        return torch.stack([part.covariance for part in self.errors]).sum(0)

    @property
    def se(self) -> Tensor:
        """Standard errors: shape (augmentations,)."""
        return self.covariance.diagonal().clamp(min=0).sqrt()

    def interval(self, aug: str) -> StatedDifference:
        """The value of an augmentation, its standard error and 95 % interval."""
        weights = torch.zeros(len(self.augs), dtype=torch.float64)
        weights[self.augs.index(aug)] = 1
        return self._contrast(weights)

    def difference(self, aug: str, other: str) -> StatedDifference:
        """Paired difference of two augmentations' values."""
        weights = torch.zeros(len(self.augs), dtype=torch.float64)
        weights[self.augs.index(aug)] += 1
        weights[self.augs.index(other)] -= 1
        return self._contrast(weights)

    def _contrast(self, weights: Tensor) -> StatedDifference:
        """A sum of values; the degrees of freedom of its variance are Satterthwaite's.

        Its interval is no narrower than that of a part alone: one of few degrees of freedom may be small by chance, and
        would then count for little.
        """
        used = weights != 0
        if not bool(used.any()):
            return StatedDifference(0.0, 0.0, 0.0, 0.0)
        weights, value = weights[used], float(weights[used] @ self.values[used])
        variances = [float(weights @ part.covariance[used][:, used] @ weights) for part in self.errors]
        total = sum(variances)
        if not math.isfinite(value) or not math.isfinite(total):
            return StatedDifference(value, math.nan, math.nan, math.nan)
        square = sum(variance**2 / part.dof for variance, part in zip(variances, self.errors, strict=True) if part.dof)
        half = float(stats.t.ppf(0.975, total**2 / square)) * math.sqrt(total) if square > 0 else 0.0
        for variance, part in zip(variances, self.errors, strict=True):
            if part.dof and variance > 0:
                half = max(half, float(stats.t.ppf(0.975, part.dof)) * math.sqrt(variance))
        return StatedDifference(value, math.sqrt(max(total, 0)), value - half, value + half)
