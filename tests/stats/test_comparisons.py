"""Two metrics on the same augmentations, and many p-values at once."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from dametric.errors import UsageError
from dametric.stats import benjamini_hochberg, bootstrap_difference, holm, swap_test, williams
from tests.loops import each
from tests.oracles import statistics as oracle

ALTERNATIVES = ("two-sided", "greater", "less")


def formula(r12: float, r13: float, r23: float, n: int) -> float:
    determinant = 1 - r12**2 - r13**2 - r23**2 + 2 * r12 * r13 * r23
    mean = (r12 + r13) / 2
    below = 2 * (n - 1) / (n - 3) * determinant + mean**2 * (1 - r23) ** 3
    return (r12 - r13) * math.sqrt((n - 1) * (1 + r23) / below)


@each(
    ("r12", "r13", "r23", "n"), [(0.95, 0.85, 0.9, 9), (0.4, 0.6, 0.1, 103), (-0.2, 0.3, -0.4, 20), (0.5, 0.5, 0.5, 12)]
)
def test_williams_formula(r12: float, r13: float, r23: float, n: int) -> None:
    t = formula(r12, r13, r23, n)
    law = stats.t(n - 3)
    for alternative, p in (("greater", law.sf(t)), ("less", law.cdf(t)), ("two-sided", 2 * law.sf(abs(t)))):
        found = williams(r12, r13, r23, n, alternative)
        assert found.statistic == pytest.approx(t, abs=1e-12)
        assert found.pvalue == pytest.approx(p, rel=1e-9)
        assert found.n == n


def test_williams_on_steigers_numbers() -> None:
    """The case of Steiger 1980, doi 10.1037/0033-2909.87.2.245, that r.test of the R package psych takes up."""
    found = williams(0.4, 0.5, 0.1, 103)
    # by hand: |R| = 1 - .16 - .25 - .01 + .04 = .62; 2 * 102 / 100 * .62 + .45^2 * .9^3 = 1.412423
    # t = -.1 sqrt(102 * 1.1 / 1.412423) = -.1 sqrt(79.4380)
    assert found.statistic == pytest.approx(-0.8913, abs=5e-5)
    assert found.pvalue == pytest.approx(0.375, abs=0.0005)


def test_williams_turns_with_the_metrics() -> None:
    one, two = williams(0.9, 0.6, 0.5, 9, "greater"), williams(0.6, 0.9, 0.5, 9, "less")
    assert one.statistic == -two.statistic
    assert one.pvalue == pytest.approx(two.pvalue)


def test_williams_without_an_answer() -> None:
    for found in (williams(0.5, 0.4, 0.3, 3), williams(0.5, 0.5, 1.0, 9)):
        assert math.isnan(found.pvalue)
        assert found.note
    for wrong in ((1.2, 0.1, 0.1), (0.1, -1.2, 0.1), (0.9, -0.9, 0.9), (math.nan, 0.1, 0.1)):
        with pytest.raises(UsageError):
            williams(*wrong, 9)


FIRST = [[1.0, 2.0, 4.0, 3.0, 5.0], [0.1, 0.3, 0.2, 0.7, 0.9]]
SECOND = [[20.0, 50.0, 10.0, 40.0, 30.0], [5.0, 1.0, 2.0, 4.0, 3.0]]
LOSS = [[1.1, 1.2, 1.3, 1.4, 1.9], [0.5, 0.6, 0.7, 0.8, 0.4]]


def tidy(units: int = 2, n: int = 5) -> pd.DataFrame:
    rows = [
        {"unit": f"u{u}", "aug": f"a{a}", "one": FIRST[u][a], "two": SECOND[u][a], "y": LOSS[u][a]}
        for u in range(units)
        for a in range(n)
    ]
    return pd.DataFrame(rows)


@each("alternative", ALTERNATIVES)
@each("method", ["kendall", "spearman"])
@each("units", [1, 2])
def test_all_exchanges_of_ranks(units: int, method: str, alternative: str) -> None:
    coefficient = oracle.COEFFICIENTS[method]

    def difference(swap: tuple[bool, ...]) -> float:
        total = 0.0
        for one, two, loss in zip(FIRST[:units], SECOND[:units], LOSS[:units], strict=True):
            a, b = oracle.ranks(one), oracle.ranks(two)
            left = [q if s else p for p, q, s in zip(a, b, swap, strict=True)]
            right = [p if s else q for p, q, s in zip(a, b, swap, strict=True)]
            total += coefficient(left, loss) - coefficient(right, loss)
        return total / units

    found = swap_test(tidy(units), "one", "two", method, alternative)
    observed = difference((False,) * 5)
    assert found.statistic == pytest.approx(observed, abs=1e-12)
    values = map(difference, itertools.product((False, True), repeat=5))
    assert found.pvalue == pytest.approx(oracle.pvalue(observed, values, alternative), rel=1e-9)
    assert found.n == 5


def test_exchanging_the_names_turns_the_test() -> None:
    one, two = swap_test(tidy(), "one", "two", "kendall", "greater"), swap_test(tidy(), "two", "one", "kendall", "less")
    assert one.statistic == pytest.approx(-two.statistic)
    assert one.pvalue == pytest.approx(two.pvalue)


def test_a_metric_is_not_better_than_itself_on_another_scale() -> None:
    frame = tidy().assign(two=lambda table: np.exp(table["one"]))
    found = swap_test(frame, "one", "two")
    assert found.statistic == pytest.approx(0, abs=1e-12)
    assert found.pvalue == 1


def test_many_augmentations_are_exchanged_at_random() -> None:
    rng = np.random.default_rng(0)
    y = rng.normal(size=14)
    frame = pd.DataFrame(
        {"unit": "u", "aug": [f"a{i}" for i in range(14)], "y": y, "one": y, "two": rng.normal(size=14)}
    )
    found = swap_test(frame, "one", "two", alternative="greater", resamples=199)
    assert found.pvalue * 200 == pytest.approx(round(found.pvalue * 200))
    assert 1 / 200 <= found.pvalue < 0.05
    again = swap_test(frame, "one", "two", alternative="greater", resamples=199)
    assert repr(again) == repr(found)  # NaN is not equal to itself


def test_bootstrap_of_the_difference() -> None:
    rng = np.random.default_rng(1)
    y = rng.normal(size=16)
    noise = rng.normal(size=(2, 16))
    frame = pd.DataFrame(
        {"unit": "u", "aug": [f"a{i}" for i in range(16)], "y": y, "one": y + 0.2 * noise[0], "two": y + 2 * noise[1]}
    )
    found = bootstrap_difference(frame, "one", "two", resamples=499)
    expected = oracle.kendall(frame["one"].tolist(), y.tolist()) - oracle.kendall(frame["two"].tolist(), y.tolist())
    assert found.statistic == pytest.approx(expected)
    assert found.low < found.statistic < found.high
    assert math.isnan(found.pvalue)


def test_bad_tables_of_two_metrics_are_refused() -> None:
    frame = tidy()
    for function in (swap_test, bootstrap_difference):
        for wrong in (frame.drop(columns="two"), pd.concat([frame, frame[:1]]), frame.assign(one=math.nan)):
            with pytest.raises(UsageError):
                function(wrong, "one", "two")
    with pytest.raises(UsageError):
        swap_test(frame, "one", "two", "pearson")


def test_holm_by_hand() -> None:
    # sorted .005 .01 .03 .04 times 4 3 2 1, never falling
    assert holm([0.01, 0.04, 0.03, 0.005]).tolist() == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.02, 0.9]).tolist() == pytest.approx([0.04, 0.9])
    assert holm([0.6, 0.7]).tolist() == [1.0, 1.0]


def test_benjamini_hochberg_by_hand() -> None:
    # sorted .005 .01 .03 .04 times 4/1 4/2 4/3 4/4, never rising from the end
    assert benjamini_hochberg([0.01, 0.04, 0.03, 0.005]).tolist() == pytest.approx([0.02, 0.04, 0.04, 0.02])
    assert benjamini_hochberg([0.9, 0.02]).tolist() == pytest.approx([0.9, 0.04])
    values = np.random.default_rng(3).uniform(size=20)
    assert benjamini_hochberg(values).tolist() == pytest.approx(stats.false_discovery_control(values).tolist())


def test_unknown_pvalues_are_not_counted() -> None:
    for function in (holm, benjamini_hochberg):
        found = function([0.02, math.nan, 0.5])
        assert math.isnan(found[1])
        assert found[[0, 2]].tolist() == pytest.approx(function([0.02, 0.5]).tolist())
        assert len(function([])) == 0
        for wrong in ([-0.1, 0.5], [0.5, 1.1]):
            with pytest.raises(UsageError):
                function(wrong)
