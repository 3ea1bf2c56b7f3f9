"""Which run is worth most, and how sure the answer is: against quadrature and plain Monte Carlo."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import integrate, stats

from dametric.choosing.arms import arms_of
from dametric.choosing.decision import expected_fall, expected_regret_after, next_step, p_within, verdict
from dametric.choosing.parameters import Parameters
from dametric.choosing.posterior import Observation, Posterior, posterior, prior_of
from tests.loops import each

SPECS = ["mixup:alpha=0.5", "mixup:alpha=1", "cutmix", "cutout:length=4"]
FRACTIONS = [0.2, 1.0]
ROOT = Path(__file__).parents[2]
COSTS = [20.0, 100.0]
PARAMETERS = Parameters({0.03: 1, 0.1: 1}, {0.01: 1, 0.03: 1}, {0.1: 1, 0.4: 1}, {0.0: 1, 0.3: 1})


def belief_of(seed: int, runs: int = 8, specs: list[str] | None = None) -> tuple[Posterior, list[Observation]]:
    random = np.random.default_rng(seed)
    arms = arms_of(SPECS if specs is None else specs)
    losses = 1.5 + 0.05 * random.normal(size=len(arms))
    places = [(arm, 0, 0) for arm in range(len(arms))] + [(arm, 1, 0) for arm in range(len(arms))]
    made = [Observation(*place, loss=float(losses[place[0]] + 0.01 * random.normal())) for place in places[:runs]]
    return posterior(prior_of(arms, FRACTIONS, PARAMETERS), made), made


@each("seed", range(6))
def test_a_fall_is_the_integral(seed: int) -> None:
    random = np.random.default_rng(seed)
    means, shifts = random.normal(size=5), random.normal(size=5) * random.choice([0.0, 1.0, 3.0], size=5)
    value, _ = integrate.quad(
        lambda z: float((means + shifts * z).min() * stats.norm.pdf(z)), -12, 12, limit=500, epsabs=1e-10
    )
    assert expected_fall(means, shifts) == pytest.approx(means.min() - value, abs=1e-7)
    draws = np.random.default_rng(seed).normal(size=200_000)
    fallen = means.min() - (means[:, None] + shifts[:, None] * draws).min(0)
    assert expected_fall(means, shifts) == pytest.approx(fallen.mean(), abs=5 * fallen.std() / len(draws) ** 0.5)
    assert expected_fall(means + 7, -shifts) == pytest.approx(expected_fall(means, shifts), abs=1e-12)


def test_falls_that_are_none() -> None:
    assert expected_fall(np.array([1.0]), np.array([3.0])) == 0
    assert expected_fall(np.zeros(4), np.full(4, 2.0)) == pytest.approx(0, abs=1e-15)
    assert expected_fall(np.array([0.0, 100.0]), np.array([0.0, 1.0])) == pytest.approx(0, abs=1e-12)


def plain(belief: Posterior, epsilon: float, draws: int = 200_000) -> dict[str, np.ndarray]:
    """What a verdict says, from draws of whole mixtures."""
    random = np.random.default_rng(7)
    whole = belief.prior.layout.whole
    of_each = random.multinomial(draws, belief.weights / belief.weights.sum())
    effects = np.concatenate(
        [
            random.multivariate_normal(mean[whole], cov[whole, whole], size=count, method="eigh")
            for mean, cov, count in zip(belief.mean, belief.cov, of_each, strict=True)
        ]
    )
    best = int(np.argmin(belief.weights @ belief.mean[:, whole]))
    excess = effects[:, best] - effects.min(1)
    over = effects - effects[:, [best]]
    first = np.argmin(effects, 1)
    return {
        "best": np.array(best),
        "p_best": np.bincount(first, minlength=effects.shape[1]) / draws,
        "regret": excess.mean(),
        "p_within": (excess < epsilon).mean(),
        "p_gain": (over[:, 0] > 0).mean(),
        "gain": np.quantile(over[:, 0], [0.025, 0.5, 0.975]),
        "low": np.quantile(over, 0.025, axis=0),
        "high": np.quantile(over, 0.975, axis=0),
    }


@each(("seed", "runs"), [(0, 0), (1, 3), (2, 5), (3, 10), (4, 8)])
def test_a_verdict_is_that_of_plain_draws(seed: int, runs: int) -> None:
    belief, _ = belief_of(seed, runs)
    said, expected = verdict(belief, 0.01), plain(belief, 0.01)
    assert said.best == expected["best"]
    np.testing.assert_allclose(said.p_best, expected["p_best"], atol=0.02)
    assert said.p_best.sum() == pytest.approx(1)
    assert said.p_within == pytest.approx(expected["p_within"], abs=0.02)
    assert p_within(belief, 0.01) == said.p_within
    assert said.p_gain == pytest.approx(expected["p_gain"], abs=0.02)
    spread = float(expected["high"].max() - expected["low"].min())
    assert said.regret == pytest.approx(expected["regret"], abs=0.02 * spread)
    for name in ("gain", "low", "high"):
        np.testing.assert_allclose(getattr(said, name), expected[name], atol=0.05 * spread)
    assert said.low[said.best] == said.high[said.best] == 0


def test_a_larger_epsilon_is_met_more_often() -> None:
    belief, _ = belief_of(1, 6)
    said = [p_within(belief, epsilon) for epsilon in (1e-9, 0.001, 0.01, 0.03, 0.1, 1.0, 10.0)]
    assert said == sorted(said)
    assert said[-1] == pytest.approx(1)


def test_identical_arms_share_the_probability() -> None:
    """Three of different families without a run are exchangeable; so are two with the same losses."""
    arms = arms_of(["cutmix", "mixup", "cutout"])
    said = verdict(posterior(prior_of(arms, FRACTIONS, PARAMETERS), []), 0.01)
    assert said.p_best[1:] == pytest.approx([said.p_best[1:].mean()] * 3, abs=0.02)
    runs = [Observation(arm, 1, seed, loss) for seed in range(2) for arm, loss in enumerate([2.0, 1.9, 1.9, 2.0])]
    said = verdict(posterior(prior_of(arms, FRACTIONS, PARAMETERS), runs), 0.01)
    assert said.best in (1, 2)
    assert said.p_best[1] == pytest.approx(said.p_best[2], abs=0.02)


def test_what_is_known_for_certain_is_said_so() -> None:
    arms = arms_of(["cutmix", "mixup"])
    exact = Parameters({0.1: 1}, {1e-4: 1}, {0.2: 1}, {0.0: 1})
    for losses, best in (([2.0, 1.5, 2.1], 1), ([1.4, 1.5, 2.1], 0)):
        runs = [Observation(arm, 1, 0, loss) for arm, loss in enumerate(losses)]
        said = verdict(posterior(prior_of(arms, FRACTIONS, exact), runs), 0.01)
        assert said.best == best
        assert said.p_best[best] == pytest.approx(1)
        assert said.regret == pytest.approx(0, abs=1e-9)
        assert said.p_within == pytest.approx(1)
        assert said.p_gain == pytest.approx(float(best != 0))
        assert said.gain == pytest.approx([losses[0] - losses[best]] * 3, abs=1e-3)


def test_the_next_runs_are_a_function_of_the_arguments() -> None:
    belief, made = belief_of(2, 6)
    taken = [(run.arm, run.fraction, run.seed) for run in made]
    step = next_step(belief, taken, COSTS)
    assert step is not None
    assert step == next_step(belief_of(2, 6)[0], set(taken), tuple(COSTS))
    assert not set(step.runs) & set(taken)
    assert step.cost == pytest.approx(sum(COSTS[run[1]] for run in step.runs))
    assert step.worth > 0
    code = (
        "from tests.choosing.test_decision import *\n"
        "belief, made = belief_of(2, 6)\n"
        "print(repr(next_step(belief, [(run.arm, run.fraction, run.seed) for run in made], COSTS).runs))"
    )
    fresh = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert fresh.stdout.strip() == repr(step.runs)


def test_nothing_begins_with_a_single_arm() -> None:
    """The level of a fraction is free: the first run of an arm alone says nothing."""
    belief, _ = belief_of(0, 0)
    step = next_step(belief, [], COSTS)
    assert step is not None
    assert len(step.runs) > 1
    assert len({run[1:] for run in step.runs}) == 1
    assert len({run[0] for run in step.runs}) == len(step.runs)


def test_the_cheaper_of_equals_goes_first() -> None:
    """Where a short run says as much as a long one, it is made; where it says nothing, the long one."""
    arms = arms_of(["cutmix", "mixup"])
    for half, fraction in ((1e-9, 0), (1 - 1e-9, 1)):
        known = Parameters({0.1: 1}, {0.01: 1}, {half: 1}, {0.0: 1})
        step = next_step(posterior(prior_of(arms, FRACTIONS, known), []), [], COSTS)
        assert step is not None
        assert {run[1] for run in step.runs} == {fraction}


def test_nothing_is_proposed_that_costs_more() -> None:
    belief, made = belief_of(3, 5)
    taken = [(run.arm, run.fraction, run.seed) for run in made]
    for most in (0.0, 19.0, 20.0, 45.0, 100.0, 450.0, np.inf):
        step = next_step(belief, taken, COSTS, most)
        assert step is None or step.cost <= most
        assert (step is None) == (most < 20)
    every = [(arm, fraction, seed) for arm in range(5) for fraction in range(2) for seed in range(8)]
    assert next_step(belief, every, COSTS) is None


def test_a_forecast_falls_with_what_may_be_spent() -> None:
    belief, made = belief_of(1, 5)
    taken, regret = [(run.arm, run.fraction, run.seed) for run in made], verdict(belief, 0.01).regret
    said = [expected_regret_after(belief, taken, COSTS, most, regret) for most in (0.0, 100.0, 1000.0)]
    assert said[0] == regret
    assert said == sorted(said, reverse=True)
    assert said[-1] >= 0
    assert np.isnan(expected_regret_after(belief, taken, COSTS, np.nan, regret))


def test_a_forecast_is_what_one_step_takes_off_and_no_more_than_all_can() -> None:
    """Under one setting all is exact: one step takes off its worth; where runs are noise, many leave most of it."""
    arms = arms_of(SPECS)
    known = Parameters({0.05: 1}, {0.02: 1}, {0.1: 1}, {0.0: 1})
    belief = posterior(prior_of(arms, FRACTIONS, known), [Observation(arm, 0, 0, 1 + 0.01 * arm) for arm in range(3)])
    taken, regret = [(arm, 0, 0) for arm in range(3)], verdict(belief, 0.01).regret
    step = next_step(belief, taken, [20.0, 1e9], 20.0)
    assert step is not None
    said = expected_regret_after(belief, taken, [20.0, 1e9], 20.0, regret)
    assert said == pytest.approx(regret - step.worth, rel=0.05)
    noisy = posterior(prior_of(arms, FRACTIONS, Parameters({0.02: 1}, {0.2: 1}, {0.1: 1}, {0.0: 1})), [])
    regret = verdict(noisy, 0.01).regret
    assert 0.5 * regret < expected_regret_after(noisy, [], COSTS, 1e6, regret) < regret


def test_a_score_expects_the_loss_that_its_direction_says() -> None:
    from dametric.choosing.scored import oriented

    arms = arms_of(["mixup", "cutmix"])
    known = Parameters({0.05: 1}, {0.01: 1}, {0.2: 1}, {0.0: 1}, slope=0.5, slope_spread=0.1)
    values = {"identity": 0.2, "mixup": 0.9, "cutmix": 0.4}
    for direction, best in (("higher", 1), ("lower", 0)):
        turned = oriented(values, direction)  # type: ignore[arg-type]
        assert posterior(prior_of(arms, [1.0], known, [turned[arm.name] for arm in arms]), []).best == best
