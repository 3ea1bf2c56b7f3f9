"""What `choose` would have done on runs that exist, beside simpler rules at the same cost.

A unit (teacher, student, data, recipe) is complete where every augmentation has a run of every length of schedule.
Rules are judged by a seed that none of them sees where a unit has several of the longest schedule, else by the mean of
the runs that they see, which flatters all of them alike. Rules, each at every budget of student-steps:

``choose``        the loop of `dametric choose`, with runs looked up; it stops at 95 % as that does
``compressed``    all augmentations at the largest fraction that the budget bears, as many seeds as there are
``halving``       successive halving: all at the shortest fraction, the better half at the next, and so on
``score``         the best score of the teacher, no student
``published``     the published list, extended to strengths by its families, no student
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import t as student_t

from dametric.base.progress import progress
from dametric.choosing.arms import BASELINE, arms_of
from dametric.choosing.decision import DRAWS, likely_settings, next_step, p_within
from dametric.choosing.fit import fitted
from dametric.choosing.parameters import Parameters, read_parameters
from dametric.choosing.posterior import Observation, Posterior, posterior, prior_of
from dametric.choosing.state import ENOUGH, check_epsilon
from dametric.choosing.units import Unit, complete_units, read_ledgers, scores_of
from dametric.records.scores import Scores, finite
from dametric.stats import load_published
from dametric.stats.families import family, operations, strength

BUDGETS = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0)  # in whole schedules
BINS = 5
_LEAST_UNITS = 3
_PUBLISHED = {
    "cutmix_pick_S": "cutmixpick:by=student_entropy",
    "cutmix_pick_T": "cutmixpick:by=teacher_entropy",
}


@dataclass(frozen=True)
class Trial:
    """What rules may see of a unit, and what they are judged by.

    Attributes
    ----------
    seen : Unit
    truth : tuple of float
        Loss of the whole schedule, by augmentation.
    unseen : bool
        Whether the truth is a single run of each augmentation that no rule sees.
    """

    seen: Unit
    truth: tuple[float, ...]
    unseen: bool

    def regret(self, arm: int) -> float:
        """What is lost by taking an augmentation, nats."""
        return self.truth[arm] - min(self.truth)


def trials(unit: Unit) -> list[Trial]:
    """One for each seed that can be left out: all augmentations have it, and the others still make a complete unit.

    Parameters
    ----------
    unit : Unit

    Returns
    -------
    list of Trial
        A single one with all runs where no seed can be left out.
    """
    last, arms = len(unit.steps) - 1, range(len(unit.augs))
    held_back = []
    for seed in range(unit.seeds):
        truth = tuple(unit.losses.get((arm, last, seed), math.nan) for arm in arms)
        seen = unit.without(seed)
        if all(map(math.isfinite, truth)) and seen.losses and not seen.missing:
            held_back.append(Trial(seen, truth, True))
    return held_back or [Trial(unit, tuple(unit.truth), False)]


def published_order(augs: Sequence[str]) -> list[tuple[float, float]]:
    """The published list, extended to other strengths by operation and family.

    Parameters
    ----------
    augs : sequence of str

    Returns
    -------
    list of (float, float)
        For each the mean rank, over the ten published units, of the published augmentation of the same operation,
        or else of its family, that is nearest in strength; then how far it is from that in doublings of strength.
        The lowest is the list's choice; infinite where the list knows no such family.

    Examples
    --------
    >>> order = published_order(["identity", "cutmix:alpha=0.2", "cutmix", "blur"])
    >>> order[2] < order[1] < order[0], order[3]
    (True, (inf, inf))
    """
    points = load_published()
    ranks = points.groupby("unit").student_test_loss.rank().groupby(points.aug).mean()
    listed = {_PUBLISHED.get(str(name), str(name)): float(rank) for name, rank in ranks.items()}
    return [_listed(aug, listed) for aug in augs]


def _listed(aug: str, listed: Mapping[str, float]) -> tuple[float, float]:
    if aug in listed:
        return listed[aug], 0.0
    alike = [name for name in listed if operations(name) == operations(aug) and aug != BASELINE]
    if alike:
        distances = {name: _doublings(aug, name) for name in alike}
        nearest = min(alike, key=lambda name: (distances[name], listed[name]))
        return listed[nearest], distances[nearest]
    related = [listed[name] for name in listed if family(name) == family(aug)]
    return (float(np.mean(related)), math.inf) if related else (math.inf, math.inf)


def _doublings(aug: str, other: str) -> float:
    first, second = strength(aug), strength(other)
    return abs(math.log2(first / second)) if first > 0 and second > 0 else 0.0


TakenArm = tuple[int, float]  # the augmentation that a rule takes, and the student-steps that it spent


def replayed(
    trial: Trial, parameters: Parameters, epsilon: float, score: Mapping[str, float] | None = None
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """What each rule would have come to at every budget.

    Parameters
    ----------
    trial : Trial
    parameters : Parameters
    epsilon : float
    score : mapping of str to float, optional
        Of the teacher alone, higher is a higher loss.

    Returns
    -------
    rows : pandas.DataFrame
        Columns ``unit, rule, budget`` (whole schedules), ``spent`` (likewise), ``aug, regret`` (nats). A rule has no
        row where the budget does not bear it.
    looks : pandas.DataFrame
        Every look of ``choose``: ``unit, spent, stated, within``: the stated probability that the regret, as it is
        judged here, lies below epsilon, and whether it did.
    """
    unit, whole = trial.seen, trial.seen.steps[-1]
    looks = list(_looks(trial, parameters, epsilon, score, max(BUDGETS) * whole))
    free: dict[str, int] = {}
    if score:
        values = [score.get(aug, math.inf) for aug in unit.augs]
        free["score"] = int(np.argmin(values))
    order = published_order(unit.augs)
    free["published"] = min(range(len(order)), key=order.__getitem__)
    rules: dict[str, Callable[[float], TakenArm | None]] = {
        "choose": lambda most: [(look.arm, look.spent) for look in looks if look.spent <= most][-1],
        "compressed": lambda most: _compressed(unit, most),
        "halving": lambda most: _halving(unit, most),
        **{name: _fixed_rule(arm) for name, arm in free.items()},
    }
    rows = [
        (unit.name, name, budget, choice[1] / whole, unit.augs[choice[0]], trial.regret(choice[0]))
        for budget in BUDGETS
        for name, rule in rules.items()
        if (choice := rule(budget * whole)) is not None
    ]
    seen = [(unit.name, look.spent / whole, look.stated, float(trial.regret(look.arm) < epsilon)) for look in looks]
    return (
        pd.DataFrame(rows, columns=["unit", "rule", "budget", "spent", "aug", "regret"]),
        pd.DataFrame(seen, columns=["unit", "spent", "stated", "within"]),
    )


def _fixed_rule(arm: int) -> Callable[[float], TakenArm | None]:
    return lambda most: (arm, 0.0)


@dataclass(frozen=True)
class _Look:
    arm: int
    spent: float
    stated: float


def _looks(
    trial: Trial, parameters: Parameters, epsilon: float, score: Mapping[str, float] | None, most: float
) -> Iterator[_Look]:
    """The loop of `choose`, with its runs looked up."""
    unit = trial.seen
    fractions = [steps / unit.steps[-1] for steps in unit.steps]
    values = [score.get(aug, math.nan) for aug in unit.augs] if score else None
    known, _ = parameters.for_schedule(unit.steps[-1], fractions)
    prior = prior_of(arms_of(unit.augs, unit.image_size), fractions, known, values, unit.seeds)
    runs: list[Observation] = []
    spent = 0.0
    while True:
        belief = posterior(prior, runs)
        sure = p_within(belief, epsilon)
        stated = _stated_of_a_run(belief, epsilon) if trial.unseen else sure
        yield _Look(belief.best, spent, stated)
        taken = {(run.arm, run.fraction, run.seed) for run in runs}
        enough = sure >= ENOUGH and bool(runs)
        step = None if enough else next_step(belief, taken, unit.steps, most - spent, lambda run: run in unit.losses)
        if step is None:
            return
        runs.append(Observation(*step.runs[0], unit.losses[step.runs[0]]))
        spent += unit.steps[step.runs[0][1]]


def _stated_of_a_run(belief: Posterior, epsilon: float) -> float:
    """Probability that one more run of the choice is within epsilon of the best of one more run of every arm."""
    kept, weights = likely_settings(belief)
    random = np.random.default_rng(0)
    draws = belief.draws(random.normal(size=(DRAWS, belief.arms)), kept)
    noise = belief.prior.noise[kept // belief.prior.grid[1]]
    draws = draws + noise[:, None, None] * random.normal(size=(DRAWS, belief.arms)).T
    excess = draws[:, belief.best] - draws.min(1)
    return float((excess < epsilon).mean(1) @ weights)


def _mean_losses(unit: Unit, fraction: int, seeds: int, arms: Sequence[int]) -> list[float]:
    return [float(np.mean(unit.of(arm, fraction)[:seeds])) for arm in arms]


def _compressed(unit: Unit, most: float) -> TakenArm | None:
    """All augmentations at one fraction: the largest that the budget bears, then as many seeds."""
    every = range(len(unit.augs))
    for fraction in reversed(range(len(unit.steps))):
        cost = len(every) * unit.steps[fraction]
        seeds = min(int(most // cost), min(len(unit.of(arm, fraction)) for arm in every))
        if seeds:
            return int(np.argmin(_mean_losses(unit, fraction, seeds, every))), seeds * cost
    return None


def _halving(unit: Unit, most: float) -> TakenArm | None:
    """All augmentations at the shortest fraction, the better half at the next, while the budget bears it."""
    left, spent = list(range(len(unit.augs))), 0.0
    for fraction, steps in enumerate(unit.steps):
        if spent + len(left) * steps > most:
            break
        spent += len(left) * steps
        order = np.argsort(_mean_losses(unit, fraction, 1, left), kind="stable")
        left = [left[place] for place in order[: max(1, len(left) // 2)]]
    return (left[0], spent) if spent else None


def frontier(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean regret of each rule at each budget, with its 95 % interval over units.

    Parameters
    ----------
    rows : pandas.DataFrame
        As :func:`replayed` makes them, of all units.

    Returns
    -------
    pandas.DataFrame
        Columns ``rule, budget, units, spent, regret, low, high``, and ``over_choose, over_low, over_high``: the regret
        over that of ``choose`` at the same budget, paired in each unit. Intervals are by Student's t, NaN for one unit.
    """
    each = rows.groupby(["rule", "budget", "unit"], sort=False)[["spent", "regret"]].mean().reset_index()
    own = each[each.rule == "choose"][["budget", "unit", "regret"]]
    each = each.merge(own.rename(columns={"regret": "own"}), on=["budget", "unit"], sort=False)
    parts = []
    for (rule, budget), part in each.groupby(["rule", "budget"], sort=False):
        over_choose = (math.nan,) * 3 if rule == "choose" else _mean((part.regret - part.own).to_numpy())
        parts.append((rule, budget, len(part), part.spent.mean(), *_mean(part.regret.to_numpy()), *over_choose))
    columns = ["rule", "budget", "units", "spent", "regret", "low", "high", "over_choose", "over_low", "over_high"]
    return pd.DataFrame(parts, columns=columns).sort_values("budget", kind="stable", ignore_index=True)


