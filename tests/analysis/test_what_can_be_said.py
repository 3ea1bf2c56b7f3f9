"""Sentences that claim no more than the data can carry, and laws that are exact where they say so."""

from __future__ import annotations

import itertools
import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from dametric.analysis import analyse
from dametric.analysis.decision import Obstacle
from dametric.analysis.units import describe_units
from dametric.analysis.words import beyond_a_list, disagreement, obstacle, without_a_family
from dametric.stats import correlate, family, incremental
from dametric.stats.exact import MOST, kendall_law, known_law, spearman_law
from dametric.stats.pooling import least_p, units_needed

AUGS = ["identity", "cutout", "autoaugment", "mixup", "cutmix", "./augs.py:snow"]


def table(units: int, direction: str = "lower", seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    place = {"unit": np.repeat([f"u{i}" for i in range(units)], 6), "aug": AUGS * units, "direction": direction}
    numbers = dict(zip(("score", "test_loss"), rng.normal(size=(2, 6 * units)), strict=True))
    return pd.DataFrame({**place, **numbers, "metric": "m"})


@pytest.mark.parametrize(
    ("units", "direction", "least", "needed"),
    [(3, "lower", 1 / 6, 4), (4, "lower", 1 / 24, 4), (3, "open", 2 / 6, 5), (4, "open", 2 / 24, 5)],
)
def test_too_few_units_to_know_more_than_a_list(units: int, direction: str, least: float, needed: int) -> None:
    rows = table(units, direction)
    found = describe_units(rows, confidence=0.95, resamples=99, seed=0)
    alone = rows.rename(columns={"score": "x", "test_loss": "y"})
    expected = incremental(alone, "two-sided" if direction == "open" else "greater")
    assert found.incremental.pvalue == expected.pvalue
    assert found.incremental_floor == pytest.approx(least)
    said = beyond_a_list("m", found, 0.05)
    assert f"{least:.2g} being the least possible" in said
    if least > 0.05:
        assert said.startswith("m beyond a fixed list of augmentations: no answer")
        assert f"{units} units cannot tell, and at least {needed} are needed" in said
        assert "no evidence" not in said
    else:
        assert "cannot tell" not in said


def pooled_of(incremental_: SimpleNamespace, floor: float) -> Any:
    """What a sentence reads of units that are pooled."""
    listed = SimpleNamespace(fixed_order=SimpleNamespace(statistic=math.nan))
    return SimpleNamespace(incremental=incremental_, incremental_floor=floor, baselines=listed)


@pytest.mark.parametrize(("statistic", "says"), [(0.4, "m adds to"), (-0.4, "m shows no evidence")])
def test_only_a_metric_that_adds_in_its_own_direction_knows_more_than_a_list(statistic: float, says: str) -> None:
    found = SimpleNamespace(statistic=statistic, pvalue=0.01, alternative="two-sided", n=7, note="")
    pooling = pooled_of(found, 2 / math.factorial(7))
    assert beyond_a_list("m", pooling, 0.05).startswith(says)
    assert "p = 0.01 two-sided" in beyond_a_list("m", pooling, 0.05)
    one = pooled_of(SimpleNamespace(**{**vars(found), "alternative": "greater"}), 2 / math.factorial(7))
    assert "p = 0.01 one-sided" in beyond_a_list("m", one, 0.05)


def test_the_mean_without_each_family_is_that_of_the_others() -> None:
    rows = table(3)
    found = describe_units(rows, confidence=0.95, resamples=99, seed=0).leave_family_out
    assert set(found) == {family(aug) for aug in AUGS}
    for name, value in found.items():
        parts = [part for _, part in rows[rows["aug"].map(family) != name].groupby("unit")]
        taus = [stats.kendalltau(part["score"], part["test_loss"]).statistic for part in parts]
        assert value == pytest.approx(np.mean(taus))


@pytest.mark.parametrize("turn", [1, -1])
def test_the_family_on_which_tau_hangs_is_the_one_without_which_least_is_left(turn: int) -> None:
    def said(full: float, **values: float) -> str:
        return without_a_family(turn * full, {name: turn * value for name, value in values.items()})

    left, full = f"{turn * 0.1:.2f}", f"{turn * 0.6:.2f}"
    assert (
        said(0.6, mixup=0.7, cutmix=0.1, erase=0.5) == f"Without the cutmix family tau-b is {left} instead of {full}."
    )
    assert said(0.6, mixup=0.7, cutmix=0.59, erase=math.nan) == ""


@pytest.mark.parametrize(("units", "more"), [(3, "; at least 4 units are needed"), (4, ""), (6, "")])
def test_no_answer_asks_for_more_units_only_where_they_would_help(units: int, more: str) -> None:
    nothing = {"statistic": math.nan, "pvalue": math.nan, "alternative": "greater", "note": "y is constant"}
    pooling = pooled_of(SimpleNamespace(**nothing, n=units), math.nan)
    wanted = f"m beyond a fixed list of augmentations: no answer, because y is constant{more}."
    assert beyond_a_list("m", pooling, 0.05) == wanted


def test_the_least_p_of_units_is_that_of_their_permutations() -> None:
    for units in range(2, 6):
        orders = len(list(itertools.permutations(range(units))))
        assert least_p(units, "greater", 999) == pytest.approx(1 / orders)
        assert least_p(units, "two-sided", 999) == pytest.approx(min(1, 2 / orders))
    assert least_p(12, "greater", 999) == pytest.approx(1 / 1000)
    assert (units_needed("greater", 0.05), units_needed("two-sided", 0.05), units_needed("greater", 0.01)) == (4, 5, 5)


def test_a_metric_without_a_direction_has_no_best_score() -> None:
    rows = pd.DataFrame({"aug": AUGS, "score": range(6), "test_loss": range(6, 0, -1), "seeds": 3})
    found = analyse(rows, "open", resamples=99)
    assert found.cost == (
        "score: no direction is stated for it, so no augmentation has the best score, and none is recommended."
    )
    assert not any("the best score has" in line for line in found.verdict)
    (said,) = (line for line in found.verdict if line.startswith("score predicts"))
    assert "tau-b -1.00" in said
    assert "no direction was stated, the loss is lower where score is higher" in said
    (unit,) = found.units.values()
    assert unit["score"].best.by_score == ()
    assert all(math.isnan(row.loss) for row in unit["score"].regret)
    two = pd.concat([rows.assign(unit="a"), rows.assign(unit="b")])
    assert analyse(two, "open", resamples=99).cost == found.cost


def units_of(*taus: float) -> dict[str, float]:
    return {f"u{i}": tau for i, tau in enumerate(taus)}


def test_units_that_disagree_are_named() -> None:
    same, apart = (0.5, 0.0), (0.01, 0.78)
    said = disagreement(units_of(1.0, -1 / 3), *same)
    assert said.startswith("Take care: units disagree, tau-b goes from -0.33 (u1) to 1.00 (u0); 1 of 2 points")
    assert disagreement(units_of(1.0, 0.6, 0.8), *same) == ""
    assert "1 of 3 points another way" in disagreement(units_of(0.5, -0.5, 0.0), *same)
    assert "2 of 4 point another way" in disagreement(units_of(1.0, 0.9, -0.2, -0.1), *same)
    assert "I² 78 %, p = 0.01" in disagreement(units_of(1.0, 0.2), *apart)
    assert disagreement(units_of(1.0, math.nan), *apart) == ""
    place = np.arange(6.0)
    rows = pd.DataFrame({"unit": ["a"] * 6 + ["b"] * 6, "aug": AUGS * 2, "score": [*place] * 2, "seeds": 3})
    rows["test_loss"] = [*place, *place[::-1][[1, 0, 3, 2, 4, 5]]]
    verdict = analyse(rows, resamples=99).verdict
    assert any(line.startswith("Take care: units disagree") for line in verdict)


def test_the_law_of_kendall_is_exact_without_ties() -> None:
    rng = np.random.default_rng(0)
    for n in (11, 15, 20):
        x, y = rng.normal(size=(2, n))
        for alternative in ("greater", "less"):
            wanted = stats.kendalltau(x, y, method="exact", alternative=alternative).pvalue
            found = correlate(x, y, "kendall", alternative)
            assert found.pvalue == pytest.approx(wanted, rel=1e-9)
            assert "exact" in found.method
        assert correlate(x, x, "kendall").pvalue == pytest.approx(2 / math.factorial(n), rel=1e-9)
    assert correlate(range(15), range(15), "kendall").pvalue == pytest.approx(1.5294e-12, rel=1e-4)
    assert kendall_law(9).mean == pytest.approx(0, abs=1e-15)
    tied = [0.0, 0.0, *range(1, 11)]
    assert "random pairings" in correlate(tied, tied, "kendall").method


@pytest.mark.parametrize("method", ["kendall", "spearman"])
def test_the_exact_law_is_had_up_to_the_size_that_is_stated(method: str) -> None:
    assert known_law(method, MOST[method]) is not None
    assert known_law(method, MOST[method] + 1) is None


@pytest.mark.parametrize(
    ("few", "where"),
    [
        (1, "1 of 6 units: u0"),
        (3, "3 of 6 units: u0, u1, u2"),
        (5, "5 of 6 units: u0, u1, u2 and 2 more"),
        (6, "all 6 units"),
    ],
)
def test_units_that_cannot_answer_are_named_three_at_most(few: int, where: str) -> None:
    names = tuple(f"u{place}" for place in range(few))
    sentence = obstacle(Obstacle("augmentations", names, blocks=True), 6)
    assert sentence.startswith(f"Cannot answer ({where}): fewer than 6 augmentations")


@pytest.mark.parametrize("law", [kendall_law(12), spearman_law(12)])
def test_two_sided_nothing_is_less_remarkable_than_what_is_in_the_middle(law: Any) -> None:
    assert law.pvalue(0.0, "greater") > 0.5
    assert law.pvalue(0.0, "two-sided") == 1


def test_the_law_of_spearman_is_exact_without_ties() -> None:
    for n in (4, 5, 7):  # beside all permutations
        orders = np.array(list(itertools.permutations(range(n))))
        rho = 1 - 6 * ((orders - np.arange(n)) ** 2).sum(1) / (n**3 - n)
        assert rho[-1] == pytest.approx(stats.spearmanr(range(n), orders[-1]).statistic)
        law = spearman_law(n)
        for value in law.values:
            assert law.pvalue(value, "greater") == pytest.approx(np.mean(rho >= value - 1e-9))
            assert law.pvalue(value, "less") == pytest.approx(np.mean(rho <= value + 1e-9))
    law = spearman_law(12)
    assert law.shares.sum() == pytest.approx(1, abs=1e-12)
    assert float(law.values**2 @ law.shares) == pytest.approx(1 / 11)  # the variance is 1 / (n - 1)
    found = correlate(range(12), range(12), "spearman")
    assert found.pvalue == pytest.approx(2 / math.factorial(12), rel=1e-9)
    assert "exact" in found.method
