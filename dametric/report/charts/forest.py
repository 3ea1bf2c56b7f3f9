"""The correlation in each unit and over all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from dametric.report.chart import Chart, Panel
from dametric.report.drawing import COLOURS, LINE, WORD, coefficient_rows, rounded
from dametric.stats.outcome import outcome_of


def forest(found: Mapping[str, Any], metric: str) -> Chart:
    """Kendall's and Pearson's coefficient of every unit with its interval, and over all units.

    Parameters
    ----------
    found : mapping
        From :func:`dametric.stats.analyse`.
    metric : str

    Returns
    -------
    Chart
    """
    data = pd.DataFrame(forest_rows(found, metric))
    panels = [
        _forest_panel(data[data["coefficient"] == name], f"{WORD[name]}, {metric} and {outcome_of(found).name}")
        for name in ("kendall", "pearson")
    ]
    level = f"{100 * found['settings']['confidence']:g} %"
    several = metric in found["pooling"]
    note = (
        f"Point and {level} interval (Kendall: from its law for a normal copula; Pearson: Fisher's z). An interval that"
        " holds 0 says nothing about the direction."
    )
    if several:
        note += (
            " The diamond is over all units: for Kendall their mean, which is tested by permuting the labels of the"
            " augmentations jointly and has no interval; for Pearson the random-effects mean."
            f"{_heterogeneity(found, metric)}"
        )
    title = "Correlation in each unit and over all" if several else "How strong the correlation is"
    return Chart("forest", title, note, tuple(panels), data, {})


def _heterogeneity(found: Mapping[str, Any], metric: str) -> str:
    """I² in words; empty for one unit."""
    effects = found["pooling"].get(metric, {}).get("random_effects", {}).get("pearson", {})
    share = effects.get("i2")
    return "" if share is None else f" I² = {100 * share:.0f} %: that share of the scatter between units is not chance."


def forest_rows(found: Mapping[str, Any], metric: str) -> list[dict[str, Any]]:
    """Coefficient, interval and p-value of each unit and of all, with the signs that the measured values have."""
    rows: list[dict[str, Any]] = []
    sign = -1 if found["metrics"][metric] == "higher" else 1
    for name in ("kendall", "pearson"):
        for unit, metrics in found["units"].items():
            if metric in metrics:
                result = metrics[metric]["coefficients"]["test_loss"][name]
                rows.append({"coefficient": name, "unit": unit, "pooled": False, **numbers(result)})
        if metric in found["pooling"]:
            pooled = found["pooling"][metric]
            test = pooled["coefficients"][name]
            shown = test if name == "kendall" else pooled["random_effects"]["pearson"]["mean"]
            values = numbers(shown, sign) | {"p": test["pvalue"]}
            rows.append({"coefficient": name, "unit": "all units", "pooled": True, **values})
    return rows


def numbers(result: Mapping[str, Any], sign: int = 1) -> dict[str, float | None]:
    low, high = result["low"], result["high"]
    if sign < 0:
        low, high = (None if value is None else -value for value in (high, low))
    value = result["statistic"]
    return {"value": value if value is None else sign * value, "low": low, "high": high, "p": result["pvalue"]}


def _forest_panel(rows: pd.DataFrame, title: str) -> Panel:
    table = rows.reset_index(drop=True)

    def draw(axes: Axes) -> Axes:
        for place, row in enumerate(table.to_dict("records")):
            shape, colour, size = ("D", COLOURS[1], 9) if row["pooled"] else ("o", LINE, 6)
            dot: dict[str, Any] = {"marker": shape, "color": colour, "markersize": size, "clip_on": False}
            if pd.notna(row["low"]) and pd.notna(row["high"]):
                axes.plot([row["low"], row["high"]], [place, place], color=colour, linewidth=1.6)
            if pd.notna(row["value"]):
                axes.plot(row["value"], place, linestyle="none", **dot)
        axes.set_title(title, fontsize="small", loc="left")
        return coefficient_rows(axes, list(table["unit"]))

    said = "; ".join(
        f"{row['unit']} {rounded(row['value'])}"
        + (f" ({rounded(row['low'])} to {rounded(row['high'])})" if pd.notna(row["low"]) else "")
        for row in table.to_dict("records")
    )
    return Panel(f"Forest plot, {title}: {said}.", draw, (4.6, 1.3 + 0.25 * len(table)))
