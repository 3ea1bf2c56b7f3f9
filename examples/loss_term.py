"""A term of the loss of one's own: ``dametric distill --loss-term ./examples/loss_term.py:same_order ...``."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from dametric.training.loss import LossInputs

WEIGHT = 0.5


def same_order(inputs: LossInputs) -> Tensor:
    """Cosine distance of centred logits on the base view: the student is to order classes as the teacher does."""
    if inputs.student is None or inputs.teacher is None:
        raise ValueError("the base view is needed: leave --views at both or raw")
    student, teacher = (logits - logits.mean(1, keepdim=True) for logits in (inputs.student, inputs.teacher))
    return WEIGHT * (1 - F.cosine_similarity(student, teacher, dim=1)).mean()
