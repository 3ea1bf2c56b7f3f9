"""Everything about one metric over several units, and about two metrics over them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from dametric.analysis.joined import aligned, as_measured, by_unit, direction_of, expected_sign, points_of
from dametric.analysis.unit import Coefficients, coefficient_of
from dametric.errors import UsageError
from dametric.stats.baselines import fixed_order, other_unit
from dametric.stats.coefficients import METHODS, coefficient
from dametric.stats.comparison import bootstrap_difference, swap_test, williams
from dametric.stats.families import family
from dametric.stats.meta import MixedModel, RandomEffects, mixed_model, random_effects
from dametric.stats.pooling import incremental, kendalls_w, least_p, naive, pooled
from dametric.stats.result import Result
from dametric.stats.table import wide


@dataclass(frozen=True)
class FisherMean:
    """Joint permutation of the mean of Fisher's z."""

    pearson: Result


@dataclass(frozen=True)
class MeanEffects:
    """Random-effects means over units."""

    pearson: RandomEffects
    spearman: RandomEffects


@dataclass(frozen=True)
class Concordance:
    """Kendall's W: how far the units agree in the order of scores, and of losses."""

    scores: Result
    losses: Result


@dataclass(frozen=True)
class Baselines:
    """One list of augmentations for all units, the metric's lead over it, and the scores of other teachers."""

    fixed_order: Result
    lead_over_fixed_order: Result
    other_unit: Result


@dataclass(frozen=True)
class Pooled:
    """What the units say together of a metric and the test loss.

    All but ``concordance`` is turned so that a good metric correlates positively.

    Attributes
    ----------
    coefficients : Coefficients
        Means over units, tested by joint permutation, two-sided.
    fisher : FisherMean
    random_effects : MeanEffects
    mixed_model : MixedModel
    concordance : Concordance
    incremental : Result
        See :func:`dametric.stats.incremental`; one-sided where a direction is stated.
    incremental_floor : float
        The smallest p-value that it can have.
    leave_family_out : dict of str to float
        Mean tau-b without each family.
    baselines : Baselines
    naive : Result
        All points as if they were independent: a warning.
    """

    coefficients: Coefficients
    fisher: FisherMean
    random_effects: MeanEffects
    mixed_model: MixedModel
    concordance: Concordance
    incremental: Result
    incremental_floor: float
    leave_family_out: dict[str, float]
    baselines: Baselines
    naive: Result


@dataclass(frozen=True)
class Comparison:
    """Two metrics against the test loss, on the units and augmentations that both have.

    Attributes
    ----------
    first, second : str
        Metrics; "greater" means that the first is better.
    swap : Result
        Rank-swap test.
    bootstrap : Result
        Interval of the difference of mean tau.
    williams : dict of str to Result
        Of each unit.
    p_holm : float
        Of the rank-swap test, over all comparisons.
    """

    first: str
    second: str
    swap: Result
    bootstrap: Result
    williams: dict[str, Result]
    p_holm: float = float("nan")


def tested(rows: pd.DataFrame, endpoint: str, method: str, alternative: str, **options: Any) -> Result:
    """A metric's coefficient with an endpoint: by joint permutation over units, or of the one unit where there is one.

    Parameters
    ----------
    rows : pandas.DataFrame
        Of one metric, from :func:`dametric.analysis.joined.prepare`.
    endpoint, method : str
    alternative : {"two-sided", "greater"}
        "greater": one-sided in the stated direction, whatever sign that is.
    **options
        ``confidence``, ``resamples`` and ``seed``.

    Returns
    -------
    Result
        With the sign that the measured values have.
    """
    if len(by_unit(rows)) == 1:
        return coefficient_of(rows, endpoint, method, alternative, **options)
    sign = expected_sign(direction_of(rows), endpoint)
    draws = {name: options[name] for name in ("resamples", "seed")}
    return as_measured(pooled(aligned(rows, endpoint), method, alternative, **draws), sign)


