"""The teacher's answers to augmented images held against the labels: proper scores, and calibration.

The target ``t`` of an image is its label; of a mixed image, its own label with weight ``lambda`` and its partner's with
``1 - lambda``.
"""

from __future__ import annotations

import torch
from torch import Tensor

from dametric.metrics.base import Contribution, Design, Metric, Observation, mean_of_rows, ratio

BINS = 15
_TINY = torch.finfo(torch.float64).tiny  # bounds the loss of a class with probability 0 by 708 nats


def loss(observation: Observation) -> Tensor:
    """Negative log-likelihood ``-sum_c t_c log a_c`` in nats: Tensor of shape (units, rows)."""
    return -observation.target(observation.aug.clamp(min=_TINY).log())


def brier(observation: Observation) -> Tensor:
    """Squared distance ``sum_c (a_c - t_c)^2`` of answer and target: Tensor of shape (units, rows)."""
    labels, others, lam = observation.labels, observation.partner_labels, observation.lam
    square = observation.aug.square().sum(-1) - 2 * observation.target(observation.aug)
    if others is None or lam is None:
        return square + 1
    return square + lam.square() + (1 - lam).square() + 2 * lam * (1 - lam) * (labels == others)


def observe_bins(observation: Observation) -> Contribution:
    """Rows, sum of confidence, and sum of the target at the most probable class, in bins of equal width of confidence.

    A confidence on the edge of two bins belongs to the lower one, as published.
    """
    confidence, best = observation.aug.max(-1)
    chosen = torch.nn.functional.one_hot(best, observation.aug.shape[-1]).double()
    place = torch.nn.functional.one_hot((confidence * BINS).ceil().long().clamp(1, BINS) - 1, BINS).double()
    parts = {"rows": torch.ones_like(confidence), "confidence": confidence, "right": observation.target(chosen)}
    return {name: (part[..., None] * place).sum(1) for name, part in parts.items()}


def reduce_bins(total: Contribution, design: Design) -> Tensor:
    """Expected calibration error: distance of confidence and accuracy in a bin, mean over rows.

    A distance has a kink at 0: where bins are calibrated nearly, the jackknife's correction for bias scatters the value
    somewhat more than its error says (by 3.5 % for simulated mixtures, whose 95 % intervals hold the truth in .949 +-
    .007 of 1,000 repeats: see `experiments/results/statistics/ece_coverage.csv`). A teacher
    that is calibrated in all bins has the value 0 at the end of the range, which no such interval covers.
    """
    return ratio((total["confidence"] - total["right"]).abs().sum(-1), total["rows"].sum(-1))


_NEEDS = frozenset({"labels"})
T_NLL = mean_of_rows(
    "t_nll",
    loss,
    "lower",
    "teacher's negative log-likelihood of the labels of augmented images, mixed by lambda, in nats",
    "Good 1952, doi 10.1111/j.2517-6161.1952.tb00104.x",
    _NEEDS,
)
T_BRIER = mean_of_rows(
    "t_brier",
    brier,
    "lower",
    "mean squared distance of the teacher's answer from the labels of augmented images, mixed by lambda",
    "Brier 1950, doi 10.1175/1520-0493(1950)078<0001:VOFEIT>2.0.CO;2",
    _NEEDS,
)
T_ECE = Metric(
    "t_ece",
    observe_bins,
    reduce_bins,
    "lower",
    f"expected calibration error of the teacher on augmented images, {BINS} bins of confidence",
    "Guo et al. 2017, arXiv 1706.04599",
    needs=_NEEDS,
)
