"""Affinity: how much worse the teacher does on augmented held-out images than on the same images clean.

Clean images have no base augmentation either; the target of a mixed image is its labels by their shares.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from dametric.metrics.base import Contribution, Design, Metric, Observation, mean_of_rows, ratio
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


def rise(observation: Observation) -> Tensor:
    """Loss less that on the clean image, in nats: Tensor of shape (units, rows)."""
    return loss(observation) - loss(_clean(observation))


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
AFFINITY_LOSS = mean_of_rows(
    "affinity_loss",
    rise,
    "lower",
    "teacher's loss on augmented held-out images, labels mixed by lambda, less that on clean ones, in nats",
    _SOURCE,
    _NEEDS,
)
