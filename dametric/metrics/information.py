"""How much of the information between images an augmentation leaves: a guard against destroyed images.

``H(E a) - E H(a)`` is the mutual information of the image and the teacher's answer to it: zero where the teacher says
the same of every image, be it sure or not. Black, grey and static images have it, and with it the lowest spread of a
mean probability there can be. It is stated as a fraction of that of the raw images, which is that of `identity`. Plain
agreement with the raw answer would not do: an ideal teacher of images that are half another's agrees half the time.
"""

from __future__ import annotations

from torch import Tensor

from dametric.base.guards import DESTROYED, KEPT
from dametric.metrics.base import Contribution, Design, Metric, Observation, constant, ratio, whatever_design
from dametric.metrics.confidence import entropy


@whatever_design
def observe(observation: Observation) -> Contribution:
    """Sums of the rows and of their entropies, augmented and raw."""
    assert observation.raw is not None
    found: Contribution = {}
    for name, rows in (("aug", observation.aug), ("raw", observation.raw)):
        found |= {f"{name}_sum": rows.sum(1), f"{name}_entropy": entropy(rows).sum(1)}
        found[f"{name}_rows"] = constant(rows, rows.shape[1])
    return found


def information(total: Contribution, name: str) -> Tensor:
    """Mutual information of image and answer, in nats: Tensor of shape (...)."""
    rows = total[f"{name}_rows"]
    return entropy(ratio(total[f"{name}_sum"], rows[..., None])) - ratio(total[f"{name}_entropy"], rows)


def reduce(total: Contribution, design: Design) -> Tensor:
    """Information of the augmented images as a fraction of that of the raw ones."""
    return ratio(information(total, "aug"), information(total, "raw"))


INFORMATION_KEPT = Metric(
    KEPT,
    observe,
    reduce,
    "open",
    f"how much the teacher still tells images apart, 1 for raw ones: a guard, destroyed below {DESTROYED:g}",
    "mutual information of image and prediction",
    needs=frozenset({"raw"}),
)
