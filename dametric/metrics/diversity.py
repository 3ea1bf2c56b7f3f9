"""Diversity against affinity: how much a new augmented view of a training image can say, less what it costs.

``D = E_x[ H(mean_j a_xj) - mean_j H(a_xj) ]`` over J = 4 views, each with its own base augmentation and its own
parameters, and the same partner; ``A`` is `affinity_loss`, on held-out images. The score is ``log D - A``.
"""

from __future__ import annotations

import torch
from torch import Tensor

from dametric.metrics.affinity import AFFINITY_LOSS
from dametric.metrics.base import Contribution, Design, Metric, Observation, mean
from dametric.metrics.confidence import entropy


def observe(observation: Observation) -> Contribution:
    """Sum over images of the information of the view on the answer."""
    views = torch.stack([view.aug for view in observation.views])
    spread = entropy(views.mean(0)) - entropy(views).mean(0)
    return {"sum": spread.sum(1), "rows": torch.full_like(spread[:, 0], spread.shape[1])}


def reduce(total: Contribution, design: Design) -> Tensor:
    """``log D``, D in nats; NaN where views do not differ."""
    spread = mean(total, design)
    return torch.where(spread > 0, spread, torch.nan).log()


DIV_AFF = Metric(
    "div_aff",
    observe,
    reduce,
    "higher",
    "log of the mean information (nats) of 4 views on the teacher's answer, less affinity_loss",
    "after Gontijo-Lopes et al. 2020, arXiv 2002.08973",
    needs=frozenset({"labels"}),
    views=4,
    own_base=True,
    less=AFFINITY_LOSS,
)
