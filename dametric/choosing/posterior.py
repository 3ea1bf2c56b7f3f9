r"""What runs say of the arms: a mixture of Gaussians, exact for the model below.

The effect of arm d at the j-th fraction of the schedule is f_jd, that of the whole schedule the last. Given a setting
(spread s, noise v, agreements l_j, scales a_j) and a standardised score g,

    f_jd = l_j s b g_d + h_jd,     b ~ N(slope, slope_spread^2),
    Cov(h_jd, h_ke) = s^2 (l_j / l_k) K_de   for j <= k,          K as in :func:`dametric.choosing.arms.likeness`,
    y = m_j + a_j f_jd + c_jk + e,           c_jk ~ N(0, shared v^2) for a fraction and seed, e ~ N(0, v^2),

with m_j free. Fractions are a Markov chain: where the longer run of an arm is known, its shorter ones add nothing but
what they say of other arms. The setting itself has a discrete prior and is weighed by the likelihood of all losses.

Settings of one *shape* (agreements, scales, slope) differ by spread and noise alone. Runs are summed up by the least
squares estimates of the effects that were seen, whose covariance is v^2 / S with a matrix S that no setting changes, so
one eigendecomposition for each shape makes everything diagonal for all spreads and noises; levels come on top by the
Woodbury identity, starts are what is left.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from dametric.choosing.arms import Arm, likeness
from dametric.choosing.parameters import Parameters
from dametric.errors import UsageError

Floats = NDArray[np.float64]
Places = NDArray[np.intp]
_NO_LOSS = 1e6  # nats
_FREE = 50.0  # standard deviation of the levels m_j beside the first loss there, nats: wide beside every effect


@dataclass(frozen=True)
class Layout:
    """Places in the vector of what is not known: effects by fraction and arm, levels, starts by fraction and seed."""

    arms: int
    fractions: int
    seeds: int

    @property
    def size(self) -> int:
        """How many numbers there are."""
        return self.fractions * (self.arms + 1 + self.seeds)

    @property
    def whole(self) -> slice:
        """Effects of the whole schedule."""
        return slice((self.fractions - 1) * self.arms, self.fractions * self.arms)

    def places(self, arm: int, fraction: int, seed: int) -> tuple[int, int, int]:
        """The effect, the level and the start that make up a run's expected loss."""
        levels = self.fractions * self.arms
        starts = levels + self.fractions
        return fraction * self.arms + arm, levels + fraction, starts + fraction * self.seeds + seed


@dataclass(frozen=True)
class Observation:
    """A finished run.

    Attributes
    ----------
    arm : int
        Its place.
    fraction : int
        Place of its fraction of the schedule, the shortest first.
    seed : int
    loss : float
        Held-out loss, nats.
    """

    arm: int
    fraction: int
    seed: int
    loss: float


@dataclass(frozen=True)
class Prior:
    """What is believed before any run. Settings are counted by pair of spread and noise, then by shape.

    Attributes
    ----------
    layout : Layout
    weights : ndarray
        Shape (settings,).
    spread, noise : ndarray
        Shape (pairs,): standard deviations of effects and of e.
    scale : ndarray
        Shape (shapes, fractions).
    lean : ndarray
        Shape (shapes, effects): expected effects in units of the spread.
    likeness : ndarray
        Shape (shapes, effects, effects): covariance of effects in units of the square of the spread.
    shared : float
        Variance of a start in units of that of e.
    """

    layout: Layout
    weights: Floats
    spread: Floats
    noise: Floats
    scale: Floats
    lean: Floats
    likeness: Floats
    shared: float

    @property
    def grid(self) -> tuple[int, int]:
        """How many pairs and shapes there are."""
        return len(self.spread), len(self.scale)


