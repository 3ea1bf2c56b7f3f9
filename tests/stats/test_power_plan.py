"""What a study can find out, against a plain simulation of such studies."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from dametric.errors import UsageError
from dametric.stats import Power, detectable, pooled, power
from dametric.stats.power import _joint
from tests.loops import each


def draw(rng: np.random.Generator, rho: float, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    x, e = rng.normal(size=(2, *shape))
    return x, rho * x + math.sqrt(1 - rho**2) * e


def test_one_unit_as_plainly_simulated() -> None:
    rng = np.random.default_rng(0)
    found = power(0.8, 9, 2, simulations=2000)
    taus, hits = [], 0
    for _ in range(600):
        x, y = draw(rng, 0.8, (9,))
        seen = 0.04 * y + 0.02 * rng.normal(size=(2, 9)).mean(0)
        test = stats.kendalltau(x, seen, method="exact", alternative="greater")
        taus.append(test.statistic)
        hits += test.pvalue <= 0.05
    assert isinstance(found, Power)
    assert found.power == pytest.approx(hits / 600, abs=0.07)
    assert found.tau_mean == pytest.approx(np.mean(taus), abs=0.03)
    assert found.tau_sd == pytest.approx(np.std(taus), abs=0.03)
    assert found.power_se == pytest.approx(math.sqrt(found.power * (1 - found.power) / 2000), rel=0.01)


def test_several_units_as_plainly_simulated() -> None:
    rng = np.random.default_rng(1)
    units, augs, share, reps = 3, 6, 0.5, 150
    hits, taus = 0, []
    index = {"unit": np.repeat(["a", "b", "c"], augs), "aug": [f"a{i}" for i in range(augs)] * units}
    for _ in range(reps):
        common, own = draw(rng, 0.8, (1, augs)), draw(rng, 0.8, (units, augs))
        x, y = (math.sqrt(share) * c + math.sqrt(1 - share) * o for c, o in zip(common, own, strict=True))
        seen = 0.04 * y + 0.02 * rng.normal(size=(units, augs))
        test = pooled(pd.DataFrame({**index, "x": x.ravel(), "y": seen.ravel()}), alternative="greater")
        taus.append(test.statistic)
        hits += test.pvalue <= 0.05
    found = power(0.8, augs, 1, units=units, share=share)
    assert found.tau_mean == pytest.approx(np.mean(taus), abs=0.06)
    assert found.power == pytest.approx(hits / reps, abs=0.14)
    assert math.isnan(found.tau_critical)


@each(("augs", "rho", "expected"), [(9, 0.7, 0.49), (9, 0.9, 0.88), (12, 0.8, 0.85), (18, 0.7, 0.88), (27, 0.9, 1.0)])
def test_powers_of_the_exact_two_sided_test(augs: int, rho: float, expected: float) -> None:
    assert power(rho, augs, 1, seed_sd=0, alternative="two-sided").power == pytest.approx(expected, abs=0.05)


def test_power_grows_with_what_is_spent() -> None:
    rows = [
        [power(rho, 9, 3).power for rho in (0.0, 0.3, 0.6, 0.9)],
        [power(0.7, augs, 3).power for augs in (5, 9, 18, 36)],
        [power(0.8, 12, seeds, seed_sd=0.08).power for seeds in (1, 3, 9, 27)],
        [power(0.6, 9, 3, units=units, share=0.2).power for units in (1, 3, 9)],
        [power(0.7, 9, 3, alpha=alpha).power for alpha in (0.001, 0.01, 0.05, 0.2)],
    ]
    for row in rows:
        assert row == sorted(row)
        assert row[-1] > row[0] + 0.1


@each("units", [1, 4])
@each("alternative", ["greater", "less", "two-sided"])
def test_level_is_kept_where_nothing_is(alternative: str, units: int) -> None:
    found = power(0, 12, 1, units=units, alternative=alternative)
    assert found.power <= 0.05 + 4 * math.sqrt(0.05 * 0.95 / 2000)
    assert found.tau_mean == pytest.approx(0, abs=0.03)
    assert found.alternative == alternative


def test_reliability_and_seeds_by_hand() -> None:
    found = power(0.9, 18, 3)
    assert found.reliability == pytest.approx(0.0016 / (0.0016 + 0.0004 / 3))
    assert found.seeds_needed == 3  # 9 / 4, rounded up
    assert power(0.9, 9, 1, seed_sd=0.04, reliability=0.8).seeds_needed == 4
    assert power(0.9, 9, 1, seed_sd=0).reliability == 1


def test_critical_tau_is_the_smallest_that_rejects() -> None:
    for augs, alternative in ((9, "greater"), (9, "two-sided"), (7, "greater")):
        critical = power(0.9, augs, 3, alternative=alternative, simulations=10).tau_critical
        pairs = augs * (augs - 1) // 2
        possible = {round(2 * k / pairs - 1, 9): k for k in range(pairs + 1)}
        assert round(critical, 9) in possible

        def pvalue(tau: float, augs: int = augs, pairs: int = pairs, alternative: str = alternative) -> float:
            y = list(range(augs))
            wrong = round((1 - tau) / 2 * pairs)  # that many neighbours exchanged
            while wrong:
                for i in range(augs - 1):
                    if wrong and y[i] < y[i + 1]:
                        y[i], y[i + 1] = y[i + 1], y[i]
                        wrong -= 1
            return float(stats.kendalltau(range(augs), y, method="exact", alternative=alternative).pvalue)

        assert pvalue(critical) <= 0.05 < pvalue(critical - 2 / pairs)


def test_too_few_augmentations_never_reject() -> None:
    found = power(0.99, 3, 5, alternative="two-sided")  # smallest p is 2 / 3!
    assert found.power == 0
    assert math.isnan(found.tau_critical)
    assert found.note


def test_plan_is_repeatable() -> None:
    assert repr(power(0.5, 9, 3, simulations=50, seed=4)) == repr(power(0.5, 9, 3, simulations=50, seed=4))


@each(
    "wrong",
    [
        {"rho": 1.2},
        {"rho": math.nan},
        {"augs": 2},
        {"seeds": 0},
        {"units": 0},
        {"seed_sd": -1.0},
        {"spread": 0.0},
        {"alpha": 0.0},
        {"alpha": 5},
        {"simulations": 0},
        {"alternative": "more"},
        {"share": -0.1},
        {"share": 1.1},
        {"reliability": 1.0},
    ],
)
def test_impossible_studies_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(UsageError):
        power(**{"rho": 0.9, "augs": 9, "seeds": 3, "simulations": 10, **wrong})  # type: ignore[arg-type]


def test_several_units_cannot_get_below_the_least_p_of_a_permutation() -> None:
    for options in (
        {"augs": 3, "units": 4},
        {"augs": 4, "units": 4, "alternative": "two-sided"},
        {"augs": 4, "units": 10, "alpha": 0.01},
    ):
        found = power(0.99, seeds=3, simulations=50, **options)  # type: ignore[arg-type]
        assert found.power == 0
        assert "no result is significant" in found.note


def test_detectable_is_where_power_is_reached() -> None:
    options = {"seed_sd": 0.02, "spread": 0.04, "simulations": 500, "seed": 1}
    for augs, units in ((9, 1), (18, 1), (9, 3)):
        least = detectable(augs, 3, units, least=0.8, **options)  # type: ignore[arg-type]
        assert power(least, augs, 3, units, **options).power >= 0.8  # type: ignore[arg-type]
        assert power(least - 0.05, augs, 3, units, **options).power < 0.8  # type: ignore[arg-type]
    assert detectable(18, 3, simulations=500) < detectable(9, 3, simulations=500)
    assert detectable(9, 3, simulations=500, alternative="less") == pytest.approx(
        detectable(9, 3, simulations=500), abs=0.05
    )


def test_nothing_is_detectable_with_three_augmentations() -> None:
    assert math.isnan(detectable(3, 3, simulations=100))
    with pytest.raises(UsageError, match="power that is asked for is 1"):
        detectable(9, 3, least=1.0)


def test_the_test_that_is_planned_is_named() -> None:
    one, two = (power(0.5, 7, 2, units=units, simulations=20).method for units in (1, 2))
    assert one == "exact Kendall test at 0.05, 20 simulations"
    assert two == "joint permutation of Kendall's tau, normal approximation at 0.05, 20 simulations"


def test_the_joint_permutation_has_the_variance_of_all_permutations() -> None:
    n, units = 5, 2
    x = np.random.default_rng(3).normal(size=(1, units, n))
    y = x + np.random.default_rng(4).normal(size=(1, units, n))
    a, b = (np.sign(values[0][:, :, None] - values[0][:, None, :]) for values in (x, y))
    orders = [list(order) for order in itertools.permutations(range(n))]
    totals = np.array([(a * b[:, order][:, :, order]).sum() for order in orders])
    assert totals.mean() == pytest.approx(0, abs=1e-12)
    assert (a * b).sum() > 0
    tau, p = _joint(x, y, "greater")
    assert tau[0] == pytest.approx((a * b).sum() / (units * n * (n - 1)))
    assert p[0] == pytest.approx(stats.norm.sf((a * b).sum() / totals.std()))