def describe_units(rows: pd.DataFrame, *, confidence: float, resamples: int, seed: int) -> Pooled:
    """What the units say together of a metric and the test loss.

    Parameters
    ----------
    rows : pandas.DataFrame
        Of one metric and at least two units, from :func:`dametric.analysis.joined.prepare`.
    confidence : float
    resamples, seed : int

    Returns
    -------
    Pooled
    """
    turned = aligned(rows, "test_loss")
    draws: dict[str, Any] = {"resamples": resamples, "seed": seed}
    table = wide(turned).varying()
    alternative = "two-sided" if direction_of(rows) == "open" else "greater"
    beyond = incremental(turned, alternative, **draws)
    return Pooled(
        coefficients=Coefficients(*(pooled(turned, method, **draws) for method in METHODS)),
        fisher=FisherMean(pooled(turned, "pearson", statistic="fisher", **draws)),
        random_effects=MeanEffects(
            *(random_effects(turned, method, confidence=confidence) for method in ("pearson", "spearman"))
        ),
        mixed_model=mixed_model(turned),
        concordance=Concordance(*(kendalls_w(values, **draws) for values in (table.x, table.y))),
        incremental=beyond,
        incremental_floor=least_p(beyond.n, alternative, resamples),
        leave_family_out=_without_families(turned),
        baselines=_baselines(turned, confidence, resamples, seed),
        naive=naive(turned),
    )


def _without_families(turned: pd.DataFrame) -> dict[str, float]:
    """Mean tau over units without each family of augmentations."""
    families = turned.aug.map(family)
    values = {}
    for name in dict.fromkeys(families):
        table = wide(turned[families != name]).varying()
        values[name] = float(np.mean(coefficient("kendall", table.x, table.y))) if not table.why_not() else np.nan
    return values


def _baselines(turned: pd.DataFrame, confidence: float, resamples: int, seed: int) -> Baselines:
    lists, others = fixed_order(turned), other_unit(turned)
    order = pooled(lists, resamples=resamples, seed=seed)
    note = "every loss is on both sides, so there is no p-value: see the concordance of losses"
    beside = lists.rename(columns={"x": "list"}).merge(turned[["unit", "aug", "x"]], on=["unit", "aug"])
    return Baselines(
        fixed_order=untested(order, note),
        lead_over_fixed_order=bootstrap_difference(beside, "x", "list", confidence=confidence, seed=seed),
        other_unit=pooled(others, resamples=resamples, seed=seed),
    )


def untested(result: Result, note: str) -> Result:
    """A result without its p-value, and why."""
    return Result(result.statistic, n=result.n, method=result.method.split(";")[0], note=result.note).noted(note)


def compare(first: pd.DataFrame, second: pd.DataFrame, *, confidence: float, resamples: int, seed: int) -> Comparison:
    """Two metrics against the test loss, on the units and augmentations that both have.

    Parameters
    ----------
    first, second : pandas.DataFrame
        Rows of each metric, from :func:`dametric.analysis.joined.prepare`.
    confidence : float
    resamples, seed : int

    Returns
    -------
    Comparison
        Not adjusted.

    Raises
    ------
    UsageError
        If they have no unit and augmentation in common.
    """
    names = [points_of(rows)[0].metric for rows in (first, second)]
    one, two = (aligned(rows, "test_loss") for rows in (first, second))
    both = one.rename(columns={"x": "x1"}).merge(two[["unit", "aug", "x"]].rename(columns={"x": "x2"}))
    if both.empty:
        raise UsageError(f"no unit and augmentation has both {names[0]} and {names[1]}")
    tests = {}
    for unit, part in by_unit(both).items():
        x1, x2, y = (part[name].to_numpy(np.float64) for name in ("x1", "x2", "y"))
        r = [float(coefficient("pearson", a, b)[0]) for a, b in ((y, x1), (y, x2), (x1, x2))]
        if np.isfinite(r).all():
            tests[unit] = williams(r[0], r[1], r[2], len(part))
    swap = swap_test(both, "x1", "x2", resamples=resamples, seed=seed)
    interval = bootstrap_difference(both, "x1", "x2", confidence=confidence, seed=seed)
    return Comparison(names[0], names[1], swap, interval, tests)
