"""What `choose` would have done on runs that exist, beside simpler rules at the same cost.

A unit (teacher, student, data) is complete where every augmentation has a run of the longest schedule, and some have
shorter ones. Its truth is the mean loss over the seeds of the longest schedule. Rules that are compared, each at every
budget of student-steps:

``choose``        the loop of `dametric choose`, with runs looked up
``compressed``    all augmentations at the largest fraction that the budget bears, as many seeds as there are
``halving``       successive halving: all at the shortest fraction, the better half at the next, and so on
``score``         the best score of the teacher, no student
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from dametric.choosing.arms import BASELINE, arms_of
from dametric.choosing.decision import Run, next_step, p_within
from dametric.choosing.parameters import Parameters
from dametric.choosing.posterior import Observation, posterior, prior_of
from dametric.errors import UsageError

BUDGETS = (0.25, 0.5, 1.0, 2.0, 4.0)  # in whole schedules


@dataclass(frozen=True)
class Unit:
    """A unit of a complete ledger.

    Attributes
    ----------
    name : str
    augs : tuple of str
        Identity first.
    steps : tuple of int
        Of schedules, ascending.
    losses : dict of (int, int, int) to float
        By augmentation, schedule and seed.
    """

    name: str
    augs: tuple[str, ...]
    steps: tuple[int, ...]
    losses: Mapping[Run, float]

    @property
    def truth(self) -> list[float]:
        """Mean loss of the longest schedule."""
        last = len(self.steps) - 1
        return [float(np.mean(self.of(arm, last))) for arm in range(len(self.augs))]

    def of(self, arm: int, fraction: int) -> list[float]:
        """Losses of an augmentation at a schedule, by seed."""
        return [loss for (own, level, _), loss in sorted(self.losses.items()) if (own, level) == (arm, fraction)]

    def regret(self, arm: int) -> float:
        """What is lost by taking an augmentation, nats."""
        return self.truth[arm] - min(self.truth)


@dataclass(frozen=True)
class ReplayRow:
    """What a rule came to: the regret of its choice after what it spent, and, of `choose`, the stated probability."""

    unit: str
    rule: str
    budget: float
    spent: float
    regret: float
    stated: float = math.nan
    within: float = math.nan


def complete_units(table: pd.DataFrame) -> list[Unit]:
    """Complete units of a ledger's table.

    Parameters
    ----------
    table : pandas.DataFrame
        As :func:`dametric.load_runs` makes it. Held-out losses are taken where all runs of a unit have them.

    Raises
    ------
    UsageError
        If there is none, with what is missing.
    """
    students = table[(table.kind == "distill") & (table.status == "finished")]
    names = ["data", "teacher", "teacher_sha256", "student", "train_images"]
    units = [unit for name, part in students.groupby(names, dropna=False, sort=False) if (unit := _unit(name, part))]
    if not units:
        raise UsageError(
            "no unit is complete: a replay needs identity and two more augmentations with runs of the longest "
            "schedule, and runs of shorter schedules of the same teacher and student"
        )
    return units


def _unit(name: tuple[object, ...], part: pd.DataFrame) -> Unit | None:
    lengths = sorted(set(part.step.astype(int).tolist()))
    whole = part[part.step == lengths[-1]]
    augs = [BASELINE, *sorted(set(whole.aug) - {BASELINE})]
    if BASELINE not in set(whole.aug) or len(augs) < 3 or len(lengths) < 2:
        return None
    outcome = "held_out_loss" if part.held_out_loss.notna().all() else "test_loss"
    places = {aug: place for place, aug in enumerate(augs)}
    losses = {
        (places[aug], lengths.index(int(step)), int(seed)): float(loss)
        for aug, step, seed, loss in zip(part.aug, part.step, part.seed, part[outcome], strict=True)
        if aug in places
    }
    return Unit(f"{name[1]} {str(name[2])[:6]} -> {name[3]}", tuple(augs), tuple(lengths), losses)


def replayed(
    unit: Unit, parameters: Parameters, epsilon: float, score: Mapping[str, float] | None = None
) -> Iterator[ReplayRow]:
    """What each rule would have come to on a unit, at every budget.

    Parameters
    ----------
    unit : Unit
    parameters : Parameters
    epsilon : float
    score : mapping of str to float, optional
        Of the teacher alone, higher is a higher loss.
    """
    whole = unit.steps[-1]
    looks = list(_looks(unit, parameters, epsilon, score, max(BUDGETS) * whole))
    for budget in BUDGETS:
        most = budget * whole
        reached = [look for look in looks if look.spent <= most][-1]
        yield ReplayRow(unit.name, "choose", budget, reached.spent, reached.regret, reached.stated, reached.within)
        yield from _compressed(unit, budget)
        yield from _halving(unit, budget)
        if score:
            best = min(range(len(unit.augs)), key=lambda arm: score.get(unit.augs[arm], math.inf))
            yield ReplayRow(unit.name, "score", budget, 0.0, unit.regret(best))


def _looks(
    unit: Unit, parameters: Parameters, epsilon: float, score: Mapping[str, float] | None, most: float
) -> Iterator[ReplayRow]:
    """The loop of `choose`, with its runs looked up."""
    arms = arms_of(unit.augs)
    values = [score.get(aug, math.nan) for aug in unit.augs] if score else None
    seeds = 1 + max(seed for _, _, seed in unit.losses)
    prior = prior_of(arms, [steps / unit.steps[-1] for steps in unit.steps], parameters, values, seeds)
    runs: list[Observation] = []
    spent = 0.0
    while True:
        belief = posterior(prior, runs)
        regret, stated = unit.regret(belief.best), p_within(belief, epsilon)
        yield ReplayRow(unit.name, "choose", math.nan, spent, regret, stated, float(regret < epsilon))
        taken = {(run.arm, run.fraction, run.seed) for run in runs}
        step = next_step(belief, taken, unit.steps, most - spent, lambda run: run in unit.losses)
        if step is None:
            return
        runs.append(Observation(*step.runs[0], unit.losses[step.runs[0]]))
        spent += unit.steps[step.runs[0][1]]


def _mean_losses(unit: Unit, fraction: int, seeds: int, arms: Sequence[int]) -> list[float]:
    return [float(np.mean(unit.of(arm, fraction)[:seeds])) for arm in arms]


def _compressed(unit: Unit, budget: float) -> Iterator[ReplayRow]:
    """All augmentations at one fraction: the largest that the budget bears, then as many seeds."""
    every, most = range(len(unit.augs)), budget * unit.steps[-1]
    for fraction in reversed(range(len(unit.steps))):
        cost = len(every) * unit.steps[fraction]
        seeds = min(int(most // cost), min(len(unit.of(arm, fraction)) for arm in every))
        if seeds:
            losses = _mean_losses(unit, fraction, seeds, every)
            yield ReplayRow(unit.name, "compressed", budget, seeds * cost, unit.regret(int(np.argmin(losses))))
            return


def _halving(unit: Unit, budget: float) -> Iterator[ReplayRow]:
    """All augmentations at the shortest fraction, the better half at the next, while the budget bears it."""
    left, spent, most = list(range(len(unit.augs))), 0.0, budget * unit.steps[-1]
    for fraction, steps in enumerate(unit.steps):
        known = [arm for arm in left if unit.of(arm, fraction)]
        if not known or spent + len(known) * steps > most:
            break
        spent += len(known) * steps
        order = np.argsort(_mean_losses(unit, fraction, 1, known), kind="stable")
        left = [known[place] for place in order[: max(1, len(known) // 2)]]
    if spent:
        yield ReplayRow(unit.name, "halving", budget, spent, unit.regret(left[0]))


def frontier(rows: Sequence[ReplayRow]) -> pd.DataFrame:
    """Mean regret of each rule at each budget, with its 95 % interval over units (t; NaN for one unit)."""
    from scipy.stats import t as student_t

    table = pd.DataFrame([vars(row) for row in rows])
    parts = []
    for (rule, budget), part in table.groupby(["rule", "budget"], sort=False):
        mean, count = part.regret.mean(), len(part)
        reach = student_t.ppf(0.975, count - 1) * part.regret.std() / math.sqrt(count) if count > 1 else math.nan
        parts.append((rule, budget, count, part.spent.mean(), mean, mean - reach, mean + reach))
    return pd.DataFrame(parts, columns=["rule", "budget", "units", "spent", "regret", "low", "high"])
