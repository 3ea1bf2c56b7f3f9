"""Which arm is best, how sure that is, and which run is worth most for its cost."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri
from scipy.stats import qmc

from dametric.choosing.posterior import Posterior, square_root

Floats = NDArray[np.float64]
DRAWS = 512
_LOOK_AHEAD = 256
_REPEATS = (1, 2, 4)  # seeds of an arm that are looked at together: one run more may change nothing where four would
_GROUPS = (2, 3, 4, 6, 8)  # arms that begin a seed or a fraction together: the first alone says nothing


@dataclass(frozen=True)
class Verdict:
    """What is known of the arms.

    Attributes
    ----------
    best : int
        Place of the arm with the lowest expected loss.
    p_best : ndarray
        Shape (arms,): probability that an arm has the lowest loss.
    regret : float
        Expected excess of the loss of ``best`` over that of the arm that is really the best, nats.
    p_within : float
        Probability that this excess is below epsilon.
    gain : ndarray
        Shape (3,): 2.5, 50 and 97.5 % quantiles of the loss of identity over that of ``best``, nats.
    p_gain : float
        Probability that ``best`` has a lower loss than identity; 0 where it is identity.
    low, high : ndarray
        Shape (arms,): 2.5 and 97.5 % quantiles of an arm's loss over that of ``best``, nats.
    """

    best: int
    p_best: Floats
    regret: float
    p_within: float
    gain: Floats
    p_gain: float
    low: Floats
    high: Floats


@lru_cache(maxsize=16)
def _normals(draws: int, dimensions: int) -> Floats:
    """Fixed, evenly spread standard normal numbers: a decision is a function of the runs alone."""
    result: Floats = ndtri(
        np.clip(qmc.Sobol(dimensions, scramble=True, rng=np.random.default_rng(0)).random(draws), 1e-9, 1 - 1e-9)
    )
    return result


def verdict(belief: Posterior, epsilon: float) -> Verdict:
    """What the posterior says of the arms.

    Parameters
    ----------
    belief : Posterior
    epsilon : float
        A loss that would not be worth another run, nats.
    """
    draws, each, best = _draws(belief)
    lowest = draws.argmin(2)
    p_best = np.array([(lowest == arm).sum(1) @ each for arm in range(belief.arms)])
    over = draws - draws[:, :, best : best + 1]
    excess = -over.min(2)
    flat, weights = over.reshape(-1, belief.arms), np.repeat(each, draws.shape[1])
    low, middle, high = _quantiles(flat, weights, (0.025, 0.5, 0.975))
    return Verdict(
        best=best,
        p_best=p_best,
        regret=float(excess.sum(1) @ each),
        p_within=float((excess < epsilon).sum(1) @ each),
        gain=np.array([low[0], middle[0], high[0]]),
        p_gain=float((over[:, :, 0] > 0).sum(1) @ each),
        low=low,
        high=high,
    )


def p_within(belief: Posterior, epsilon: float) -> float:
    """The same number of :class:`Verdict` alone."""
    draws, each, best = _draws(belief)
    return float((draws[:, :, best] - draws.min(2) < epsilon).sum(1) @ each)


def _draws(belief: Posterior) -> tuple[Floats, Floats, int]:
    """Draws of effects under settings with 99.9 % of the probability, the weight of each draw, and the best arm."""
    order = np.argsort(-belief.weights, kind="stable")
    kept = order[: int((belief.weights[order].cumsum() < 0.999).sum()) + 1]
    weights = belief.weights[kept] / belief.weights[kept].sum()
    likely = replace(belief, weights=weights, mean=belief.mean[kept], cov=belief.cov[kept])
    return likely.draws(_normals(DRAWS, belief.arms)), weights / DRAWS, belief.best


def _quantiles(values: Floats, weights: Floats, shares: Sequence[float]) -> list[Floats]:
    """Weighted quantiles of every column."""
    order = values.argsort(0)
    reached = weights[order].cumsum(0)
    rows = [np.minimum((reached < share * reached[-1]).sum(0), len(values) - 1) for share in shares]
    columns = np.arange(values.shape[1])
    return [values[order[row, columns], columns] for row in rows]


def expected_fall(means: Floats, shifts: Floats) -> float:
    """By how much one observation lowers the expected regret: E[min means] - E[min (means + shifts Z)], Z normal.

    Exact, by the lower envelope of the lines means + shifts z (Frazier, Powell and Dayanik, 2009).

    Parameters
    ----------
    means : ndarray
        Expected losses, shape (arms,).
    shifts : ndarray
        Shape (arms,): what one standard deviation of the observation does to each.

    Returns
    -------
    float
        From 0 up.

    Examples
    --------
    >>> round(expected_fall(np.zeros(2), np.array([0.0, 1.0])), 6)  # E max(0, Z) = 1 / sqrt(2 pi)
    0.398942
    """
    order = np.lexsort((means, -shifts))  # the steepest first; from the left, it is the lowest
    slopes, heights = shifts[order], means[order]
    kept = np.concatenate([[True], np.diff(slopes) < 0])  # of parallel lines the lowest
    slopes, heights = slopes[kept], heights[kept]
    lines, starts = [0], [-np.inf]
    for line in range(1, len(slopes)):
        while True:
            last = lines[-1]
            crossing = (heights[line] - heights[last]) / (slopes[last] - slopes[line])
            if crossing > starts[-1]:
                break
            lines.pop()
            starts.pop()
            if not lines:
                crossing = -np.inf
                break
        lines.append(line)
        starts.append(crossing)
    gaps = np.abs(np.diff(slopes[lines]))
    edges = -np.abs(np.array(starts[1:]))
    density = np.exp(-0.5 * edges**2) / np.sqrt(2 * np.pi)
    return float((gaps * (density + edges * ndtr(edges))).sum())


Run = tuple[int, int, int]  # arm, fraction, seed


@dataclass(frozen=True)
class Step:
    """What to do next.

    Attributes
    ----------
    runs : tuple of Run
        That are worth it together: a fraction or seed that nobody has begun says nothing by one arm alone.
    worth : float
        By how much they lower the expected regret, nats.
    cost : float
        Of all of them, in the unit of the costs that were given.
    """

    runs: tuple[Run, ...]
    worth: float
    cost: float


def next_step(
    belief: Posterior,
    taken: Collection[Run],
    costs: Sequence[float],
    most: float = np.inf,
    possible: Callable[[Run], bool] = lambda run: True,
) -> Step | None:
    """The runs with the largest fall of expected regret for their cost.

    Parameters
    ----------
    belief : Posterior
    taken : collection of Run
        Those that are finished or going on.
    costs : sequence of float
        Of a run at each fraction.
    most : float
        Nothing that costs more is considered.
    possible : callable
        Whether a run can be made at all.

    Returns
    -------
    Step or None
        None where nothing is affordable. A function of its arguments alone: ties go to the first fraction and arm.
    """
    return _best(_Look(belief), taken, costs, most, possible)


def _best(
    look: _Look,
    taken: Collection[Run],
    costs: Sequence[float],
    most: float,
    possible: Callable[[Run], bool] = lambda run: True,
) -> Step | None:
    best: Step | None = None
    for fraction, cost in enumerate(costs):
        for runs in _groups(look, fraction, taken, min(most / cost, 1e9), possible):
            step = Step(runs, look.worth(runs), len(runs) * cost)
            if best is None or step.worth * best.cost > best.worth * step.cost * (1 + 1e-9):
                best = step
    return best


def _groups(
    look: _Look, fraction: int, taken: Collection[Run], most: float, possible: Callable[[Run], bool]
) -> Iterator[tuple[Run, ...]]:
    """What may be done at a fraction: one to four seeds of an arm, or a seed that several arms begin together."""
    layout = look.layout
    begun = {seed for _, level, seed in taken if level == fraction}
    unused = max(begun, default=-1) + 1
    seeds = range(min(unused + 1, layout.seeds))
    for arm in range(layout.arms):
        runs = [(arm, fraction, seed) for seed in seeds]
        missing = [run for run in runs if run not in taken and possible(run)]
        for repeats in _REPEATS:
            if len(missing) >= repeats <= most:
                yield tuple(missing[:repeats])
    if unused < layout.seeds:
        new = [run for arm in look.likely if possible(run := (int(arm), fraction, unused))]
        for size in sorted({min(size, len(new)) for size in (*_GROUPS, layout.arms)} - {0}):
            if size <= most:
                yield tuple(new[:size])


class _Look:
    """What runs that have not been made would do, from the mixture's mean and covariance."""

    def __init__(self, belief: Posterior) -> None:
        self.layout = belief.prior.layout
        self.mean, self.cov = belief.joint
        self.noise = float(belief.weights @ belief.prior.noise**2)
        self.scale = belief.weights @ belief.prior.scale
        normals = _normals(_LOOK_AHEAD, self.layout.arms)
        draws = self.effects + normals @ square_root(self.across[:, self.layout.whole])
        self.likely = np.argsort(-np.bincount(draws.argmin(1), minlength=self.layout.arms), kind="stable")

    @property
    def effects(self) -> Floats:
        """Expected effects of the whole schedule."""
        return self.mean[self.layout.whole]

    @property
    def across(self) -> Floats:
        """Their covariance with everything that is not known."""
        return self.cov[self.layout.whole]

    def worth(self, runs: Sequence[Run]) -> float:
        """By how much runs of one fraction would lower the expected regret: of one arm, or of one seed."""
        with_losses, variance = self._losses(runs)
        across = with_losses[self.layout.whole]
        if len({arm for arm, _, _ in runs}) == 1:  # one number carries all that its seeds say
            weights = np.linalg.solve(variance, np.ones(len(runs)))
            return expected_fall(self.effects, across @ weights / np.sqrt(weights.sum()))
        values, vectors = np.linalg.eigh(variance)
        after = self.effects + _normals(_LOOK_AHEAD, len(runs)) @ (across @ vectors / np.sqrt(values)).T
        return float(max(self.effects.min() - after.min(1).mean(), 0.0))

    def observe(self, runs: Sequence[Run]) -> None:
        """Take runs as made, and as come to what is expected of them."""
        with_losses, variance = self._losses(runs)
        self.cov = self.cov - with_losses @ np.linalg.solve(variance, with_losses.T)

    def _losses(self, runs: Sequence[Run]) -> tuple[Floats, Floats]:
        """Covariance of everything that is not known with the losses of runs of one fraction, and theirs."""
        parts = np.array([self.layout.places(*run) for run in runs])
        factors = np.array([self.scale[runs[0][1]], 1.0, 1.0])
        with_losses: Floats = self.cov[:, parts] @ factors
        variance: Floats = with_losses[parts].transpose(0, 2, 1) @ factors + self.noise * np.eye(len(runs))
        return with_losses, variance


def expected_regret_after(
    belief: Posterior, taken: Collection[Run], costs: Sequence[float], most: float, regret: float
) -> float:
    """The regret that is expected after so much more cost: what the best runs would take off it, one after the other.

    Parameters
    ----------
    belief : Posterior
    taken : collection of Run
    costs : sequence of float
        Of a run at each fraction.
    most : float
        What may be spent; NaN where the pace is not known.
    regret : float
        As it is now.

    Returns
    -------
    float
        Runs are taken to come to what is expected of them, so this is a forecast and no bound.
    """
    if not np.isfinite(most):
        return float("nan")
    done, left = set(taken), regret
    look = _Look(belief)
    while (step := _best(look, done, costs, most)) is not None and step.worth > 1e-3 * regret and len(done) < 400:
        left, most = max(left - step.worth, 0.0), most - step.cost
        look.observe(step.runs)
        done |= set(step.runs)
    return left
