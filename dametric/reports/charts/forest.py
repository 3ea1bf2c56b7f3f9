"""The correlation in each unit and over all."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pandas as pd
from matplotlib.axes import Axes

from dametric.analysis import Analysis
from dametric.analysis.beyond import PublishedList
from dametric.analysis.joined import as_measured, expected_sign
from dametric.analysis.numbers import p_value
from dametric.analysis.units import Pooled
from dametric.reports.cells import Cell, Table, chance, ends, number, table_of, word
from dametric.reports.chart import Chart, Panel
from dametric.reports.charts.influence import influence_rows
from dametric.reports.drawing import COLOURS, LINE, WORD, coefficient_rows, rounded
from dametric.stats.result import Result

PLACE = 20
ALL = "all units"
_LEFT_OUT = {"aug": "augmentation", "family": "family"}


@dataclass(frozen=True)
class Row:
    """A coefficient with its interval and p-value, with the sign that the measured values have."""

    coefficient: str
    unit: str
    pooled: bool
    value: float
    low: float
    high: float
    p: float


def chart(analysis: Analysis, metric: str | None = None) -> Chart:
    """Kendall's and Pearson's coefficient of every unit with its interval, and over all units."""
    metric = metric or analysis.metric
    rows = forest_rows(analysis, metric)
    if not any(math.isfinite(row.value) for row in rows):
        note = "No correlation is defined: too few augmentations have a score and students, or all are alike."
        return Chart("forest", "How strong the correlation is", note, tables=(units_table(analysis),))
    if len(rows) == 2 and metric == analysis.metric:
        return _of_one_unit(analysis, rows)
    panels = [
        _panel([row for row in rows if row.coefficient == name], f"{WORD[name]}, {metric} and {analysis.outcome.name}")
        for name in ("kendall", "pearson")
    ]
    pooling = analysis.pooling.get(metric)
    note = (
        f"Point and {100 * analysis.settings.confidence:g} % interval (Kendall: from its law for a normal copula;"
        " Pearson: Fisher's z). An interval that holds 0 says nothing about the direction."
    )
    if pooling is not None:
        note += (
            " The diamond is over all units: for Kendall their mean, which is tested by permuting the labels of the"
            " augmentations jointly and has no interval; for Pearson the random-effects mean."
            f"{_heterogeneity(pooling)}"
        )
    title = "How strong the correlation is" if pooling is None else "Correlation in each unit and over all"
    tables = [units_table(analysis)] if pooling is None else [pooled_table(analysis, pooling), units_table(analysis)]
    return Chart("forest", title, note, tuple(panels), pd.DataFrame(rows), tables=tuple(tables))


def _of_one_unit(analysis: Analysis, rows: Sequence[Row]) -> Chart:
    """Both coefficients of a single unit, and what Kendall's hangs on, in one figure."""
    ranges = influence_rows(analysis)
    names = ["Kendall's tau-b", *(f"… one {_LEFT_OUT[row.left_out]} left out" for row in ranges), "Pearson's r"]

    def draw(axes: Axes) -> Axes:
        for place, row in ((0, rows[0]), (len(names) - 1, rows[1])):
            if math.isfinite(row.low) and math.isfinite(row.high):
                axes.plot([row.low, row.high], [place, place], color=LINE, linewidth=1.6)
            if math.isfinite(row.value):
                axes.plot(row.value, place, linestyle="none", marker="o", color=LINE, markersize=6, clip_on=False)
        for place, part in enumerate(ranges, 1):
            axes.plot([part.low, part.high], [place, place], color=COLOURS[5], linewidth=6, alpha=0.7)
        axes.set_xlabel(f"correlation of {analysis.metric} with the {analysis.outcome.name}")
        return coefficient_rows(axes, names)

    values = [rounded(row.value) + _interval(row) for row in rows]
    left = [_between(part.low, part.high) for part in ranges]
    alt = "; ".join(f"{name} {text}" for name, text in zip(names, [values[0], *left, values[1]], strict=True))
    note = (
        f"Dot and thin line: coefficient with its {100 * analysis.settings.confidence:g} % interval (Kendall: from its"
        " law for a normal copula; Pearson: Fisher's z). 1: the same order, 0: none, -1: the reverse. An interval that"
        " holds 0 says nothing about the direction. Wide bars: the values that tau-b takes when one part is left out;"
        " one that reaches 0 means that the correlation hangs on one part alone."
    )
    panel = Panel(f"Coefficients of the one unit: {alt}.", draw, (6.4, 2.3))
    title = "How strong the correlation is"
    return Chart("forest", title, note, (panel,), pd.DataFrame(rows), tables=(units_table(analysis),))


def _between(low: float, high: float) -> str:
    return f"{rounded(low)} to {rounded(high)}" if math.isfinite(low) else "not defined"


def _interval(row: Row) -> str:
    return f" ({_between(row.low, row.high)})" if math.isfinite(row.low) else ""


def _heterogeneity(pooling: Pooled) -> str:
    share = pooling.random_effects.pearson.i2
    return (
        ""
        if math.isnan(share)
        else f" I² = {100 * share:.0f} %: that share of the scatter between units is not chance."
    )


def forest_rows(analysis: Analysis, metric: str) -> list[Row]:
    """Coefficient, interval and p-value of each unit and of all."""
    sign, pooling = expected_sign(analysis.metrics[metric], "test_loss"), analysis.pooling.get(metric)
    rows = []
    for name in ("kendall", "pearson"):
        for unit, metrics in analysis.units.items():
            if metric in metrics:
                result: Result = getattr(metrics[metric].coefficients.loss, name)
                rows.append(Row(name, unit, False, result.statistic, result.low, result.high, result.pvalue))
        if pooling is not None:
            test: Result = getattr(pooling.coefficients, name)
            shown = as_measured(test if name == "kendall" else pooling.random_effects.pearson.mean, sign)
            rows.append(Row(name, ALL, True, shown.statistic, shown.low, shown.high, test.pvalue))
    return rows


