"""From finished runs to what is known: the answer as it stands, a function of runs and settings alone."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from dametric.base.arguments import argument
from dametric.choosing.answer import points_of, sentences
from dametric.choosing.arms import Arm
from dametric.choosing.decision import Run, Step, Verdict, expected_regret_after, next_step, verdict
from dametric.choosing.parameters import Parameters
from dametric.choosing.posterior import Observation, Posterior, posterior, prior_of
from dametric.choosing.runs import Key, Outcome
from dametric.errors import UsageError
from dametric.records.choices import Choice, ChoiceArm, ChoiceCosts, ChoiceLook, ChoiceRun

ENOUGH = 0.95
SEEDS = 8


def check_epsilon(epsilon: float) -> None:
    """Refuse an epsilon that is no loss.

    Raises
    ------
    UsageError
        Unless it is above 0, and finite.
    """
    if not 0 < epsilon < math.inf:
        raise UsageError(f"{argument('epsilon')} is a loss above 0 nats, not {epsilon}")


@dataclass(frozen=True)
class Question:
    """What is to be chosen, and from what.

    Attributes
    ----------
    arms : tuple of Arm
    steps : tuple of int
        Of a run at each fraction, ascending; the last is the schedule meant.
    epsilon : float
    parameters : Parameters
    score : dict of str to float
        By the metric of the choice, its sign such that higher is a higher loss.
    score_error : dict of str to float
    scores : dict of str to dict of str to float
        By every metric and augmentation, as they are.
    base : str
        The loader's own augmentation.
    remarks : tuple of str
        What else determined the answer, in words.
    config, versions : dict
    """

    arms: tuple[Arm, ...]
    steps: tuple[int, ...]
    epsilon: float
    parameters: Parameters
    score: Mapping[str, float] = field(default_factory=dict)
    score_error: Mapping[str, float] = field(default_factory=dict)
    scores: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    base: str = ""
    remarks: tuple[str, ...] = ()
    config: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, Any] = field(default_factory=dict)

    @property
    def fractions(self) -> list[float]:
        """Of the schedule meant."""
        return [steps / self.steps[-1] for steps in self.steps]


@dataclass(frozen=True)
class Belief:
    """What runs say of the arms that are left.

    Attributes
    ----------
    question : Question
    arms : tuple of Arm
        Without those whose students failed.
    failed : dict of str to str
    observations : tuple of Observation
    posterior : Posterior
    """

    question: Question
    arms: tuple[Arm, ...]
    failed: Mapping[str, str]
    observations: tuple[Observation, ...]
    posterior: Posterior

    @classmethod
    def of(cls, question: Question, outcomes: Sequence[Outcome]) -> Belief:
        """Condition on all finished runs, in an order of their own."""
        failed = {outcome.key.aug: outcome.failed for outcome in outcomes if outcome.failed}
        arms = tuple(arm for arm in question.arms if arm.name not in failed)
        observations = _observations(question, arms, outcomes)
        score = [question.score.get(arm.name, math.nan) for arm in arms]
        prior = prior_of(arms, question.fractions, question.parameters, score, SEEDS)
        return cls(question, arms, failed, observations, posterior(prior, observations))

    def with_pending(self, keys: Collection[Key]) -> Belief:
        """The same as if runs that are going on had come to what is expected of them."""
        if not keys:
            return self
        mean, _ = self.posterior.joint
        scale = self.posterior.scale
        layout, first = self.posterior.prior.layout, {run.fraction: run.loss for run in reversed(self.observations)}
        pending = []
        for arm, fraction, seed in map(self.place, keys):
            if arm < 0:
                continue
            effect, level, start = layout.places(arm, fraction, seed)
            loss = first.get(fraction, 0.0) + float(scale[fraction] * mean[effect] + mean[level] + mean[start])
            pending.append(Observation(arm, fraction, seed, loss))
        runs = (*self.observations, *pending)
        return replace(self, observations=runs, posterior=posterior(self.posterior.prior, runs))

    def place(self, key: Key) -> Run:
        """Arm, fraction and seed of a run; arm -1 where it is not one of these."""
        names = [arm.name for arm in self.arms]
        if key.aug not in names or key.steps not in self.question.steps or key.seed >= SEEDS:
            return -1, 0, 0
        return names.index(key.aug), self.question.steps.index(key.steps), key.seed

    def key(self, run: Run) -> Key:
        """What a run is called."""
        arm, fraction, seed = run
        return Key(self.arms[arm].name, self.question.steps[fraction], seed)

    @property
    def taken(self) -> set[Run]:
        """Runs that are finished or going on."""
        return {(run.arm, run.fraction, run.seed) for run in self.observations}

    def step(self, most: float = math.inf) -> Step | None:
        """What to do next, costing no more than so many student-steps."""
        return next_step(self.posterior, self.taken, self.question.steps, most)

    @property
    def verdict(self) -> Verdict:
        """How sure the answer is."""
        return verdict(self.posterior, self.question.epsilon)


def _observations(question: Question, arms: Sequence[Arm], outcomes: Sequence[Outcome]) -> tuple[Observation, ...]:
    places = {arm.name: place for place, arm in enumerate(arms)}
    fractions = {steps: place for place, steps in enumerate(question.steps)}
    runs = [
        Observation(places[key.aug], fractions[key.steps], key.seed, outcome.loss)
        for outcome in outcomes
        if outcome.finished and (key := outcome.key).aug in places and key.steps in fractions and key.seed < SEEDS
    ]
    return tuple(sorted(runs, key=lambda run: (run.fraction, run.seed, run.arm)))


def answer(
    belief: Belief,
    outcomes: Sequence[Outcome],
    status: str,
    costs: ChoiceCosts,
    looks: Sequence[ChoiceLook] = (),
    steps_an_hour: float = math.nan,
) -> Choice:
    """The answer as things stand.

    Parameters
    ----------
    belief : Belief
    outcomes : sequence of Outcome
        What it was conditioned on.
    status : str
    costs : ChoiceCosts
    looks : sequence of ChoiceLook
        Those before; that of now is added if it has more runs.
    steps_an_hour : float
    """
    known, question = belief.verdict, belief.question
    runs = _runs(question, outcomes)
    points = points_of(runs)
    best = belief.arms[known.best].name
    by_steps = {f"{fraction:g}": 0 for fraction in question.fractions}
    for key in (outcome.key for outcome in outcomes if outcome.finished or outcome.failed):
        if key.steps in question.steps:
            by_steps[f"{key.steps / question.steps[-1]:g}"] += key.steps
    steps = costs.student_steps + sum(by_steps.values())
    p_best = float(known.p_best[known.best])
    look = ChoiceLook(len(runs), steps, costs.seconds, best, p_best, known.p_within, known.regret)
    choice = Choice(
        status=status,
        best=best,
        p_best=look.p_best,
        p_within=known.p_within,
        regret=known.regret,
        gain=float(known.gain[1]),
        gain_low=float(known.gain[0]),
        gain_high=float(known.gain[2]),
        p_gain=known.p_gain,
        epsilon=question.epsilon,
        hour_more=math.nan if status == "running" else _hour_more(belief, known.regret, steps_an_hour),
        points=points.slope,
        points_low=points.low,
        points_high=points.high,
        arms=_arms(belief, known, runs),
        runs=runs,
        looks=(*looks, look) if not looks or looks[-1].runs < look.runs else tuple(looks),
        costs=replace(costs, steps={name: count for name, count in by_steps.items() if count}),
        config=dict(question.config),
        parameters=question.parameters.document(),
        versions=dict(question.versions),
    )
    return replace(choice, sentences=sentences(choice, question.base, question.remarks))


def _hour_more(belief: Belief, regret: float, steps: float) -> float:
    """Expected regret after so many more student-steps."""
    return expected_regret_after(belief.posterior, belief.taken, belief.question.steps, steps, regret)


def _runs(question: Question, outcomes: Sequence[Outcome]) -> tuple[ChoiceRun, ...]:
    whole = question.steps[-1]
    runs = [
        ChoiceRun(key.aug, key.steps, key.steps / whole, key.seed, outcome.loss, outcome.top1, outcome.seconds)
        for outcome in outcomes
        if outcome.finished and (key := outcome.key).steps in question.steps
    ]
    return tuple(sorted(runs, key=lambda run: (run.steps, run.seed, run.aug)))


def _arms(belief: Belief, known: Verdict, runs: Sequence[ChoiceRun]) -> tuple[ChoiceArm, ...]:
    effects = belief.posterior.effects
    arms = []
    for place, arm in enumerate(belief.arms):
        over = float(effects[place] - effects[known.best])
        p_best, low, high = float(known.p_best[place]), float(known.low[place]), float(known.high[place])
        arms.append(ChoiceArm(arm.name, arm.family, arm.position, p_best, over, low, high))
    arms += [ChoiceArm(name, failed=why) for name, why in belief.failed.items()]
    question = belief.question
    score = next(iter(question.scores.values()), question.score)
    return tuple(
        replace(
            arm,
            score=score.get(arm.aug, math.nan),
            score_error=question.score_error.get(arm.aug, math.nan),
            scores={metric: of_aug.get(arm.aug, math.nan) for metric, of_aug in question.scores.items()},
            runs=sum(run.aug == arm.aug for run in runs),
        )
        for arm in arms
    )
