"""Metrics: scores of an augmentation, each two pure functions of the teacher's probabilities."""

from __future__ import annotations

from dametric.metrics.affinity import AFFINITY_ACC, AFFINITY_LOSS
from dametric.metrics.agreement import T_AGREE, T_CONSISTENCY, T_EI
from dametric.metrics.base import Contribution, Contributor, Design, Metric, Observation
from dametric.metrics.calibration import T_BRIER, T_ECE, T_NLL
from dametric.metrics.class_information import T_CMI
from dametric.metrics.components import CE_STD_BETWEEN, CE_STD_WITHIN
from dametric.metrics.confidence import T_CONF, T_ENTROPY, T_GINI
from dametric.metrics.covariance import T_COV_CLASSES, T_COV_ROWS
from dametric.metrics.cross_entropy import CE_COV, CE_MEAN, CE_STD
from dametric.metrics.diversity import DIV_AFF
from dametric.metrics.information import INFORMATION_KEPT
from dametric.metrics.mixing import MIX_GAP, ORDER_VIOLATION
from dametric.metrics.student_gap import TS_GAP, TS_KL
from dametric.metrics.t_stddev import T_STDDEV, T_STDDEV_AUG, T_STDDEV_RMS
from dametric.metrics.teacher_confidence import T_CONFIDENCE
from dametric.metrics.ts_useful import TS_USEFUL
from dametric.metrics.variance_split import T_VAR_SPLIT

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
        T_CONSISTENCY,
        T_AGREE,
        T_EI,
        T_NLL,
        T_BRIER,
        T_ECE,
        T_CMI,
        ORDER_VIOLATION,
        MIX_GAP,
        T_COV_ROWS,
        T_COV_CLASSES,
        *T_VAR_SPLIT,
        T_CONFIDENCE,
        AFFINITY_ACC,
        AFFINITY_LOSS,
        DIV_AFF,
        CE_MEAN,
        CE_STD,
        CE_COV,
        CE_STD_WITHIN,
        CE_STD_BETWEEN,
        TS_GAP,
        TS_KL,
        TS_USEFUL,
    )
}

ALL = "all"
"""Stands for all metrics that can be computed."""
GROUPS = {"t_var_split": tuple(metric.name for metric in T_VAR_SPLIT)}
"""Names that stand for several metrics."""

__all__ = ["ALL", "GROUPS", "METRICS", "Contribution", "Contributor", "Design", "Metric", "Observation"]
