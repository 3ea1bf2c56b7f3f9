"""The published points and the coefficients printed with them."""

from __future__ import annotations

import math

import pytest

from dametric.stats import correlate, load_published, published_frame
from tests.loops import each

PRINTED = {
    "cifar100/wrn_40_2/wrn_16_2": (0.9581, 0.9667, 0.8889),
    "cifar100/vgg13/vgg8": (0.9742, 1.0, 1.0),
    "cifar100/resnet56/resnet20": (0.9404, 0.9333, 0.8333),
    "cifar100/ResNet50/vgg8": (0.9697, 0.9833, 0.9444),
}


def test_ten_units_of_nine_augmentations() -> None:
    table = load_published()
    assert list(table.columns) == ["unit", "dataset", "teacher", "student", "aug", "t_stddev", "student_test_loss"]
    assert len(table) == 90
    assert set(table.groupby("unit")["aug"].nunique()) == {9}
    assert table["unit"].nunique() == 10
    assert not table.isna().to_numpy().any()
    assert (table["unit"] == table["dataset"] + "/" + table["teacher"] + "/" + table["student"]).all()
    assert table["t_stddev"].between(0, 0.5).all()
    assert table["student_test_loss"].between(0, 5).all()


@each("unit", PRINTED)
def test_printed_coefficients(unit: str) -> None:
    table = load_published()
    rows = table[table["unit"] == unit]
    for method, printed in zip(("pearson", "spearman", "kendall"), PRINTED[unit], strict=True):
        found = correlate(rows["t_stddev"], rows["student_test_loss"], method)
        assert found.statistic == pytest.approx(printed, abs=0.00005 + 1e-9), method


def test_printed_pvalue_of_kendall() -> None:
    table = load_published()
    rows = table[table["unit"] == "cifar100/wrn_40_2/wrn_16_2"]
    found = correlate(rows["t_stddev"], rows["student_test_loss"])
    assert round(100 * found.pvalue, 2) == 0.02  # percent


def test_frame_for_the_analysis_has_the_same_points() -> None:
    table, frame = load_published(), published_frame()
    assert list(frame.columns) == ["unit", "teacher", "aug", "metric", "direction", "score", "test_loss"]
    assert list(frame["score"]) == list(table["t_stddev"])
    assert list(frame["test_loss"]) == list(table["student_test_loss"])
    assert set(frame["direction"]) == {"lower"}
    assert frame["metric"].nunique() == 1


def test_a_caller_cannot_change_the_points_of_the_next() -> None:
    first = load_published()
    first.loc[0, "t_stddev"] = math.nan
    assert not load_published().isna().to_numpy().any()
