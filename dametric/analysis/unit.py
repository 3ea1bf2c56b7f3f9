"""Everything about one metric in one unit."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from dametric.analysis.joined import Unit, as_measured, direction_of, expected_sign
from dametric.stats.coefficients import METHODS
from dametric.stats.correlation import correlate
from dametric.stats.disattenuation import disattenuated
from dametric.stats.families import family
from dametric.stats.intervals import bca
from dametric.stats.noise import expected_tau, reliability, tied_tau
from dametric.stats.regression import Ranges, leave_out, ols
from dametric.stats.result import Floats, Result
from dametric.stats.toplist import Regret, regret
from dametric.stats.york import YorkLine, york

_BOOTSTRAP = 1999


@dataclass(frozen=True)
class Coefficients:
    """A metric's coefficients with one endpoint."""

    pearson: Result
    spearman: Result
    kendall: Result
    weighted: Result

    def __iter__(self) -> Iterator[tuple[str, Result]]:
        return ((name, getattr(self, name)) for name in METHODS)


@dataclass(frozen=True)
class Endpoints:
    """Coefficients with the test loss and with the accuracy; None where that is not known of every augmentation."""

    test_loss: Coefficients | None = field(metadata={"empty": {}})
    test_top1: Coefficients | None = field(metadata={"empty": {}})

    def __iter__(self) -> Iterator[tuple[str, Coefficients]]:
        both = (("test_loss", self.test_loss), ("test_top1", self.test_top1))
        return ((name, coefficients) for name, coefficients in both if coefficients is not None)

    @property
    def loss(self) -> Coefficients:
        """With the test loss, which an analysis always knows."""
        assert self.test_loss is not None
        return self.test_loss


@dataclass(frozen=True)
class SeedRange:
    """Seeds of an augmentation, least and most; NaN where they are not known."""

    least: float
    most: float


@dataclass(frozen=True)
class Best:
    """Augmentations with the best score and with the lowest loss; several where they are equal.

    None has the best score where no direction is stated.
    """

    by_score: tuple[str, ...]
    by_loss: tuple[str, ...]


@dataclass(frozen=True)
class Regression:
    """Least squares of an outcome on the score, HC3 errors, Cook's distances, and who is above 4 / n with theirs."""

    slope: Result
    intercept: Result
    slope_se: float
    intercept_se: float
    r_squared: float
    cook: dict[str, float]
    flagged: tuple[str, ...]


@dataclass(frozen=True)
class Parts:
    """A coefficient without each augmentation, and without each family."""

    aug: Ranges
    family: Ranges


@dataclass(frozen=True)
class Influence:
    """What the coefficients with the test loss hang on."""

    kendall: Parts
    pearson: Parts


@dataclass(frozen=True)
class Noise:
    """What measurement noise does; None where the errors are not known: of an axis, and of both for the last three."""

    reliability_score: Result | None
    reliability_loss: Result | None
    disattenuated: Result | None
    expected_tau: Result | None
    tied_tau: Result | None


@dataclass(frozen=True)
class UnitAnalysis:
    """Coefficients, lines, influence, regret and noise of one metric in one unit.

    Attributes
    ----------
    n : int
        Augmentations.
    augs, families : tuple of str
        Names, and the family of each.
    n_families : int
    direction : {"lower", "higher", "open"}
        Which scores are better.
    seeds : SeedRange
    best : Best
    coefficients : Endpoints
        Two-sided.
    bca : Result
        Pearson's r with a bootstrap interval.
    ols, ols_top1 : Regression
        Of the loss and of the accuracy; the latter None where accuracies are not known.
    york : YorkLine or None
        None without errors above 0 on both axes.
    influence : Influence
    regret : tuple of Regret
        For every k; NaN where no direction is stated.
    noise : Noise
    """

    n: int
    augs: tuple[str, ...]
    families: tuple[str, ...]
    n_families: int
    direction: str
    seeds: SeedRange
    best: Best
    coefficients: Endpoints
    bca: Result
    ols: Regression
    ols_top1: Regression | None
    york: YorkLine | None
    influence: Influence
    regret: tuple[Regret, ...]
    noise: Noise


def coefficient_of(rows: pd.DataFrame, endpoint: str, method: str, alternative: str, **options: Any) -> Result:
    """A metric's coefficient with an endpoint in one unit, with the sign that the measured values have.

    Parameters
    ----------
    rows : pandas.DataFrame
        Of one unit and one metric, from :func:`dametric.analysis.joined.prepare`.
    endpoint : {"test_loss", "test_top1"}
        Known of every row.
    method : str
    alternative : {"two-sided", "greater"}
        "greater": one-sided in the stated direction, whatever sign that is.
    **options
        Passed on to :func:`dametric.stats.correlate`.

    Returns
    -------
    Result
    """
    stated = direction_of(rows)
    x = expected_sign(stated, "test_loss") * Unit.of(rows).score
    y = expected_sign("lower", endpoint) * np.array(rows[endpoint], dtype=np.float64)
    return as_measured(correlate(x, y, method, alternative, **options), expected_sign(stated, endpoint))


