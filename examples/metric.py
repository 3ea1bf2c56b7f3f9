"""A metric of one's own: ``dametric score --metric ./examples/metric.py:SHARE_OF_OWN_LABEL ...``.

A metric is two pure functions. ``observe`` says what each batch contributes, as tensors that add up; ``reduce`` makes
the value of added-up contributions. Errors, paired differences, stopping and ranks come from that.
"""

from __future__ import annotations

from torch import Tensor

from dametric.metrics import Contribution, Design, Metric, Observation


def observe(observation: Observation) -> Contribution:
    """Sums over rows of how far the teacher's probability of an image's own label is from its share of the image."""
    assert observation.labels is not None
    own = observation.aug.gather(-1, observation.labels[..., None]).squeeze(-1)
    share = own.new_ones(own.shape) if observation.lam is None else observation.lam
    return {"distance": (own - share).abs().sum(1), "rows": own.new_full((len(own),), own.shape[1])}


def reduce(total: Contribution, design: Design) -> Tensor:
    """Mean over rows, a probability."""
    return total["distance"] / total["rows"]


SHARE_OF_OWN_LABEL = Metric(
    "share_of_own_label",
    observe,
    reduce,
    "lower",
    "distance of the teacher's probability of the own label from the share of the image that bears it",
    "an example",
    needs=frozenset({"labels"}),
)
