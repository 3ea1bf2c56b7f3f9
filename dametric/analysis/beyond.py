"""What a metric says beyond simpler ones, and beyond the pool it was tried on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from dametric.analysis.joined import aligned, by_unit
from dametric.analysis.units import untested
from dametric.records.tables import records_of
from dametric.stats.baselines import fixed_order, published_list
from dametric.stats.correlation import correlate
from dametric.stats.partial import partial
from dametric.stats.pooling import pooled
from dametric.stats.result import Result
from dametric.stats.subpools import subpools

CONTROLS = {
    "t_entropy": "entropy of the teacher",
    "t_gini": "Gini impurity of the teacher",
    "t_conf": "strength of the augmentation (the teacher's confidence under it)",
}
LIST = "fixed list (mean rank of the loss in the other units)"


@dataclass(frozen=True)
class Partial:
    """Kendall's partial tau of a metric and the test loss, given a simpler measure.

    Attributes
    ----------
    given, what : str
        Name of that measure, and what it is.
    result : Result
        Over all units, turned so that a good metric is positive.
    units : dict of str to float
        Partial tau of each unit; NaN where there is none.
    """

    given: str
    what: str
    result: Result
    units: dict[str, float]


@dataclass(frozen=True)
class PublishedList:
    """The list of the published study and the metric on the same augmentations: one-sided, turned so that good is
    positive; ``augs`` counts them."""

    list: Result
    metric: Result
    augs: int


@dataclass(frozen=True)
class Subpools:
    """Mean tau-b over sub-pools of one size: see :func:`dametric.stats.subpools`, whose columns these are."""

    of: str
    size: int
    pools: int
    all: bool
    least: float
    low: float
    q1: float
    median: float
    q3: float
    high: float
    most: float
    positive: float


def describe_partial(rows: Mapping[str, pd.DataFrame], name: str, *, resamples: int, seed: int) -> tuple[Partial, ...]:
    """Kendall's partial tau of a metric and the test loss, given each simple measure that was scored too.

    Parameters
    ----------
    rows : mapping of str to pandas.DataFrame
        Metric to its rows, from :func:`dametric.analysis.joined.prepare`.
    name : str
        The metric.
    resamples, seed : int

    Returns
    -------
    tuple of Partial
        For several units the last one is given the fixed list of the other units, without p-value: every loss is on
        both sides.
    """
    own = aligned(rows[name], "test_loss")
    entries = []
    for given, what in CONTROLS.items():
        if given in rows and given != name:
            third = rows[given][["unit", "aug", "score"]].rename(columns={"score": given})
            both = own.merge(third, on=["unit", "aug"])
            if not both.empty:
                entries.append(_partial(both, given, given, what, resamples, seed))
    if own.unit.nunique() > 1:
        lists = fixed_order(own).rename(columns={"x": "list"})
        both = own.merge(lists[["unit", "aug", "list"]], on=["unit", "aug"])
        if not both.empty:
            entry = _partial(both, "list", "fixed list", LIST, 1, seed)
            plain = untested(entry.result, "every loss is on both sides, so there is no p-value")
            entries.append(replace(entry, result=plain))
    return tuple(entries)


def _partial(both: pd.DataFrame, column: str, given: str, what: str, resamples: int, seed: int) -> Partial:
    result = partial(both, given=column, resamples=resamples, seed=seed)
    units = {
        unit: partial(part, given=column, resamples=1, seed=seed).statistic for unit, part in by_unit(both).items()
    }
    return Partial(given, what, result, units)


def describe_subpools(rows: pd.DataFrame, *, seed: int) -> tuple[Subpools, ...]:
    """Mean tau-b over sub-pools of augmentations and of units, turned so that a good metric is positive.

    Parameters
    ----------
    rows : pandas.DataFrame
        Of one metric, from :func:`dametric.analysis.joined.prepare`.
    seed : int

    Returns
    -------
    tuple of Subpools
        Empty where there are fewer than three common augmentations.
    """
    return tuple(records_of(Subpools, subpools(aligned(rows, "test_loss"), seed=seed)))


def describe_published_list(rows: pd.DataFrame, *, resamples: int, seed: int) -> PublishedList | None:
    """Kendall's tau-b of the published list, which was fixed before this study, and of the metric on the same rows.

    Parameters
    ----------
    rows : pandas.DataFrame
        Of one metric, from :func:`dametric.analysis.joined.prepare`.
    resamples, seed : int

    Returns
    -------
    PublishedList or None
        None where there is no such list: see :func:`dametric.stats.published_list`.
    """
    turned = aligned(rows, "test_loss")
    listed = published_list(turned)
    if listed.empty:
        return None
    both = listed.rename(columns={"x": "list"}).merge(turned[["unit", "aug", "x"]], on=["unit", "aug"])
    draws: dict[str, Any] = {"resamples": resamples, "seed": seed}

    def tested(x: str) -> Result:
        if both.unit.nunique() > 1:
            return pooled(both, alternative="greater", x=x, **draws)
        return correlate(both[x], both.y, alternative="greater", **draws)

    return PublishedList(tested("list"), tested("x"), int(both.aug.nunique()))
