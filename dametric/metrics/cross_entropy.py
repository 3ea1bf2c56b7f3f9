"""The teacher-student cross-entropy ``q(x) = -sum_c t_c(x) log s_c(x)`` of augmented images, in nats."""

from __future__ import annotations

from torch import Tensor

from dametric.metrics.base import (
    Contribution,
    Design,
    Metric,
    Observation,
    constant,
    mean,
    ratio,
    whatever_design,
)
from dametric.metrics.t_stddev import components


@whatever_design
def observe(observation: Observation) -> Contribution:
    """Sums of q over the augmented rows, and of its unit means."""
    q = observation.aug_ce
    assert q is not None
    return {"sum": q.sum(1), "square": q.square().sum(1), "rows": constant(q, q.shape[1])}


def observe_pairs(observation: Observation) -> Contribution:
    """Sums of q over pairs of raw and augmented row of an image, and of the unit means of the latter."""
    raw, aug = observation.raw_ce, observation.aug_ce
    assert raw is not None
    assert aug is not None
    of_unit = aug.mean(1)
    long_run = components(aug[..., None], observation.design.lag)
    return {
        **observe(observation),
        "raw": raw.sum(1),
        "product": (raw * aug).sum(1),
        "mean": of_unit,
        "mean_square": of_unit.square(),
        "count": constant(of_unit, 1),
        "long_run": long_run["square"][..., 0],
        "long_run_dof": long_run["dof"],
    }


def centre_pairs(total: Contribution, design: Design) -> Contribution:
    """Sum of squares of an epoch's unit means about their own mean; everything else adds as it is."""
    square = total["mean_square"] - total["mean"].square() / total["count"].clamp(min=1)
    between = {"between": square, "between_dof": (total["count"] - 1).clamp(min=0), "count": total["count"]}
    kept = ("sum", "square", "rows", "raw", "product", "long_run", "long_run_dof")
    return {**{name: total[name] for name in kept}, **between}


def _variance(total: Contribution) -> Tensor:
    rows = total["rows"]
    return ratio(total["square"] - ratio(total["sum"].square(), rows), rows - 1)


def reduce_std(total: Contribution, design: Design) -> Tensor:
    """Standard deviation of q."""
    return _variance(total).clamp(min=0).sqrt()


def reduce_cov(total: Contribution, design: Design) -> Tensor:
    """``Cov(q(x), q(x'))`` plus what other rows of the batch add: through shared parameters, or a shared image.

    The summed covariance of Proposition 3.1 over the ``2 n`` rows of a draw is ``n Cov(q(x), q(x')) + G b (b - 1) / 2
    V`` with ``V`` the covariance of two augmented rows of one batch; divided by ``n``, the second term is
    ``(b - 1) V / 2 = (b Var(batch mean) - Var(q)) / 2``. It is zero where every row has parameters and an image of
    its own; where rows have parameters of their own and mix with the next one, ``b Var(batch mean)`` is the
    long-run variance ``gamma_0 + 2 gamma_1`` of q, known from within the batches.
    """
    rows, count = total["rows"], total["count"]
    covariance = ratio(total["product"] - ratio(total["raw"] * total["sum"], rows), rows - 1)
    if design.estimator == "images":
        long_run = ratio(total["long_run"], total["long_run_dof"])
        return covariance + (long_run - _variance(total)) / 2 if design.lag else covariance
    of_means = ratio(total["between"], total["between_dof"])
    return covariance + (ratio(rows, count) * of_means - _variance(total)) / 2


CE_MEAN = Metric(
    "ce_mean",
    observe,
    mean,
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
