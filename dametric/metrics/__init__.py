"""Metrics: scores of an augmentation, each two pure functions of the teacher's probabilities."""

from __future__ import annotations

from dametric.metrics.base import Contribution, Contributor, Design, Metric, Observation
from dametric.metrics.components import CE_STD_BETWEEN, CE_STD_WITHIN
from dametric.metrics.confidence import T_CONF, T_ENTROPY, T_GINI
from dametric.metrics.cross_entropy import CE_COV, CE_MEAN, CE_STD
from dametric.metrics.information import INFORMATION_KEPT
from dametric.metrics.t_stddev import T_STDDEV, T_STDDEV_AUG, T_STDDEV_RMS

METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        T_STDDEV,
        T_STDDEV_RMS,
        T_STDDEV_AUG,
        T_ENTROPY,
        T_GINI,
        T_CONF,
        INFORMATION_KEPT,
        CE_MEAN,
        CE_STD,
        CE_COV,
        CE_STD_WITHIN,
        CE_STD_BETWEEN,
    )
}

__all__ = ["METRICS", "Contribution", "Contributor", "Design", "Metric", "Observation"]
