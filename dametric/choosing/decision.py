"""Which arm is best, how sure that is, and which run is worth most for its cost."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri
from scipy.stats import qmc

from dametric.choosing.posterior import Posterior, square_root

Floats = NDArray[np.float64]
DRAWS = 512
_AT_ONCE = 16  # settings whose draws stay in the cache
_LOOK_AHEAD = 256
_FORECAST = 4096
_MOST_RUNS = 400  # of a forecast
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
    kept, weights = likely_settings(belief)
    draws, each, best = belief.draws(_normals(DRAWS, belief.arms), kept), weights / DRAWS, belief.best
    lowest = draws.argmin(1)
    p_best = np.array([(lowest == arm).sum(1) @ each for arm in range(belief.arms)])
    over = draws - draws[:, best : best + 1]
    excess = -over.min(1)
    flat = over.swapaxes(0, 1).reshape(belief.arms, -1)
    low, middle, high = _quantiles(flat, np.repeat(each, DRAWS), (0.025, 0.5, 0.975))
    return Verdict(
        best=best,
        p_best=p_best,
        regret=float(excess.sum(1) @ each),
        p_within=float((excess < epsilon).mean(1) @ weights),
        gain=np.array([low[0], middle[0], high[0]]),
        p_gain=float((over[:, 0] > 0).sum(1) @ each),
        low=low,
        high=high,
    )


def p_within(belief: Posterior, epsilon: float) -> float:
    """The same number of :class:`Verdict` alone."""
    kept, weights = likely_settings(belief)
    normals, best, within = _normals(DRAWS, belief.arms), belief.best, np.zeros(len(kept))
    for start in range(0, len(kept), _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        draws = belief.draws(normals, kept[part])
        within[part] = (draws[:, best] - draws.min(1) < epsilon).mean(1)
    return float(within @ weights)


def likely_settings(belief: Posterior) -> tuple[NDArray[np.intp], Floats]:
    """Settings with 99.9 % of the probability, the likeliest first, and their probabilities."""
    order = np.argsort(-belief.weights, kind="stable")
    kept = order[: int((belief.weights[order].cumsum() < 0.999).sum()) + 1]
    weights: Floats = belief.weights[kept] / belief.weights[kept].sum()
    return kept, weights


def _quantiles(values: Floats, weights: Floats, shares: Sequence[float]) -> list[Floats]:
    """Weighted quantiles of every row."""
    order = values.argsort(1)
    reached = weights[order].cumsum(1)
    places = [np.minimum((reached < share * reached[:, -1:]).sum(1), values.shape[1] - 1) for share in shares]
    rows = np.arange(len(values))
    return [values[rows, order[rows, place]] for place in places]


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
    return float(_falls(means, shifts[None])[0])


def _falls(means: Floats, shifts: Floats) -> Floats:
    """The same for many observations: shifts of shape (observations, arms)."""
    rows = np.arange(len(shifts))
    line = np.lexsort((np.broadcast_to(means, shifts.shape), -shifts), axis=1)[
        :, 0
    ]  # from the left the steepest is lowest
    falls = np.zeros(len(shifts))
    while len(rows):
        slope, height = shifts[rows, line], means[line]
        gaps = slope[:, None] - shifts[rows]
        flatter = gaps > 0
        crossing = np.where(flatter, (means - height[:, None]) / np.where(flatter, gaps, 1.0), np.inf)
        edge = crossing.min(1)
        following = np.where(crossing == edge[:, None], gaps, -np.inf).argmax(1)  # of those that meet the flattest
        more = np.isfinite(edge)
        rows, line, away = rows[more], following[more], -np.abs(edge[more])
        gap = gaps[more, line]
        falls[rows] += gap * (np.exp(-0.5 * away**2) / np.sqrt(2 * np.pi) + away * ndtr(away))
    return falls


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
        for runs, worth in _worths(look, fraction, taken, min(most / cost, 1e9), possible):
            step = Step(runs, worth, len(runs) * cost)
            if best is None or step.worth * best.cost > best.worth * step.cost * (1 + 1e-9):
                best = step
    return best


def _worths(
    look: _Look, fraction: int, taken: Collection[Run], most: float, possible: Callable[[Run], bool]
) -> Iterator[tuple[tuple[Run, ...], float]]:
    """What may be done at a fraction, and its worth: one to four seeds of an arm, or a seed that several arms begin."""
    layout = look.layout
    begun = {seed for _, level, seed in taken if level == fraction}
    unused = max(begun, default=-1) + 1
    seeds = range(min(unused + 1, layout.seeds))
    losses = _Losses(look, fraction, min(unused + 1, layout.seeds))
    repeated: list[tuple[Run, ...]] = []
    for arm in range(layout.arms):
        runs = [(arm, fraction, seed) for seed in seeds]
        missing = [run for run in runs if run not in taken and possible(run)]
        repeated += [tuple(missing[:repeats]) for repeats in _REPEATS if len(missing) >= repeats <= most]
    yield from zip(repeated, losses.worth_of_arms(repeated), strict=True)
    if unused < layout.seeds:
        new = [run for arm in look.likely if possible(run := (int(arm), fraction, unused))]
        for size in sorted({min(size, len(new)) for size in (*_GROUPS, layout.arms)} - {0}):
            if size <= most:
                yield tuple(new[:size]), losses.worth_together(new[:size])


class _Look:
    """What runs that have not been made would do, from the mixture's mean and covariance."""

    def __init__(self, belief: Posterior) -> None:
        self.layout = belief.prior.layout
        self.mean, self.cov = belief.joint
        self.noise, self.scale = belief.noise, belief.scale
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

    def observe(self, runs: Sequence[Run]) -> None:
        """Take runs of one fraction as made, and as come to what is expected of them."""
        losses = _Losses(self, runs[0][1], self.layout.seeds)
        places = losses.places([runs])[0]
        with_losses = losses.across[places]
        variance = losses.cov[np.ix_(places, places)] + self.noise * np.eye(len(runs))
        self.cov = self.cov - with_losses.T @ np.linalg.solve(variance, with_losses)


