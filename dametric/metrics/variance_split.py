"""What the variance of a draw, ``sum_c T_c^2``, is due to: label, image, augmentation, parameters shared by a batch.

``n sum_c T_c^2 = label + image + augmentation + b V``, see the derivation (A): with ``z`` what belongs to an image in
the mean of ``u = w r + (1 - w) a``,

* label ``sum_c Var_y E[z | y]``, and image ``sum_c E_y Var(E[z | x] | y)``;
* augmentation: what is drawn for one image, its partner in a mixture included;
* ``V``: what shared parameters add to the mean of a batch; 0 where every image has parameters of its own.

Each is read off products of two views ``j`` and ``k``, whose parameters and partners are drawn independently: ``z_ij =
w r_i + (1 - w) a_ij``, and for mixed images also the row in which image ``i`` is the partner. ``E[z_ij z_ik]`` holds
nothing of what is drawn, and over pairs of images of one class nothing of the image. The differences ``u_ij - u_ik``
hold nothing of the image.
"""

from __future__ import annotations

from itertools import combinations
from operator import itemgetter

import torch
from torch import Tensor

from dametric.metrics.base import Contribution, Design, Metric, Observation, ratio
from dametric.metrics.t_stddev import components

NAMES = ("t_var_label", "t_var_image", "t_var_aug", "t_var_shared")
_OF_IMAGES = itemgetter("rows", "sum", "same_image", "of_class", "pairs", "same_class")
_OF_GAPS = itemgetter("drawn", "drawn_dof", "shared", "units")


def _of_image(view: Observation, w: float) -> Tensor:
    """``z`` of every image: Tensor of shape (units, rows, classes)."""
    lag = view.design.lag
    shown = view.aug + view.aug.roll(lag, 1) if lag else view.aug
    return w * view.paired_raw + (1 - w) * shown


def _strangers(rows: int, near: int, like: Tensor) -> Tensor:
    """Pairs of rows that show no image in common, not even as partners: Tensor of shape (rows, rows), float64."""
    apart = (torch.arange(rows)[:, None] - torch.arange(rows)).abs()
    return (torch.minimum(apart, rows - apart) > near).to(like)


def observe(observation: Observation) -> Contribution:
    """Products of views, of one image and of two of a class, and squares of their differences."""
    labels, w = observation.labels, observation.design.raw_weight
    assert labels is not None
    classes = torch.nn.functional.one_hot(labels, observation.aug.shape[-1]).double()
    alike = classes @ classes.mT
    of_images = [_of_image(view, w) for view in observation.views]
    parts: list[Contribution] = []
    for j, k in combinations(range(len(of_images)), 2):
        first, second = of_images[j], of_images[k]
        lags = [observation.views[number].design.lag for number in (j, k)]
        pairs = alike * _strangers(alike.shape[-1], sum(lags), alike)
        gap = (1 - w) * (observation.views[j].aug - observation.views[k].aug)
        drawn = components(gap, abs(lags[0] - lags[1]))
        parts.append(
            {
                "same_image": (first * second).sum((1, 2)),
                "sum": (first + second).sum(1) / 2,
                "rows": torch.full_like(gap[:, 0, 0], gap.shape[1]),
                "of_class": classes.sum(1),
                "pairs": (pairs.sum(-1)[..., None] * classes).sum(1),
                "same_class": (((first @ second.mT) * pairs).sum(-1)[..., None] * classes).sum(1),
                "drawn": drawn["square"].sum(-1),
                "drawn_dof": drawn["dof"],
                "shared": gap.mean(1).square().sum(-1),
                "units": torch.ones_like(gap[:, 0, 0]),
            }
        )
    return {name: torch.stack([part[name] for part in parts]).sum(0) for name in parts[0]}


def split(total: Contribution, design: Design) -> Tensor:
    """Label, image, augmentation and shared parameters in ``n sum_c T_c^2``: Tensor of shape (..., 4).

    Every class counts by its share of the images, though pairs of a class go with the square of it.
    """
    rows, summed, same_image, counts, pairs, same_class = _OF_IMAGES(total)
    squares, dof, gaps, units = _OF_GAPS(total)
    weight = 1 / counts.clamp(min=1)
    mean = ratio(summed, rows[..., None]).square().sum(-1)
    of_class = ratio((weight * same_class).sum(-1), (weight * pairs).sum(-1))
    of_image = ratio(same_image, rows)
    drawn = ratio(squares, dof) / 2
    shared = torch.zeros_like(drawn)
    if design.estimator == "units":
        shared = design.unit * ratio(gaps, units) / 2 - drawn
    if design.pooled:  # several batches a draw, and partners anywhere in the batch: not what this is derived for
        shared = torch.full_like(drawn, torch.nan)
    return torch.stack([of_class - mean, of_image - of_class, drawn, shared], -1)


def _share(name: str, number: int, what: str) -> Metric:
    def reduce(total: Contribution, design: Design) -> Tensor:
        parts = split(total, design)
        return ratio(parts[..., number], parts.sum(-1))

    return Metric(
        name,
        observe,
        reduce,
        "open",
        f"share of the variance of a draw that is due to {what}",
        "law of total variance over two views of each image",
        needs=frozenset({"raw", "labels", "next_partner"}),
        views=2,
    )


T_VAR_SPLIT = tuple(
    _share(name, number, what)
    for number, (name, what) in enumerate(
        zip(NAMES, ("labels", "images of one label", "what is drawn for an image", "shared parameters"), strict=True)
    )
)
