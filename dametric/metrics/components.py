"""The spread of the teacher-student cross-entropy within images and between them, by one-way analysis of variance.

Let ``q_ij`` be the cross-entropy of view ``j`` of ``J`` of image ``i`` of ``N``: ``q_ij = mu + A_i + e_ij`` with ``A``
of the image and ``e`` of what the augmentation draws. Within images the mean square is ``E[MSW] = Var(e)``, between
them ``E[MSB] = J Var(A) + Var(e)``, so that ``Var(A) = (MSB - MSW) / J``; both hold for unequal ``Var(e)`` of images
too, of which ``MSW`` is the mean. A partner is drawn like a parameter: views of an image have other partners.
"""

from __future__ import annotations

import torch
from torch import Tensor

from dametric.metrics.base import Contribution, Design, Metric, Observation, ratio


def observe(observation: Observation) -> Contribution:
    """Sums over images of the mean of q over views, of its square, and of the squares about it."""
    values = [view.aug_ce for view in observation.views if view.aug_ce is not None]
    q = torch.stack(values, -1)
    mean = q.mean(-1)
    images = torch.full_like(mean[:, 0], mean.shape[1])
    return {
        "mean": mean.sum(1),
        "mean_square": mean.square().sum(1),
        "within": (q - mean[..., None]).square().sum((1, 2)),
        "images": images,
        "within_dof": images * (len(values) - 1),
    }


def _within(total: Contribution) -> Tensor:
    return ratio(total["within"], total["within_dof"])


def reduce_within(total: Contribution, design: Design) -> Tensor:
    """Standard deviation of q over views of an image."""
    return _within(total).sqrt()


def reduce_between(total: Contribution, design: Design) -> Tensor:
    """Standard deviation over images of the mean of q over all views there are; 0 where its square is negative."""
    images = total["images"]
    of_means = ratio(total["mean_square"] - ratio(total["mean"].square(), images), images - 1)
    views = ratio(total["within_dof"], images) + 1
    return (of_means - _within(total) / views).clamp(min=0).sqrt()


CE_STD_WITHIN = Metric(
    "ce_std_within",
    observe,
    reduce_within,
    "open",
    "standard deviation of the teacher-student cross-entropy over views of an image, in nats",
    "one-way random-effects analysis of variance",
    needs=frozenset({"student"}),
    positive=True,
    views=2,
)
CE_STD_BETWEEN = Metric(
    "ce_std_between",
    observe,
    reduce_between,
    "open",
    "standard deviation over images of their mean teacher-student cross-entropy, in nats",
    "one-way random-effects analysis of variance",
    needs=frozenset({"student"}),
    positive=True,
    views=2,
)
