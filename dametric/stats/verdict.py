"""The answer in words, and when there is none."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from dametric.stats.outcome import TEST_LOSS, Outcome
from dametric.stats.result import counted

LEAST_AUGS = 6
LEAST_FAMILIES = 3
LEAST_RELIABILITY = 0.5
NOTEWORTHY = 0.1  # a smaller change of tau is not worth a sentence
NO_DIRECTION = "{name}: no direction is stated for it, so no augmentation has the best score, and none is recommended."
_PLAIN = {"x is constant": "all scores are the same", "y is constant": "all {outcome.plural} are the same"}


def obstacles(units: dict[str, dict[str, Any]]) -> tuple[list[str], set[str]]:
    """Why units cannot answer the question, or not well.

    Parameters
    ----------
    units : dict
        Unit to what :func:`dametric.stats.unit.describe_unit` says of it under the primary metric.

    Returns
    -------
    tuple of list of str, set of str
        Sentences, and the units that cannot answer at all: fewer than 6 augmentations, fewer than 3 families,
        noise of the mean loss (or of the score) above the variance between augmentations. Fewer than two seeds, or
        an unknown number, get a sentence only.
    """
    checks: list[tuple[str, bool, Callable[[dict[str, Any]], bool]]] = [
        (
            f"fewer than {LEAST_AUGS} augmentations were scored and distilled, too few to order",
            True,
            lambda unit: unit["n"] < LEAST_AUGS,
        ),
        (
            f"fewer than {LEAST_FAMILIES} families of augmentations, so the order rests on variants of one idea",
            True,
            lambda unit: unit["n_families"] < LEAST_FAMILIES,
        ),
        (
            "the seed noise of the losses is larger than the spread between augmentations: more seeds are needed",
            True,
            lambda unit: _unreliable(unit, "reliability_loss"),
        ),
        (
            "the noise of the scores is larger than their spread: score more batches",
            True,
            lambda unit: _unreliable(unit, "reliability_score"),
        ),
        (
            "fewer than 2 seeds for some augmentation, so the seed noise is not known",
            False,
            lambda unit: unit["seeds"]["least"] < 2,
        ),
        (
            "the number of seeds is not known, so neither is the seed noise",
            False,
            lambda unit: math.isnan(unit["seeds"]["least"]),
        ),
    ]
    sentences, blocked = [], set()
    for text, blocking, failed in checks:
        names = [name for name, unit in units.items() if failed(unit)]
        if names:
            where = f" ({_some(names, len(units))})" if len(units) > 1 else ""
            sentences.append(f"{'Cannot answer' if blocking else 'Take care'}{where}: {text}.")
            blocked |= set(names) if blocking else set()
    return sentences, blocked


def common(units: dict[str, dict[str, Any]]) -> list[str]:
    """Why several units cannot answer together: what all of them have is all that can be pooled."""
    shared = set.intersection(*(set(unit["augs"]) for unit in units.values()))
    families = {
        name
        for unit in units.values()
        for aug, name in zip(unit["augs"], unit["families"], strict=True)
        if aug in shared
    }
    alone = min((unit["n"], unit["n_families"]) for unit in units.values())
    if len(units) < 2 or (len(shared), len(families)) == alone:
        return []
    if len(shared) >= LEAST_AUGS and len(families) >= LEAST_FAMILIES:
        return []
    return [
        f"Cannot answer for all {len(units)} units together: they have only {counted(len(shared), 'augmentation')} of "
        f"{len(families)} famil{'y' if len(families) == 1 else 'ies'} in common."
    ]


def _unreliable(unit: dict[str, Any], which: str) -> bool:
    found = unit["noise"][which]
    return found is not None and found["statistic"] < LEAST_RELIABILITY


def _some(names: list[str], total: int) -> str:
    if len(names) == total:
        return f"all {total} units"
    shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    return f"{len(names)} of {total} units: {shown}"


def primary(entry: dict[str, Any], alpha: float, metrics: int, answerable: bool, outcome: Outcome = TEST_LOSS) -> str:
    """One sentence on a metric of the confirmatory family; what permutes whole families decides."""
    found, whole, name = entry["result"], entry["families"]["result"], entry["metric"]
    if math.isnan(found["pvalue"]):
        why = found["note"] or "the p-value is not defined"
        return f"{name}: no answer, because {_PLAIN.get(why, why).format(outcome=outcome)}."
    where = f"{counted(found['n'], 'augmentation')}, {counted(entry['n_units'], 'unit')}"
    numbers = f"Kendall's tau-b {found['statistic']:.2f}, {_chances(entry, metrics)}; {where}"
    if math.isnan(whole["pvalue"]):
        return f"{name}: no answer, because {whole['note'] or 'the p-value is not defined'} ({numbers})."
    if not answerable:
        return f"{name}: the numbers are {numbers}, but these data cannot carry an answer."
    if entry["families"]["p_holm"] <= alpha:
        goes = "" if entry["expected"] else f"; no direction was stated, the {outcome.short} is lower where {name} is "
        goes += "" if entry["expected"] else ("lower" if found["statistic"] > 0 else "higher")
        return f"{name} predicts the students' {outcome.name} ({numbers}{goes})."
    against = ""
    if entry["expected"] and found["statistic"] * entry["expected"] < 0:
        against = " It points the other way than stated."
    shown = f"{name} is not shown to predict the students' {outcome.name}"
    return f"{shown} ({numbers}); that does not show it cannot.{against}"


def _chances(entry: dict[str, Any], metrics: int) -> str:
    """The p-values of a metric: with whole families permuted, and as if settings were independent."""
    found, families = entry["result"], entry["families"]
    side = "two-sided" if found["alternative"] == "two-sided" else "one-sided in the stated direction"
    alone = all(size == 1 for size in families["sizes"].values())
    several = f", Holm-adjusted over {metrics} metrics {_p(families['p_holm'])}" if metrics > 1 else ""
    if alone:
        return f"{_p(found['pvalue'])} {side}{several}"
    settings = f"{_p(found['pvalue'])} if settings were independent of their family"
    if math.isnan(families["result"]["pvalue"]):
        return f"{settings}, {side}"
    least = f"{len(families['sizes'])} families permuted whole, {families['floor']:.2g} being the least possible"
    return f"{_p(families['result']['pvalue'])} {side}{several}, {least}; {settings}"


def _p(value: float) -> str:
    return f"p = {value:.2g}"


def cost(name: str, unit: dict[str, Any], outcome: Outcome = TEST_LOSS) -> str:
    """What taking the augmentation with the best score would have cost in one unit."""
    if unit["direction"] == "open":
        return NO_DIRECTION.format(name=name)
    choice, best = (" or ".join(unit["best"][name]) for name in ("by_score", "by_loss"))
    first = unit["regret"][0]
    if first["loss"] == 0:
        return f"{name}: the best score has {choice}, and no other augmentation gave a lower {outcome.name}."
    extra = [f"{first['loss']:.4f} {outcome.unit} above {best}"]
    if not math.isnan(first["seed_errors"]):
        extra.append(f"{first['seed_errors']:.1f} seed standard errors")
    if not math.isnan(first["points"]):
        extra.append(f"{first['points']:.2f} percent points of accuracy")
    return f"{name}: the best score has {choice}, whose {outcome.name} is {', '.join(extra)}."


def costs(name: str, units: dict[str, dict[str, Any]], outcome: Outcome = TEST_LOSS) -> str:
    """What taking the augmentation with the best score would have cost over several units."""
    if next(iter(units.values()))["direction"] == "open":
        return NO_DIRECTION.format(name=name)
    lost = {place: unit["regret"][0]["loss"] for place, unit in units.items()}
    best = sum(value == 0 for value in lost.values())
    worst = max(lost, key=lambda place: lost[place])
    text = f"{name}: the augmentation with the best score has the lowest {outcome.name} in {best} of {len(lost)} units"
    if best == len(lost):
        return f"{text}."
    choice = " or ".join(units[worst]["best"]["by_score"])
    mean = sum(lost.values()) / len(lost)
    most = f"at most {lost[worst]:.4f} ({choice} in {worst})"
    return f"{text}; taking it costs {mean:.4f} {outcome.unit} on average, {most}."


def _worst(full: float, without: dict[str, float]) -> str:
    known = {name: value for name, value in without.items() if not math.isnan(value)}
    if not known or math.isnan(full):
        return ""
    worst = min(known, key=lambda name: known[name] * (1 if full >= 0 else -1))
    if abs(known[worst]) >= abs(full) - NOTEWORTHY and known[worst] * full >= 0:
        return ""
    return f"Without the {worst} family tau-b is {known[worst]:.2f} instead of {full:.2f}."


def families(unit: dict[str, Any]) -> str:
    """How far tau hangs on one family; empty where it does not."""
    ranges = unit["influence"]["kendall"]["family"]
    return _worst(ranges["full"], ranges["values"])


def families_of_all(pooling: dict[str, Any]) -> str:
    """The same of the mean tau over units, turned so that positive is as expected."""
    return _worst(pooling["coefficients"]["kendall"]["statistic"], pooling["leave_family_out"])


def against_published(name: str, found: dict[str, Any]) -> str:
    """What the list of the published study reaches on the same augmentations."""
    ours, theirs = found["metric"]["statistic"], found["list"]
    if math.isnan(theirs["statistic"]):
        return f"The published study's list of augmentations: no answer, because {theirs['note']}."
    side = f", {_p(theirs['pvalue'])} one-sided if settings were independent of their family,"
    reached = "not defined" if math.isnan(ours) else f"{ours:.2f}"
    return (
        f"The published study's list of augmentations, fixed before this one, reaches tau-b {theirs['statistic']:.2f}"
        f"{side} on the {counted(found['augs'], 'augmentation')} it knows; {name} reaches {reached} on the same."
    )
