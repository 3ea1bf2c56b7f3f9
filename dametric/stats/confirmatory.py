"""The tests that were fixed in advance: of every metric with the test loss, over all units."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from dametric.stats.family_permutation import Families, by_families
from dametric.stats.joined import aligned, as_measured, expected_sign
from dametric.stats.multiplicity import holm
from dametric.stats.result import Result
from dametric.stats.table import wide
from dametric.stats.unit import coefficients
from dametric.stats.units import pooled_result


def tested(part: pd.DataFrame, endpoint: str, method: str, alternative: str, **options: Any) -> Result:
    """Pooled where there are several units, of the one unit where there is one."""
    if part["unit"].nunique() > 1:
        draws = {name: options[name] for name in ("resamples", "seed")}
        return pooled_result(part, endpoint, method, alternative, **draws)
    return coefficients(part, endpoint, alternative, (method,), **options)[method]


def confirm(rows: dict[str, pd.DataFrame], alpha: float, **options: Any) -> list[dict[str, Any]]:
    """Kendall's tau-b of each metric with the test loss, with p-values of two kinds.

    Parameters
    ----------
    rows : dict of str to pandas.DataFrame
        Metric to its rows, from :func:`dametric.stats.joined.prepare`.
    alpha : float
        No p-value of families where the smallest possible one is above that.
    **options
        ``confidence``, ``resamples`` and ``seed``.

    Returns
    -------
    list of dict
        ``metric, direction, expected, result`` (settings taken as independent of each other), ``p_holm, n_units,
        units``, and ``families``: ``sizes`` (family to settings that all units have), ``pairings`` (how many keep
        families whole), ``floor`` (the smallest p-value that could come out), ``result`` (whole families permuted: see
        :func:`by_families`), ``p_holm``. The verdict is by the latter.
    """
    entries: list[dict[str, Any]] = []
    for name, part in rows.items():
        stated = str(part["direction"].iloc[0])
        alternative = "two-sided" if stated == "open" else "greater"
        each = {
            str(unit): coefficients(own, "test_loss", alternative, ("kendall",), **options)["kendall"].to_dict()
            for unit, own in part.groupby("unit", sort=False)
        }
        result = tested(part, "test_loss", "kendall", alternative, **options)
        entries.append(
            {
                "metric": name,
                "direction": stated,
                "expected": 0 if stated == "open" else expected_sign(stated, "test_loss"),
                "result": result.to_dict(),
                "n_units": sum(not math.isnan(unit["statistic"]) for unit in each.values()),
                "units": each,
                "families": _families(part, result, alternative, alpha, options["resamples"], options["seed"]),
            }
        )
    settings, families = (
        holm([found["result"]["pvalue"] for found in part]) for part in (entries, [e["families"] for e in entries])
    )
    return [
        {**entry, "p_holm": float(p), "families": {**entry["families"], "p_holm": float(whole)}}
        for entry, p, whole in zip(entries, settings, families, strict=True)
    ]


def _families(
    part: pd.DataFrame, result: Result, alternative: str, alpha: float, resamples: int, seed: int
) -> dict[str, Any]:
    """The same where families are permuted as wholes; what is known already where each has one setting."""
    turned = aligned(part, "test_loss")
    families = Families.of(wide(turned).varying().augs)
    sizes = {name: len(places) for name, places in zip(families.names, families.places, strict=True)}
    if families.single:
        drawn = "random" in result.method
        floor = (2 if alternative == "two-sided" else 1) * (1 / (1 + resamples) if drawn else 1 / families.count)
        found = result
    else:
        found, floor = by_families(turned, "kendall", alternative, most=alpha, resamples=resamples, seed=seed)
        found = as_measured(found, expected_sign(str(part["direction"].iloc[0]), "test_loss"))
    return {"sizes": sizes, "pairings": families.count, "floor": floor, "result": found.to_dict()}