class _Losses:
    """Expected losses at a fraction of all arms and of the first seeds: how they go with all that is not known."""

    def __init__(self, look: _Look, fraction: int, seeds: int) -> None:
        self.look, self.seeds = look, seeds
        layout, scale = look.layout, look.scale[fraction]
        effect, level, start = layout.places(0, fraction, 0)
        effects, starts = slice(effect, effect + layout.arms), slice(start, start + seeds)

        def sums(rows: Floats) -> Floats:  # the first axis from what is not known to losses
            result: Floats = (rows[effects] * scale + rows[level])[:, None] + rows[starts]
            return result.reshape(-1, rows.shape[1])

        self.across = sums(look.cov)
        self.cov = sums(self.across.T)

    def places(self, groups: Sequence[Sequence[Run]]) -> NDArray[np.intp]:
        """Places of groups of as many runs."""
        return np.array([[arm * self.seeds + seed for arm, _, seed in runs] for runs in groups], np.intp)

    def worth_of_arms(self, repeated: Sequence[Sequence[Run]]) -> list[float]:
        """By how much runs of one arm would lower the expected regret, exactly, for each such group."""
        worths = np.zeros(len(repeated))
        for size in {len(runs) for runs in repeated}:
            chosen = [number for number, runs in enumerate(repeated) if len(runs) == size]
            places = self.places([repeated[number] for number in chosen])
            variance = self.cov[places[:, :, None], places[:, None, :]] + self.look.noise * np.eye(size)
            weights = np.linalg.solve(variance, np.ones((len(chosen), size, 1)))  # their weighted mean says it all
            shifts = (self.across[places, self.look.layout.whole] * weights).sum(1)
            worths[chosen] = _falls(self.look.effects, shifts / np.sqrt(weights.sum(1)))
        return [float(worth) for worth in worths]

    def worth_together(self, runs: Sequence[Run]) -> float:
        """By how much runs of one seed would lower the expected regret."""
        places = self.places([runs])[0]
        values, vectors = np.linalg.eigh(self.cov[np.ix_(places, places)] + self.look.noise * np.eye(len(runs)))
        shifts = self.across[places, self.look.layout.whole].T @ vectors / np.sqrt(values)
        after = self.look.effects + _normals(_LOOK_AHEAD, len(runs)) @ shifts.T
        return float(max(self.look.effects.min() - after.min(1).mean(), 0.0))


def expected_regret_after(
    belief: Posterior, taken: Collection[Run], costs: Sequence[float], most: float, regret: float
) -> float:
    """The regret that is expected after so much more cost.

    The runs that would be made are those that are worth most, one after the other, each taken to come to what is
    expected of it. What all of them together would tell is then drawn, so that nothing is counted twice.

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
        A forecast and no bound: runs that come to something else lead to others.
    """
    if not np.isfinite(most):
        return float("nan")
    done, look = set(taken), _Look(belief)
    whole = look.layout.whole
    before, runs = look.cov[whole, whole], 0
    while (step := _best(look, done, costs, most)) is not None and step.worth > 1e-3 * regret and runs < _MOST_RUNS:
        most, runs = most - step.cost, runs + len(step.runs)
        look.observe(step.runs)
        done |= set(step.runs)
    if not runs:
        return regret
    after = look.cov[whole, whole]
    normals = _normals(_FORECAST, 2 * look.layout.arms)
    told = look.effects + normals[:, : look.layout.arms] @ square_root(before - after)
    effects = told + normals[:, look.layout.arms :] @ square_root(after)
    least = effects.min(1)
    now, then = (effects[np.arange(_FORECAST), place] - least for place in (look.effects.argmin(), told.argmin(1)))
    return float(regret * min(then.mean() / now.mean(), 1.0)) if now.any() else regret
