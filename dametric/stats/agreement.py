"""Whether units say the same, and whether there are enough of them to say more than a list does."""

from __future__ import annotations

import math
from typing import Any

from dametric.stats.result import counted

MOST_EXACT = 9  # units whose permutations are all tried


def least_p(units: int, alternative: str, resamples: int) -> float:
    """The smallest p-value that permuting this many units can give."""
    least = 1 / math.factorial(units) if units <= MOST_EXACT else 1 / (1 + resamples)
    return min(1.0, 2 * least) if alternative == "two-sided" else least


def units_needed(alternative: str, alpha: float) -> int:
    """The fewest units that can reject at this level."""
    return next((units for units in range(2, MOST_EXACT) if least_p(units, alternative, 1) <= alpha), MOST_EXACT)


def beyond_a_list(name: str, pooling: dict[str, Any], alpha: float) -> str:
    """Whether the metric knows more than one list of augmentations for all units, in words."""
    found, order = pooling["incremental"], pooling["baselines"]["fixed_order"]
    listed = f"; one list of augmentations for all units reaches a mean tau-b of {order['statistic']:.2f}"
    listed = "" if math.isnan(order["statistic"]) else listed
    needed, least = units_needed(found["alternative"], alpha), pooling["incremental_floor"]
    if math.isnan(found["pvalue"]):
        more = f"; at least {needed} units are needed" if found["n"] < needed else ""
        return f"{name} beyond a fixed list: no answer, because {found['note']}{more}{listed}."
    side = "two-sided" if found["alternative"] == "two-sided" else "one-sided"
    numbers = f"r = {found['statistic']:.2f}, p = {found['pvalue']:.2g} {side}, {least:.2g} being the least possible"
    if least > alpha:
        few = f"{counted(found['n'], 'unit')} cannot tell, and at least {needed} are needed"
        return f"{name} beyond a fixed list: no answer, because {few} ({numbers}{listed})."
    if found["pvalue"] <= alpha and found["statistic"] > 0:
        return f"{name} knows more of a unit than a fixed list does ({numbers}{listed})."
    return f"{name} is not shown to know more than a fixed list does ({numbers}{listed})."


def disagreement(units: dict[str, dict[str, Any]], pooling: dict[str, Any]) -> str:
    """Units that point another way than their mean, or differ by more than chance; empty where they do neither.

    Parameters
    ----------
    units : dict
        Unit to what :func:`dametric.stats.unit.describe_unit` says of it under the metric.
    pooling : dict
        From :func:`dametric.stats.units.describe_units`.
    """
    found = {name: unit["coefficients"]["test_loss"]["kendall"]["statistic"] for name, unit in units.items()}
    taus = {name: tau for name, tau in found.items() if not math.isnan(tau)}
    if len(taus) < 2:
        return ""
    low, high = min(taus, key=lambda name: taus[name]), max(taus, key=lambda name: taus[name])
    spread = f"tau-b goes from {taus[low]:.2f} ({low}) to {taus[high]:.2f} ({high})"
    other = sum(tau * sum(taus.values()) < 0 for tau in taus.values())
    if other or taus[low] < 0 < taus[high]:
        other = other or sum(tau < 0 for tau in taus.values())
        points = "points" if other == 1 else "point"
        return f"Take care: units disagree, {spread}; {other} of {len(taus)} {points} another way than the rest."
    effects = pooling["random_effects"]["pearson"]
    if effects["q_pvalue"] <= 0.05:
        share = f"I² {100 * effects['i2']:.0f} %, p = {effects['q_pvalue']:.2g}"
        return f"Take care: units differ by more than chance in Pearson's r ({share}); {spread}."
    return ""
