"""What the teacher's answer says of an image beyond its label: conditional mutual information.

With ``Q_y = E[a | y]`` it is ``E_y E KL(a || Q_y) = E_y H(Q_y) - E H(a)``. A mixed image belongs to its own label with
weight ``lambda`` and to its partner's with ``1 - lambda``.
"""

from __future__ import annotations

from operator import itemgetter

import torch
from torch import Tensor

from dametric.metrics.base import Contribution, Design, Metric, Observation, ratio
from dametric.metrics.confidence import entropy

_PARTS = itemgetter("weight", "of_class", "entropy", "rows")


def observe(observation: Observation) -> Contribution:
    """Sums of the rows of every class, (units, classes, classes), their weights, and the entropies."""
    rows, labels = observation.aug, observation.labels
    assert labels is not None
    classes = rows.shape[-1]
    weight = torch.nn.functional.one_hot(labels, classes).to(rows.dtype)
    if observation.partner_labels is not None and observation.lam is not None:
        other = torch.nn.functional.one_hot(observation.partner_labels, classes).to(rows.dtype)
        weight = torch.lerp(other, weight, observation.lam[..., None])
    return {
        "of_class": weight.mT @ rows,
        "weight": weight.sum(1),
        "entropy": entropy(rows).sum(1),
        "rows": rows.new_full((len(rows),), rows.shape[1]),
    }


def reduce(total: Contribution, design: Design) -> Tensor:
    """Conditional mutual information in nats."""
    weight, of_class, entropies, rows = _PARTS(total)
    mean = of_class / weight.clamp(min=torch.finfo(weight.dtype).tiny)[..., None]  # an unseen class weighs 0
    return ratio((weight * entropy(mean)).sum(-1) - entropies, rows)


T_CMI = Metric(
    "t_cmi",
    observe,
    reduce,
    "higher",
    "information of the teacher's answer on the image beyond its label, in nats",
    "Ye et al. 2024, arXiv 2401.08732",
    needs=frozenset({"labels"}),
)
