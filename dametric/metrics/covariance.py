"""The published code's two further variants: mean entries of covariance matrices of a batch's rows, raw and augmented.

Over classes, ``numpy.cov(rows)`` of all pairs of rows has the mean ``sum_c (mean_c - 1/C)^2 / (C - 1)``: it measures
what T. stddev does, ``C / (C - 1)`` times its root mean square squared for a draw of one unit, and besides it how
unequal the classes are. Over rows, ``numpy.cov(rows.T)`` has the mean ``Var(sum_c p_c) / C^2``, which is 0, since
probabilities add up to 1.
"""

from __future__ import annotations

import torch
from torch import Tensor

from dametric.metrics.base import Contribution, Metric, Observation, mean


def _rows(observation: Observation) -> Tensor:
    assert observation.raw is not None
    return torch.cat([observation.raw, observation.aug], 1)


def observe_rows(observation: Observation) -> Contribution:
    """Mean covariance of pairs of rows over classes, of every unit."""
    value = _rows(observation).mean(1).var(-1)
    return {"sum": value, "rows": torch.ones_like(value)}  # one covariance a unit


def observe_classes(observation: Observation) -> Contribution:
    """Mean covariance of pairs of classes over rows, of every unit."""
    rows = _rows(observation)
    value = rows.sum(-1).var(1) / rows.shape[-1] ** 2
    return {"sum": value, "rows": torch.ones_like(value)}


_SOURCE = "code of Wang et al. 2022, arXiv 2012.02909"
T_COV_ROWS = Metric(
    "t_cov_rows",
    observe_rows,
    mean,
    "lower",
    "mean covariance of a batch's rows over classes, a variant in the published code",
    _SOURCE,
    needs=frozenset({"raw"}),
)
T_COV_CLASSES = Metric(
    "t_cov_classes",
    observe_classes,
    mean,
    "open",
    "mean covariance of the classes over a batch's rows, a variant in the published code: always 0",
    _SOURCE,
    needs=frozenset({"raw"}),
)
