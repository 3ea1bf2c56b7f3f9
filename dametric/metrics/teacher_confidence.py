"""kappa: how near the teacher's answers to base views are to one-hot, one number a teacher.

``kappa^2 = (E|r|^2 - |E r|^2) / (1 - |E r|^2)``: 1 for any one-hot teacher, of balanced classes or not, 0 for one that
says the same of every image. With balanced classes it is T. stddev (root mean square) of the identity over that of a
one-hot teacher.
"""

from __future__ import annotations

from operator import itemgetter

from torch import Tensor

from dametric.metrics.base import Contribution, Design, Metric, Observation, constant, ratio, whatever_design

_PARTS = itemgetter("rows", "sum", "square")


@whatever_design
def observe(observation: Observation) -> Contribution:
    """Sums of the raw rows, and of their squares."""
    raw = observation.raw
    assert raw is not None
    return {"sum": raw.sum(1), "square": raw.square().sum((1, 2)), "rows": constant(raw, raw.shape[1])}


def reduce_square(total: Contribution, design: Design) -> Tensor:
    """``kappa^2``, from 0 to 1."""
    rows, summed, square = _PARTS(total)
    of_mean = ratio(summed, rows[..., None]).square().sum(-1)
    return ratio(ratio(square, rows) - of_mean, 1 - of_mean)


def reduce(total: Contribution, design: Design) -> Tensor:
    """``kappa``, from 0 to 1."""
    return reduce_square(total, design).clamp(min=0).sqrt()


T_CONFIDENCE = Metric(
    "t_confidence",
    observe,
    reduce,
    "open",
    "kappa: how near the teacher's answers to base views are to one-hot; one number, under every table",
    "own",
    needs=frozenset({"raw"}),
    of_teacher=True,
)
