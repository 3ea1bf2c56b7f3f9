"""T. stddev: the standard deviation of the teacher's mean probability (Wang et al. 2022, arXiv 2012.02909).

A draw is ``n`` images, the raw and augmented rows of which are averaged to one vector of class probabilities; the
score is the standard deviation of that vector over draws, averaged over classes. With ``u = w r + (1 - w) a`` the
average of an image's two rows, its square is ``T_c^2 = Q_c / n``, where ``Q_c`` is the (long-run) variance of
``u_c``: rows need not be spent on draws at all.

Where rows of a batch depend on each other (shared parameters, a pick) only batch means are replicates. Most of their
variance is that of the raw rows, whose ``Q`` is known far better than a variance of few batch means can be: so the
batch means are regressed on those of the raw rows, and with slope ``beta`` the variance is ``beta^2 Q_raw / b`` plus
the variance of what the raw rows do not explain. This takes fewer batches for the same error.
"""

from __future__ import annotations

from torch import Tensor

from dametric.metrics.base import Contribution, Design, Metric, Observation, constant, ratio


def components(rows: Tensor, lag: int) -> Contribution:
    """Sum of squares of each unit about its own mean, with the products of rows that share an image.

    With ``D_i = u_i - mean(u)`` and each row also showing the next row's image (``lag`` 1), ``Q = gamma_0 + 2
    gamma_1`` and ``E[sum D_i^2 + 2 sum D_i D_(i+1)] = (b - 3) Q``; without, ``E[sum D_i^2] = (b - 1) Q``.
    """
    deviation = rows - rows.mean(1, keepdim=True)
    square = deviation.square().sum(1)
    for step in range(1, lag + 1):
        square = square + 2 * (deviation * deviation.roll(-step, 1)).sum(1)
    dof = rows.shape[1] - 1 - 2 * lag
    return {"square": square, "dof": constant(square, dof)}


def _means(mean: Tensor) -> Contribution:
    return {"mean": mean, "square": mean.square(), "count": constant(mean, 1)}


def _with_control(means: Contribution, raw: Tensor) -> Contribution:
    mean, within = raw.mean(1), components(raw, 0)
    return {
        **means,
        "product": means["mean"] * mean,
        "raw_mean": mean,
        "raw_square": mean.square(),
        "raw_within": within["square"],
        "raw_dof": within["dof"],
    }


def observe(observation: Observation) -> Contribution:
    """Contributions of raw and augmented rows together."""
    raw, aug, design = observation.raw, observation.aug, observation.design
    assert raw is not None
    w = design.raw_weight
    if design.estimator == "images":
        return components(w * raw + (1 - w) * aug, design.lag)
    rows = w * raw.shape[1] + (1 - w) * aug.shape[1]  # a pick from a short batch may have more augmented rows
    means = _means((w * raw.sum(1) + (1 - w) * aug.sum(1)) / rows)
    return _with_control(means, raw) if design.controlled else means


def observe_aug(observation: Observation) -> Contribution:
    """Contributions of the augmented rows alone."""
    if observation.design.estimator == "images":
        return components(observation.aug, observation.design.lag)
    return _means(observation.aug.mean(1))


def centre(total: Contribution, design: Design) -> Contribution:
    """Sum of squares of an epoch's unit means about their own mean."""
    if design.estimator == "images":
        return total
    count = total["count"].clamp(min=1)[..., None]
    parts = {"square": total["square"] - total["mean"].square() / count, "dof": (total["count"] - 1).clamp(min=0)}
    if "product" in total:
        parts["product"] = total["product"] - total["mean"] * total["raw_mean"] / count
        parts["raw_square"] = total["raw_square"] - total["raw_mean"].square() / count
        parts |= {name: total[name] for name in ("raw_within", "raw_dof")}
    return parts


def variance(total: Contribution, design: Design) -> Tensor:
    """``T_c^2`` for every class: Tensor of shape (..., classes), squared probability."""
    dof = total["dof"][..., None]
    if design.estimator == "images":
        return ratio(total["square"], dof) / design.images
    of_means = ratio(total["square"], dof)
    if "product" in total:
        slope = (total["product"] / total["raw_square"]).nan_to_num(
            0, 0, 0
        )  # a class that never varies explains nothing
        known = ratio(total["raw_within"], total["raw_dof"][..., None]) / design.unit
        of_means = slope.square() * known + (of_means - slope.square() * ratio(total["raw_square"], dof))
    return of_means * design.unit / design.images


def reduce(total: Contribution, design: Design) -> Tensor:
    """Mean of ``T_c`` over classes, as published: from few images a class far too low (see :mod:`scoring.strata`)."""
    return variance(total, design).clamp(min=0).sqrt().mean(-1)


def reduce_rms(total: Contribution, design: Design) -> Tensor:
    """Root mean square of ``T_c`` over classes: no visible bias in small samples."""
    return variance(total, design).mean(-1).clamp(min=0).sqrt()


T_STDDEV = Metric(
    "t_stddev",
    observe,
    reduce,
    "lower",
    "standard deviation of the teacher's mean probability over draws, mean over classes",
    "Wang et al. 2022, arXiv 2012.02909",
    needs=frozenset({"raw"}),
    positive=True,
    centre=centre,
    class_variance=variance,
)
T_STDDEV_RMS = Metric(
    "t_stddev_rms",
    observe,
    reduce_rms,
    "lower",
    "the same with a root mean square over classes: no small-sample bias",
    "Wang et al. 2022, arXiv 2012.02909",
    needs=frozenset({"raw"}),
    positive=True,
    centre=centre,
)
T_STDDEV_AUG = Metric(
    "t_stddev_aug",
    observe_aug,
    reduce,
    "lower",
    "t_stddev of the augmented rows alone",
    "Wang et al. 2022, arXiv 2012.02909",
    positive=True,
    centre=centre,
    class_variance=variance,
)