def prior_of(
    arms: Sequence[Arm],
    fractions: Sequence[float],
    parameters: Parameters,
    score: Sequence[float] | None = None,
    seeds: int = 8,
) -> Prior:
    """The prior over the effects of arms.

    Parameters
    ----------
    arms : sequence of Arm
    fractions : sequence of float
        Of the schedule, ascending, the last 1.
    parameters : Parameters
    score : sequence of float, optional
        A number for each arm, NaN where there is none; standardised here.
    seeds : int
        Seeds from 0 up to below this one may be used.
    """
    settings = list(parameters.settings(fractions))
    pairs = len(parameters.spread) * len(parameters.noise)
    shapes = settings[: len(settings) // pairs]  # the last axes of the product
    first = settings[:: len(shapes)]
    agreement = np.array([shape.agreement for shape in shapes])
    both = agreement[:, :, None], agreement[:, None, :]
    ratio = np.minimum(*both) / np.maximum(*both)
    direction = _standardised(score, len(arms))
    lever = (agreement[:, :, None] * direction).reshape(len(shapes), -1)  # what one unit of slope does to f / spread
    alike = likeness(arms, parameters.family_share, parameters.length)
    effects = np.einsum("sjk,de->sjdke", ratio, alike).reshape(len(shapes), lever.shape[1], -1)
    slope_spread = np.array([shape.slope_spread for shape in shapes])
    return Prior(
        layout=Layout(len(arms), len(fractions), seeds),
        weights=np.array([setting.weight for setting in settings]),
        spread=np.array([setting.spread for setting in first]),
        noise=np.array([setting.noise for setting in first]),
        scale=np.array([shape.scale for shape in shapes]),
        lean=np.array([shape.slope for shape in shapes])[:, None] * lever,
        likeness=effects + slope_spread[:, None, None] ** 2 * lever[:, :, None] * lever[:, None, :],
        shared=parameters.shared_noise,
    )


def _standardised(score: Sequence[float] | None, arms: int) -> Floats:
    """Mean 0 and deviation 1 over the arms that have one; 0 for the others, and where all are equal."""
    values = np.full(arms, np.nan) if score is None else np.asarray(score, float)
    known = np.isfinite(values)
    deviation = values[known].std() if known.sum() > 1 else 0.0
    if not deviation > 0:
        return np.zeros(arms)
    return np.where(known, (values - values[known].mean()) / deviation, 0.0)


class _Sums:
    """What runs say, whatever the setting: least squares estimates of the effects that were seen, and what is left."""

    def __init__(self, layout: Layout, shared: float, observations: Sequence[Observation]) -> None:
        parts = np.array([layout.places(run.arm, run.fraction, run.seed) for run in observations], int).reshape(-1, 3)
        first = {run.fraction: run.loss for run in reversed(observations)}
        losses = np.array([run.loss - first[run.fraction] for run in observations])
        self.places, own = np.unique(parts[:, 0], return_inverse=True)
        start = parts[:, 2] - layout.fractions * (layout.arms + 1)
        groups = layout.fractions * layout.seeds
        self.counts = np.zeros((groups, len(self.places)))  # runs of each start and effect
        np.add.at(self.counts, (start, own), 1)
        size = self.counts.sum(1)
        self.kept = shared / (1 + shared * size)  # of a start: its expected part of the sum of what is left

        power = np.diag(self.counts.sum(0)) - self.counts.T @ (self.kept[:, None] * self.counts)
        self.root = np.linalg.cholesky(power)  # the estimates have the covariance v^2 / power
        self.sums = np.bincount(start, losses, groups)
        of_effects = np.bincount(own, losses, len(self.places)) - self.counts.T @ (self.kept * self.sums)
        self.estimates = np.linalg.solve(power, of_effects)
        rest = losses - self.estimates[own]
        self.rest = max(float(rest @ rest - self.kept @ np.bincount(start, rest, groups) ** 2), 0.0)
        self.freedom = len(losses) - len(self.places)
        self.log_starts = float(np.log1p(shared * size).sum())


@dataclass(frozen=True)
class Posterior:
    """What is believed after runs: a mixture of Gaussians.

    Attributes
    ----------
    weights : ndarray
        Shape (settings,).
    mean : ndarray
        Shape (settings, size).
    log_evidence : float
        Logarithm of the density of the losses, to compare parameters on the same runs.
    prior : Prior
    gain : ndarray
        Shape (shapes, seen, effects): covariance of the decorrelated estimates with all effects, over spread^2.
    precision : ndarray
        Shape (pairs, shapes, seen): of the decorrelated estimates, given the levels.
    levels : ndarray
        Shape (shapes, seen, fractions): what a level does to the decorrelated estimates.
    level_cov : ndarray
        Shape (pairs, shapes, fractions, fractions): of the levels.
    starts : ndarray
        Shape (shapes, starts, effects and levels): what a unit of these takes off the expected start.
    start_variance : ndarray
        Shape (starts,): of a start, given all else, in units of that of e.
    """

    weights: Floats
    mean: Floats
    log_evidence: float
    prior: Prior
    gain: Floats
    precision: Floats
    levels: Floats
    level_cov: Floats
    starts: Floats
    start_variance: Floats

    @property
    def arms(self) -> int:
        """How many arms there are."""
        return self.prior.layout.arms

    @property
    def effects(self) -> Floats:
        """Expected effects of the whole schedule, shape (arms,), nats."""
        result: Floats = self.weights @ self.mean[:, self.prior.layout.whole]
        return result

    @property
    def best(self) -> int:
        """Place of the arm with the lowest expected loss; of equal ones the first."""
        effects = self.effects
        return int(np.round(effects - effects.min(), 12).argmin())

    @property
    def scale(self) -> Floats:
        """Expected scale of effects at each fraction."""
        result: Floats = self.weights.reshape(self.prior.grid).sum(0) @ self.prior.scale
        return result

    @property
    def noise(self) -> float:
        """Expected variance of e."""
        return float(self.weights.reshape(self.prior.grid).sum(1) @ self.prior.noise**2)

    @cached_property
    def joint(self) -> tuple[Floats, Floats]:
        """Mean and covariance of everything that is not known over the whole mixture."""
        mean = self.weights @ self.mean
        around = (self.mean - mean) * np.sqrt(self.weights)[:, None]
        return mean, self._within(self.weights.reshape(self.prior.grid)) + around.T @ around

    @property
    def cov(self) -> Floats:
        """Covariance under every setting, shape (settings, size, size)."""
        each = np.eye(len(self.weights)).reshape(-1, *self.prior.grid)
        return np.array([self._within(weights) for weights in each])

    def whole_cov(self, settings: Places) -> Floats:
        """Covariance of the effects of the whole schedule under some settings, shape (settings, arms, arms)."""
        pair, shape = np.divmod(settings, self.prior.grid[1])
        whole, precision = self.prior.layout.whole, self.precision[pair, shape]
        gain, variance = self.gain[:, :, whole], (self.prior.spread[pair] ** 2)[:, None, None]
        by_levels = np.swapaxes(gain, 1, 2)[shape] @ (precision[:, :, None] * self.levels[shape])
        known = gain[shape] * np.sqrt(precision)[:, :, None]
        left = np.swapaxes(known, 1, 2) @ known - by_levels @ self.level_cov[pair, shape] @ np.swapaxes(by_levels, 1, 2)
        result: Floats = variance * (self.prior.likeness[:, whole, whole][shape] - variance * left)
        return result

    def _within(self, weights: Floats) -> Floats:
        """Mean covariance over settings of these weights, shape (pairs, shapes)."""
        prior, layout = self.prior, self.prior.layout
        share = weights.sum(0) > 0
        weights, gain, levels = weights[:, share], self.gain[share], self.levels[share]
        precision, level_cov = self.precision[:, share], self.level_cov[:, share]
        square = (prior.spread**2)[:, None]
        turned = np.swapaxes(gain, 1, 2)
        by_levels = precision[..., None] * levels  # pairs, shapes, seen, fractions
        with_cov = by_levels @ level_cov
        both = np.einsum("pg,pgsf,pgtf->gst", weights * square**2, with_cov, by_levels, optimize=True)
        known = np.einsum("pg,pgs->gs", weights * square**2, precision)[:, :, None] * gain - both @ gain
        effects = (weights * square).sum(0)[:, None, None] * prior.likeness[share] - turned @ known
        across = -turned @ np.einsum("pg,pgsf->gsf", weights * square, with_cov)
        of_levels = np.einsum("pg,pgfh->gfh", weights, level_cov)
        cov = np.concatenate(
            [np.concatenate([effects, across], 2), np.concatenate([np.swapaxes(across, 1, 2), of_levels], 2)], 1
        )
        with_starts = -self.starts[share] @ cov
        of_starts = (-with_starts @ np.swapaxes(self.starts[share], 1, 2)).sum(0)
        variance = float((prior.noise**2 @ weights).sum())
        result = np.zeros((layout.size, layout.size))
        count = cov.shape[1]
        result[:count, :count] = cov.sum(0)
        result[count:, :count] = with_starts.sum(0)
        result[:count, count:] = result[count:, :count].T
        result[count:, count:] = of_starts + variance * np.diag(self.start_variance)
        return result

    def draws(self, normals: Floats, settings: Places) -> Floats:
        """Draws of the effects of the whole schedule under some settings.

        Parameters
        ----------
        normals : ndarray
            Standard normal numbers, shape (draws, arms).
        settings : ndarray
            Places of settings.

        Returns
        -------
        ndarray
            Shape (settings, arms, draws); settings have the probabilities ``weights``.
        """
        mean = self.mean[settings, self.prior.layout.whole]
        roots = square_root(self.whole_cov(settings)).reshape(-1, self.arms)
        result: Floats = (roots @ normals.T).reshape(*mean.shape, -1) + mean[:, :, None]  # one product, not many small
        return result


def square_root(cov: Floats) -> Floats:
    """Symmetric square roots of positive semi-definite matrices, shape (..., n, n)."""
    values, vectors = np.linalg.eigh(cov)
    result: Floats = vectors * np.sqrt(np.clip(values, 0, None))[..., None, :] @ np.swapaxes(vectors, -1, -2)
    return result


def posterior(prior: Prior, observations: Sequence[Observation]) -> Posterior:
    """Condition on finished runs.

    Examples
    --------
    >>> from dametric.choosing.arms import arms_of
    >>> arms = arms_of(["mixup", "cutmix"])
    >>> known = Parameters({0.05: 1}, {0.001: 1}, {0.2: 1}, {0.0: 1}, shared_noise=0.0)
    >>> runs = [Observation(arm, 1, 0, loss) for arm, loss in enumerate([2.0, 1.9, 2.1])]
    >>> belief = posterior(prior_of(arms, [0.2, 1.0], known), runs)
    >>> (belief.effects - belief.effects[0]).round(3).tolist()
    [0.0, -0.1, 0.1]
    """
    if not all(abs(run.loss) < _NO_LOSS for run in observations):
        raise UsageError(f"a loss is a number below {_NO_LOSS:g}, not {[run.loss for run in observations]}")
    layout, sums = prior.layout, _Sums(prior.layout, prior.shared, observations)
    fraction = sums.places // layout.arms
    seen = sums.root.T * prior.scale[:, None, fraction]  # shapes; from effects to estimates of unit noise
    values, vectors = np.linalg.eigh(
        seen @ prior.likeness[:, sums.places[:, None], sums.places] @ np.swapaxes(seen, 1, 2)
    )
    turn = np.swapaxes(vectors, 1, 2)  # estimates are independent then, but for their levels
    gain = turn @ seen @ prior.likeness[:, sums.places]
    levels = turn @ sums.root.T @ np.eye(layout.fractions)[fraction]
    estimates, lean = turn @ sums.root.T @ sums.estimates, (turn @ seen @ prior.lean[:, sums.places, None])[..., 0]

    spread, noise = prior.spread[:, None, None], prior.noise[:, None, None]
    variance = spread**2 * np.clip(values, 0, None) + noise**2
    precision = 1 / variance
    by_levels = np.swapaxes(precision[..., None] * levels, 2, 3)
    level_precision = by_levels @ levels + np.eye(layout.fractions) / _FREE**2
    level_cov = np.linalg.inv(level_precision)
    residual = estimates - spread * lean
    level = (level_cov @ by_levels @ residual[..., None])[..., 0]
    rest = residual - (levels @ level[..., None])[..., 0]
    square = (precision * rest**2).sum(2) + (level**2).sum(2) / _FREE**2 + sums.rest / noise[:, :, 0] ** 2
    square += np.log(variance).sum(2) + np.linalg.slogdet(_FREE**2 * level_precision)[1]
    square += sums.freedom * np.log(noise[:, :, 0] ** 2)
    logs = np.log(prior.weights) - 0.5 * square.ravel()
    top = logs.max()
    total = top + np.log(np.exp(logs - top).sum())

    effects = spread * prior.lean + spread**2 * np.einsum("gse,pgs->pge", gain, precision * rest, optimize=True)
    known = np.concatenate([effects, level], 2)
    starts = _starts(prior, sums, fraction)
    start = sums.kept * sums.sums - np.einsum("gcu,pgu->pgc", starts, known, optimize=True)
    return Posterior(
        weights=np.exp(logs - total),
        mean=np.concatenate([known, start], 2).reshape(len(logs), -1),
        log_evidence=float(total - sums.log_starts / 2 - len(observations) / 2 * np.log(2 * np.pi)),
        prior=prior,
        gain=gain,
        precision=precision,
        levels=levels,
        level_cov=level_cov,
        starts=starts,
        start_variance=sums.kept,
    )


def _starts(prior: Prior, sums: _Sums, fraction: Places) -> Floats:
    """What a unit of each effect and level takes off each expected start, by shape."""
    layout = prior.layout
    result = np.zeros((len(prior.scale), len(sums.kept), layout.fractions * (layout.arms + 1)))
    by_effect = sums.kept[:, None] * sums.counts
    result[:, :, sums.places] = by_effect * prior.scale[:, None, fraction]
    result[:, :, layout.fractions * layout.arms :] = by_effect @ np.eye(layout.fractions)[fraction]
    return result
