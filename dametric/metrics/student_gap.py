"""How far the student is behind the teacher on augmented images."""

from __future__ import annotations

import torch
from torch import Tensor

from dametric.metrics.base import Observation, mean_of_rows
from dametric.metrics.calibration import loss


def gap(observation: Observation) -> Tensor:
    """Student's minus teacher's cross-entropy with the (mixed) labels, in nats: Tensor of shape (units, rows)."""
    assert observation.aug_student is not None
    return -observation.target(observation.aug_student) - loss(observation)


def divergence(observation: Observation) -> Tensor:
    """``KL(a || s) = sum_c a_c (log a_c - log s_c)`` in nats: Tensor of shape (units, rows)."""
    aug, student = observation.aug, observation.aug_student
    assert student is not None
    result: Tensor = (torch.special.xlogy(aug, aug) - aug * student).sum(-1)
    return result


TS_GAP = mean_of_rows(
    "ts_gap",
    gap,
    "higher",
    "student's minus teacher's cross-entropy with the labels of augmented images, mixed by lambda, in nats",
    "own",
    ("student", "labels"),
)
TS_KL = mean_of_rows(
    "ts_kl",
    divergence,
    "higher",
    "mean Kullback-Leibler divergence of the student's answer from the teacher's on augmented images, in nats",
    "Hinton et al. 2015, arXiv 1503.02531",
    ("student",),
)
