"""Everything about one metric over several units, and about two metrics over them, as plain values."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd

from dametric.errors import UsageError
from dametric.stats.agreement import least_p
from dametric.stats.baselines import fixed_order, other_unit
from dametric.stats.coefficients import METHODS, coefficient
from dametric.stats.comparison import bootstrap_difference, swap_test, williams
from dametric.stats.families import family
from dametric.stats.joined import aligned, as_measured, expected_sign
from dametric.stats.meta import mixed_model, random_effects
from dametric.stats.pooling import incremental, kendalls_w, naive, pooled
from dametric.stats.result import Result
from dametric.stats.table import wide


def pooled_result(rows: pd.DataFrame, endpoint: str, method: str, alternative: str, **options: Any) -> Result:
    """Joint permutation over units, with the sign that the measured values have.

    Parameters
    ----------
    rows : pandas.DataFrame
        Of one metric, from :func:`dametric.stats.joined.prepare`.
    endpoint, method : str
    alternative : {"two-sided", "greater"}
        "greater": one-sided in the stated direction, whatever sign that is.
    **options
        ``resamples`` and ``seed``.

    Returns
    -------
    Result
    """
    sign = expected_sign(str(rows["direction"].iloc[0]), endpoint)
    turned = aligned(rows, endpoint)
    return as_measured(pooled(turned, method, alternative, **options), sign)


def describe_units(rows: pd.DataFrame, *, confidence: float, resamples: int, seed: int) -> dict[str, Any]:
    """What the units say together of a metric and the test loss.

    All but ``concordance`` is turned so that a good metric correlates positively.

    Parameters
    ----------
    rows : pandas.DataFrame
        Of one metric and at least two units.
    confidence : float
    resamples, seed : int

    Returns
    -------
    dict
        ``coefficients`` (joint permutation, two-sided), ``fisher`` (the same of Fisher's z of Pearson's r),
        ``random_effects``, ``mixed_model``, ``concordance`` (Kendall's W of scores and of losses), ``incremental``
        (one-sided where a direction is stated), ``incremental_floor`` (the smallest p-value it can have),
        ``leave_family_out`` (family to mean tau without it), ``baselines`` (``fixed_order``,
        ``lead_over_fixed_order`` with its interval, ``other_unit``), ``naive``.
    """
    turned = aligned(rows, "test_loss")
    draws: dict[str, Any] = {"resamples": resamples, "seed": seed}
    both = {
        name: {method: pooled(turned, method, statistic=name, **draws).to_dict() for method in methods}
        for name, methods in (("coefficient", METHODS), ("fisher", ("pearson",)))
    }
    effects = {}
    for method in ("pearson", "spearman"):
        found = random_effects(turned, method, confidence=confidence)
        effects[method] = {**asdict(found), "mean": found.mean.to_dict()}
    table = wide(turned).varying()
    concordance = {
        name: kendalls_w(values, **draws).to_dict() for name, values in (("scores", table.x), ("losses", table.y))
    }
    alternative = "two-sided" if str(rows["direction"].iloc[0]) == "open" else "greater"
    beyond = incremental(turned, alternative, **draws)
    return {
        "coefficients": both["coefficient"],
        "fisher": both["fisher"],
        "random_effects": effects,
        "mixed_model": asdict(mixed_model(turned)),
        "concordance": concordance,
        "incremental": beyond.to_dict(),
        "incremental_floor": least_p(beyond.n, alternative, resamples),
        "leave_family_out": _without_families(turned),
        "baselines": _baselines(turned, confidence, resamples, seed),
        "naive": naive(turned).to_dict(),
    }


def _without_families(turned: pd.DataFrame) -> dict[str, float]:
    """Mean tau over units without each family of augmentations."""
    of = turned["aug"].map(family)
    values = {}
    for name in dict.fromkeys(of):
        table = wide(turned[of != name]).varying()
        values[name] = float(np.mean(coefficient("kendall", table.x, table.y))) if not table.why_not() else np.nan
    return values


def _baselines(turned: pd.DataFrame, confidence: float, resamples: int, seed: int) -> dict[str, Any]:
    options: dict[str, Any] = {"resamples": resamples, "seed": seed}
    lists, others = fixed_order(turned), other_unit(turned)
    order = pooled(lists, **options)
    note = "every loss is on both sides, so there is no p-value: see the concordance of losses"
    order = Result(order.statistic, n=order.n, method=order.method.split(";")[0], note=order.note).noted(note)
    beside = lists.rename(columns={"x": "list"}).merge(turned[["unit", "aug", "x"]], on=["unit", "aug"])
    lead = bootstrap_difference(beside, "x", "list", confidence=confidence, seed=seed)
    return {
        "fixed_order": order.to_dict(),
        "lead_over_fixed_order": lead.to_dict(),
        "other_unit": pooled(others, **options).to_dict(),
    }


def compare(
    first: pd.DataFrame, second: pd.DataFrame, *, confidence: float, resamples: int, seed: int
) -> dict[str, Any]:
    """Two metrics against the test loss, on the units and augmentations that both have.

    Parameters
    ----------
    first, second : pandas.DataFrame
        Rows of each metric, from :func:`dametric.stats.joined.prepare`.
    confidence : float
    resamples, seed : int

    Returns
    -------
    dict
        ``first, second`` (names), ``swap`` (rank-swap test), ``bootstrap`` (interval of the difference of mean
        tau), ``williams`` (unit to result). "greater" means that the first is better.
    """
    names = [str(rows["metric"].iloc[0]) for rows in (first, second)]
    one, two = (aligned(rows, "test_loss") for rows in (first, second))
    both = one.rename(columns={"x": "x1"}).merge(two[["unit", "aug", "x"]].rename(columns={"x": "x2"}))
    if both.empty:
        raise UsageError(f"no unit and augmentation has both {names[0]} and {names[1]}")
    tests = {}
    for unit, part in both.groupby("unit", sort=False):
        x1, x2, y = (part[name].to_numpy(np.float64) for name in ("x1", "x2", "y"))
        r = [float(coefficient("pearson", a, b)[0]) for a, b in ((y, x1), (y, x2), (x1, x2))]
        if np.isfinite(r).all():
            tests[str(unit)] = williams(r[0], r[1], r[2], len(part)).to_dict()
    swap = swap_test(both, "x1", "x2", resamples=resamples, seed=seed)
    interval = bootstrap_difference(both, "x1", "x2", confidence=confidence, seed=seed)
    return {
        "first": names[0],
        "second": names[1],
        "swap": swap.to_dict(),
        "bootstrap": interval.to_dict(),
        "williams": tests,
    }