def _mean(values: np.ndarray[Any, Any]) -> tuple[float, float, float]:
    mean, count = float(values.mean()), len(values)
    if count < 2:
        return mean, math.nan, math.nan
    reach = float(student_t.ppf(0.975, count - 1) * values.std(ddof=1) / math.sqrt(count))
    return mean, mean - reach, mean + reach


def calibration(looks: pd.DataFrame) -> pd.DataFrame:
    """How often it was so, by bin of the stated probability.

    Parameters
    ----------
    looks : pandas.DataFrame
        As :func:`replayed` makes them, of all units.

    Returns
    -------
    pandas.DataFrame
        Columns ``stated`` ("0.8 to 1.0", last "all"), ``looks, units, mean_stated, frequency, gap, low, high``: the
        frequency over what was stated, with a 95 % interval over units, NaN for one unit: looks of a unit are alike.
    """
    place = np.minimum((looks.stated * BINS).astype(int), BINS - 1)
    parts = [
        (f"{number / BINS:.1f} to {(number + 1) / BINS:.1f}", looks[place == number]) for number in sorted(set(place))
    ]
    rows = [(name, *_gap(part)) for name, part in [*parts, ("all", looks)]]
    columns = ["stated", "looks", "units", "mean_stated", "frequency", "gap", "low", "high"]
    return pd.DataFrame(rows, columns=columns)


