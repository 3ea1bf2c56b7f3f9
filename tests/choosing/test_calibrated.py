"""Stated probabilities where truths are drawn from the model itself, and the posterior by importance sampling."""

from __future__ import annotations

import numpy as np
from scipy.stats import kstest, norm

from dametric.choosing.arms import arms_of
from dametric.choosing.decision import p_within
from dametric.choosing.parameters import Parameters
from dametric.choosing.posterior import Observation, Prior, posterior, prior_of
from tests.choosing.test_posterior import alike

SPECS = ["mixup:alpha=0.5", "mixup:alpha=1", "cutmix", "cutout:length=4"]
FRACTIONS = [0.05, 0.2, 1.0]
PARAMETERS = Parameters(
    {0.01: 1, 0.05: 2, 0.15: 1},
    {0.005: 1, 0.03: 1},
    {0.1: 1, 0.4: 1},
    {-0.2: 1, 0.0: 2, 0.6: 1},
    slope=0.4,
    slope_spread=0.4,
    trust=0.5,
    shared_noise=2.0,
)
DESIGN = [(arm, 0, seed) for arm in range(5) for seed in range(2)] + [(arm, 1, 0) for arm in (0, 2, 3)] + [(2, 2, 0)]
EPSILON = 0.01


def drawn(random: np.random.Generator, table: dict[float, float]) -> float:
    weights = np.array(list(table.values()))
    return float(random.choice(list(table), p=weights / weights.sum()))


def truth(
    random: np.random.Generator, score: np.ndarray, effects_by: float = 1.0
) -> tuple[np.ndarray, list[Observation]]:
    """Effects of the whole schedule and losses, one number after the other as the docstring of the model has them."""
    spread, noise = drawn(random, PARAMETERS.spread) * effects_by, drawn(random, PARAMETERS.noise)
    half, growth = drawn(random, PARAMETERS.half), drawn(random, PARAMETERS.growth)
    agreement = [1 / (1 + half / (1 - half) * (1 / fraction - 1)) for fraction in FRACTIONS]
    slope = random.normal(PARAMETERS.slope, PARAMETERS.slope_spread) if random.random() < PARAMETERS.trust else 0.0
    root = np.linalg.cholesky(alike(arms_of(SPECS), PARAMETERS.family_share, PARAMETERS.length))
    own = [root @ random.normal(size=5)]
    for place in (1, 0):
        ratio = agreement[place] / agreement[place + 1]
        own.insert(0, ratio * own[0] + np.sqrt(1 - ratio**2) * root @ random.normal(size=5))
    effects = [spread * (agreement[place] * slope * score + own[place]) for place in range(3)]
    levels, starts = random.normal(3, 1, size=3), random.normal(0, np.sqrt(2) * noise, size=(3, 2))
    runs = []
    for arm, fraction, seed in DESIGN:
        loss = levels[fraction] + FRACTIONS[fraction] ** -growth * effects[fraction][arm] + starts[fraction, seed]
        runs.append(Observation(arm, fraction, seed, float(loss + noise * random.normal())))
    return effects[-1], runs