def describe_unit(rows: pd.DataFrame, *, confidence: float, resamples: int, seed: int) -> UnitAnalysis:
    """Coefficients, lines, influence, regret and noise of one metric in one unit.

    Parameters
    ----------
    rows : pandas.DataFrame
        Of one unit and one metric, from :func:`dametric.analysis.joined.prepare`.
    confidence : float
    resamples, seed : int

    Returns
    -------
    UnitAnalysis
    """
    options: dict[str, Any] = {"confidence": confidence, "resamples": resamples, "seed": seed}
    unit = Unit.of(rows)
    families = tuple(family(aug) for aug in unit.augs)
    loss, top1 = (_coefficients(rows, endpoint, **options) for endpoint in ("test_loss", "test_top1"))
    kendall, pearson = (
        Parts(*(leave_out(unit.score, unit.loss, unit.augs, method, by=by) for by in ("aug", "family")))
        for method in ("kendall", "pearson")
    )
    return UnitAnalysis(
        n=unit.n,
        augs=unit.augs,
        families=families,
        n_families=len(set(families)),
        direction=unit.direction,
        seeds=SeedRange(_least(unit.seeds), -_least(-unit.seeds)),
        best=Best(
            () if unit.direction == "open" else _lowest(unit.augs, unit.choice_score), _lowest(unit.augs, unit.loss)
        ),
        coefficients=Endpoints(loss, top1),
        bca=bca(unit.score, unit.loss, confidence=confidence, resamples=_BOOTSTRAP, seed=seed),
        ols=_regression(unit, unit.loss, confidence),
        ols_top1=None if top1 is None else _regression(unit, unit.top1, confidence),
        york=_york(unit, confidence),
        influence=Influence(kendall, pearson),
        regret=_regret(unit),
        noise=_noise(unit, **options),
    )


def _coefficients(rows: pd.DataFrame, endpoint: str, **options: Any) -> Coefficients | None:
    if rows[endpoint].isna().any():
        return None
    return Coefficients(*(coefficient_of(rows, endpoint, method, "two-sided", **options) for method in METHODS))


def _lowest(augs: Sequence[str], values: Floats) -> tuple[str, ...]:
    return tuple(augs[int(i)] for i in np.flatnonzero(values == values.min()))


def _least(values: Floats) -> float:
    return float(values.min()) if np.isfinite(values).all() else math.nan


def _regression(unit: Unit, outcome: Floats, confidence: float) -> Regression:
    line = ols(unit.score, outcome, confidence=confidence)
    cook = dict(zip(unit.augs, line.cook.tolist(), strict=True))
    flagged = tuple(unit.augs[i] for i in line.flagged)
    return Regression(line.slope, line.intercept, line.slope_se, line.intercept_se, line.r_squared, cook, flagged)


def _york(unit: Unit, confidence: float) -> YorkLine | None:
    """None where an axis has no errors, or an error of zero, which would be an infinite weight."""
    if not unit.errors_known or (unit.score_se <= 0).any() or (unit.loss_se <= 0).any():
        return None
    return york(unit.score, unit.loss, unit.score_se, unit.loss_se, confidence=confidence)


def _regret(unit: Unit) -> tuple[Regret, ...]:
    if unit.direction == "open":  # nothing says which score would be taken
        return tuple(Regret(k, math.nan, math.nan, math.nan, math.nan) for k in range(1, unit.n + 1))
    loss_se = unit.loss_se if np.isfinite(unit.loss_se).all() else None
    accuracy = unit.top1 if np.isfinite(unit.top1).all() else None
    sizes = range(1, unit.n + 1)
    return tuple(regret(unit.choice_score, unit.loss, k, loss_se=loss_se, accuracy=accuracy) for k in sizes)


def _noise(unit: Unit, *, confidence: float, resamples: int, seed: int) -> Noise:
    score, loss = (
        reliability(values, se) if np.isfinite(se).all() else None
        for values, se in ((unit.score, unit.score_se), (unit.loss, unit.loss_se))
    )
    if not unit.errors_known:
        return Noise(score, loss, None, None, None)
    points = unit.score, unit.loss, unit.score_se, unit.loss_se
    return Noise(
        score,
        loss,
        disattenuated(*points, confidence=confidence, seed=seed),
        expected_tau(*points, confidence=confidence, seed=seed),
        tied_tau(*points, confidence=confidence, resamples=resamples, seed=seed),
    )
