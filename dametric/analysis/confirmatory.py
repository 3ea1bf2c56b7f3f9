"""The tests that were fixed in advance: of every metric with the test loss, over all units."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from dametric.analysis.joined import aligned, as_measured, by_unit, direction_of, expected_sign
from dametric.analysis.unit import coefficient_of
from dametric.analysis.units import tested
from dametric.stats.family_permutation import Families, by_families
from dametric.stats.multiplicity import holm
from dametric.stats.result import Result
from dametric.stats.table import wide


@dataclass(frozen=True)
class FamilyTest:
    """A test that permutes whole families of augmentations.

    Attributes
    ----------
    sizes : dict of str to int
        Family to the settings that all units have.
    pairings : int
        How many keep families whole.
    floor : float
        The smallest p-value that could come out.
    result : Result
    p_holm : float
        Adjusted over the confirmatory metrics.
    """

    sizes: dict[str, int]
    pairings: int
    floor: float
    result: Result
    p_holm: float = math.nan


@dataclass(frozen=True)
class Confirmatory:
    """Kendall's tau-b of a metric with the test loss, with p-values of two kinds; the verdict is by whole families.

    Attributes
    ----------
    metric, direction : str
    expected : int
        Sign that it should have; 0 where no direction is stated.
    result : Result
        Settings taken as independent of their family.
    n_units : int
        Units that have a coefficient.
    units : dict of str to Result
    families : FamilyTest
    p_holm : float
        Of ``result``, adjusted over the confirmatory metrics.
    """

    metric: str
    direction: str
    expected: int
    result: Result
    n_units: int
    units: dict[str, Result]
    families: FamilyTest
    p_holm: float = math.nan


def confirm(rows: Mapping[str, pd.DataFrame], alpha: float, **options: Any) -> tuple[Confirmatory, ...]:
    """Kendall's tau-b of each metric with the test loss, with p-values of two kinds.

    Parameters
    ----------
    rows : mapping of str to pandas.DataFrame
        Metric to its rows, from :func:`dametric.analysis.joined.prepare`.
    alpha : float
        No p-value of families where the smallest possible one is above that.
    **options
        ``confidence``, ``resamples`` and ``seed``.

    Returns
    -------
    tuple of Confirmatory
    """
    entries = [_entry(name, part, alpha, **options) for name, part in rows.items()]
    settings = holm([entry.result.pvalue for entry in entries])
    families = holm([entry.families.result.pvalue for entry in entries])
    return tuple(
        replace(entry, p_holm=float(p), families=replace(entry.families, p_holm=float(whole)))
        for entry, p, whole in zip(entries, settings, families, strict=True)
    )


def _entry(
    name: str, part: pd.DataFrame, alpha: float, *, confidence: float, resamples: int, seed: int
) -> Confirmatory:
    options: dict[str, Any] = {"confidence": confidence, "resamples": resamples, "seed": seed}
    stated = direction_of(part)
    alternative = "two-sided" if stated == "open" else "greater"
    units = {
        unit: coefficient_of(own, "test_loss", "kendall", alternative, **options) for unit, own in by_unit(part).items()
    }
    result = tested(part, "test_loss", "kendall", alternative, **options)
    return Confirmatory(
        metric=name,
        direction=stated,
        expected=0 if stated == "open" else expected_sign(stated, "test_loss"),
        result=result,
        n_units=sum(not math.isnan(unit.statistic) for unit in units.values()),
        units=units,
        families=_families(part, result, alternative, alpha, resamples, seed),
    )


def _families(
    part: pd.DataFrame, result: Result, alternative: str, alpha: float, resamples: int, seed: int
) -> FamilyTest:
    """The same where families are permuted as wholes; what is known already where each has one setting."""
    turned = aligned(part, "test_loss")
    families = Families.of(wide(turned).varying().augs)
    sizes = {name: len(places) for name, places in zip(families.names, families.places, strict=True)}
    if families.single:
        drawn = "random" in result.method
        floor = (2 if alternative == "two-sided" else 1) * (1 / (1 + resamples) if drawn else 1 / families.count)
        return FamilyTest(sizes, families.count, floor, result)
    permuted, floor = by_families(turned, "kendall", alternative, most=alpha, resamples=resamples, seed=seed)
    return FamilyTest(
        sizes, families.count, floor, as_measured(permuted, expected_sign(direction_of(part), "test_loss"))
    )
