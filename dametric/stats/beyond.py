"""What a metric says beyond simpler ones, and beyond the pool it was tried on, as plain values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from dametric.stats.baselines import fixed_order, published_list
from dametric.stats.correlation import correlate
from dametric.stats.joined import aligned
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


def describe_partial(rows: Mapping[str, pd.DataFrame], name: str, *, resamples: int, seed: int) -> list[dict[str, Any]]:
    """Kendall's partial tau of a metric and the test loss, given each simple measure that was scored too.

    Parameters
    ----------
    rows : mapping of str to pandas.DataFrame
        Metric to its rows, from :func:`dametric.stats.joined.prepare`.
    name : str
        The metric.
    resamples, seed : int

    Returns
    -------
    list of dict
        ``given`` (name), ``what`` (in words), ``result`` (over all units, turned so that a good metric is positive),
        ``units`` (unit to partial tau, NaN where there is none). For several units the last one is given the fixed
        list of the other units, without p-value: every loss is on both sides.
    """
    mine = aligned(rows[name], "test_loss")
    entries = []
    for given, what in CONTROLS.items():
        if given in rows and given != name:
            third = rows[given][["unit", "aug", "score"]].rename(columns={"score": given})
            both = mine.merge(third, on=["unit", "aug"])
            if not both.empty:
                entries.append({"given": given, "what": what, **_partial(both, given, resamples, seed)})
    if mine["unit"].nunique() > 1:
        lists = fixed_order(mine).rename(columns={"x": "list"})
        both = mine.merge(lists[["unit", "aug", "list"]], on=["unit", "aug"])
        found = _partial(both, "list", 1, seed) if not both.empty else None
        if found:
            result = found["result"]
            label = str(result["method"]).split(";")[0]
            note = "every loss is on both sides, so there is no p-value"
            plain = Result(result["statistic"], n=result["n"], method=label, note=result["note"]).noted(note)
            entries.append({"given": "fixed list", "what": LIST, **found, "result": plain.to_dict()})
    return entries


def _partial(both: pd.DataFrame, given: str, resamples: int, seed: int) -> dict[str, Any]:
    result = partial(both, given=given, resamples=resamples, seed=seed)
    each = {
        str(unit): partial(part, given=given, resamples=1, seed=seed).statistic
        for unit, part in both.groupby("unit", sort=False)
    }
    return {"result": result.to_dict(), "units": each}


def describe_subpools(rows: pd.DataFrame, *, seed: int) -> list[dict[str, Any]]:
    """Mean tau-b over sub-pools of augmentations and of units: the rows of :func:`subpools` as plain values.

    Parameters
    ----------
    rows : pandas.DataFrame
        Of one metric, from :func:`dametric.stats.joined.prepare`.
    seed : int

    Returns
    -------
    list of dict
        Turned so that a good metric is positive.
    """
    found = subpools(aligned(rows, "test_loss"), seed=seed)
    return [{str(name): value for name, value in row.items()} for row in found.to_dict("records")]


def describe_published_list(rows: pd.DataFrame, *, resamples: int, seed: int) -> dict[str, Any] | None:
    """Kendall's tau-b of the published list, which was fixed before this study, and of the metric on the same rows.

    Parameters
    ----------
    rows : pandas.DataFrame
        Of one metric, from :func:`dametric.stats.joined.prepare`.
    resamples, seed : int

    Returns
    -------
    dict or None
        ``list`` and ``metric`` (results, one-sided, turned so that good is positive), ``augs`` (how many are on the
        list). None where there is no such list: see :func:`dametric.stats.baselines.published_list`.
    """
    turned = aligned(rows, "test_loss")
    listed = published_list(turned)
    if listed.empty:
        return None
    both = listed.rename(columns={"x": "list"}).merge(turned[["unit", "aug", "x"]], on=["unit", "aug"])
    draws: dict[str, Any] = {"resamples": resamples, "seed": seed}

    def tested(x: str) -> dict[str, Any]:
        if both["unit"].nunique() > 1:
            return pooled(both, alternative="greater", x=x, **draws).to_dict()
        return correlate(both[x], both["y"], alternative="greater", **draws).to_dict()

    return {"list": tested("list"), "metric": tested("x"), "augs": int(both["aug"].nunique())}
