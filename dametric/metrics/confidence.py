"""How sure the teacher is on augmented images: the baselines that every other metric must beat."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from dametric.metrics.base import Contribution, Metric, Observation, constant, mean, whatever_design

RowStatistic = Callable[[Tensor], Tensor]


def entropy(rows: Tensor) -> Tensor:
    """Entropy in nats of distributions over the last dimension: Tensor of shape (...)."""
    result: Tensor = -torch.special.xlogy(rows, rows).sum(-1)
    return result


def gini(rows: Tensor) -> Tensor:
    """Gini impurity ``1 - sum_c p_c^2``: Tensor of shape (...)."""
    return 1 - rows.square().sum(-1)


def confidence(rows: Tensor) -> Tensor:
    """Largest probability: Tensor of shape (...)."""
    return rows.amax(-1)


def _observe(statistic: RowStatistic) -> Callable[[Observation], Contribution]:
    @whatever_design
    def observe(observation: Observation) -> Contribution:
        value = statistic(observation.aug)
        if observation.design.pooled and observation.raw is not None:
            value = torch.cat([value, statistic(observation.raw)], 1)
        return {"sum": value.sum(1), "rows": constant(value, value.shape[1])}

    return observe


T_ENTROPY = Metric(
    "t_entropy",
    _observe(entropy),
    mean,
    "higher",
    "mean entropy of the teacher on augmented images, in nats",
    "Wang et al. 2022, arXiv 2012.02909",
)
T_GINI = Metric("t_gini", _observe(gini), mean, "higher", "1 - E|a|^2 of the teacher on augmented images", "baseline")
T_CONF = Metric(
    "t_conf", _observe(confidence), mean, "lower", "mean largest probability on augmented images", "baseline"
)
