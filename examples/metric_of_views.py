"""A metric of several views: ``dametric score --metric ./examples/metric_of_views.py:AGREEMENT_OF_VIEWS ...``.

With ``views=J`` each image of a batch is augmented and forwarded ``J`` times, independently (``--views`` says how often
instead); ``observation.views`` holds the views, row by row of the same image, each with its own labels, partners and
shares.
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

from dametric.metrics import Contribution, Design, Metric, Observation


def observe(observation: Observation) -> Contribution:
    """Pairs of views of an image, and those of them that the teacher puts into one class."""
    classes = [view.aug.argmax(-1) for view in observation.views]
    pairs = torch.stack([one == other for one, other in itertools.combinations(classes, 2)]).double()
    return {"alike": pairs.sum((0, 2)), "pairs": pairs.new_full((pairs.shape[1],), pairs[:, 0].numel())}


def reduce(total: Contribution, design: Design) -> Tensor:
    """Share of pairs, from 0 to 1."""
    return total["alike"] / total["pairs"]


AGREEMENT_OF_VIEWS = Metric(
    "agreement_of_views",
    observe,
    reduce,
    "open",
    "share of pairs of augmented views of an image that the teacher puts into one class",
    "an example",
    views=2,
)
