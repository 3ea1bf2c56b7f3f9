"""What it costs to take the augmentation that the score recommends."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from dametric.errors import UsageError, unknown
from dametric.stats.result import Floats, check_count, errors_of, vector


@dataclass(frozen=True)
class Regret:
    """What is lost by trying only the k augmentations with the best scores.

    Attributes
    ----------
    k : int
    loss : float
        Smallest loss among them - smallest loss of all, in units of the loss (nats); 0 is the best.
    seed_errors : float
        The same in standard errors of a loss (root mean square over augmentations); NaN where they are not known.
    points : float
        Highest accuracy of all - highest among them, in percent points; NaN without accuracies.
    overlap : float
        Share of the k best by score that are among the k best by loss.
    """

    k: int
    loss: float
    seed_errors: float
    points: float
    overlap: float


def regret(
    score: ArrayLike,
    loss: ArrayLike,
    k: int = 1,
    *,
    direction: str = "lower",
    loss_se: ArrayLike | None = None,
    accuracy: ArrayLike | None = None,
) -> Regret:
    """What is lost by trying only the k augmentations with the best scores, instead of all.

    Parameters
    ----------
    score, loss : array-like of shape (n,)
        Equal scores are put in random order: what is returned is the mean over these orders.
    k : int
        From 1 to n.
    direction : {"lower", "higher"}
        Which scores are the better ones.
    loss_se : float or array-like of shape (n,), optional
        Standard errors of the losses (over seeds).
    accuracy : array-like of shape (n,), optional
        Fractions.

    Returns
    -------
    Regret

    Raises
    ------
    UsageError
        For input that is not finite numbers of one length, k out of range, accuracies above 1, and unknown names.
    """
    a, b = vector("score", score), vector("loss", loss)
    vector("loss", b, len(a))
    if direction not in ("lower", "higher"):
        raise unknown("direction", direction, ("lower", "higher"))
    check_count("k", k)
    if k > len(a):
        raise UsageError(f"k is {k}: there are only {len(a)} augmentations")
    a = a if direction == "lower" else -a
    lost = _least(a, b, k) - float(b.min())
    unit, points = math.nan, math.nan
    if loss_se is not None:
        unit = math.sqrt(float((errors_of("loss_se", loss_se, len(a)) ** 2).mean()))
    if accuracy is not None:
        right = vector("accuracy", accuracy, len(a))
        if (right < 0).any() or (right > 1).any():
            raise UsageError("accuracy is not between 0 and 1: give fractions, not percent")
        points = 100 * (_least(a, -right, k) + float(right.max()))
    overlap = float((_among(a, k) * _among(b, k)).sum()) / k
    return Regret(k, lost, lost / unit if unit > 0 else math.nan, points, overlap)


def _least(score: Floats, value: Floats, k: int) -> float:
    """Smallest value among the k lowest scores, averaged over the orders of scores that are tied at the edge."""
    edge = np.sort(score)[k - 1]
    sure, tied = value[score < edge], np.sort(value[score == edge])
    wanted, count = k - len(sure), len(tied)
    if len(sure):
        tied = np.minimum(tied, sure.min())
    chance = [math.comb(count - 1 - place, wanted - 1) / math.comb(count, wanted) for place in range(count)]
    return float(tied @ np.array(chance))


def _among(value: Floats, k: int) -> Floats:
    """Probability of each to be among the k lowest, ties in random order."""
    edge = np.sort(value)[k - 1]
    sure, tied = value < edge, value == edge
    return np.where(sure, 1.0, np.where(tied, (k - sure.sum()) / tied.sum(), 0.0))


def regret_curve(
    score: ArrayLike,
    loss: ArrayLike,
    *,
    direction: str = "lower",
    loss_se: ArrayLike | None = None,
    accuracy: ArrayLike | None = None,
) -> pd.DataFrame:
    """Regret for every k from 1 to n.

    Parameters
    ----------
    score, loss, direction, loss_se, accuracy
        As for :func:`regret`.

    Returns
    -------
    pandas.DataFrame
        One row for each k, with the fields of :class:`Regret` as columns.

    Raises
    ------
    UsageError
        As :func:`regret`.
    """
    count = np.size(np.asarray(score))
    rows = [
        regret(score, loss, k, direction=direction, loss_se=loss_se, accuracy=accuracy) for k in range(1, count + 1)
    ]
    return pd.DataFrame(rows, columns=list(Regret.__dataclass_fields__))
