"""What a student can still learn from augmented images: its distance to the teacher, where the teacher is sure."""

from __future__ import annotations

import math

from torch import Tensor

from dametric.metrics.base import Observation, mean_of_rows
from dametric.metrics.confidence import entropy
from dametric.metrics.student_gap import divergence


def useful(observation: Observation) -> Tensor:
    """``KL(a || s) (1 - H(a) / log C)`` in nats: Tensor of shape (units, rows)."""
    aug = observation.aug
    return divergence(observation) * (1 - entropy(aug) / math.log(aug.shape[-1]))


TS_USEFUL = mean_of_rows(
    "ts_useful",
    useful,
    "higher",
    "divergence of the student's answer from the teacher's, weighted by 1 - H(a) / log C: how sure the teacher is",
    "own",
    ("student",),
)
