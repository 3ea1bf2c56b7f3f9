"""What runs say of the arms: against a dense model in plain loops, against quadrature, and what must not matter."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np
import pytest
from scipy import linalg
from scipy.stats import multivariate_normal, norm

from dametric.augment import expand
from dametric.choosing.arms import Arm, arms_of, likeness
from dametric.choosing.parameters import Parameters, read_parameters
from dametric.choosing.posterior import Observation, Posterior, posterior, prior_of
from tests.loops import each

SPECS = ["mixup:alpha=0.5", "mixup:alpha=1", "cutmix", "resizemix", "cutout:length=4", "cutout:length=16", "solarize"]
FRACTIONS = [0.05, 0.3, 1.0]
LEVEL = 50.0  # standard deviation of a level about the first loss of its fraction, nats


def alike(arms: Sequence[Arm], share: float, length: float) -> np.ndarray:
    """The prior covariance, one pair at a time: f has the variance 1/2, far from 0 a curve has the variance 1."""

    def f(u: float, v: float) -> float:
        return 0.5 * math.exp(-((u - v) ** 2) / (2 * length**2))

    result = np.zeros((len(arms), len(arms)))
    for row, one in enumerate(arms):
        for column, other in enumerate(arms):
            if row == column:
                result[row, column] += 1 - share
            if one.family and one.family == other.family:
                result[row, column] += share / 2
                if one.operation == other.operation:
                    u, v = one.position, other.position
                    result[row, column] += share / 2 * (f(u, v) - f(u, 0) - f(v, 0) + f(0, 0))
    return result


def direction(score: Sequence[float] | None, arms: int) -> list[float]:
    """The score with mean 0 and deviation 1 over those that have one."""
    known = [] if score is None else [value for value in score if not math.isnan(value)]
    if score is None or len(set(known)) < 2:
        return [0.0] * arms
    mean = sum(known) / len(known)
    deviation = math.sqrt(sum((value - mean) ** 2 for value in known) / len(known))
    return [0.0 if math.isnan(value) else (value - mean) / deviation for value in score]


@dataclass
class Expected:
    """Of the effects of the whole schedule."""

    weights: np.ndarray
    mean: np.ndarray
    cov: np.ndarray
    log_evidence: float

    @property
    def effects(self) -> np.ndarray:
        return self.weights @ self.mean


def grid(parameters: Parameters) -> list[tuple[float, float, float, float, float, float, float]]:
    """Log weight, spread, noise, half, growth, slope and its deviation of every setting."""
    parts = [
        list(values.items()) for values in (parameters.spread, parameters.noise, parameters.half, parameters.growth)
    ]
    slopes = [(0.0, 0.0, 1.0)]
    if parameters.slope or parameters.slope_spread:
        slopes = [
            (parameters.slope, parameters.slope_spread, parameters.trust),
            (0.0, 0.0, 1 - parameters.trust),
        ]
    total = math.prod(sum(weight for _, weight in values) for values in parts)
    result = []
    for (s, ps), (v, pv), (half, ph), (growth, pg), (slope, spread, pt) in product(*parts, slopes):
        weight = ps * pv * ph * pg * pt / total
        if weight > 0:
            result.append((math.log(weight), s, v, half, growth, slope, spread))
    return result


def dense(
    arms: Sequence[Arm],
    fractions: Sequence[float],
    parameters: Parameters,
    score: Sequence[float] | None,
    runs: Sequence[Observation],
    free: bool = False,
) -> Expected:
    """The model of the docstring with all losses in one covariance; ``free``: levels without a prior, by contrasts."""
    count, last = len(arms), len(fractions) - 1
    kernel, g = alike(arms, parameters.family_share, parameters.length), direction(score, len(arms))
    first: dict[int, float] = {}
    for run in runs:
        first.setdefault(run.fraction, run.loss)
    losses = np.array([run.loss - first[run.fraction] for run in runs])  # with free levels this is nothing
    contrasts = np.eye(len(runs))
    if free:
        places = sorted(first)
        levels = np.array([[float(run.fraction == place) for place in places] for run in runs])
        contrasts = linalg.null_space(levels.T).T
    logs, means, covs = [], [], []
    for log_weight, s, v, half, growth, slope, slope_spread in grid(parameters):
        odds = half / (1 - half)
        agreement = [1 / (1 + odds * (1 / c - 1)) for c in fractions]
        scale = [c**-growth for c in fractions]

        def effect(j: int, d: int, k: int, e: int) -> float:
            low, high = min(j, k), max(j, k)
            own = s**2 * agreement[low] / agreement[high] * kernel[d, e]  # noqa: B023
            return float(own + (s * slope_spread) ** 2 * agreement[j] * agreement[k] * g[d] * g[e])  # noqa: B023

        mean = np.array([scale[run.fraction] * agreement[run.fraction] * s * slope * g[run.arm] for run in runs])
        cov = np.zeros((len(runs), len(runs)))
        across = np.zeros((count, len(runs)))
        for row, one in enumerate(runs):
            for d in range(count):
                across[d, row] = scale[one.fraction] * effect(last, d, one.fraction, one.arm)
            for column, other in enumerate(runs):
                j, k = one.fraction, other.fraction
                cov[row, column] = scale[j] * scale[k] * effect(j, one.arm, k, other.arm)
                cov[row, column] += (j == k and not free) * LEVEL**2
                cov[row, column] += ((j, one.seed) == (k, other.seed)) * parameters.shared_noise * v**2
                cov[row, column] += (row == column) * v**2
        prior_mean = np.array([s * slope * value for value in g])
        prior_cov = np.array([[effect(last, d, last, e) for e in range(count)] for d in range(count)])
        y, cov, across = contrasts @ (losses - mean), contrasts @ cov @ contrasts.T, across @ contrasts.T
        if not len(y):
            logs.append(log_weight)
        else:
            logs.append(log_weight + float(multivariate_normal(np.zeros(len(y)), cov).logpdf(y)))
        means.append(prior_mean + across @ np.linalg.solve(cov, y))
        covs.append(prior_cov - across @ np.linalg.solve(cov, across.T))
    top = max(logs)
    evidence = top + math.log(sum(math.exp(value - top) for value in logs))
    return Expected(np.exp(np.array(logs) - evidence), np.array(means), np.array(covs), evidence)


def same(belief: Posterior, expected: Expected | Posterior, tolerance: float = 1e-6, level: bool = True) -> None:
    """Weights, and effects; relative to identity where the level of all is not what is compared."""
    whole = belief.prior.layout.whole
    mean, cov = belief.mean[:, whole], belief.cov[:, whole, whole]
    of_mean, of_cov = expected.mean, expected.cov
    if isinstance(expected, Posterior):
        of_mean, of_cov = of_mean[:, whole], of_cov[:, whole, whole]
    if not level:
        contrast = np.eye(mean.shape[1]) - np.eye(mean.shape[1])[0]
        mean, of_mean = mean @ contrast.T, of_mean @ contrast.T
        cov, of_cov = contrast @ cov @ contrast.T, contrast @ of_cov @ contrast.T
    np.testing.assert_allclose(belief.weights, expected.weights, atol=tolerance)
    np.testing.assert_allclose(mean, of_mean, atol=tolerance)
    np.testing.assert_allclose(cov, of_cov, atol=tolerance)


def case(seed: int) -> tuple[tuple[Arm, ...], list[float], Parameters, list[float] | None, list[Observation]]:
    """A random small one."""
    random = np.random.default_rng(seed)
    arms = arms_of(list(random.permutation(SPECS)[: random.integers(1, 7)]))
    fractions = FRACTIONS[random.integers(0, 3) :]
    parameters = Parameters(
        {0.01: 1, 0.05: 2, 0.2: 1},
        {0.004: 1, 0.02: 3},
        {0.1: 1, 0.4: 1},
        {-0.2: 1, 0.4: 2},
        family_share=float(random.uniform(0, 0.9)),
        length=float(random.uniform(0.3, 2)),
        slope=float(random.normal()),
        slope_spread=float(random.uniform(0, 1)),
        trust=float(random.uniform(0.1, 0.9)),
        shared_noise=float(random.choice([0, 0.5, 2])),
    )
    score = [float(value) for value in random.normal(size=len(arms))] if seed % 3 else None
    if score and seed % 2:
        score[int(random.integers(len(arms)))] = math.nan
    runs = [
        Observation(
            int(random.integers(len(arms))),
            int(random.integers(len(fractions))),
            int(random.integers(4)),
            1.5 + 0.1 * float(random.normal()),
        )
        for _ in range(random.integers(0, 15))
    ]
    return arms, fractions, parameters, score, runs


def believe(arms: Any, fractions: Any, parameters: Any, score: Any, runs: Any) -> Posterior:
    return posterior(prior_of(arms, fractions, parameters, score), runs)


@each("seed", range(12))
def test_the_dense_model_says_the_same(seed: int) -> None:
    asked = case(seed)
    belief, expected = believe(*asked), dense(*asked)
    same(belief, expected)
    np.testing.assert_allclose(belief.effects, expected.effects, atol=1e-6)
    assert belief.log_evidence == pytest.approx(expected.log_evidence, abs=1e-6)


@each("seed", range(12))
def test_the_mixture_is_that_of_its_settings(seed: int) -> None:
    """What is read at once, without the covariance of every setting, is what the settings say one by one."""
    belief = believe(*case(seed))
    whole, every = belief.prior.layout.whole, np.arange(len(belief.weights))
    np.testing.assert_allclose(belief.whole_cov(every), belief.cov[:, whole, whole], atol=1e-11)
    mean, cov = belief.joint
    np.testing.assert_allclose(mean, belief.weights @ belief.mean, atol=1e-12)
    apart = belief.mean - mean
    expected = np.tensordot(belief.weights, belief.cov, 1) + np.einsum("s,si,sj->ij", belief.weights, apart, apart)
    np.testing.assert_allclose(cov, expected, atol=1e-9)
    draws = belief.draws(np.eye(belief.arms), every[:2])
    roots = np.swapaxes(draws - belief.mean[:2, whole, None], 1, 2)
    np.testing.assert_allclose(np.swapaxes(roots, 1, 2) @ roots, belief.cov[:2, whole, whole], atol=1e-9)


def test_sixty_candidates_take_no_time() -> None:
    """Nothing grows with the settings but what is diagonal: beside the other tests, and on a slow core."""
    arms = arms_of([f"mixup:alpha={alpha:.3f}" for alpha in np.geomspace(0.1, 2, 59)])
    random = np.random.default_rng(0)
    runs = [Observation(arm, 0, seed, float(random.normal())) for seed in range(2) for arm in range(60)]
    start = time.process_time()
    belief = believe(arms, [0.05, 0.2, 1.0], read_parameters(), None, runs)
    belief.joint  # noqa: B018
    assert time.process_time() - start < 0.5


@each("seed", range(12))
def test_levels_are_free(seed: int) -> None:
    asked = case(seed)
    same(believe(*asked), dense(*asked, free=True), 1e-5, level=False)


@each("repeats", [0, 1, 3])
def test_quadrature_says_the_same(repeats: int) -> None:
    """Identity and one arm, spread and noise unknown: what differs is one number, integrated by its definition."""
    arms = arms_of(["cutmix"])
    spreads, noises = {0.03: 1.0, 0.3: 3.0}, {0.01: 2.0, 0.1: 1.0}
    parameters = Parameters(spreads, noises, {0.2: 1}, {0.0: 1}, shared_noise=1.0)
    pairs = [(1.0, 0.93), (1.1, 1.0), (0.9, 0.95)][:repeats]
    runs = [Observation(arm, 0, seed, pair[arm]) for seed, pair in enumerate(pairs) for arm in (0, 1)]
    belief = believe(arms, [1.0], parameters, None, runs)

    # the runs of a seed have their start in common, so its difference tells everything of the difference of the arms
    variance = float(np.array([1, -1]) @ alike(arms, 0.6, 1.0) @ np.array([1, -1]))
    moments = np.zeros(3)
    for (s, ps), (v, pv) in product(spreads.items(), noises.items()):
        # seeds' sums say nothing of the difference, but of the noise and of the spread
        sums = np.array([(sum(pair) - sum(pairs[0])) for pair in pairs])
        contrasts = linalg.null_space(np.ones((1, repeats))).T if repeats > 1 else np.zeros((0, repeats))
        of_sums = math.prod(norm(0, v * math.sqrt(2 + 4)).pdf(value) for value in contrasts @ sums)

        x = np.linspace(-3, 3, 300_001)  # of a density with tails inside, the plain sum is exact to rounding
        density = norm(0, s * math.sqrt(variance)).pdf(x)
        for pair in pairs:
            density = density * norm(x, v * math.sqrt(2)).pdf(pair[1] - pair[0])
        moments += ps * pv * of_sums * (x[1] - x[0]) * np.array([(density * x**power).sum() for power in range(3)])
    mean, second = moments[1:] / moments[0]
    joint_mean, joint_cov = belief.joint
    contrast = np.array([-1.0, 1.0])
    whole = belief.prior.layout.whole
    assert contrast @ joint_mean[whole] == pytest.approx(mean, abs=1e-6)
    assert contrast @ joint_cov[whole, whole] @ contrast == pytest.approx(second - mean**2, abs=1e-6)


@each("seed", range(12))
def test_the_order_of_runs_does_not_matter(seed: int) -> None:
    arms, fractions, parameters, score, runs = case(seed)
    shuffled = [runs[place] for place in np.random.default_rng(seed).permutation(len(runs))]
    same(
        believe(arms, fractions, parameters, score, shuffled),
        believe(arms, fractions, parameters, score, runs),
        tolerance=1e-5,
        level=False,
    )


@each("seed", range(12))
def test_a_constant_on_all_losses_of_a_fraction_does_not_matter(seed: int) -> None:
    arms, fractions, parameters, score, runs = case(seed)
    moved = [replace(run, loss=run.loss + [100.0, -3.0, 7.0][run.fraction]) for run in runs]
    same(
        believe(arms, fractions, parameters, score, moved),
        believe(arms, fractions, parameters, score, runs),
        level=False,
    )


@each("seed", range(12))
def test_names_of_places_do_not_matter(seed: int) -> None:
    """Arms in another order, and seeds by other numbers."""
    arms, fractions, parameters, score, runs = case(seed)
    order = np.random.default_rng(seed).permutation(len(arms))
    place = {int(old): new for new, old in enumerate(order)}
    relabelled = [replace(run, arm=place[run.arm], seed=3 - run.seed) for run in runs]
    others = None if score is None else [score[old] for old in order]
    belief = believe([arms[old] for old in order], fractions, parameters, others, relabelled)
    expected = believe(arms, fractions, parameters, score, runs)
    np.testing.assert_allclose(belief.effects, expected.effects[order], atol=1e-9)
    np.testing.assert_allclose(belief.weights, expected.weights, atol=1e-9)


def test_losses_far_off_stay_numbers() -> None:
    arms = arms_of(["cutmix", "mixup"])
    runs = [Observation(0, 0, 0, 1.0), Observation(1, 0, 0, 1e4), Observation(2, 0, 0, 0.9)]
    belief = believe(arms, [0.05, 1.0], read_parameters(), None, runs)
    assert np.isfinite(belief.effects).all()
    assert belief.weights.sum() == pytest.approx(1)
    assert int(np.argmin(belief.effects)) != 1


@each("names", [["standard"], ["paper"], ["all"], ["mixup:alpha=0.1..8/12"], ["rotate:degrees=1..90/9", "identity"]])
def test_likeness_is_a_covariance(names: list[str]) -> None:
    arms = arms_of(expand(names))
    assert (arms[0].name, arms[0].position) == ("identity", 0)
    assert [arm.name for arm in arms].count("identity") == 1
    assert len({arm.name for arm in arms}) == len(arms)
    for share, length in product((0.0, 0.6, 0.95), (0.1, 1.0, 10.0)):
        result = likeness(arms, share, length)
        np.testing.assert_allclose(result, alike(arms, share, length), atol=1e-12)
        assert np.linalg.eigvalsh(result)[0] > 0.9 * (1 - share)


def test_a_composition_is_a_strength_of_itself_alone() -> None:
    """It shares with its parts what their family shares; at several strengths it has a curve of its own."""
    parts = ["cutmix:alpha=0.2", "cutmix", "cutmix:alpha=5"]
    whole = ["crop+flip+cutmix:alpha=0.2", "crop+flip+cutmix"]
    arms = arms_of([*parts, *whole, "cutout+cutmix", "autoaugment"])
    kernel = {
        (one.name, other.name): value
        for one, row in zip(arms, likeness(arms, 0.6, 1.0), strict=True)
        for other, value in zip(arms, row, strict=True)
    }
    for part, composition in product(parts, whole):
        assert kernel[part, composition] == pytest.approx(0.3)
        assert kernel[part, "cutout+cutmix"] == kernel[composition, "autoaugment"] == 0
    assert kernel[whole[0], whole[1]] == pytest.approx(kernel[parts[0], parts[1]])
    assert kernel[whole[0], whole[1]] > 0.4

    def place(spec: str) -> float:
        (found,) = [arm.position for arm in arms if arm.name == spec]
        return found

    assert place(whole[0]) == place(parts[0]) == 1
    (alone,) = [arm for arm in arms_of([*parts, "crop+flip+cutmix"]) if arm.name == "crop+flip+cutmix"]
    assert (alone.family, alone.position) == ("cutmix", 1)


def test_what_grows_with_the_image_is_placed_by_its_size() -> None:
    specs = ["cutout:length=2", "cutout", "cutout:length=8"]
    assert [arm.position for arm in arms_of(specs, image_size=16)[1:]] == [1.0, 1.5, 2.0]
    assert [arm.position for arm in arms_of(specs)[1:]] == [1.0, 2.0, 2.0]


def test_positions_count_doublings_from_the_weakest() -> None:
    arms = arms_of(["solarize:threshold=64", "mixup:alpha=2", "solarize:threshold=192", "mixup:alpha=0.5", "cutmix"])
    places = {arm.name: arm.position for arm in arms}
    assert places["mixup:alpha=0.5"] == places["solarize:threshold=192"] == places["cutmix"] == 1
    assert places["mixup:alpha=2"] == 2
    assert places["solarize:threshold=64"] > 1  # a lower threshold changes more
