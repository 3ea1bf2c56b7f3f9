"""What the figures of a report draw: every mark where the numbers are."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dametric import stats
from dametric.report import charts, tables
from dametric.report.advice import advise, lead
from dametric.report.chart import Chart
from dametric.report.evidence import noise_table
from dametric.report.material import Material

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
def material() -> Material:
    frame = study(3)
    return Material(frame, stats.analyse(frame, confirmatory=["low"], resamples=99))


@pytest.fixture(scope="module")
def single() -> Material:
    frame = study(1)
    return Material(frame, stats.analyse(frame, confirmatory=["low"], resamples=99))


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


def test_scatter_has_points_with_both_errors_and_axes_that_say_what_they_are(material: Material) -> None:
    axes = drawn(charts.scatter(material.table, material.found, "low"), 1)
    rows = material.frame[(material.frame["unit"] == "unit 1") & (material.frame["metric"] == "low")]
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


@pytest.mark.parametrize("metric", ["low", "high"])
def test_forest_has_points_and_intervals_of_every_unit_and_of_all(material: Material, metric: str) -> None:
    chart = charts.forest(material.found, metric)
    sign = -1 if metric == "high" else 1
    for place, name in enumerate(("kendall", "pearson")):
        axes = drawn(chart, place)
        units = [about[metric]["coefficients"]["test_loss"][name] for about in material.found["units"].values()]
        pooled = material.found["pooling"][metric]
        whole = pooled["coefficients"]["kendall"] if place == 0 else pooled["random_effects"]["pearson"]["mean"]
        values = [*(found["statistic"] for found in units), sign * whole["statistic"]]
        assert points(axes) == [(pytest.approx(value), row) for row, value in enumerate(values)]
        wanted = [(found["low"], found["high"], row) for row, found in enumerate(units)]
        if place == 1:
            wanted.append((*sorted((sign * whole["low"], sign * whole["high"])), 3))
        assert bars(axes) == [tuple(map(pytest.approx, ends)) for ends in wanted]
        assert [label.get_text() for label in axes.get_yticklabels()] == [*material.found["units"], "all units"]
        assert axes.yaxis_inverted()
        assert axes.get_xlim() == (-1.05, 1.05)


def test_influence_spans_what_leaving_out_does(material: Material) -> None:
    chart = charts.influence(material.found, "low")
    for place, by in enumerate(("aug", "family")):
        axes = drawn(chart, place)
        ranges = [about["low"]["influence"]["kendall"][by] for about in material.found["units"].values()]
        assert bars(axes) == [(found["low"], found["high"], row) for row, found in enumerate(ranges)]
        assert points(axes) == [(found["full"], row) for row, found in enumerate(ranges)]
        assert f"one {by.replace('aug', 'augmentation')} left out" in axes.get_title("left")


def test_metrics_are_in_order_and_turned_as_stated(single: Material) -> None:
    axes = drawn(charts.metrics(single.found))
    results: dict[str, Any] = {
        name: about["coefficients"]["test_loss"]["kendall"] for name, about in single.found["units"]["unit 0"].items()
    }
    turned = {name: (-1 if name == "high" else 1) * found["statistic"] for name, found in results.items()}
    order = [label.get_text() for label in axes.get_yticklabels()]
    assert order == sorted(turned, key=lambda name: -turned[name])
    assert points(axes) == [(turned[name], row) for row, name in enumerate(order)]
    for (left, right, row), name in zip(bars(axes), order, strict=True):
        ends = (results[name]["low"], results[name]["high"])
        assert sorted((left, right)) == pytest.approx(sorted(-end for end in ends) if name == "high" else ends)
        assert row == order.index(name)
    markers = [line for line in axes.lines if line.get_marker() in ("D", "o")]
    hollow = [name for name, line in zip(order, markers, strict=True) if line.get_markerfacecolor() == "white"]
    assert hollow == ["open"]
    assert [name for name, line in zip(order, markers, strict=True) if line.get_marker() == "D"] == ["low"]


def test_one_metric_has_no_rivals(single: Material) -> None:
    alone = stats.analyse(single.frame[single.frame["metric"] == "low"], resamples=99)
    assert charts.metrics(alone) is None


def test_regret_is_beside_chance(material: Material) -> None:
    for place, (name, best) in enumerate((("loss", "min"), ("points", "max"))):
        axes = drawn(charts.regret(material.table, material.found, "low"), place)
        shown = {str(line.get_label()): np.asarray(line.get_ydata()) for line in axes.lines if len(line.get_xydata())}
        curves = np.array([[row[name] for row in about["low"]["regret"]] for about in material.found["units"].values()])
        np.testing.assert_allclose(shown["mean of 3 units"], curves.mean(0), atol=1e-12)
        rows = material.frame[material.frame["metric"] == "low"]
        column, factor = ("test_loss", 1) if name == "loss" else ("test_top1", -100)
        each = rows.groupby("unit")[column]
        assert shown["at random"][0] == pytest.approx((factor * (each.mean() - getattr(each, best)())).mean())
        assert shown["at random"][-1] == pytest.approx(0, abs=1e-12)
        assert ("nats" if name == "loss" else "percent points") in axes.get_ylabel()


def test_subpools_have_their_bands(material: Material) -> None:
    axes = drawn(charts.subpools(material.found))
    rows = pd.DataFrame([row for row in material.found["subpools"] if row["of"] == "augmentations"])
    for band, (low, high) in zip(axes.collections, (("low", "high"), ("q1", "q3")), strict=True):
        corners = band.get_paths()[0].vertices
        for size, least, most in zip(rows["size"], rows[low], rows[high], strict=True):
            ends = corners[corners[:, 0] == size][:, 1]
            assert (ends.min(), ends.max()) == pytest.approx((least, most))
    (median,) = (line for line in axes.lines if line.get_marker() == "o")
    np.testing.assert_allclose(np.asarray(median.get_ydata()), rows["median"])


def test_advice_without_a_score_file_goes_by_the_errors(material: Material) -> None:
    for metric, sign in (("low", 1), ("high", -1)):
        found = stats.analyse(material.frame, confirmatory=[metric], resamples=99)
        for one in advise(Material(material.frame, found)):
            rows = material.frame[(material.frame["unit"] == one.unit) & (material.frame["metric"] == metric)]
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
    (one,) = advise(Material(frame, stats.analyse(frame, resamples=99)))
    assert one.tied == (AUGS[1],)


@pytest.mark.parametrize(
    ("p", "words"), [(0.05, "These students show that"), (0.051, "These students do not show that")]
)
def test_what_is_believed_goes_by_the_adjusted_p(single: Material, p: float, words: str) -> None:
    first = single.found["confirmatory"][0]
    first = {**first, "families": {**first["families"], "p_holm": p}}
    found = {**single.found, "answerable": True, "confirmatory": [first]}
    assert words in lead(Material(single.frame, found), advise(single))[1]
    unknown = {**found, "answerable": False}
    assert "cannot be answered" in lead(Material(single.frame, unknown), advise(single))[1]


def test_columns_of_the_tables_hold_what_their_heads_say(single: Material) -> None:
    about = single.found["units"]["unit 0"]
    units, points_of, noise = tables.units_table(single), tables.points_table(single), noise_table(single)
    for row, (metric, found) in zip(units.rows, about.items(), strict=True):
        pearson = found["coefficients"]["test_loss"]["pearson"]
        values = [cell.value for cell in row[:5]]
        assert values == [metric, pearson["statistic"], pearson["low"], pearson["high"], pearson["pvalue"]]
    rows = single.frame[single.frame["metric"] == "low"].to_dict("records")
    names = ("aug", "score", "score_se", "test_loss", "test_loss_se", "test_top1", "test_top1_se", "seeds")
    assert [[cell.value for cell in row[:8]] for row in points_of.rows] == [
        [row[name] for name in names] for row in rows
    ]
    assert units.caption.endswith("; unit: unit 0")
    assert noise is not None
    reliabilities = [about["low"]["noise"][f"reliability_{name}"]["statistic"] for name in ("score", "loss")]
    assert [cell.value for cell in noise.rows[0][1:3]] == reliabilities
