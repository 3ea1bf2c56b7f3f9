"""The whole analysis of a table as plain values, and its verdict in words."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pandas as pd
import pytest

from dametric.analysis import Analysis, analyse
from dametric.errors import UsageError
from dametric.stats import benjamini_hochberg, correlate, holm, incremental, pooled, swap_test, williams

AUGS = ["identity", "crop+flip", "cutout", "autoaugment", "mixup", "cutmix", "cutmix:alpha=0.2"]
KEYS = {
    "primary",
    "settings",
    "metrics",
    "confirmatory",
    "partial",
    "subpools",
    "published_list",
    "exploratory",
    "units",
    "pooling",
    "comparisons",
    "answerable",
    "verdict",
    "cost",
}
RESULT = {"statistic", "pvalue", "low", "high", "n", "method", "alternative", "note"}


def table(units: int = 3, augs: list[str] = AUGS, seed: int = 0) -> pd.DataFrame:
    """A metric that is better when lower, one that is better when higher, and one that is noise."""
    rng = np.random.default_rng(seed)
    rows = []
    for u in range(units):
        loss = 1.5 - 0.05 * np.arange(len(augs)) + 0.02 * rng.normal(size=len(augs))
        low, high, noise = loss + 0.02 * rng.normal(size=len(augs)), 3 - loss, rng.normal(size=len(augs))
        for a, aug in enumerate(augs):
            shared = {
                "unit": f"u{u}",
                "teacher": f"t{u}",
                "aug": aug,
                "test_loss": loss[a],
                "test_loss_se": 0.005,
                "test_top1": 1 - loss[a] / 3 + 0.003 * rng.normal(),
                "test_top1_se": 0.002,
                "seeds": 3,
                "score_se": 0.004,
            }
            for metric, direction, score in (("low", "lower", low), ("high", "higher", high), ("noise", "open", noise)):
                rows.append({**shared, "metric": metric, "direction": direction, "score": score[a]})
    return pd.DataFrame(rows)


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    return table()


@pytest.fixture(scope="module")
def document(frame: pd.DataFrame) -> Analysis:
    return analyse(frame, metrics=["low", "high"], resamples=99)


@pytest.fixture(scope="module")
def single(frame: pd.DataFrame) -> Analysis:
    return analyse(frame[frame["unit"] == "u0"], resamples=99)


def simple(augs: list[str] = AUGS, **columns: Any) -> pd.DataFrame:
    n = len(augs)
    plain = {"aug": augs, "score": np.arange(n, dtype=float), "test_loss": 1 + 0.1 * np.arange(n)}
    return pd.DataFrame({**plain, **columns})


def test_json_holds_all_of_it(document: Analysis, single: Analysis) -> None:
    for found in (document, single):
        assert set(found.to_dict()) == KEYS
        assert json.loads(found.to_json()) == found.to_dict()


def test_same_seed_same_document(frame: pd.DataFrame, single: Analysis) -> None:
    assert analyse(frame[frame["unit"] == "u0"], resamples=99).to_dict() == single.to_dict()


def test_parts_have_the_documented_keys(document: Analysis) -> None:
    plain = document.to_dict()
    assert plain["settings"] == {"alpha": 0.05, "confidence": 0.95, "resamples": 99, "seed": 0}
    assert document.metrics == {"low": "lower", "high": "higher", "noise": "open"}
    for entry in plain["confirmatory"]:
        assert {"metric", "direction", "expected", "result", "p_holm", "n_units", "units"} <= set(entry)
        assert set(entry["result"]) == RESULT
        assert set(entry["units"]) == {"u0", "u1", "u2"}
    for row in plain["exploratory"]["rows"]:
        assert {"metric", "endpoint", "coefficient", "result", "p_bh"} <= set(row)
        assert row["result"]["alternative"] == "two-sided"
    unit = plain["units"]["u1"]["low"]
    assert {"n", "augs", "families", "n_families", "seeds", "best", "coefficients", "bca", "ols", "york"} <= set(unit)
    assert {"influence", "regret", "noise"} <= set(unit)
    assert set(document.pooling) == {"low", "high", "noise"}
    pooling = {"coefficients", "fisher", "random_effects", "mixed_model", "concordance", "incremental"}
    assert pooling | {"leave_family_out", "baselines", "naive"} <= set(plain["pooling"]["low"])


def test_confirmatory_family_is_what_was_fixed(document: Analysis) -> None:
    assert [entry.metric for entry in document.confirmatory] == ["low", "high"]
    kept = {(row.metric, row.endpoint, row.coefficient) for row in document.exploratory}
    assert ("low", "test_loss", "kendall") not in kept
    assert ("high", "test_loss", "kendall") not in kept
    assert ("noise", "test_loss", "kendall") in kept
    assert ("low", "test_top1", "kendall") in kept
    assert len(kept) == 3 * 2 * 4 - 2


def test_signs_are_those_of_the_measured_values(frame: pd.DataFrame, document: Analysis) -> None:
    low, high = document.confirmatory
    assert (low.expected, high.expected) == (1, -1)
    assert low.result.statistic > 0.5
    assert high.result.statistic == pytest.approx(-1)
    turned = frame[frame["metric"] == "high"].rename(columns={"score": "x", "test_loss": "y"})
    direct = pooled(turned, "kendall", "less")
    assert (high.result.statistic, high.result.pvalue) == pytest.approx((direct.statistic, direct.pvalue))
    for row in document.exploratory:
        if row.metric == "high":
            assert row.result.statistic * (-1 if row.endpoint == "test_loss" else 1) > 0.5
        if row.metric == "low":
            assert row.result.statistic * (1 if row.endpoint == "test_loss" else -1) > 0.3


def test_turning_a_metric_and_its_direction_changes_only_signs(frame: pd.DataFrame) -> None:
    part = frame[(frame["metric"] == "low") & (frame["unit"] == "u1")]
    other = part.assign(score=-part["score"], direction="higher")
    one, two = (analyse(rows, resamples=49) for rows in (part, other))
    left, right = one.confirmatory[0], two.confirmatory[0]
    assert left.result.statistic == pytest.approx(-right.result.statistic)
    assert left.result.pvalue == pytest.approx(right.result.pvalue)
    mine, yours = one.units["u1"]["low"], two.units["u1"]["low"]
    r, turned = (unit.coefficients.test_loss.pearson for unit in (mine, yours))
    assert (r.low, r.high) == pytest.approx((-turned.high, -turned.low))
    assert mine.regret == yours.regret
    assert mine.best == yours.best
    assert mine.ols.slope.statistic == pytest.approx(-yours.ols.slope.statistic)
    assert mine.york.slope.statistic == pytest.approx(-yours.york.slope.statistic)


def test_primary_of_one_unit_is_one_sided_kendall(frame: pd.DataFrame, single: Analysis) -> None:
    rows = frame[(frame["unit"] == "u0") & (frame["metric"] == "low")]
    direct = correlate(rows["score"], rows["test_loss"], "kendall", "greater")
    (entry,) = (entry for entry in single.confirmatory if entry.metric == "low")
    assert (entry.result.statistic, entry.result.pvalue) == pytest.approx((direct.statistic, direct.pvalue))
    assert entry.n_units == 1
    assert single.pooling == {}
    (noise,) = (entry for entry in single.confirmatory if entry.metric == "noise")
    assert noise.result.alternative == "two-sided"
    assert noise.expected == 0


def test_adjusted_pvalues(document: Analysis) -> None:
    family = document.confirmatory
    assert [e.p_holm for e in family] == pytest.approx(holm([e.result.pvalue for e in family]).tolist())
    rows = document.exploratory
    expected = benjamini_hochberg([row.result.pvalue for row in rows]).tolist()
    assert [row.p_bh for row in rows] == pytest.approx(expected)


def test_parts_are_the_functions_of_the_package(frame: pd.DataFrame, document: Analysis) -> None:
    rows = frame[frame["metric"] == "low"].rename(columns={"score": "x", "test_loss": "y"})
    alone, part = incremental(rows, "greater"), document.pooling["low"].incremental
    assert (part.statistic, part.pvalue) == pytest.approx((alone.statistic, alone.pvalue))
    both = frame.pivot(index=["unit", "aug"], columns="metric", values="score").reset_index()
    both["high"] = -both["high"]
    both = both.merge(rows[["unit", "aug", "y"]])
    (compared,) = document.comparisons
    assert (compared.first, compared.second) == ("low", "high")
    swap = swap_test(both, "low", "high")
    assert (compared.swap.statistic, compared.swap.pvalue) == pytest.approx((swap.statistic, swap.pvalue))
    one = both[both["unit"] == "u2"]
    r = np.corrcoef([one["y"], one["low"], one["high"]])
    direct = williams(r[0, 1], min(1.0, r[0, 2]), r[1, 2], len(one))
    assert compared.williams["u2"].statistic == pytest.approx(direct.statistic, rel=1e-6)


def test_verdict_names_the_metric_and_says_that_it_predicts(document: Analysis) -> None:
    assert document.answerable is True
    assert any(sentence.startswith("low predicts") for sentence in document.verdict)
    assert all(sentence.endswith(".") for sentence in document.verdict)
    assert document.cost in document.verdict
    assert "the best score" in document.cost


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (simple(AUGS[:5]), "fewer than 6 augmentations"),
        (simple([f"cutmix:alpha={a}" for a in range(1, 8)]), "fewer than 3 families"),
        (simple(test_loss_se=0.3, seeds=3), "seed noise"),
        (simple(score_se=3.0), "noise of the scores"),
        (
            simple(test_loss_se=0.75 * float(np.std(0.1 * np.arange(len(AUGS)), ddof=1)), seeds=3),
            "seed noise",
        ),  # more than half of the variance, but not all
    ],
)
def test_data_that_cannot_answer(rows: pd.DataFrame, words: str) -> None:
    found = analyse(rows, resamples=49)
    assert found.answerable is False
    sentences = [sentence for sentence in found.verdict if sentence.startswith("Cannot answer")]
    assert any(words in sentence for sentence in sentences)
    assert not any(" predicts the students" in sentence for sentence in found.verdict)


@pytest.mark.parametrize("column", ["score", "test_loss"])
def test_constant_data_have_no_answer(column: str) -> None:
    found = analyse(simple(**{column: 1.0}), resamples=49)
    assert found.answerable is False
    entry = found.to_dict()["confirmatory"][0]
    assert entry["result"]["statistic"] is None
    assert entry["p_holm"] is None
    assert any("no answer" in sentence for sentence in found.verdict)
    json.loads(found.to_json())


def test_one_seed_is_a_warning_not_an_obstacle() -> None:
    found = analyse(simple(seeds=1), resamples=49)
    assert found.answerable is True
    assert any("fewer than 2 seeds" in sentence for sentence in found.verdict)


def test_the_cost_is_that_of_the_very_best_score() -> None:
    """The lowest score has the loss 1.3; the best loss, 1, is that of the second lowest."""
    found = analyse(simple(test_loss=[1.3, 1.0, 1.1, 1.2, 1.4, 1.5, 1.6]), resamples=49)
    assert "the best score has identity, whose test loss is 0.3000 nats above crop+flip" in found.cost


def test_a_metric_that_points_the_other_way_is_told() -> None:
    found = analyse(simple(), "higher", resamples=49)
    entry = found.confirmatory[0]
    assert entry.expected == -1
    assert entry.result.statistic == pytest.approx(1)
    assert entry.result.pvalue == 1
    assert any("not shown" in sentence and "other way" in sentence for sentence in found.verdict)


def test_three_columns_do() -> None:
    found = analyse(simple(), resamples=49)
    assert found.confirmatory[0].result.pvalue == pytest.approx(1 / math.factorial(7))
    assert list(found.units) == ["all"]
    assert list(found.metrics.values()) == ["lower"]
    assert {row.endpoint for row in found.exploratory} == {"test_loss"}


def test_rows_have_no_order(frame: pd.DataFrame) -> None:
    part = frame[(frame["metric"] == "low") & (frame["unit"] != "u2")]
    one, two = (analyse(rows, resamples=49) for rows in (part, part.sample(frac=1, random_state=3)))
    for name in ("statistic", "pvalue"):
        assert getattr(one.confirmatory[0].result, name) == pytest.approx(getattr(two.confirmatory[0].result, name))
    assert one.units["u0"]["low"].regret == two.units["u0"]["low"].regret


def test_bad_tables_are_refused(frame: pd.DataFrame) -> None:
    good = simple()
    wrong = [
        good.drop(columns="test_loss"),
        good.drop(columns="aug"),
        pd.concat([good, good[:1]]),
        simple(score=[math.nan, *range(6)]),
        simple(test_loss=[math.inf, *range(6)]),
        simple(test_loss_se=-0.1),
        simple(direction=["lower"] * 6 + ["higher"]),
        simple(direction="up"),
    ]
    for rows in wrong:
        with pytest.raises(UsageError):
            analyse(rows, resamples=9)
    with pytest.raises(UsageError, match="nois"):
        analyse(frame, metrics=["nois"])
    for options in ({"alpha": 0}, {"confidence": 95}, {"resamples": 0}, {"direction": "up"}):
        with pytest.raises(UsageError):
            analyse(good, **options)  # type: ignore[arg-type]


def test_an_error_of_exactly_0_is_one_that_is_known() -> None:
    found = analyse(simple(test_loss_se=0.0, score_se=0.0, seeds=3), resamples=49)
    assert found.answerable is True


def test_units_that_share_too_few_augmentations_cannot_answer_together() -> None:
    cut = [f"cutmix:alpha={place}" for place in range(5)]
    units = {"u0": [*cut, "identity", "mixup"], "u1": [*cut, "cutout", "autoaugment"]}
    rows = [
        {"unit": unit, "aug": aug, "score": place, "test_loss": 1 + 0.1 * place, "seeds": 3}
        for unit, augs in units.items()
        for place, aug in enumerate(augs)
    ]
    found = analyse(pd.DataFrame(rows))
    assert found.answerable is False
    assert any("5 augmentations of 1 family in common" in sentence for sentence in found.verdict)


def test_units_whose_scores_are_constant_are_not_counted() -> None:
    augs = ["identity", "cutout", "autoaugment", "mixup", "cutmix", "crop"]
    rows = [
        {"unit": f"u{unit}", "aug": aug, "score": 0.0 if unit == 2 else place, "test_loss": 1 + 0.1 * place, "seeds": 3}
        for unit in range(3)
        for place, aug in enumerate(augs)
    ]
    assert analyse(pd.DataFrame(rows)).confirmatory[0].n_units == 2