def _gap(part: pd.DataFrame) -> tuple[int, int, float, float, float, float, float]:
    each = part.assign(gap=part.within - part.stated).groupby("unit").gap.agg(["sum", "size"])
    count, gap, units = len(part), float(each["sum"].sum() / len(part)), len(each)
    head = (count, units, float(part.stated.mean()), float(part.within.mean()), gap)
    if units < 2:
        return *head, math.nan, math.nan
    rest = float(((each["sum"] - gap * each["size"]) ** 2).sum())
    reach = float(student_t.ppf(0.975, units - 1)) * math.sqrt(rest * units / (units - 1)) / count
    return *head, gap - reach, gap + reach


@dataclass(frozen=True)
class Replay:
    """What `choose` and simpler rules would have come to.

    Attributes
    ----------
    frontier, calibration, rows, looks : pandas.DataFrame
        See :func:`frontier`, :func:`calibration`, :func:`replayed`.
    units : tuple of str
    sentences : tuple of str
        What was done, and what it says.
    epsilon : float
    parameters : Parameters
        What was assumed of short runs; where it was fitted to the other units, what the last unit was replayed with.
    """

    frontier: pd.DataFrame
    calibration: pd.DataFrame
    rows: pd.DataFrame
    looks: pd.DataFrame
    units: tuple[str, ...]
    sentences: tuple[str, ...]
    epsilon: float
    parameters: Parameters

    def document(self) -> dict[str, Any]:
        """What is printed as JSON."""
        tables = {name: getattr(self, name).to_dict("records") for name in ("frontier", "calibration", "rows")}
        document: dict[str, Any] = finite(
            {
                "dametric_replay": 1,
                "units": list(self.units),
                "epsilon": self.epsilon,
                "sentences": list(self.sentences),
                **tables,
                "parameters": self.parameters.document(),
            }
        )
        return document


