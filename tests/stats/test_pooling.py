"""What holds for several units: joint permutation, concordance, incremental value, baselines."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from dametric.errors import UsageError
from dametric.stats import fixed_order, incremental, kendalls_w, load_published, naive, other_unit, pooled
from tests.loops import each
from tests.oracles import statistics as oracle

ALTERNATIVES = ("two-sided", "greater", "less")
X = [[0.1, 0.5, 0.3, 0.9, 0.7], [2.0, 1.0, 4.0, 3.0, 5.0], [1.0, 9.0, 2.0, 7.0, 8.0]]
Y = [[1.2, 1.5, 1.9, 1.7, 2.4], [0.2, 0.3, 0.4, 0.1, 0.5], [3.0, 2.0, 1.0, 5.0, 4.0]]
TIED = [[1.0, 1.0, 2.0, 3.0, 3.0], [0.3, 0.3, 0.3, 0.1, 0.5], [3.0, 2.0, 1.0, 5.0, 4.0]]


def tidy(x: Sequence[Sequence[float]], y: Sequence[Sequence[float]], teachers: Sequence[str] = ()) -> pd.DataFrame:
    rows = [
        {"unit": f"u{u}", "aug": f"a{a}", "x": x[u][a], "y": y[u][a], "teacher": teachers[u] if teachers else f"t{u}"}
        for u in range(len(x))
        for a in range(len(x[u]))
    ]
    frame = pd.DataFrame(rows)
    return frame if teachers else frame.drop(columns="teacher")


@each("alternative", ALTERNATIVES)
@each("method", ["pearson", "spearman", "kendall"])
@each("y", [Y, TIED])
def test_one_permutation_for_all_units(y: list[list[float]], method: str, alternative: str) -> None:
    coefficient = oracle.COEFFICIENTS[method]
    found = pooled(tidy(X, y), method, alternative)
    each = [coefficient(a, b) for a, b in zip(X, y, strict=True)]
    assert found.statistic == pytest.approx(sum(each) / 3, rel=1e-12)
    assert found.pvalue == pytest.approx(oracle.joint_pvalue(coefficient, X, y, alternative), rel=1e-9)
    assert found.n == 5
    assert math.isnan(found.low)


def test_weighted_tau_of_several_units_counts_all_joint_permutations() -> None:
    found = pooled(tidy(-np.array(X), -np.array(Y)), "weighted", "greater")  # whose lowest are the best
    assert found.statistic == pytest.approx(np.mean([oracle.weighted(a, b) for a, b in zip(X, Y, strict=True)]))
    assert found.pvalue == pytest.approx(oracle.joint_pvalue(oracle.weighted, X, Y, "greater"), rel=1e-9)


@each("alternative", ALTERNATIVES)
def test_mean_of_fishers_z(alternative: str) -> None:
    def z(x: Sequence[float], y: Sequence[float]) -> float:
        return math.atanh(max(-1 + 1e-6, min(1 - 1e-6, oracle.pearson(x, y))))

    found = pooled(tidy(X, Y), "pearson", alternative, statistic="fisher")
    assert found.statistic == pytest.approx(math.tanh(np.mean([z(a, b) for a, b in zip(X, Y, strict=True)])))
    assert found.pvalue == pytest.approx(oracle.joint_pvalue(z, X, Y, alternative), rel=1e-9)


def test_neither_rows_nor_units_have_an_order() -> None:
    frame = tidy(X, Y)
    one, two = pooled(frame), pooled(frame.sample(frac=1, random_state=1))
    assert (one.statistic, one.pvalue) == pytest.approx((two.statistic, two.pvalue), rel=1e-12)


def test_published_units_together_reach_the_smallest_pvalue() -> None:
    frame = load_published().rename(columns={"t_stddev": "x", "student_test_loss": "y"})
    frame = frame[frame["dataset"].isin(["cifar100", "tinyimagenet"])]
    found = pooled(frame, "spearman", "greater")
    assert found.statistic == pytest.approx(0.945, abs=0.0005)
    assert found.pvalue == pytest.approx(1 / math.factorial(9), rel=1e-9)
    assert naive(frame).pvalue < 1e-30


def test_missing_augmentations_and_constant_units_are_left_out_and_named() -> None:
    frame = tidy(X, Y)
    flat = pd.DataFrame([{"unit": "flat", "aug": f"a{a}", "x": float(a), "y": 1.0} for a in range(5)])
    more = pd.concat([frame, flat, pd.DataFrame([{"unit": "u0", "aug": "only here", "x": 0.0, "y": 0.0}])])
    found, plain = pooled(more), pooled(frame)
    assert (found.statistic, found.pvalue, found.n) == (plain.statistic, plain.pvalue, plain.n)
    assert "only here" in found.note
    assert "flat" in found.note


def test_two_common_augmentations_do_not_do() -> None:
    found = pooled(tidy([row[:2] for row in X], [row[:2] for row in Y]))
    assert math.isnan(found.statistic)
    assert math.isnan(found.pvalue)
    assert found.note


@each("function", [pooled, incremental, naive, fixed_order, other_unit])
def test_bad_tables_are_refused(function: object) -> None:
    assert callable(function)
    frame = tidy(X, Y)
    wrong = [
        frame.drop(columns="unit"),
        frame.drop(columns="x"),
        pd.concat([frame, frame.iloc[:1]]),
        frame.assign(y=np.where(frame.index == 3, math.nan, frame["y"])),
        frame.assign(x=np.where(frame.index == 3, math.inf, frame["x"])),
    ]
    for table in wrong:
        with pytest.raises(UsageError):
            function(table)


def test_naive_is_pearsons_r_over_all_standardised_points() -> None:
    found = naive(tidy(X, Y))
    x, y = (np.concatenate([stats.zscore(row) for row in rows]) for rows in (X, Y))
    expected = stats.pearsonr(x, y)
    assert found.statistic == pytest.approx(expected.statistic, rel=1e-12)
    assert found.pvalue == pytest.approx(expected.pvalue, rel=1e-9)


@each("rows", [X, Y, TIED, [[1.0, 2, 3, 4], [1, 2, 3, 4]]])
def test_concordance_is_kendalls_formula(rows: list[list[float]]) -> None:
    found = kendalls_w(rows)
    assert found.statistic == pytest.approx(oracle.concordance(rows), rel=1e-12)
    assert found.n == len(rows[0])


def test_concordance_without_ties_is_the_mean_spearman() -> None:
    pairs = list(itertools.combinations(X, 2))
    mean = sum(oracle.spearman(a, b) for a, b in pairs) / len(pairs)
    assert kendalls_w(X).statistic == pytest.approx((1 + 2 * mean) / 3)


@each("rows", [X, TIED])
def test_pvalue_of_concordance_counts_the_permutations_of_every_unit(rows: list[list[float]]) -> None:
    short = [row[:4] for row in rows]
    orders = list(itertools.permutations(range(4)))
    first, second, third = short
    values = [  # the first stays where it is
        oracle.concordance([first, [second[i] for i in one], [third[i] for i in two]])
        for one in orders
        for two in orders
    ]
    expected = oracle.pvalue(oracle.concordance(short), values, "greater")
    assert kendalls_w(short, resamples=100_000).pvalue == pytest.approx(expected, rel=1e-9)


def test_concordance_that_cannot_be_had() -> None:
    for rows in ([[1.0, 2, 3]], [[1.0, 2], [2, 1]], [[1.0, 1, 1], [2, 2, 2]]):
        assert math.isnan(kendalls_w(rows).statistic)
    with pytest.raises(UsageError):
        kendalls_w([[1.0, 2, 3], [1, math.nan, 3]])
    with pytest.raises(UsageError):
        kendalls_w([1.0, 2, 3])


@each("alternative", ALTERNATIVES)
def test_incremental_value_counts_all_permutations_of_units(alternative: str) -> None:
    rng = np.random.default_rng(7)
    x, y = rng.normal(size=(2, 4, 5)).tolist()
    left, right = oracle.double_centred(x), oracle.double_centred(y)
    flat = [v for row in right for v in row]

    def r(order: Sequence[int]) -> float:
        return oracle.pearson([v for u in order for v in left[u]], flat)

    found = incremental(tidy(x, y), alternative)
    assert found.statistic == pytest.approx(r(range(4)), rel=1e-10)
    expected = oracle.pvalue(r(range(4)), map(r, itertools.permutations(range(4))), alternative)
    assert found.pvalue == pytest.approx(expected, rel=1e-9)
    assert found.n == 4


def test_one_list_for_all_units_has_no_incremental_value() -> None:
    found = incremental(tidy([X[0]] * 4, [Y[0], Y[1], Y[2], X[1]]))
    assert math.isnan(found.statistic)
    assert math.isnan(found.pvalue)
    assert found.note


def test_one_list_on_other_scales_has_no_incremental_value_either() -> None:
    scores = [[(u + 1.3) * v + 7 * u for v in X[0]] for u in range(4)]
    assert math.isnan(incremental(tidy(scores, [Y[0], Y[1], Y[2], X[1]])).statistic)


def test_two_units_have_no_incremental_value() -> None:
    assert math.isnan(incremental(tidy(X[:2], Y[:2])).pvalue)


def test_incremental_value_of_the_published_points() -> None:
    frame = load_published().rename(columns={"t_stddev": "x", "student_test_loss": "y"})
    frame = frame[frame["dataset"].isin(["cifar100", "tinyimagenet"])]
    found = incremental(frame)
    assert found.statistic == pytest.approx(0.24, abs=0.005)
    assert found.pvalue == pytest.approx(0.41, abs=0.06)


def test_fixed_order_is_the_mean_rank_in_the_other_units() -> None:
    found = fixed_order(tidy(X, Y)).set_index(["unit", "aug"])
    # ranks of Y: 1 2 4 3 5, 2 3 4 1 5, 3 2 1 5 4
    assert found.loc["u0", "x"].tolist() == [2.5, 2.5, 2.5, 3, 4.5]
    assert found.loc["u1", "x"].tolist() == [2, 2, 2.5, 4, 4.5]
    assert found.loc["u2", "x"].tolist() == [1.5, 2.5, 4, 2, 5]
    for place, row in enumerate(Y):
        assert found.loc[f"u{place}", "y"].tolist() == row
    assert len(fixed_order(tidy(X[:1], Y[:1]))) == 0


def test_every_other_unit_lends_its_scores() -> None:
    found = other_unit(tidy(X, Y))
    assert len(found) == 6 * 5
    for mine, other in itertools.permutations(range(3), 2):
        (rows,) = [
            part
            for name, part in found.groupby("unit")
            if str(name).startswith(f"u{mine} ") and str(name).endswith(f" u{other}")
        ]
        assert rows["x"].tolist() == X[other]
        assert rows["y"].tolist() == Y[mine]


def test_only_units_of_other_teachers_lend_their_scores() -> None:
    found = other_unit(tidy(X, Y, ["same", "same", "other"]))
    pairs = {(str(name)[:2], str(name)[-2:]) for name in found["unit"].unique()}
    assert pairs == {("u0", "u2"), ("u1", "u2"), ("u2", "u0"), ("u2", "u1")}
    assert len(other_unit(tidy(X, Y, ["same"] * 3))) == 0
