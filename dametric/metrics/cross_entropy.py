"""The teacher-student cross-entropy ``q(x) = -sum_c t_c(x) log s_c(x)`` of augmented images, in nats."""

from __future__ import annotations

import torch
from torch import Tensor

from dametric.metrics.base import Contribution, Design, Metric, Observation, ratio


def observe(observation: Observation) -> Contribution:
    """Sums of q over the augmented rows, and of its unit means."""
    q = observation.aug_ce
    assert q is not None
    rows = torch.full_like(q[:, 0], q.shape[1])
    return {"sum": q.sum(1), "square": q.square().sum(1), "rows": rows}


def observe_pairs(observation: Observation) -> Contribution:
    """Sums of q over pairs of raw and augmented row of an image, and of the unit means of the latter."""
    raw, aug = observation.raw_ce, observation.aug_ce
    assert raw is not None
    assert aug is not None
    mean = aug.mean(1)
    return {
        **observe(observation),
        "raw": raw.sum(1),
        "product": (raw * aug).sum(1),
        "mean": mean,
        "mean_square": mean.square(),
        "count": torch.ones_like(mean),
    }


def centre_pairs(total: Contribution, design: Design) -> Contribution:
    """Sum of squares of an epoch's unit means about their own mean; everything else adds as it is."""
    square = total["mean_square"] - total["mean"].square() / total["count"].clamp(min=1)
    between = {"between": square, "between_dof": (total["count"] - 1).clamp(min=0), "count": total["count"]}
    return {**{name: total[name] for name in ("sum", "square", "rows", "raw", "product")}, **between}


def _variance(total: Contribution) -> Tensor:
    rows = total["rows"]
    return ratio(total["square"] - ratio(total["sum"].square(), rows), rows - 1)


def reduce_mean(total: Contribution, design: Design) -> Tensor:
    """Mean of q."""
    return ratio(total["sum"], total["rows"])


def reduce_std(total: Contribution, design: Design) -> Tensor:
    """Standard deviation of q."""
    return _variance(total).clamp(min=0).sqrt()


def reduce_cov(total: Contribution, design: Design) -> Tensor:
    """``Cov(q(x), q(x'))`` plus what batch-shared parameters add.

    The summed covariance of Proposition 3.1 over the ``2 n`` rows of a draw is ``n Cov(q(x), q(x')) + G b (b - 1) / 2
    V`` with ``V`` the covariance of two augmented rows of one batch; divided by ``n``, the second term is
    ``(b - 1) V / 2 = (b Var(batch mean) - Var(q)) / 2``. It is zero where every row has parameters of its own.
    """
    rows, count = total["rows"], total["count"]
    covariance = ratio(total["product"] - ratio(total["raw"] * total["sum"], rows), rows - 1)
    if design.estimator == "images":
        return covariance
    of_means = ratio(total["between"], total["between_dof"])
    return covariance + (ratio(rows, count) * of_means - _variance(total)) / 2


CE_MEAN = Metric(
    "ce_mean",
    observe,
    reduce_mean,
    "open",
    "mean teacher-student cross-entropy on augmented images, in nats",
    "Wang et al. 2022, arXiv 2012.02909",
    needs=frozenset({"student"}),
)
CE_STD = Metric(
    "ce_std",
    observe,
    reduce_std,
    "open",
    "standard deviation of the teacher-student cross-entropy, in nats",
    "Wang et al. 2022, arXiv 2012.02909",
    needs=frozenset({"student"}),
    positive=True,
)
CE_COV = Metric(
    "ce_cov",
    observe_pairs,
    reduce_cov,
    "lower",
    "covariance of the cross-entropies of an image and its augmentation (Proposition 3.1)",
    "Wang et al. 2022, arXiv 2012.02909",
    needs=frozenset({"raw", "student"}),
    centre=centre_pairs,
)
