"""How alike the teacher's answers to a base view (``r``) and its augmentation (``a``) are, row by row."""

from __future__ import annotations

import torch
from torch import Tensor

from dametric.metrics.base import Observation, mean_of_rows
from dametric.metrics.confidence import entropy


def divergence(observation: Observation) -> Tensor:
    """Jensen-Shannon divergence ``H((r + a) / 2) - (H(r) + H(a)) / 2`` in nats: Tensor of shape (units, rows)."""
    raw, aug = observation.paired_raw, observation.aug
    return entropy((raw + aug) / 2) - (entropy(raw) + entropy(aug)) / 2


def agreement(observation: Observation) -> Tensor:
    """1 where the most probable class is the same, else 0: Tensor of shape (units, rows), float64."""
    return (observation.paired_raw.argmax(-1) == observation.aug.argmax(-1)).double()


def invariance(observation: Observation) -> Tensor:
    """``sqrt(max r max a)`` where the most probable class is the same, else 0: Tensor of shape (units, rows)."""
    joint = observation.paired_raw.amax(-1) * observation.aug.amax(-1)
    return torch.sqrt(joint) * agreement(observation)


_NEEDS = ("raw",)
T_CONSISTENCY = mean_of_rows(
    "t_consistency",
    divergence,
    "open",
    "mean Jensen-Shannon divergence of the teacher's answers to base view and augmented image, in nats",
    "Lin 1991, doi 10.1109/18.61115",
    _NEEDS,
)
T_AGREE = mean_of_rows(
    "t_agree",
    agreement,
    "open",
    "share of images whose most probable class the augmentation does not change",
    "baseline",
    _NEEDS,
)
T_EI = mean_of_rows(
    "t_ei",
    invariance,
    "open",
    "effective invariance: sqrt(max r max a) where the most probable class is the same, else 0; mean",
    "Deng et al. 2022, arXiv 2207.07065",
    _NEEDS,
)
