"""Every sentence of an answer: what the students show, what to take, how sure that is, what it costs to be wrong."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from dametric.analysis.advice import Advice
from dametric.analysis.beyond import PublishedList
from dametric.analysis.confirmatory import Confirmatory
from dametric.analysis.decision import LEAST_AUGS, LEAST_FAMILIES, Decision, Obstacle, Refusal, Standing
from dametric.analysis.numbers import among, counted, listed, p_value
from dametric.analysis.outcome import TEST_LOSS, Outcome
from dametric.analysis.unit import UnitAnalysis
from dametric.analysis.units import Pooled
from dametric.stats.pooling import units_needed

NOTEWORTHY = 0.1  # a smaller change of tau is not worth a sentence
LISTED = 4  # choices that are named
PRIMARY = (
    "Kendall's tau-b of score and last-epoch {outcome} (mean over seeds), one-sided in the direction stated for the"
    " metric (two-sided where none is), whole families of augmentations permuted, Holm over metrics"
)
EXPLORATORY = (
    "not fixed in advance: two-sided, settings taken as independent of their family, Benjamini-Hochberg over this table"
)
BETTER = {"lower": "lower is better", "higher": "higher is better"}
NO_ERRORS = "the scores have no errors, so it is not known which others might be as good."
_OBSTACLES = {
    "augmentations": f"fewer than {LEAST_AUGS} augmentations were scored and distilled, too few to order",
    "families": f"fewer than {LEAST_FAMILIES} families of augmentations, so the order rests on variants of one idea",
    "loss noise": "the seed noise of the losses is larger than the spread between augmentations: more seeds are needed",
    "score noise": "the noise of the scores is larger than their spread: score more batches",
    "one seed": "fewer than 2 seeds for some augmentation, so the seed noise is not known",
    "unknown seeds": "the number of seeds is not known, so neither is the seed noise",
}
_PLAIN = {"x is constant": "all scores are the same", "y is constant": "all {outcome.plural} are the same"}


def _p(value: float) -> str:
    return f"p = {p_value(value)}"


# The verdict


def obstacle(each: Obstacle, units: int) -> str:
    """Why units cannot answer, or not well."""
    names, listed = each.units, ", ".join(each.units[:3])
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    some = f"all {units} units" if len(names) == units else f"{len(names)} of {units} units: {listed}{more}"
    where = f" ({some})" if units > 1 else ""
    return f"{'Cannot answer' if each.blocks else 'Take care'}{where}: {_OBSTACLES[each.kind]}."


def too_little_shared(decision: Decision) -> str:
    """Why several units cannot answer together; empty where they can."""
    if decision.shared is None:
        return ""
    augs, families = counted(decision.shared.augmentations, "augmentation"), counted(decision.shared.families, "family")
    return f"Cannot answer for all {decision.units} units together: they have only {augs} of {families} in common."


def primary(answer: Confirmatory, standing: Standing, metrics: int, outcome: Outcome = TEST_LOSS) -> str:
    """One sentence on a metric that was fixed in advance."""
    result, whole, name = answer.result, answer.families.result, answer.metric
    if standing == "no test":
        why = result.note or "the p-value is not defined"
        return f"{name}: no answer, because {_PLAIN.get(why, why).format(outcome=outcome)}."
    where = f"{counted(result.n, 'augmentation')}, {counted(answer.n_units, 'unit')}"
    numbers = f"Kendall's tau-b {result.statistic:.2f}, {_chances(answer, metrics)}; {where}"
    if standing == "no family test":
        return f"{name}: no answer, because {whole.note or 'the p-value is not defined'} ({numbers})."
    if standing == "cannot answer":
        return f"{name}: the numbers are {numbers}, but these data cannot carry an answer."
    if standing == "shown":
        way = "lower" if result.statistic > 0 else "higher"
        open_way = f"; no direction was stated, the {outcome.short} is lower where {name} is {way}"
        return f"{name} predicts the students' {outcome.name} ({numbers}{'' if answer.expected else open_way})."
    against = " It points the other way than stated." if result.statistic * answer.expected < 0 else ""
    shown = f"{name} is not shown to predict the students' {outcome.name}"
    return f"{shown} ({numbers}); this is no evidence that it cannot.{against}"


def _chances(answer: Confirmatory, metrics: int) -> str:
    """The p-values of a metric: with whole families permuted, and as if settings were independent."""
    result, families = answer.result, answer.families
    side = "two-sided" if result.alternative == "two-sided" else "one-sided in the stated direction"
    several = f", Holm-adjusted over {metrics} metrics {_p(families.p_holm)}" if metrics > 1 else ""
    if all(size == 1 for size in families.sizes.values()):
        return f"{_p(result.pvalue)} {side}{several}"
    settings = f"{_p(result.pvalue)} if settings were independent of their family"
    if math.isnan(families.result.pvalue):
        return f"{settings}, {side}"
    least = f"{len(families.sizes)} families permuted whole, {p_value(families.floor)} being the least possible"
    return f"{_p(families.result.pvalue)} {side}{several}, {least}; {settings}"


def cost(name: str, units: Mapping[str, UnitAnalysis], outcome: Outcome = TEST_LOSS) -> str:
    """What taking the augmentation with the best score would have cost."""
    only = next(iter(units.values()))
    if only.direction == "open":
        return f"{name}: no direction is stated for it, so no augmentation has the best score, and none is recommended."
    if len(units) > 1:
        return _cost_of_several(name, units, outcome)
    choice, best, first = " or ".join(only.best.by_score), " or ".join(only.best.by_loss), only.regret[0]
    if first.loss == 0:
        return f"{name}: the best score has {choice}, and no other augmentation gave a lower {outcome.name}."
    extra = [f"{first.loss:.4f} {outcome.unit} above {best}"]
    extra += [] if math.isnan(first.seed_errors) else [f"{first.seed_errors:.1f} seed standard errors"]
    extra += [] if math.isnan(first.points) else [f"{first.points:.2f} percentage points of accuracy"]
    return f"{name}: the best score has {choice}, whose {outcome.name} is {', '.join(extra)}."


def _cost_of_several(name: str, units: Mapping[str, UnitAnalysis], outcome: Outcome) -> str:
    lost = {place: unit.regret[0].loss for place, unit in units.items()}
    best, worst = sum(value == 0 for value in lost.values()), max(lost, key=lost.__getitem__)
    text = f"{name}: the augmentation with the best score has the lowest {outcome.name} in {best} of {len(lost)} units"
    if best == len(lost):
        return f"{text}."
    most = f"at most {lost[worst]:.4f} ({' or '.join(units[worst].best.by_score)} in {worst})"
    return f"{text}; taking it costs {sum(lost.values()) / len(lost):.4f} {outcome.unit} on average, {most}."


def without_a_family(full: float, without: Mapping[str, float]) -> str:
    """How far tau hangs on one family; empty where it does not."""
    known = {name: value for name, value in without.items() if not math.isnan(value)}
    if not known or math.isnan(full):
        return ""
    worst = min(known, key=lambda name: known[name] * (1 if full >= 0 else -1))
    if abs(known[worst]) >= abs(full) - NOTEWORTHY and known[worst] * full >= 0:
        return ""
    return f"Without the {worst} family tau-b is {known[worst]:.2f} instead of {full:.2f}."


def disagreement(taus: Mapping[str, float], q_pvalue: float, i2: float) -> str:
    """Units that point another way than their mean, or differ by more than chance; empty where they do neither.

    Parameters
    ----------
    taus : mapping of str to float
        Unit to its tau-b.
    q_pvalue, i2 : float
        Of Pearson's r over units.
    """
    taus = {name: tau for name, tau in taus.items() if not math.isnan(tau)}
    if len(taus) < 2:
        return ""
    low, high = min(taus, key=taus.__getitem__), max(taus, key=taus.__getitem__)
    spread = f"tau-b goes from {taus[low]:.2f} ({low}) to {taus[high]:.2f} ({high})"
    other = sum(tau * sum(taus.values()) < 0 for tau in taus.values())
    if other or taus[low] < 0 < taus[high]:
        other = other or sum(tau < 0 for tau in taus.values())
        points = "points" if other == 1 else "point"
        return f"Take care: units disagree, {spread}; {other} of {len(taus)} {points} another way than the rest."
    if q_pvalue <= 0.05:
        share = f"I² {100 * i2:.0f} %, {_p(q_pvalue)}"
        return f"Take care: units differ by more than chance in Pearson's r ({share}); {spread}."
    return ""


def beyond_a_list(name: str, pooling: Pooled, alpha: float) -> str:
    """Whether the metric adds to one list of augmentations for all units."""
    result, order = pooling.incremental, pooling.baselines.fixed_order.statistic
    listed = (
        "" if math.isnan(order) else f"; one list of augmentations for all units reaches a mean tau-b of {order:.2f}"
    )
    needed, least = units_needed(result.alternative, alpha), pooling.incremental_floor
    if math.isnan(result.pvalue):
        more = f"; at least {needed} units are needed" if result.n < needed else ""
        return f"{name} beyond a fixed list of augmentations: no answer, because {result.note}{more}{listed}."
    side = "two-sided" if result.alternative == "two-sided" else "one-sided"
    numbers = (
        f"r = {result.statistic:.2f}, {_p(result.pvalue)} {side}, {p_value(least)} being the least possible{listed}"
    )
    if least > alpha:
        few = f"{counted(result.n, 'unit')} cannot tell, and at least {needed} are needed"
        return f"{name} beyond a fixed list of augmentations: no answer, because {few} ({numbers})."
    if result.pvalue <= alpha and result.statistic > 0:
        return f"{name} adds to a fixed list of augmentations ({numbers})."
    return f"{name} shows no evidence of adding to a fixed list of augmentations ({numbers})."


def against_published(name: str, published: PublishedList) -> str:
    """What the list of the published study reaches on the same augmentations."""
    if math.isnan(published.list.statistic):
        return f"The published study's list of augmentations: no answer, because {published.list.note}."
    reached = "not defined" if math.isnan(published.metric.statistic) else f"{published.metric.statistic:.2f}"
    chance = f"{_p(published.list.pvalue)} one-sided if settings were independent of their family"
    return (
        "The published study's list of augmentations, fixed before this one, reaches tau-b"
        f" {published.list.statistic:.2f},"
        f" {chance}, on the {counted(published.augs, 'augmentation')} it knows; {name} reaches {reached} on the same."
    )


def verdict(
    decision: Decision,
    answers: Sequence[Confirmatory],
    units: Mapping[str, UnitAnalysis],
    pooling: Pooled | None,
    listed: PublishedList | None,
    alpha: float,
    outcome: Outcome,
) -> list[str]:
    """The sentences on what the students show.

    Parameters
    ----------
    decision : Decision
    answers : sequence of Confirmatory
    units : mapping of str to UnitAnalysis
        Of the first metric.
    pooling : Pooled or None
        Of the first metric; None for one unit.
    listed : PublishedList or None
    alpha : float
    outcome : Outcome
    """
    name = decision.metric
    sentences = [obstacle(each, decision.units) for each in decision.obstacles]
    sentences.append(too_little_shared(decision))
    for answer, standing in zip(answers, decision.standings, strict=True):
        sentences.append(primary(answer, standing, len(answers), outcome))
    sentences.append(cost(name, units, outcome))
    if pooling is None or len(units) == 1:
        ranges = next(iter(units.values())).influence.kendall.family
        sentences.append(without_a_family(ranges.full, ranges.values))
    else:
        effects = pooling.random_effects.pearson
        taus = {unit: about.coefficients.loss.kendall.statistic for unit, about in units.items()}
        sentences.append(disagreement(taus, effects.q_pvalue, effects.i2))
        sentences.append(without_a_family(pooling.coefficients.kendall.statistic, pooling.leave_family_out))
        sentences.append(beyond_a_list(name, pooling, alpha))
    sentences.append(against_published(name, listed) if listed else "")
    return [sentence for sentence in sentences if sentence]


# The answer


def refused(refusal: Refusal, metric: str) -> str:
    """Why nothing is recommended; empty where something is."""
    return {
        "": "",
        "no direction": f"no direction is stated for {metric}, so none of its scores is the best",
        "cannot answer": f"these students cannot answer whether a better {metric} means a better student",
        "not shown": f"these students do not show that a better {metric} means a better student",
    }[refusal]


def answer(decision: Decision, p: float, advice: Sequence[Advice], outcome: Outcome) -> list[str]:
    """What to take, how sure that is, and what it costs to be wrong.

    Parameters
    ----------
    decision : Decision
    p : float
        The p-value that it went by.
    advice : sequence of Advice
        Of each unit.
    outcome : Outcome

    Returns
    -------
    list of str
        The first sentence recommends nothing where the students do not show, or cannot answer, that the score
        predicts them.
    """
    metric, why, trust = decision.metric, refused(decision.refusal, decision.metric), belief(decision, p, outcome)
    if decision.direction == "open":
        return [f"No recommendation: {why}.", trust]
    if len(advice) > 1:
        first, doubt, price = (
            _of_several(advice, metric, why),
            sure_of_several(advice),
            price_of_several(advice, outcome),
        )
        first += f" ({BETTER[decision.direction]})."
    else:
        first, doubt, price = _of_one(advice[0], metric, why), sure(advice[0]), price_of(advice[0], outcome)
    return [first, f"How sure: {doubt} {trust}", *([f"What it costs to be wrong: {price}"] if price else [])]


def _of_one(only: Advice, metric: str, why: str) -> str:
    error = "" if math.isnan(only.score_se) else f" ± {only.score_se:.2g}"
    value, these = f"{only.score:.4g}{error} ({BETTER[only.direction]})", among(only.count, only.destroyed)
    if why:
        return f"No recommendation: {why}. Of {these} {only.choice} has the best {metric}, {value}."
    best = f"of {these} it has the best {metric}, {value}"
    if only.distilled:
        return f"Use {only.choice}: {best}."
    return f"Distil with {only.choice} before you use it: {best}, and no student of it is here."


def _of_several(advice: Sequence[Advice], metric: str, why: str) -> str:
    """What to take where there are several units: what most of them say, or each its own."""
    name, number = Counter(choice for each in advice for choice in each.best_scored).most_common(1)[0]
    others = Counter(each.choice for each in advice if name not in each.best_scored).most_common()
    if why:
        opening = f"No recommendation: {why}. What scores best is {name}: in"
    elif any(each.distilled for each in advice if name in each.best_scored):
        opening = f"Use {name}: in"
    else:
        opening = f"Distil with {name}, of which no student is here, before you use it: in"
    if not others:
        return f"{opening} all {len(advice)} units it has the best {metric}"
    if 2 * number > len(advice):
        return f"{opening} {number} of {len(advice)} units it has the best {metric}, in the others {_counts(others)}"
    every = _counts(Counter(each.choice for each in advice).most_common())
    if why:
        return f"No recommendation: {why}. In each of {len(advice)} units the best {metric} has {every}"
    most = f"No augmentation is best in most of {len(advice)} units"
    return f"{most}: take in each the one with the best {metric}, {every}"


def _counts(choices: Sequence[tuple[str, int]]) -> str:
    shown = ", ".join(f"{name} in {number}" for name, number in choices[:LISTED])
    more = len(choices) - LISTED
    return shown + (f" and {more} more, listed below" if more > 0 else "")


def sure(only: Advice) -> str:
    """How sure the choice of one unit is, as far as the scores go."""
    if only.tied is None:
        return NO_ERRORS
    if not only.tied:
        return f"its score is distinguishable from all {only.count - 1} others (95 %)."
    others = f"{listed(only.tied, LISTED)} ({len(only.tied)} of {only.count - 1} others)"
    return f"its score is not distinguishable (95 %) from {others}."


def sure_of_several(advice: Sequence[Advice]) -> str:
    """The same of several units."""
    known = [each for each in advice if each.tied is not None]
    if not known:
        return NO_ERRORS
    apart = sum(not each.tied for each in known)
    return f"the best score is distinguishable from all others (95 %) in {apart} of {len(known)} units."


def price_of(only: Advice, outcome: Outcome) -> str:
    """What taking the choice of one unit costs, as measured on the students."""
    name, unit = outcome.name, outcome.unit
    if not only.distilled:
        return "it was not distilled here, so that is not known."
    if only.cost == 0:
        less = f", but accuracy is {only.points:.2f} percentage points below the best" if only.points > 0 else ""
        text = f"here nothing: no other augmentation gave a lower {name}{less}."
    else:
        extra = [] if math.isnan(only.seed_errors) else [f"{only.seed_errors:.1f} seed standard errors"]
        extra += [] if math.isnan(only.points) else [f"accuracy {only.points:.2f} percentage points below the best"]
        more = f" ({'; '.join(extra)})" if extra else ""
        text = f"its students' {name} is {only.cost:.4f} {unit} above the lowest, that of {only.best}{more}."
    if only.tied and not math.isnan(only.tied_cost):
        text += f" The worst of those not distinguishable from it costs {only.tied_cost:.4f} {unit}."
    return f"{text} A random choice costs {only.random_cost:.4f} {unit} on average."


def price_of_several(advice: Sequence[Advice], outcome: Outcome) -> str:
    """The same of several units; empty where nothing was distilled."""
    known = [each.cost for each in advice if each.distilled]
    if not known:
        return ""
    best, random = sum(cost == 0 for cost in known), float(np.mean([each.random_cost for each in advice]))
    return (
        f"the augmentation with the best score has the lowest {outcome.name} in {best} of {len(known)} units; taking it"
        f" costs {np.mean(known):.4f} {outcome.unit} on average, {max(known):.4f} at most. A random choice costs"
        f" {random:.4f} on average."
    )


def belief(decision: Decision, p: float, outcome: Outcome) -> str:
    """Whether a better score means a better student."""
    if not decision.answerable:
        return "Whether a better score means a better student cannot be answered from these students: see below."
    shown = decision.standings[0] == "shown"
    show = "show" if shown else "do not show"
    if decision.direction == "open":
        return f"These students {show} that {decision.metric} goes with the {outcome.name} (two-sided {_p(p)})."
    care = "what speaks against it is below" if shown else "this is no evidence that it does not"
    return f"These students {show} that a better score means a better student ({_p(p)}); {care}."