def replay(
    ledgers: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    scores: Sequence[Scores | str | os.PathLike[str]] = (),
    *,
    parameters: Parameters | str | os.PathLike[str] | None = None,
    epsilon: float = 0.01,
    metric: str = "t_stddev",
    quiet: bool = False,
) -> Replay:
    """Replay `choose` and simpler rules on complete ledgers.

    Parameters
    ----------
    ledgers : path-like or sequence of path-like
        Folders of runs.
    scores : sequence of Scores or path-like
        Of the teachers; by default ``scores/*.json`` in the ledgers, where `dametric sweep` writes them.
    parameters : Parameters or path-like, optional
        By default those that are fitted to all other units where there are three at least, else what is shipped.
    epsilon : float
    metric : str
        Of the scores.
    quiet : bool

    Returns
    -------
    Replay

    Raises
    ------
    UsageError
        If no unit is complete, with what is missing; if scores cannot be read, or are of none of these teachers.
    """
    check_epsilon(epsilon)
    folders = [ledgers] if isinstance(ledgers, (str, os.PathLike)) else list(ledgers)
    if isinstance(parameters, (str, os.PathLike)):
        parameters = read_parameters(parameters)
    units, notes = complete_units(read_ledgers(folders))
    by_teacher, more = scores_of(units, folders, scores, metric)
    by_unit = {unit.name: by_teacher[unit.teacher] for unit in units if unit.teacher in by_teacher}
    assumed, what = _assumed(units, by_unit, parameters, metric)
    parts, unseen = [], True
    every = [(unit, trial) for unit in units for trial in trials(unit)]
    with progress("replay", len(every), quiet=quiet) as advance:
        for unit, trial in every:
            parts.append(replayed(trial, assumed[unit.name], epsilon, by_unit.get(unit.name)))
            unseen = unseen and trial.unseen
            advance()
    rows, looks = (pd.concat([part[place] for part in parts], ignore_index=True) for place in (0, 1))
    tables = frontier(rows), calibration(looks)
    sentences = (*_words(*tables, len(units), unseen, epsilon), *what, *_widened(units, assumed), *more, *notes)
    names = tuple(unit.name for unit in units)
    return Replay(*tables, rows, looks, names, sentences, epsilon, parameters or assumed[names[-1]])


