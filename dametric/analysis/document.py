"""The whole analysis of a joined table."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import pandas as pd

from dametric.analysis import words
from dametric.analysis.advice import Advice, advise
from dametric.analysis.beyond import (
    Partial,
    PublishedList,
    Subpools,
    describe_partial,
    describe_published_list,
    describe_subpools,
)
from dametric.analysis.confirmatory import Confirmatory, confirm
from dametric.analysis.decision import Decision, decide
from dametric.analysis.joined import ENDPOINTS, by_unit, direction_of, prepare
from dametric.analysis.outcome import TEST_LOSS, Outcome
from dametric.analysis.plain import plain
from dametric.analysis.study import Study
from dametric.analysis.unit import UnitAnalysis, describe_unit
from dametric.analysis.units import Comparison, Pooled, compare, describe_units, tested
from dametric.errors import unknown
from dametric.stats.coefficients import METHODS
from dametric.stats.multiplicity import benjamini_hochberg, holm
from dametric.stats.result import Result, check_count, check_fraction


@dataclass(frozen=True)
class Settings:
    """Level and confidence (fractions), random resamples where something is not exact, and their seed."""

    alpha: float = 0.05
    confidence: float = 0.95
    resamples: int = 9999
    seed: int = 0


@dataclass(frozen=True)
class ExploratoryTest:
    """A coefficient that was not fixed in advance: two-sided, Benjamini-Hochberg over all of them."""

    metric: str
    endpoint: str
    coefficient: str
    result: Result
    p_bh: float = float("nan")


@dataclass(frozen=True, repr=False)
class Analysis:
    """How well each metric predicts the students, how sure that is, and what speaks against it.

    Attributes
    ----------
    study : Study
        What was analysed, and where it is from.
    rows : pandas.DataFrame
        Its table with all columns: see :func:`dametric.analysis.joined.prepare`.
    settings : Settings
    metrics : dict of str to str
        Direction of each metric.
    confirmatory : tuple of Confirmatory
        The tests that were fixed in advance; the first metric is what the answer is about.
    exploratory : tuple of ExploratoryTest
    units : dict of str to dict of str to UnitAnalysis
        Unit to metric.
    pooling : dict of str to Pooled
        Metric to what several units say together; empty for one unit.
    comparisons : tuple of Comparison
        Of the first metric with each other one that has a direction.
    partial : tuple of Partial
    published_list : PublishedList or None
    subpools : tuple of Subpools
    decision : Decision
    advice : tuple of Advice
    """

    study: Study
    rows: pd.DataFrame
    settings: Settings
    metrics: dict[str, str]
    confirmatory: tuple[Confirmatory, ...]
    exploratory: tuple[ExploratoryTest, ...]
    units: dict[str, dict[str, UnitAnalysis]]
    pooling: dict[str, Pooled]
    comparisons: tuple[Comparison, ...]
    partial: tuple[Partial, ...]
    published_list: PublishedList | None
    subpools: tuple[Subpools, ...]
    decision: Decision
    advice: tuple[Advice, ...]

    @property
    def metric(self) -> str:
        """The one that the answer is about."""
        return self.decision.metric

    @property
    def outcome(self) -> Outcome:
        """What tells how good a student is."""
        return self.study.outcome

    @property
    def answerable(self) -> bool:
        """Whether there can be an answer."""
        return self.decision.answerable

    @property
    def notes(self) -> tuple[str, ...]:
        """What was done in reading: rows that were dropped, students that were kept apart, and the like."""
        return self.study.notes

    @property
    def of_metric(self) -> dict[str, UnitAnalysis]:
        """Each unit under the metric of the answer."""
        return {unit: metrics[self.metric] for unit, metrics in self.units.items() if self.metric in metrics}

    @property
    def primary(self) -> str:
        """The endpoint that was fixed in advance, in words."""
        return words.PRIMARY.format(outcome=self.outcome.name)

    @property
    def cost(self) -> str:
        """The sentence of the verdict on what taking the best score costs."""
        return words.cost(self.metric, self.of_metric, self.outcome)

    @cached_property
    def verdict(self) -> tuple[str, ...]:
        """What the students show, in sentences."""
        pooling, alpha = self.pooling.get(self.metric), self.settings.alpha
        about = (self.confirmatory, self.of_metric, pooling, self.published_list, alpha, self.outcome)
        return (*self.study.cautions, *words.verdict(self.decision, *about))

    @cached_property
    def answer(self) -> tuple[str, ...]:
        """What to take, how sure that is, and what it costs to be wrong, in sentences."""
        p = self.confirmatory[0].families.p_holm
        return tuple(words.answer(self.decision, p, self.advice, self.outcome))

    @property
    def reasons(self) -> tuple[str, ...]:
        """The verdict but for what the answer says too."""
        return tuple(sentence for sentence in self.verdict if sentence != self.cost)

    @cached_property
    def table(self) -> pd.DataFrame:
        """One row for each unit and metric: the regression of loss and accuracy on the score, tau-b and its p-value.

        Columns ``unit, metric, n``, and for ``loss`` and ``top1`` each ``slope_*, slope_*_se, r_squared_*, tau_b_*,
        p_*`` (two-sided); NaN where the accuracy is not known.
        """
        rows: list[dict[str, Any]] = []
        for unit, metrics in self.units.items():
            for metric, about in metrics.items():
                row: dict[str, Any] = {"unit": unit, "metric": metric, "n": about.n}
                both = ((about.ols, about.coefficients.test_loss), (about.ols_top1, about.coefficients.test_top1))
                for name, (line, coefficients) in zip(("loss", "top1"), both, strict=True):
                    row[f"slope_{name}"] = line.slope.statistic if line else float("nan")
                    row[f"slope_{name}_se"] = line.slope_se if line else float("nan")
                    row[f"r_squared_{name}"] = line.r_squared if line else float("nan")
                    row[f"tau_b_{name}"] = coefficients.kendall.statistic if coefficients else float("nan")
                    row[f"p_{name}"] = coefficients.kendall.pvalue if coefficients else float("nan")
                rows.append(row)
        return pd.DataFrame(rows)

    def to_dict(self) -> dict[str, Any]:
        """The document that ``--json`` prints as plain values, None for what is not a finite number."""
        settings = plain(self.settings)
        exploratory = {"label": words.EXPLORATORY, "rows": self.exploratory}
        return {
            "primary": self.primary,
            "settings": settings if self.outcome == TEST_LOSS else {**settings, "outcome": self.outcome.name},
            **{name: plain(getattr(self, name)) for name in ("metrics", "confirmatory")},
            "exploratory": plain(exploratory),
            **{name: plain(getattr(self, name)) for name in _LATER},
        }

    def to_json(self) -> str:
        """The document as JSON text."""
        return json.dumps(self.to_dict(), indent=1, allow_nan=False, ensure_ascii=False)

    def __repr__(self) -> str:
        several = "" if len(self.units) == 1 else f" in {len(self.units)} units"
        return f"<Analysis of {', '.join(self.metrics)}{several}: {self.answer[0]}>"

    def _repr_html_(self) -> str:
        from markupsafe import escape

        first, *rest = (str(escape(sentence)) for sentence in self.answer)
        sentences = "".join(f"<p>{sentence}</p>" for sentence in (f"<b>{first}</b>", *rest))
        notes = "".join(f"<p><i>{escape(note)}</i></p>" for note in self.notes)
        return f"{sentences}{self.table.to_html(index=False, na_rep='–')}{notes}"


_LATER = (
    "units",
    "pooling",
    "comparisons",
    "partial",
    "published_list",
    "subpools",
    "answerable",
    "verdict",
    "cost",
)


def analyse(
    study: Study | pd.DataFrame,
    direction: str = "lower",
    *,
    metrics: Sequence[str] | None = None,
    alpha: float = 0.05,
    confidence: float = 0.95,
    resamples: int = 9999,
    seed: int = 0,
) -> Analysis:
    """How well each metric predicts the students, how sure that is, and what speaks against it.

    Parameters
    ----------
    study : Study or pandas.DataFrame
        What is analysed; of a table only ``aug, score, test_loss`` have to be there. See
        :func:`dametric.analysis.joined.prepare`.
    direction : {"lower", "higher", "open"}
        Which scores are better, for a table without that column. A metric that is better when lower is expected to
        correlate positively with the loss and negatively with accuracy.
    metrics : sequence of str, optional
        Those that were fixed in advance; all by default. The first one is what the answer is about.
    alpha : float
        Level of the confirmatory tests, a fraction.
    confidence : float
        Of all intervals, a fraction.
    resamples, seed : int
        For what is not exact.

    Returns
    -------
    Analysis

    Raises
    ------
    UsageError
        As :func:`dametric.analysis.joined.prepare`, and for unknown metrics and numbers out of range.

    Examples
    --------
    >>> import pandas as pd
    >>> augs = ["identity", "cutout", "autoaugment", "mixup", "cutmix", "my.module:snow"]
    >>> table = pd.DataFrame({"aug": augs, "score": range(6), "test_loss": range(6), "seeds": 3})
    >>> analyse(table, resamples=99).answer[0]
    'Use identity: of 6 augmentations it has the best score, 0 (lower is better).'
    """
    check_fraction("alpha", alpha)
    check_fraction("confidence", confidence)
    check_count("resamples", resamples)
    study = study if isinstance(study, Study) else Study(study)
    table = prepare(study.frame, direction)
    rows = {str(name): part for name, part in table.groupby("metric", sort=False)}
    chosen = list(dict.fromkeys(metrics)) if metrics else list(rows)
    for name in chosen:
        if name not in rows:
            raise unknown("metric", name, rows)
    settings = Settings(alpha, confidence, resamples, seed)
    options: dict[str, Any] = {"confidence": confidence, "resamples": resamples, "seed": seed}
    units: dict[str, dict[str, UnitAnalysis]] = {unit: {} for unit in by_unit(table)}
    for name in [*chosen, *(name for name in rows if name not in chosen)]:
        for unit, part in by_unit(rows[name]).items():
            units[unit][name] = describe_unit(part, **options)
    first = rows[chosen[0]]
    of_first = {unit: metrics[chosen[0]] for unit, metrics in units.items() if chosen[0] in metrics}
    answers = confirm({name: rows[name] for name in chosen}, alpha, **options)
    return Analysis(
        study=study,
        rows=table,
        settings=settings,
        metrics={name: direction_of(part) for name, part in rows.items()},
        confirmatory=answers,
        exploratory=_exploratory(rows, chosen, **options),
        units=units,
        pooling={name: describe_units(part, **options) for name, part in rows.items() if len(by_unit(part)) > 1},
        comparisons=_comparisons(rows, chosen[0], **options),
        partial=describe_partial(rows, chosen[0], resamples=resamples, seed=seed),
        published_list=describe_published_list(first, resamples=resamples, seed=seed),
        subpools=describe_subpools(first, seed=seed),
        decision=decide(answers, of_first, alpha),
        advice=advise(first, of_first, study.scores),
    )


def _exploratory(
    rows: Mapping[str, pd.DataFrame], chosen: Sequence[str], **options: Any
) -> tuple[ExploratoryTest, ...]:
    tests = [
        ExploratoryTest(name, endpoint, method, tested(part, endpoint, method, "two-sided", **options))
        for name, part in rows.items()
        for endpoint in ENDPOINTS
        if any(own[endpoint].notna().all() for own in by_unit(part).values())
        for method in METHODS
        if not (endpoint == "test_loss" and method == "kendall" and name in chosen)
    ]
    adjusted = benjamini_hochberg([test.result.pvalue for test in tests])
    return tuple(replace(test, p_bh=float(p)) for test, p in zip(tests, adjusted, strict=True))


def _comparisons(rows: Mapping[str, pd.DataFrame], first: str, **options: Any) -> tuple[Comparison, ...]:
    """Of metrics with a stated direction: without one it is not said which sign would be better."""
    stated = [name for name, part in rows.items() if direction_of(part) != "open"]
    if first not in stated:
        return ()
    pairs = [other for other in stated if other != first and _share(rows[first], rows[other])]
    entries = [compare(rows[first], rows[other], **options) for other in pairs]
    adjusted = holm([entry.swap.pvalue for entry in entries])
    return tuple(replace(entry, p_holm=float(p)) for entry, p in zip(entries, adjusted, strict=True))


def _share(one: pd.DataFrame, two: pd.DataFrame) -> bool:
    return not one[["unit", "aug"]].merge(two[["unit", "aug"]]).empty
