r"""What runs say of the arms: a mixture of Gaussians, exact for the model below.

The effect of arm d at the j-th fraction of the schedule is f_jd, that of the whole schedule the last. Given a setting
(spread s, noise v, agreements l_j, scales a_j) and a standardised score g,

    f_jd = l_j s b g_d + h_jd,     b ~ N(slope, slope_spread^2),
    Cov(h_jd, h_ke) = s^2 (l_j / l_k) K_de   for j <= k,          K as in :func:`dametric.choosing.arms.likeness`,
    y = m_j + a_j f_jd + c_jk + e,           c_jk ~ N(0, shared v^2) for a fraction and seed, e ~ N(0, v^2),

with m_j free. Fractions are a Markov chain: where the longer run of an arm is known, its shorter ones add nothing but
what they say of other arms. The setting itself has a discrete prior and is weighed by the likelihood of all losses.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dametric.choosing.arms import Arm, likeness
from dametric.choosing.parameters import Parameters
from dametric.errors import UsageError

Floats = NDArray[np.float64]
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
    """What is believed before any run.

    Attributes
    ----------
    layout : Layout
    weights : ndarray
        Shape (settings,).
    mean : ndarray
        Shape (settings, size).
    cov : ndarray
        Shape (settings, size, size).
    noise : ndarray
        Shape (settings,): standard deviation of e.
    scale : ndarray
        Shape (settings, fractions).
    """

    layout: Layout
    weights: Floats
    mean: Floats
    cov: Floats
    noise: Floats
    scale: Floats


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
    layout = Layout(len(arms), len(fractions), seeds)
    spread = np.array([setting.spread for setting in settings])
    noise = np.array([setting.noise for setting in settings])
    scale = np.array([setting.scale for setting in settings])
    agreement = np.array([setting.agreement for setting in settings])
    pairs = agreement[:, :, None], agreement[:, None, :]
    ratio = np.minimum(*pairs) / np.maximum(*pairs)
    direction = _standardised(score, len(arms))
    lever = (agreement[:, :, None] * direction).reshape(len(settings), -1)  # what one unit of slope does to f / spread
    alike = likeness(arms, parameters.family_share, parameters.length)
    effects = np.einsum("sjk,de->sjdke", ratio, alike).reshape(len(settings), lever.shape[1], -1)
    slope = np.array([setting.slope for setting in settings])
    slope_spread = np.array([setting.slope_spread for setting in settings])
    effects = effects + slope_spread[:, None, None] ** 2 * lever[:, :, None] * lever[:, None, :]

    mean, cov = np.zeros((len(settings), layout.size)), np.zeros((len(settings), layout.size, layout.size))
    count = lever.shape[1]
    mean[:, :count] = (spread * slope)[:, None] * lever
    cov[:, :count, :count] = spread[:, None, None] ** 2 * effects
    diagonal = np.einsum("sii->si", cov)
    diagonal[:, count : count + len(fractions)] = _FREE**2  # the same in every setting, or it weighs settings
    diagonal[:, count + len(fractions) :] = parameters.shared_noise * noise[:, None] ** 2
    return Prior(layout, np.array([setting.weight for setting in settings]), mean, cov, noise, scale)


def _standardised(score: Sequence[float] | None, arms: int) -> Floats:
    """Mean 0 and deviation 1 over the arms that have one; 0 for the others, and where all are equal."""
    values = np.full(arms, np.nan) if score is None else np.asarray(score, float)
    known = np.isfinite(values)
    deviation = values[known].std() if known.sum() > 1 else 0.0
    if not deviation > 0:
        return np.zeros(arms)
    return np.where(known, (values - values[known].mean()) / deviation, 0.0)


@dataclass(frozen=True)
class Posterior:
    """What is believed after runs: a mixture of Gaussians.

    Attributes
    ----------
    weights, mean, cov
        As those of :class:`Prior`.
    log_evidence : float
        Logarithm of the density of the losses, to compare parameters on the same runs.
    prior : Prior
    """

    weights: Floats
    mean: Floats
    cov: Floats
    log_evidence: float
    prior: Prior

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
    def joint(self) -> tuple[Floats, Floats]:
        """Mean and covariance of everything that is not known over the whole mixture."""
        mean = self.weights @ self.mean
        around = (self.mean - mean) * np.sqrt(self.weights)[:, None]
        cov = np.tensordot(self.weights, self.cov, 1) + around.T @ around
        return mean, cov

    def draws(self, normals: Floats) -> Floats:
        """Draws of the effects of the whole schedule under every setting.

        Parameters
        ----------
        normals : ndarray
            Standard normal numbers, shape (draws, arms).

        Returns
        -------
        ndarray
            Shape (settings, draws, arms); settings have the probabilities ``weights``.
        """
        places = self.prior.layout.whole
        result: Floats = self.mean[:, None, places] + normals @ square_root(self.cov[:, places, places])
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
    if not observations:
        return Posterior(prior.weights, prior.mean, prior.cov, 0.0, prior)
    if not all(abs(run.loss) < _NO_LOSS for run in observations):
        raise UsageError(f"a loss is a number below {_NO_LOSS:g}, not {[run.loss for run in observations]}")
    fraction = np.array([run.fraction for run in observations])
    first = {run.fraction: run.loss for run in reversed(observations)}
    losses = np.array([run.loss - first[run.fraction] for run in observations])
    parts = np.array([prior.layout.places(run.arm, run.fraction, run.seed) for run in observations])
    scale = prior.scale[:, fraction]

    def seen(numbers: Floats) -> Floats:  # the last axis from what is not known to expected losses
        factor = scale if numbers.ndim == 2 else scale[:, None, :]
        result: Floats = numbers[..., parts[:, 0]] * factor + numbers[..., parts[:, 1]] + numbers[..., parts[:, 2]]
        return result

    across = seen(prior.cov).transpose(0, 2, 1)
    covariance = seen(across) + prior.noise[:, None, None] ** 2 * np.eye(len(losses))
    root = np.linalg.cholesky(covariance)
    residual = losses - seen(prior.mean)
    whitened = np.linalg.solve(root, np.concatenate([across, residual[:, :, None]], axis=2))
    gain, rest = whitened[:, :, :-1], whitened[:, :, -1]
    logs = np.log(prior.weights) - 0.5 * (rest**2).sum(1) - np.log(np.einsum("sii->si", root)).sum(1)
    top = logs.max()
    total = top + np.log(np.exp(logs - top).sum())
    return Posterior(
        weights=np.exp(logs - total),
        mean=prior.mean + (gain.transpose(0, 2, 1) @ rest[:, :, None])[:, :, 0],
        cov=prior.cov - gain.transpose(0, 2, 1) @ gain,
        log_evidence=float(total - len(losses) / 2 * np.log(2 * np.pi)),
        prior=prior,
    )
