"""Partial tau and sub-pools, against plain loops."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pandas as pd
import pytest

from dametric import stats
from dametric.analysis import analyse
from dametric.analysis.beyond import describe_partial, describe_published_list, describe_subpools
from dametric.analysis.joined import aligned, prepare
from dametric.errors import UsageError
from dametric.stats import partial, partial_tau, subpools
from tests.loops import each
from tests.oracles.statistics import kendall, pvalue, ranks

X = [0.3, 0.1, 0.9, 0.5, 0.7, 0.2]
Y = [1.0, 1.2, 2.5, 1.9, 1.7, 1.1]
Z = [5.0, 3.0, 4.0, 6.0, 9.0, 2.0]


def plain_partial(x: list[float], y: list[float], z: list[float]) -> float:
    xy, xz, yz = kendall(x, y), kendall(x, z), kendall(y, z)
    return (xy - xz * yz) / math.sqrt((1 - xz**2) * (1 - yz**2))


def residuals(y: list[float], z: list[float]) -> tuple[list[float], list[float]]:
    """Fitted values and residuals of the ranks of y on those of z."""
    a, b = ranks(y), ranks(z)
    ma, mb = sum(a) / len(a), sum(b) / len(b)
    slope = sum((p - ma) * (q - mb) for p, q in zip(a, b, strict=True)) / sum((q - mb) ** 2 for q in b)
    fitted = [ma + slope * (q - mb) for q in b]
    return fitted, [p - q for p, q in zip(a, fitted, strict=True)]


def plain_pvalue(units: list[tuple[list[float], list[float], list[float]]], alternative: str) -> float:
    def mean(order: tuple[int, ...]) -> float:
        total = 0.0
        for x, y, z in units:
            fitted, left = residuals(y, z)
            outcome = [round(fit + left[i], 9) for fit, i in zip(fitted, order, strict=True)]
            agree = abs(kendall(outcome, z)) > 1 - 1e-9 or len(set(outcome)) == 1
            total += 0.0 if agree else plain_partial(x, outcome, z)
        return total / len(units)

    orders = itertools.permutations(range(len(units[0][0])))
    return pvalue(mean(tuple(range(len(units[0][0])))), map(mean, orders), alternative)


def frame_of(units: list[tuple[list[float], list[float], list[float]]]) -> pd.DataFrame:
    parts = [
        pd.DataFrame({"unit": f"u{i}", "aug": [f"a{k}" for k in range(len(x))], "x": x, "y": y, "z": z})
        for i, (x, y, z) in enumerate(units)
    ]
    return pd.concat(parts)


@each("alternative", ["two-sided", "greater", "less"])
@each("z", [Z, [1.0, 1.0, 2.0, 2.0, 3.0, 0.0]])
def test_one_unit_by_all_permutations(alternative: str, z: list[float]) -> None:
    found = partial_tau(X, Y, z, alternative)
    assert found.statistic == pytest.approx(plain_partial(X, Y, z), abs=1e-12)
    assert found.pvalue == pytest.approx(plain_pvalue([(X, Y, z)], alternative), abs=1e-12)
    assert "all permutations" in found.method


def test_several_units_are_permuted_jointly() -> None:
    units = [(X[:5], Y[:5], Z[:5]), ([1.0, 3, 2, 5, 4], [2.0, 1, 4, 3, 5], [1.0, 2, 4, 3, 5])]
    found = partial(frame_of(units))
    assert found.statistic == pytest.approx(sum(plain_partial(*unit) for unit in units) / 2, abs=1e-12)
    assert found.pvalue == pytest.approx(plain_pvalue(units, "two-sided"), abs=1e-12)


def test_one_third_variable_by_the_inverse_of_all_taus() -> None:
    x, y, z = X, Y, Z
    inverse = np.linalg.inv(np.array([[1.0 if a is b else kendall(a, b) for b in (x, y, z)] for a in (x, y, z)]))
    by_inverse = -inverse[0, 1] / math.sqrt(inverse[0, 0] * inverse[1, 1])
    assert partial_tau(x, y, z).statistic == pytest.approx(by_inverse, abs=1e-12)


def test_what_only_the_third_variable_brings_disappears() -> None:
    draw = np.random.default_rng(0)
    z = draw.standard_normal(60)
    x, y = z + 0.5 * draw.standard_normal(60), z + 0.5 * draw.standard_normal(60)
    assert stats.correlate(x, y).pvalue < 0.001
    assert abs(partial_tau(x, y, z, resamples=499).statistic) < 0.2
    assert partial_tau(x, y, z, resamples=499).pvalue > 0.05


def test_rows_have_no_order_and_signs_turn() -> None:
    order = [3, 0, 5, 1, 4, 2]
    first = partial_tau(X, Y, Z)
    again = partial_tau(*([values[i] for i in order] for values in (X, Y, Z)))
    assert (again.statistic, again.pvalue) == pytest.approx((first.statistic, first.pvalue))
    turned = partial_tau([-v for v in X], Y, Z)
    assert (turned.statistic, turned.pvalue) == pytest.approx((-first.statistic, first.pvalue))
    assert partial_tau(X, Y, [-v for v in Z]).statistic == pytest.approx(first.statistic)


@each("z", [X, [-v for v in Y], [1.0] * 6])
def test_a_third_variable_that_leaves_nothing(z: list[float]) -> None:
    found = partial_tau(X, Y, z)
    assert math.isnan(found.statistic)
    assert found.note


def test_bad_input_is_refused() -> None:
    with pytest.raises(UsageError, match="given has 3 values"):
        partial_tau(X, Y, [1.0, 2.0, 3.0])
    with pytest.raises(UsageError, match="no column 'entropy'"):
        partial(frame_of([(X, Y, Z)]), given="entropy")
    with pytest.raises(UsageError, match="resamples"):
        partial(frame_of([(X, Y, Z)]), resamples=0)


def test_random_permutations_agree_with_all_of_them() -> None:
    draw = np.random.default_rng(1)
    x, y, z = draw.standard_normal((3, 9)).tolist()
    found = partial_tau(x, y, z, resamples=20_000)
    assert "20000 random" in found.method
    fitted, left = residuals(y, z)
    values = []
    for _ in range(2000):
        outcome = [round(fit + v, 9) for fit, v in zip(fitted, draw.permutation(left).tolist(), strict=True)]
        values.append(plain_partial(x, outcome, z))
    wanted = pvalue(plain_partial(x, y, z), values, "two-sided")
    assert abs(found.pvalue - wanted) < 2 * 4 * math.sqrt(0.25 / 2000)  # twice one side


def plain_pools(units: list[tuple[list[float], list[float]]], size: int) -> list[float]:
    values = []
    for chosen in itertools.combinations(range(len(units[0][0])), size):
        known = []
        for x, y in units:
            a, b = [x[i] for i in chosen], [y[i] for i in chosen]
            if len(set(a)) > 1 and len(set(b)) > 1:
                known.append(kendall(a, b))
        if known:
            values.append(sum(known) / len(known))
    return values


def test_all_subpools_of_augmentations_and_units() -> None:
    units = [(X, Y), ([1.0, 1, 1, 2, 5, 4], [2.0, 1, 4, 3, 5, 6]), ([6.0, 5, 4, 3, 2, 1], Y)]
    table = subpools(frame_of([(x, y, Z) for x, y in units]))
    augs = table[table["of"] == "augmentations"].set_index("size")
    assert list(augs.index) == [3, 4, 5, 6]
    for size, row in augs.iterrows():
        values = plain_pools(units, int(str(size)))
        assert row["pools"] == len(values)
        assert row["all"] == (len(values) == math.comb(6, int(str(size))))
        wanted = {"least": min(values), "most": max(values), "median": float(np.median(values))}
        wanted |= {"low": float(np.quantile(values, 0.05)), "positive": sum(v > 0 for v in values) / len(values)}
        assert {name: row[name] for name in wanted} == pytest.approx(wanted)
    each = [kendall(x, y) for x, y in units]
    pairs = [(a + b) / 2 for a, b in itertools.combinations(each, 2)]
    row = table[(table["of"] == "units") & (table["size"] == 2)].iloc[0]
    assert (row["least"], row["median"], row["most"]) == pytest.approx((min(pairs), np.median(pairs), max(pairs)))
    assert augs.loc[6, "median"] == pytest.approx(sum(each) / 3)


def test_a_coefficient_of_zero_is_not_positive() -> None:
    table = subpools(frame_of([([1.0, 2, 3, 4], [2.0, 4, 1, 3], [1.0, 2, 3, 4])]))
    whole = table[(table["of"] == "augmentations") & (table["size"] == 4)].iloc[0]
    assert (whole["median"], whole["positive"]) == (0, 0)


def test_many_subpools_are_drawn_and_repeat() -> None:
    draw = np.random.default_rng(2)
    frame = frame_of([tuple(draw.standard_normal((3, 20)).tolist())])  # type: ignore[list-item]
    table = subpools(frame, pools=50, seed=3)
    middle = table[(table["of"] == "augmentations") & (table["size"] == 10)].iloc[0]
    assert (middle["pools"], middle["all"]) == (50, False)
    pd.testing.assert_frame_equal(table, subpools(frame, pools=50, seed=3))


def test_too_few_augmentations_have_no_subpools() -> None:
    assert subpools(frame_of([(X[:2], Y[:2], Z[:2])])).empty


def test_the_analysis_says_what_is_left_beyond_entropy() -> None:
    draw = np.random.default_rng(4)
    rows = []
    for unit in ("u0", "u1"):
        for aug in ("identity", "flip", "cutout", "mixup", "cutmix", "autoaugment", "augmix"):
            loss = 1 + 0.1 * draw.standard_normal()
            for metric, direction in (("t_stddev", "lower"), ("t_entropy", "higher"), ("t_conf", "lower")):
                score = loss * (1 if direction == "lower" else -1) + 0.05 * draw.standard_normal()
                about = {"unit": unit, "aug": aug, "metric": metric, "direction": direction}
                rows.append({**about, "score": score, "test_loss": loss})
    frame = pd.DataFrame(rows)
    table = prepare(frame)
    rows_of = {str(name): part for name, part in table.groupby("metric", sort=False)}
    partials = describe_partial(rows_of, "t_stddev", resamples=199, seed=0)
    assert [entry.given for entry in partials] == ["t_entropy", "t_conf", "fixed list"]
    one = frame[frame["unit"] == "u0"].pivot_table(index="aug", columns="metric", values="score", sort=False)
    loss = frame[(frame["unit"] == "u0") & (frame["metric"] == "t_conf")].set_index("aug")["test_loss"]
    columns = [list(values) for values in (one["t_stddev"], loss[one.index], one["t_entropy"])]
    assert partials[0].units["u0"] == pytest.approx(plain_partial(*columns))
    assert math.isnan(partials[-1].result.pvalue)
    last = [row for row in describe_subpools(rows_of["t_stddev"], seed=0) if row.of == "augmentations"][-1]
    assert last.median == pytest.approx(stats.pooled(aligned(rows_of["t_stddev"], "test_loss")).statistic)


SPEC = {"cutmix_pick_S": "cutmixpick:by=student_entropy", "cutmix_pick_T": "cutmixpick:by=teacher_entropy"}


def test_the_published_list_is_the_mean_rank_of_the_published_losses() -> None:
    points = stats.load_published()
    places: dict[str, list[float]] = {}
    for _, part in points.groupby("unit"):
        for aug, place in zip(part["aug"], ranks(list(part["student_test_loss"])), strict=True):
            places.setdefault(SPEC.get(aug, aug), []).append(place)
    augs = [*places, "cutout:size=4", "./mine.py:snow"]
    draw = np.random.default_rng(5)
    frame = pd.concat(
        pd.DataFrame({"unit": unit, "aug": augs, "y": draw.standard_normal(len(augs))}) for unit in ("a", "b")
    )
    found = stats.published_list(frame)
    assert len(found) == 18
    for row in found.to_dict("records"):
        assert row["x"] == pytest.approx(sum(places[row["aug"]]) / 10)
    assert found["y"].tolist() == frame[frame["aug"].isin(places)]["y"].tolist()


def test_the_published_list_is_not_tried_on_what_made_it() -> None:
    assert describe_published_list(prepare(stats.published_frame()), resamples=99, seed=0) is None
    frame = pd.DataFrame({"unit": "a", "aug": ["flip", "mixup", "mine"], "y": [1.0, 2.0, 3.0]})
    assert stats.published_list(frame).empty, "two augmentations have no order to speak of"


def test_a_new_study_is_told_what_the_published_list_reaches() -> None:
    augs = ["identity", "flip", "crop+flip", "cutout", "mixup", "cutmix", "autoaugment", "mine"]
    loss = [1.9, 1.8, 1.7, 1.6, 1.4, 1.2, 1.5, 1.0]
    score = [0.5, 0.6, 0.3, 0.4, 0.2, 0.25, 0.1, 0.05]
    document = analyse(pd.DataFrame({"aug": augs, "score": score, "test_loss": loss}), resamples=99)
    listed = stats.published_list(pd.DataFrame({"unit": "all", "aug": augs, "y": loss}))
    found = document.published_list
    assert found.augs == 7
    wanted = stats.correlate(listed["x"], listed["y"], alternative="greater")
    assert (found.list.statistic, found.list.pvalue) == (wanted.statistic, wanted.pvalue)
    assert found.metric.statistic == pytest.approx(kendall(score[:7], loss[:7]))
    assert f"reaches tau-b {wanted.statistic:.2f}" in document.verdict[-1]
    assert "on the 7 augmentations it knows" in document.verdict[-1]


def test_accuracy_has_a_line_too() -> None:
    augs = ["identity", "flip", "cutout", "mixup", "cutmix"]
    frame = pd.DataFrame({"aug": augs, "score": X[:5], "test_loss": Y[:5], "test_top1": [0.5, 0.55, 0.4, 0.44, 0.47]})
    unit = analyse(frame, resamples=99).units["all"]["score"]
    line = stats.ols(X[:5], frame["test_top1"])
    assert unit.ols_top1.slope.statistic == pytest.approx(line.slope.statistic)
    bare = analyse(frame.drop(columns="test_top1"), resamples=99).units["all"]["score"]
    assert bare.ols_top1 is None
