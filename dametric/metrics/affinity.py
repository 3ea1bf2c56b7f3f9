"""Affinity: how much worse the teacher does on augmented held-out images than on the same images clean.

Clean images have no base augmentation either; the target of a mixed image is its labels by their shares.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from dametric.metrics.base import Contribution, Design, Metric, Observation, ratio
from dametric.metrics.calibration import loss


def _clean(observation: Observation) -> Observation:
    return replace(observation, aug=observation.paired_raw, partner_labels=None, lam=None)


def _right(observation: Observation) -> Tensor:
    """Target at the most probable class: Tensor of shape (units, rows)."""
    best = observation.aug.argmax(-1)
    return observation.target(torch.nn.functional.one_hot(best, observation.aug.shape[-1]).double())


def observe_accuracy(observation: Observation) -> Contribution:
    """Sums of the accuracy on augmented and clean images."""
    return {"aug": _right(observation).sum(1), "clean": _right(_clean(observation)).sum(1)}


def reduce_accuracy(total: Contribution, design: Design) -> Tensor:
    """Ratio of the accuracies."""
    return ratio(total["aug"], total["clean"])


def observe_loss(observation: Observation) -> Contribution:
    """Sum of the rise of the loss over the clean image's."""
    rise = loss(observation) - loss(_clean(observation))
    return {"sum": rise.sum(1), "rows": torch.full_like(rise[:, 0], rise.shape[1])}


def reduce_loss(total: Contribution, design: Design) -> Tensor:
    """Mean rise of the loss, in nats."""
    return ratio(total["sum"], total["rows"])


_NEEDS, _SOURCE = frozenset({"raw", "labels", "held_out"}), "Gontijo-Lopes et al. 2020, arXiv 2002.08973"
AFFINITY_ACC = Metric(
    "affinity_acc",
    observe_accuracy,
    reduce_accuracy,
    "higher",
    "teacher's accuracy on augmented held-out images, labels mixed by lambda, over that on clean ones",
    _SOURCE,
    needs=_NEEDS,
)
AFFINITY_LOSS = Metric(
    "affinity_loss",
    observe_loss,
    reduce_loss,
    "lower",
    "teacher's loss on augmented held-out images, labels mixed by lambda, less that on clean ones, in nats",
    _SOURCE,
    needs=_NEEDS,
)
