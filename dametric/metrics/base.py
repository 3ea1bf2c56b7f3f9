"""What a metric is: two pure functions, of one batch and of added-up batches."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, TypeVar

import torch
from torch import Tensor

from dametric.errors import UsageError

Contribution = dict[str, Tensor]
Observe = TypeVar("Observe", bound="Callable[[Observation], Contribution]")
Direction = Literal["lower", "higher", "open"]


@dataclass(frozen=True)
class Design:
    """How rows were made and what they are to be summarised for.

    Attributes
    ----------
    estimator : {"images", "units"}
        Per-image components (rows with parameters of their own), or means of units (batches, or the reference's
        draws), exact for any dependence inside a unit. Sections E2 and E1/E0 of the derivation.
    images : int
        Images of the hypothetical draw, ``n = G b``, for which T. stddev is stated.
    unit : int
        Images of a unit.
    lag : int
        1 where a row also shows the next row's image (mixing), else 0; ``j + 1`` in view ``j``, which shows the
        image ``j + 1`` rows on.
    controlled : bool
        The variance of unit means takes its share due to the raw rows from their per-image components.
    raw_weight : float
        Weight ``w`` of the raw row in ``u = w r + (1 - w) a``.
    pooled : bool
        Row averages run over raw and augmented rows together, as the published code prints them.
    """

    estimator: Literal["images", "units"] = "images"
    images: int = 320
    unit: int = 64
    lag: int = 0
    controlled: bool = False
    raw_weight: float = 0.5
    pooled: bool = False


@dataclass(frozen=True)
class Observation:
    """What the engine shows a metric: the rows of some units, each row a distribution over classes.

    Attributes
    ----------
    aug : Tensor of shape (units, rows, classes), float64
        Teacher's probabilities on augmented images.
    raw : Tensor of shape (units, raw rows, classes), float64, or None
        Teacher's probabilities on the raw images; None where no metric needs them.
    design : Design
        How the rows were made.
    aug_ce, raw_ce : Tensor of shape (units, rows), float64, or None
        Teacher-student cross-entropy in nats of the augmented rows, and of the raw row of the same image.
    aug_student, raw_student : Tensor of shape (units, rows, classes), float64, or None
        Student's log-probabilities of the same rows as ``aug_ce`` and ``raw_ce``.
    labels : Tensor of shape (units, rows), int64, or None
        Classes of the augmented images, for metrics that need "labels".
    partner_labels : Tensor of shape (units, rows), int64, or None
        Classes of the images that they were mixed with, for metrics that need "labels"; None where nothing is mixed.
    lam : Tensor of shape (units, rows), float64, or None
        Share of an image that is its own, where images are mixed.
    own_raw : Tensor of shape (units, rows, classes), float64, or None
        The raw row of the image behind every augmented row, where rows were picked; None where that is ``raw``.
    partner_raw : Tensor of shape (units, rows, classes), float64, or None
        The raw row of the image that each was mixed with, for metrics that need "mixing".
    views : tuple of Observation
        Independent augmented views of the same base views, for metrics that ask for several: each with rows, labels,
        partners and shares of its own, row by row of the same image. The first has the rows of this observation;
        where nothing is drawn they are all the same. Empty for metrics that need one view.
    """

    aug: Tensor
    raw: Tensor | None
    design: Design
    aug_ce: Tensor | None = None
    raw_ce: Tensor | None = None
    aug_student: Tensor | None = None
    raw_student: Tensor | None = None
    labels: Tensor | None = None
    partner_labels: Tensor | None = None
    lam: Tensor | None = None
    own_raw: Tensor | None = None
    partner_raw: Tensor | None = None
    views: tuple[Observation, ...] = ()

    @property
    def paired_raw(self) -> Tensor:
        """The raw row of the image behind every augmented row: Tensor of shape (units, rows, classes)."""
        raw = self.raw if self.own_raw is None else self.own_raw
        assert raw is not None
        return raw

    def target(self, values: Tensor) -> Tensor:
        """What is given for every class, at each row's label: of mixed images weighted by the shares of both labels.

        Parameters
        ----------
        values : Tensor of shape (units, rows, classes)

        Returns
        -------
        Tensor of shape (units, rows)
        """
        assert self.labels is not None
        own = _at(values, self.labels)
        if self.partner_labels is None or self.lam is None:
            return own
        return self.lam * own + (1 - self.lam) * _at(values, self.partner_labels)


def _at(values: Tensor, labels: Tensor) -> Tensor:
    return values.gather(-1, labels[..., None])[..., 0]


@dataclass(frozen=True)
class Metric:
    """A score of an augmentation.

    Attributes
    ----------
    name : str
        As users type it.
    observe : callable
        ``observe(observation)`` returns named tensors of shape (units, ...): what each unit contributes.
        Contributions add.
    reduce : callable
        ``reduce(contribution, design)`` returns the value from added-up contributions; leading dimensions of the
        contributions are kept, so that many deleted samples are reduced at once.
    direction : {"lower", "higher", "open"}
        Which values are stated, before any result, to make better students.
    needs : frozenset of {"raw", "student", "labels", "mixing", "next_partner", "held_out"}
        What there has to be besides the teacher's answers to augmented images; "mixing" is an augmentation that mixes
        images, and the raw rows of partners; "next_partner" that images are mixed with the next ones of their batch,
        if at all. A metric that needs "held_out" is shown held-out images alone, once, whose raw rows are those of
        clean images.
    positive : bool
        Errors are made on the logarithm, as befits a scale.
    centre : callable, optional
        ``centre(contribution, design)`` turns the sum over one epoch into what adds over epochs. Within an epoch
        images are drawn without replacement and the finite-population terms cancel; over epochs they do not.
    class_variance : callable, optional
        ``class_variance(contribution, design)`` returns a variance for every class, shape (..., classes); the value
        is the mean over classes of their square roots, which takes an estimator of its own.
    first : int, optional
        It is shown so many units, those at the start of the pass; all by default.
    views : int
        Augmented views of each image that it needs; ``--views`` raises those of metrics that need several.
    own_base : bool
        Its views have base views of their own, and the same partners.
    less : Metric, optional
        A metric of held-out images whose value is taken off this one's.
    of_teacher : bool
        It is one number of the teacher, not of an augmentation: it is stated under the table.
    summary : str
        One line for listings.
    reference : str
        Where it comes from.
    """

    name: str
    observe: Callable[[Observation], Contribution]
    reduce: Callable[[Contribution, Design], Tensor]
    direction: Direction
    summary: str
    reference: str
    needs: frozenset[str] = frozenset()
    positive: bool = False
    centre: Callable[[Contribution, Design], Contribution] | None = None
    class_variance: Callable[[Contribution, Design], Tensor] | None = None
    first: int | None = None
    views: int = 1
    own_base: bool = False
    less: Metric | None = None
    of_teacher: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.views, int) or self.views < 1:
            raise UsageError(f"metric {self.name}: views is a whole number from 1 up, not {self.views!r}")

    @property
    def contributor(self) -> Contributor:
        """What makes the contributions: metrics with the same share them."""
        return self.observe, self.views, self.own_base


Contributor = tuple[Callable[[Observation], Contribution], int, bool]
"""An `observe`, the number of views that it is shown, and whether these have base views of their own."""


def whatever_design(observe: Observe) -> Observe:
    """Say of an ``observe`` that it asks of a design no more than ``pooled``.

    A GPU then observes at once what augmentations of different designs made: kernels cost it by the call.
    """
    observe.whatever_design = True  # type: ignore[attr-defined]
    return observe


def constant(units: Tensor, value: float) -> Tensor:
    """A number for every unit: Tensor of shape (units,), on the device and of the dtype of ``units``; not to change."""
    return _constant(len(units), float(value), units.dtype, units.device)


@lru_cache(maxsize=256)
def _constant(count: int, value: float, dtype: torch.dtype, device: torch.device) -> Tensor:
    with torch.inference_mode(False):
        return torch.full((count,), value, dtype=dtype, device=device)


def ratio(numerator: Tensor, denominator: Tensor) -> Tensor:
    """Quotient that is NaN, never infinite, where there is nothing to divide by."""
    return torch.where(denominator > 0, numerator / denominator, torch.nan)


def mean_of_rows(
    name: str,
    statistic: Callable[[Observation], Tensor],
    direction: Direction,
    summary: str,
    reference: str,
    needs: Iterable[str] = (),
) -> Metric:
    """A metric that is the mean over augmented rows of a number of each.

    Parameters
    ----------
    name, direction, summary, reference, needs
        As of :class:`Metric`.
    statistic : callable
        ``statistic(observation)`` returns a Tensor of shape (units, rows).
    """

    def observe(observation: Observation) -> Contribution:
        value = statistic(observation)
        return {"sum": value.sum(1), "rows": constant(value, value.shape[1])}

    return Metric(name, observe, mean, direction, summary, reference, frozenset(needs))


def mean(total: Contribution, design: Design) -> Tensor:
    """Mean over rows."""
    return ratio(total["sum"], total["rows"])