def simulated(repeats: int, effects_by: float = 1.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where the truth lies in its posterior (0 to 1), the stated probability, and whether it was so."""
    ranks, stated, within = np.zeros(repeats), np.zeros(repeats), np.zeros(repeats)
    for number in range(repeats):
        random = np.random.default_rng([1, number])
        score = random.normal(size=5)
        score = (score - score.mean()) / score.std()
        whole, runs = truth(random, score, effects_by)
        belief = posterior(prior_of(arms_of(SPECS), FRACTIONS, PARAMETERS, score.tolist()), runs)
        contrast = np.array([-1.0, 0, 1, 0, 0])
        mean = belief.mean[:, belief.prior.layout.whole] @ contrast
        variance = contrast @ belief.whole_cov(np.arange(len(mean))) @ contrast
        ranks[number] = belief.weights @ norm.cdf(contrast @ whole, mean, np.sqrt(variance))
        stated[number] = p_within(belief, EPSILON)
        within[number] = whole[belief.best] - whole.min() < EPSILON
    return ranks, stated, within


def off(stated: np.ndarray, within: np.ndarray) -> list[float]:
    """By bin of what was stated, how many standard errors the frequency is off."""
    bins = np.minimum((stated * 5).astype(int), 4)
    each = [bins == place for place in range(5) if (bins == place).sum() >= 20]
    return [abs(float((within - stated)[part].sum() / np.sqrt((stated * (1 - stated))[part].sum()))) for part in each]


def test_truths_of_the_model_are_where_it_says() -> None:
    """Its ranks are uniform, and in every bin what was stated was so; ranks are not where effects are larger."""
    ranks, stated, within = simulated(600)
    assert kstest(ranks, "uniform").pvalue > 0.01
    assert kstest(2 * abs(ranks - 0.5), "uniform").pvalue > 0.01
    assert max(off(stated, within)) < 3
    ranks, _, _ = simulated(300, effects_by=3.0)
    assert kstest(2 * abs(ranks - 0.5), "uniform").pvalue < 1e-3


def test_importance_sampling_says_the_same() -> None:
    """Everything that is not known is drawn from its prior and weighed by the losses, without any algebra."""
    arms, fractions = arms_of(["cutmix"]), [0.2, 1.0]
    tables = {0.02: 1.0, 0.08: 2.0}, {0.02: 1.0, 0.05: 1.0}, {0.1: 1.0, 0.4: 1.0}, {0.0: 1.0, 0.4: 1.0}
    known = Parameters(*tables, slope=0.5, slope_spread=0.5, trust=0.5, shared_noise=1.0)
    runs = [Observation(0, 0, 0, 2.0), Observation(1, 0, 0, 1.9), Observation(1, 0, 1, 1.93), Observation(0, 1, 0, 1.5)]
    runs.append(Observation(1, 1, 0, 1.46))
    prior: Prior = prior_of(arms, fractions, known, [0.0, 1.0])
    belief = posterior(prior, runs)

    random, draws = np.random.default_rng(0), 2_000_000
    spread, noise, half, growth = (
        random.choice(list(table), p=np.array(list(table.values())) / sum(table.values()), size=draws)
        for table in tables
    )
    slope = np.where(random.random(draws) < 0.5, random.normal(0.5, 0.5, draws), 0.0)
    agreement = 1 / (1 + half / (1 - half) * 4)
    root = np.linalg.cholesky(alike(arms, 0.6, 1.0))
    whole = random.normal(size=(draws, 2)) @ root.T
    short = agreement[:, None] * whole + np.sqrt(1 - agreement**2)[:, None] * random.normal(size=(draws, 2)) @ root.T
    score = np.array([-1.0, 1.0])
    effects = spread[:, None, None] * np.stack(
        [short + (agreement * slope)[:, None] * score, whole + slope[:, None] * score], 1
    )
    scale = np.stack([0.2**-growth, np.ones(draws)], 1)
    starts = noise[:, None, None] * random.normal(size=(draws, 2, 2))
    logs = np.zeros(draws)
    for fraction in (0, 1):  # of a level without a prior the mean of what is left is all that is known
        here = [run for run in runs if run.fraction == fraction]
        expected = [scale[:, fraction] * effects[:, fraction, run.arm] + starts[:, fraction, run.seed] for run in here]
        rest = np.array([run.loss for run in here])[:, None] - np.array(expected)
        rest = rest - rest.mean(0)
        logs += -0.5 * (rest**2).sum(0) / noise**2 - (len(here) - 1) * np.log(noise)
    weights = np.exp(logs - logs.max())
    weights /= weights.sum()

    over = effects[:, 1, 1] - effects[:, 1, 0]
    mean, cov = belief.joint
    contrast = np.array([-1.0, 1.0])
    exact = {
        "mean": contrast @ mean[prior.layout.whole],
        "square": contrast @ cov[prior.layout.whole, prior.layout.whole] @ contrast
        + (contrast @ mean[prior.layout.whole]) ** 2,
        "wide": belief.weights[np.repeat(prior.spread, prior.grid[1]) == 0.08].sum(),
        "noisy": belief.weights[np.repeat(prior.noise, prior.grid[1]) == 0.05].sum(),
    }
    values = {"mean": over, "square": over**2, "wide": spread == 0.08, "noisy": noise == 0.05}
    for name, value in values.items():
        sampled = float(weights @ value)
        error = float(np.sqrt((weights**2 * (value - sampled) ** 2).sum()))
        assert abs(sampled - exact[name]) < 4 * error, name
        assert error < 0.02 * max(abs(sampled), 0.01), name
