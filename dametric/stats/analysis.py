"""The whole analysis of a joined table as one plain dictionary."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd

from dametric.errors import unknown
from dametric.records.scores import finite
from dametric.stats import verdict
from dametric.stats.agreement import beyond_a_list, disagreement
from dametric.stats.beyond import describe_partial, describe_published_list, describe_subpools
from dametric.stats.coefficients import METHODS
from dametric.stats.confirmatory import confirm, tested
from dametric.stats.joined import ENDPOINTS, prepare
from dametric.stats.multiplicity import benjamini_hochberg, holm
from dametric.stats.outcome import TEST_LOSS, Outcome
from dametric.stats.result import check_count, check_fraction
from dametric.stats.unit import describe_unit
from dametric.stats.units import compare, describe_units

PRIMARY = (
    "Kendall's tau-b of score and last-epoch {outcome} (mean over seeds), one-sided in the direction stated for the"
    " metric (two-sided where none is), whole families of augmentations permuted, Holm over metrics"
)
EXPLORATORY = (
    "not fixed in advance: two-sided, settings taken as independent of their family, Benjamini-Hochberg over this table"
)


def analyse(
    frame: pd.DataFrame,
    direction: str = "lower",
    *,
    confirmatory: Sequence[str] | None = None,
    alpha: float = 0.05,
    confidence: float = 0.95,
    resamples: int = 9999,
    seed: int = 0,
    notes: Sequence[str] = (),
    outcome: Outcome = TEST_LOSS,
) -> dict[str, Any]:
    """How well each metric predicts the students, how sure that is, and what speaks against it.

    Parameters
    ----------
    frame : pandas.DataFrame
        One row for each unit, metric and augmentation, with columns ``unit, aug, metric, direction, score,
        score_se, test_loss, test_loss_se, test_top1, test_top1_se, seeds`` (and ``teacher``, optional); only ``aug,
        score, test_loss`` have to be there. See :func:`dametric.stats.joined.prepare`.
    direction : {"lower", "higher", "open"}
        Which scores are better, for a table without that column. A metric that is better when lower is expected to
        correlate positively with the loss and negatively with accuracy.
    confirmatory : sequence of str, optional
        Metrics that were fixed in advance; all by default. The first one is what the verdict is about.
    alpha : float
        Level of the confirmatory tests, a fraction.
    confidence : float
        Of all intervals, a fraction.
    resamples, seed : int
        For what is not exact.
    notes : sequence of str
        Sentences about the data that the verdict begins with.
    outcome : Outcome
        What the column ``test_loss`` holds; ``settings`` name it where it is another.

    Returns
    -------
    dict
        Plain values that JSON can hold, None for what is not a finite number; results have the fields of
        :class:`Result`. ``primary`` (the endpoint in words), ``settings``, ``metrics`` (name to direction),
        ``confirmatory`` (list: ``metric, direction, expected`` (sign, 0 where open), ``result`` (pooled by joint
        permutation where there are several units), ``p_holm, n_units, units`` (each unit's result), ``families`` (the
        test that permutes whole families, which the verdict is by: see :func:`dametric.stats.confirmatory.confirm`)),
        ``exploratory`` (``label``, and ``rows``: ``metric, endpoint, coefficient, result`` (two-sided), ``p_bh``),
        ``units`` (unit to metric to :func:`dametric.stats.unit.describe_unit`), ``pooling`` (metric to
        :func:`dametric.stats.units.describe_units`; empty for one unit), ``comparisons`` (of the first metric with
        each other one: :func:`dametric.stats.units.compare`, ``p_holm``), ``partial`` (of the first metric:
        :func:`dametric.stats.beyond.describe_partial`), ``published_list`` (of the first metric:
        :func:`dametric.stats.beyond.describe_published_list`), ``subpools`` (of the first metric:
        :func:`dametric.stats.beyond.describe_subpools`), ``answerable``, ``verdict`` (sentences), ``cost`` (the one of
        them that says what taking the best score costs).

    Raises
    ------
    UsageError
        As :func:`dametric.stats.joined.prepare`, and for unknown metrics and numbers out of range.
    """
    check_fraction("alpha", alpha)
    check_fraction("confidence", confidence)
    check_count("resamples", resamples)
    table = prepare(frame, direction)
    rows = {str(name): part for name, part in table.groupby("metric", sort=False)}
    chosen = list(dict.fromkeys(confirmatory)) if confirmatory else list(rows)
    for name in chosen:
        if name not in rows:
            raise unknown("metric", name, rows)
    options: dict[str, Any] = {"confidence": confidence, "resamples": resamples, "seed": seed}
    units: dict[str, dict[str, Any]] = {str(unit): {} for unit in dict.fromkeys(table["unit"])}
    for name in [*chosen, *(name for name in rows if name not in chosen)]:
        for unit, part in rows[name].groupby("unit", sort=False):
            units[str(unit)][name] = describe_unit(part, **options)
    pooling = {name: describe_units(part, **options) for name, part in rows.items() if part["unit"].nunique() > 1}
    answers = confirm({name: rows[name] for name in chosen}, alpha, **options)
    listed = describe_published_list(rows[chosen[0]], resamples=resamples, seed=seed)
    mine = {unit: metrics[chosen[0]] for unit, metrics in units.items() if chosen[0] in metrics}
    cost = (
        verdict.cost(chosen[0], next(iter(mine.values())), outcome)
        if len(mine) == 1
        else verdict.costs(chosen[0], mine, outcome)
    )
    sentences, answerable = _verdict(answers, mine, pooling, cost, alpha, outcome)
    sentences = [*notes, *sentences]
    sentences += [verdict.against_published(chosen[0], listed)] if listed else []
    named = {} if outcome == TEST_LOSS else {"outcome": outcome.name}
    document = {
        "primary": PRIMARY.format(outcome=outcome.name),
        "settings": {"alpha": alpha, **options, **named},
        "metrics": {name: str(part["direction"].iloc[0]) for name, part in rows.items()},
        "confirmatory": answers,
        "exploratory": {"label": EXPLORATORY, "rows": _exploratory(rows, chosen, **options)},
        "units": units,
        "pooling": pooling,
        "comparisons": _comparisons(rows, chosen[0], **options),
        "partial": describe_partial(rows, chosen[0], resamples=resamples, seed=seed),
        "published_list": listed,
        "subpools": describe_subpools(rows[chosen[0]], seed=seed),
        "answerable": answerable,
        "verdict": sentences,
        "cost": cost,
    }
    plain: dict[str, Any] = finite(document)
    return plain


def _exploratory(rows: dict[str, pd.DataFrame], chosen: list[str], **options: Any) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = []
    for name, part in rows.items():
        for endpoint in ENDPOINTS:
            if not part[endpoint].notna().groupby(part["unit"]).all().any():
                continue
            for method in METHODS:
                if (endpoint, method) == ("test_loss", "kendall") and name in chosen:
                    continue
                found = tested(part, endpoint, method, "two-sided", **options)
                entries.append({"metric": name, "endpoint": endpoint, "coefficient": method, "result": found.to_dict()})
    adjusted = benjamini_hochberg([entry["result"]["pvalue"] for entry in entries])
    return [{**entry, "p_bh": float(p)} for entry, p in zip(entries, adjusted, strict=True)]


def _comparisons(rows: dict[str, pd.DataFrame], first: str, **options: Any) -> list[dict[str, Any]]:
    """Of metrics with a stated direction: without one it is not said which sign would be better."""
    stated = [name for name, part in rows.items() if str(part["direction"].iloc[0]) != "open"]
    if first not in stated:
        return []
    pairs = [other for other in stated if other != first and _share(rows[first], rows[other])]
    found = [compare(rows[first], rows[other], **options) for other in pairs]
    adjusted = holm([entry["swap"]["pvalue"] for entry in found])
    return [{**entry, "p_holm": float(p)} for entry, p in zip(found, adjusted, strict=True)]


def _share(one: pd.DataFrame, two: pd.DataFrame) -> bool:
    return not one[["unit", "aug"]].merge(two[["unit", "aug"]]).empty


def _has_p(answer: dict[str, Any]) -> bool:
    return not (math.isnan(answer["result"]["pvalue"]) or math.isnan(answer["families"]["result"]["pvalue"]))


def _verdict(
    answers: list[dict[str, Any]],
    mine: dict[str, dict[str, Any]],
    pooling: dict[str, Any],
    cost: str,
    alpha: float,
    outcome: Outcome,
) -> tuple[list[str], bool]:
    """Sentences, and whether there can be an answer, from what the units say of the first metric."""
    name = answers[0]["metric"]
    sentences, blocked = verdict.obstacles(mine)
    too_few_in_common = verdict.common(mine)
    sentences += too_few_in_common
    answerable = len(blocked) < len(mine) and not too_few_in_common and _has_p(answers[0])
    sentences += [verdict.primary(entry, alpha, len(answers), answerable, outcome) for entry in answers]
    sentences.append(cost)
    if len(mine) == 1:
        sentences.append(verdict.families(next(iter(mine.values()))))
    else:
        sentences += [disagreement(mine, pooling[name]), verdict.families_of_all(pooling[name])]
        sentences.append(beyond_a_list(name, pooling[name], alpha))
    return [sentence for sentence in sentences if sentence], answerable
