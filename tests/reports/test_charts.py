"""What the figures of a report draw: every mark where the numbers are."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dametric import stats
from dametric.analysis import Analysis, analyse
from dametric.analysis.decision import decide
from dametric.analysis.words import belief
from dametric.reports.chart import Chart
from dametric.reports.charts import forest, influence, metrics, regret, scatter, subpools
from dametric.reports.charts.noise import noise_table
from tests.loops import each

AUGS = ("identity", "flip", "crop+flip", "cutout", "autoaugment", "mixup", "cutmix")
DIRECTIONS = {"low": "lower", "high": "higher", "open": "open"}


def study(units: int) -> pd.DataFrame:
    draw = np.random.default_rng(3)
    rows = []
    for unit in range(units):
        loss = 1 + 0.1 * draw.permutation(len(AUGS)) + 0.01 * draw.normal(size=len(AUGS))
        noise = 0.12 * draw.normal(size=(3, len(AUGS)))
        scores = {"low": loss + noise[0], "high": 5 - loss + noise[1], "open": draw.normal(size=len(AUGS))}
        for metric, values in scores.items():
            for place, aug in enumerate(AUGS):
                about = {"unit": f"unit {unit}", "aug": aug, "metric": metric, "direction": DIRECTIONS[metric]}
                seen = {"score": values[place], "score_se": 0.01 + 0.002 * place, "test_loss": loss[place]}
                more = {"test_loss_se": 0.03 + 0.003 * place, "test_top1": 1 - loss[place] / 3, "test_top1_se": 0.01}
                rows.append({**about, **seen, **more, "seeds": 3})
    return pd.DataFrame(rows)


@pytest.fixture(scope="module")
def material() -> Analysis:
    return analyse(study(3), metrics=["low"], resamples=99)


@pytest.fixture(scope="module")
def single() -> Analysis:
    return analyse(study(1), metrics=["low"], resamples=99)


def drawn(chart: Chart | None, place: int = 0) -> Axes:
    assert chart is not None
    axes = Figure().subplots()
    assert chart.panels[place].draw(axes) is axes
    return axes


def points(axes: Axes) -> list[tuple[float, float]]:
    """Of the lines that are one marker."""
    lines = [line for line in axes.lines if line.get_marker() not in ("None", "") and len(line.get_xydata()) == 1]
    return [tuple(line.get_xydata()[0]) for line in lines]  # type: ignore[misc,index]


def bars(axes: Axes) -> list[tuple[float, float, float]]:
    """Left, right and height of the horizontal lines."""
    found = []
    for line in axes.lines:
        x, y = (np.asarray(values, dtype=float) for values in line.get_data())
        if len(x) == 2 and y[0] == y[1] and line.get_linestyle() == "-":
            found.append((float(x[0]), float(x[1]), float(y[0])))
    return found


def test_scatter_has_points_with_both_errors_and_axes_that_say_what_they_are(material: Analysis) -> None:
    axes = drawn(scatter.chart(material), 1)
    rows = material.study.frame[(material.study.frame["unit"] == "unit 1") & (material.study.frame["metric"] == "low")]
    for container, row in zip(axes.containers, rows.to_dict("records"), strict=True):
        line, _, (across, up) = container
        assert tuple(line.get_xydata()[0]) == (row["score"], row["test_loss"])
        left, right = across.get_segments()[0][:, 0]
        bottom, top = up.get_segments()[0][:, 1]
        assert (right - left) / 2 == pytest.approx(row["score_se"])
        assert (top - bottom) / 2 == pytest.approx(row["test_loss_se"])
    assert axes.get_xlabel() == "low of the teacher"
    assert axes.get_ylabel() == "student's test loss (nats)"
    line = stats.ols(rows["score"], rows["test_loss"])
    solid, dashed = (part for part in axes.lines if len(np.asarray(part.get_xdata())) == 60)
    slopes = [np.polyfit(np.asarray(part.get_xdata()), np.asarray(part.get_ydata()), 1)[0] for part in (solid, dashed)]
    york = stats.york(rows["score"], rows["test_loss"], rows["score_se"], rows["test_loss_se"])
    assert slopes == pytest.approx([line.slope.statistic, york.slope.statistic])
    band = axes.collections[-1].get_paths()[0].vertices
    at = float(axes.get_xlim()[0])
    _, low, high = line.band([at])
    ends = band[np.isclose(band[:, 0], at)][:, 1]
    assert (ends.min(), ends.max()) == pytest.approx((low[0], high[0]))


@each("metric", ["low", "high"])
def test_forest_has_points_and_intervals_of_every_unit_and_of_all(material: Analysis, metric: str) -> None:
    chart = forest.chart(material, metric)
    sign = -1 if metric == "high" else 1
    for place, name in enumerate(("kendall", "pearson")):
        axes = drawn(chart, place)
        units = [getattr(about[metric].coefficients.loss, name) for about in material.units.values()]
        pooled = material.pooling[metric]
        whole = pooled.coefficients.kendall if place == 0 else pooled.random_effects.pearson.mean
        values = [*(found.statistic for found in units), sign * whole.statistic]
        assert points(axes) == [(pytest.approx(value), row) for row, value in enumerate(values)]
        wanted = [(found.low, found.high, row) for row, found in enumerate(units)]
        if place == 1:
            wanted.append((*sorted((sign * whole.low, sign * whole.high)), 3))
        assert bars(axes) == [tuple(map(pytest.approx, ends)) for ends in wanted]
        assert [label.get_text() for label in axes.get_yticklabels()] == [*material.units, "all units"]
        assert axes.yaxis_inverted()
        assert axes.get_xlim() == (-1.05, 1.05)


def test_influence_spans_what_leaving_out_does(material: Analysis) -> None:
    chart = influence.chart(material)
    for place, by in enumerate(("aug", "family")):
        axes = drawn(chart, place)
        ranges = [getattr(about["low"].influence.kendall, by) for about in material.units.values()]
        assert bars(axes) == [(found.low, found.high, row) for row, found in enumerate(ranges)]
        assert points(axes) == [(found.full, row) for row, found in enumerate(ranges)]
        assert f"one {by.replace('aug', 'augmentation')} left out" in axes.get_title("left")


def test_metrics_are_in_order_and_turned_as_stated(single: Analysis) -> None:
    axes = drawn(metrics.chart(single))
    results: dict[str, Any] = {name: about.coefficients.loss.kendall for name, about in single.units["unit 0"].items()}
    turned = {name: (-1 if name == "high" else 1) * found.statistic for name, found in results.items()}
    order = [label.get_text() for label in axes.get_yticklabels()]
    assert order == sorted(turned, key=lambda name: -turned[name])
    assert points(axes) == [(turned[name], row) for row, name in enumerate(order)]
    for (left, right, row), name in zip(bars(axes), order, strict=True):
        ends = (results[name].low, results[name].high)
        assert sorted((left, right)) == pytest.approx(sorted(-end for end in ends) if name == "high" else ends)
        assert row == order.index(name)
    markers = [line for line in axes.lines if line.get_marker() in ("D", "o")]
    hollow = [name for name, line in zip(order, markers, strict=True) if line.get_markerfacecolor() == "white"]
    assert hollow == ["open"]
    assert [name for name, line in zip(order, markers, strict=True) if line.get_marker() == "D"] == ["low"]


def test_one_metric_has_no_rivals(single: Analysis) -> None:
    alone = analyse(single.study.frame[single.study.frame["metric"] == "low"], resamples=99)
    assert metrics.chart(alone) is None


def test_regret_is_beside_chance(material: Analysis) -> None:
    for place, (name, best) in enumerate((("loss", "min"), ("points", "max"))):
        axes = drawn(regret.chart(material), place)
        shown = {str(line.get_label()): np.asarray(line.get_ydata()) for line in axes.lines if len(line.get_xydata())}
        curves = np.array([[getattr(row, name) for row in about["low"].regret] for about in material.units.values()])
        np.testing.assert_allclose(shown["mean of 3 units"], curves.mean(0), atol=1e-12)
        rows = material.study.frame[material.study.frame["metric"] == "low"]
        column, factor = ("test_loss", 1) if name == "loss" else ("test_top1", -100)
        each = rows.groupby("unit")[column]
        assert shown["at random"][0] == pytest.approx((factor * (each.mean() - getattr(each, best)())).mean())
        assert shown["at random"][-1] == pytest.approx(0, abs=1e-12)
        assert ("nats" if name == "loss" else "percentage points") in axes.get_ylabel()


def test_subpools_have_their_bands(material: Analysis) -> None:
    axes = drawn(subpools.chart(material))
    rows = pd.DataFrame([row for row in material.subpools if row.of == "augmentations"])
    for band, (low, high) in zip(axes.collections, (("low", "high"), ("q1", "q3")), strict=True):
        corners = band.get_paths()[0].vertices
        for size, least, most in zip(rows["size"], rows[low], rows[high], strict=True):
            ends = corners[corners[:, 0] == size][:, 1]
            assert (ends.min(), ends.max()) == pytest.approx((least, most))
    (median,) = (line for line in axes.lines if line.get_marker() == "o")
    np.testing.assert_allclose(np.asarray(median.get_ydata()), rows["median"])


def test_advice_without_a_score_file_goes_by_the_errors(material: Analysis) -> None:
    frame = material.study.frame
    for metric, sign in (("low", 1), ("high", -1)):
        for one in analyse(frame[(frame["metric"] == metric) & (frame["unit"] != "unit 2")], resamples=9).advice:
            rows = material.study.frame[
                (material.study.frame["unit"] == one.unit) & (material.study.frame["metric"] == metric)
            ]
            rows = rows.set_index("aug")
            order = (sign * rows["score"]).sort_values()
            assert one.choice == order.index[0]
            error = np.hypot(rows["score_se"], rows["score_se"][one.choice])
            close = (order - order.iloc[0]).abs() <= 1.959964 * error[order.index]
            assert set(one.tied or ()) == set(order.index[close]) - {one.choice}
            costs = rows["test_loss"] - rows["test_loss"].min()
            assert one.cost == pytest.approx(costs[one.choice])
            assert one.tied_cost == pytest.approx(costs[order.index[close]].max())
            assert one.random_cost == pytest.approx(costs.mean())
            assert one.points == pytest.approx(100 * (rows["test_top1"].max() - rows["test_top1"][one.choice]))


def test_two_errors_count_in_what_is_not_told_apart() -> None:
    """0.045 is more than 1.96 errors of one score, and less than 1.96 of a difference."""
    rows = {"aug": AUGS, "score": [0, 0.045, 0.06, 0.2, 0.3, 0.4, 0.5], "test_loss": 1 + 0.1 * np.arange(7)}
    frame = pd.DataFrame(rows).assign(score_se=0.02, metric="low", unit="unit 0")
    (one,) = analyse(frame, resamples=99).advice
    assert one.tied == (AUGS[1],)


@each(("p", "words"), [(0.05, "These students show that"), (0.051, "These students do not show that")])
def test_what_is_believed_goes_by_the_adjusted_p(single: Analysis, p: float, words: str) -> None:
    first = single.confirmatory[0]
    first = replace(first, families=replace(first.families, p_holm=p, result=replace(first.families.result, pvalue=p)))
    plain = {
        unit: replace(about, noise=replace(about.noise, reliability_loss=None))
        for unit, about in single.of_metric.items()
    }
    assert words in belief(decide([first], plain, 0.05), p, single.outcome)
    few = {unit: replace(about, n=5) for unit, about in plain.items()}
    assert "cannot be answered" in belief(decide([first], few, 0.05), p, single.outcome)


def test_columns_of_the_tables_hold_what_their_heads_say(single: Analysis) -> None:
    about = single.units["unit 0"]
    units, points_of, noise = forest.units_table(single), scatter.points_table(single), noise_table(single)
    for row, (metric, found) in zip(units.rows, about.items(), strict=True):
        pearson = found.coefficients.loss.pearson
        values = [cell.value for cell in row[:5]]
        assert values == [metric, pearson.statistic, pearson.low, pearson.high, pearson.pvalue]
    rows = single.study.frame[single.study.frame["metric"] == "low"].to_dict("records")
    names = ("aug", "score", "score_se", "test_loss", "test_loss_se", "test_top1", "test_top1_se", "seeds")
    assert [[cell.value for cell in row[:8]] for row in points_of.rows] == [
        [row[name] for name in names] for row in rows
    ]
    assert units.caption.endswith("; unit: unit 0")
    assert noise is not None
    known = about["low"].noise
    assert known.reliability_score is not None
    assert known.reliability_loss is not None
    reliabilities = [known.reliability_score.statistic, known.reliability_loss.statistic]
    assert [cell.value for cell in noise.rows[0][1:3]] == reliabilities