def _panel(rows: Sequence[Row], title: str) -> Panel:
    def draw(axes: Axes) -> Axes:
        for place, row in enumerate(rows):
            shape, colour, size = ("D", COLOURS[1], 9) if row.pooled else ("o", LINE, 6)
            if math.isfinite(row.low) and math.isfinite(row.high):
                axes.plot([row.low, row.high], [place, place], color=colour, linewidth=1.6)
            if math.isfinite(row.value):
                axes.plot(
                    row.value, place, linestyle="none", marker=shape, color=colour, markersize=size, clip_on=False
                )
        axes.set_title(title, fontsize="small", loc="left")
        return coefficient_rows(axes, [row.unit for row in rows])

    listed = "; ".join(
        f"{row.unit} {rounded(row.value)}"
        + (f" ({rounded(row.low)} to {rounded(row.high)})" if math.isfinite(row.low) else "")
        for row in rows
    )
    return Panel(f"Forest plot, {title}: {listed}.", draw, (4.6, 1.3 + 0.25 * len(rows)))


def units_table(analysis: Analysis) -> Table:
    """Coefficients with the test loss, a row for each unit and metric."""
    names = ("Metric", "Pearson", "low", "high", "p", "Spearman", "p", "Kendall", "p", "Slope", "R²", "Regret@1", "n")

    def rows() -> Iterator[Sequence[Cell]]:
        for unit, metrics in analysis.units.items():
            for metric, about in metrics.items():
                coefficients = about.coefficients.loss
                yield (
                    word(unit),
                    word(metric),
                    *ends(coefficients.pearson),
                    chance(coefficients.pearson.pvalue),
                    number(coefficients.spearman.statistic),
                    chance(coefficients.spearman.pvalue),
                    number(coefficients.kendall.statistic),
                    chance(coefficients.kendall.pvalue),
                    number(about.ols.slope.statistic, "#.4g"),
                    number(about.ols.r_squared, ".2f"),
                    number(about.regret[0].loss),
                    number(about.n, "d"),
                )

    caption = (
        f"Correlation with the {analysis.outcome.name} (last epoch, mean over seeds), two-sided permutation p-values"
    )
    return table_of("units", caption, ("Unit", *names), rows(), ("Unit", "Metric"))


def pooled_table(analysis: Analysis, pooling: Pooled) -> Table:
    """All units together, for the metric of the answer."""
    caption = (
        f"All units together, {analysis.metric} and the {analysis.outcome.name}, turned so that a good metric is"
        " positive. p-values permute the labels of the augmentations jointly, unless the row says otherwise"
    )
    columns = ("What", "Value", "low", "high", "p", "More")
    return table_of("pooled", caption, columns, _pooled_rows(pooling, analysis.published_list))


def _pooled_rows(pooling: Pooled, listed: PublishedList | None) -> Iterator[Sequence[Cell]]:
    for name, result in pooling.coefficients:
        yield _row(f"{WORD.get(name, 'Weighted tau')}, mean over units", result)
    yield _row("Pearson, mean of Fisher's z", pooling.fisher.pearson)
    for name, effects in (("Pearson", pooling.random_effects.pearson), ("Spearman", pooling.random_effects.spearman)):
        q = f"τ² {effects.tau2:.3g} (Fisher's z), Q {effects.q:.1f}, p {p_value(effects.q_pvalue)}"
        more = effects.mean.note if math.isnan(effects.q) else f"I² {100 * effects.i2:.0f} %, {q}"
        yield _row(f"{name}, random-effects mean", effects.mean, more)
    for name, result in (("scores", pooling.concordance.scores), ("losses", pooling.concordance.losses)):
        yield _row(f"Kendall's W of the {name}", result, "agreement of the units; each unit permuted by itself")
    yield _row("Beyond a fixed list", pooling.incremental, _beyond(pooling))
    baselines, mixed = pooling.baselines, pooling.mixed_model
    yield _row("One fixed list for all units, tau-b", baselines.fixed_order, "mean rank of the loss elsewhere")
    yield _row("Lead of the score over that list, tau-b", baselines.lead_over_fixed_order, "BCa interval")
    if listed is not None:
        more = f"fixed before this study; {listed.augs} augmentations are on it, one-sided"
        yield _row("List of the published study, tau-b", listed.list, more)
    yield _row("Score of another teacher, tau-b", baselines.other_unit)
    for family, tau in pooling.leave_family_out.items():
        yield _row(f"Without the {family} family, tau-b", Result(tau))
    if not math.isnan(mixed.slope):
        parts = f"variances: augmentations {mixed.aug:.2g}, slopes {mixed.unit_slope:.2g}, rest {mixed.residual:.2g}"
        more = f"± {mixed.slope_se:.2g}; {parts}" + (mixed.note and f"; {mixed.note}")
        yield _row("Mixed model, standardised slope", Result(mixed.slope), more)
    yield _row("All points as if independent, Pearson", pooling.naive, "not valid: shown as a warning")


def _beyond(pooling: Pooled) -> str:
    side = "two-sided" if pooling.incremental.alternative == "two-sided" else "one-sided"
    least = f"{p_value(pooling.incremental_floor)} is the least possible p"
    return f"Pearson's r after double centring; units permuted, {side}, {least}"


def _row(what: str, result: Result, more: str = "") -> tuple[Cell, ...]:
    return (word(what), *ends(result), chance(result.pvalue), word(more or result.note))