def _assumed(
    units: Sequence[Unit], scores: Mapping[str, Mapping[str, float]], given: Parameters | None, metric: str
) -> tuple[dict[str, Parameters], list[str]]:
    """What is assumed of short runs in each unit, never fitted to the unit itself, and what is to be said of it."""
    if given is not None:
        return {unit.name: given for unit in units}, []
    if len(units) < _LEAST_UNITS:
        shipped = read_parameters()
        least = f"{_LEAST_UNITS} complete units are the least that others are fitted to"
        return {unit.name: shipped for unit in units}, [f"What is shipped is assumed of short runs: {least}."]
    every: dict[str, Parameters] = {}
    for unit in units:
        others = [other for other in units if other is not unit]
        source = f"fitted to {', '.join(other.name for other in others)}"
        every[unit.name] = replace(fitted(others, scores, source=source), metric=metric)
    return every, [f"What is assumed of short runs in a unit is fitted to the other {len(units) - 1}, never to itself."]


def _widened(units: Sequence[Unit], assumed: Mapping[str, Parameters]) -> list[str]:
    reasons = [
        assumed[unit.name].for_schedule(unit.steps[-1], [steps / unit.steps[-1] for steps in unit.steps])[1]
        for unit in units
    ]
    return [reason for reason in dict.fromkeys(reasons) if reason]


def _words(costs: pd.DataFrame, stated: pd.DataFrame, units: int, unseen: bool, epsilon: float) -> Iterator[str]:
    """What was done, and what it says."""
    yield "One unit: no interval." if units == 1 else f"{units} units; intervals are over these, by Student's t."
    yield (
        "Rules are judged by one run of each augmentation of a seed that no rule sees: its noise raises all regrets "
        "alike, and leaves their differences as they are."
        if unseen
        else "No seed can be left out in some units: there rules are judged by the runs that they see themselves, "
        "which flatters all of them alike."
    )
    for row in costs[costs.rule == "compressed"].to_dict("records"):
        yield (
            f"At {row['budget']:g} whole schedules the regret of compressed schedules less that of choose is "
            f"{row['over_choose']:+.4f} nats{_ends(row['over_low'], row['over_high'], '.4f')}."
        )
    last, what = stated.iloc[-1], "Regret in a run" if unseen else "Regret"
    yield (
        f"{what} below {epsilon:g} nats: stated with probability {last.mean_stated:.2f} in the mean of {last.looks} "
        f"looks, so in {last.frequency:.2f} of them; difference {last.gap:+.2f}{_ends(last.low, last.high, '.2f')}."
    )


def _ends(low: float, high: float, form: str) -> str:
    return f" [{low:+{form}}, {high:+{form}}]" if math.isfinite(low) else " (one unit: no interval)"
