"""How the teacher takes mixed images: whether it knows what is in them, and how linear its answer is.

Image ``i`` is mixed with ``j`` at shares ``lambda`` and ``1 - lambda``. An augmentation that mixes nothing, scored
beside one that does, counts as ``lambda = 1``.
"""

from __future__ import annotations

import torch
from torch import Tensor

from dametric.metrics.base import Observation, mean_of_rows

_TOP = 2


def violation(observation: Observation) -> Tensor:
    """1 where no label of the image is among the two most probable classes, else 0: Tensor of shape (units, rows)."""
    assert observation.labels is not None
    top = observation.aug.topk(min(_TOP, observation.aug.shape[-1])).indices
    known = top == observation.labels[..., None]
    if observation.partner_labels is not None and observation.lam is not None:
        share = observation.lam[..., None]  # of which nothing is in the image, that label counts for nothing
        known = known & (share > 0) | (top == observation.partner_labels[..., None]) & (share < 1)
    return (~known.any(-1)).double()


def gap(observation: Observation) -> Tensor:
    """``|a - (lambda r_i + (1 - lambda) r_j)|_1``, from 0 to 2: Tensor of shape (units, rows)."""
    expected = observation.paired_raw
    if observation.partner_raw is not None and observation.lam is not None:
        expected = torch.lerp(observation.partner_raw, expected, observation.lam[..., None])
    return (observation.aug - expected).abs().sum(-1)


ORDER_VIOLATION = mean_of_rows(
    "order_violation",
    violation,
    "lower",
    "share of mixed images none of whose labels is among the teacher's two most probable classes",
    "arXiv 2107.01412",
    ("labels", "mixing"),
)
MIX_GAP = mean_of_rows(
    "mix_gap",
    gap,
    "open",
    "mean L1 distance of the teacher's answer to a mixed image from the mixture of its answers to both",
    "baseline",
    ("raw", "mixing"),
)
