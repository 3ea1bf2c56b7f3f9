"""Metrics beside each other."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from dametric.report.chart import Chart, Panel
from dametric.report.charts.forest import numbers
from dametric.report.drawing import COLOURS, LINE, coefficient_rows, rounded
from dametric.stats.outcome import outcome_of


def metrics_rows(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Every metric's tau-b with the test loss, best first in the direction that was stated for it.

    Returns
    -------
    list of dict
        ``metric, direction, confirmatory, tau_b`` (as measured), ``low, high, p, p_adjusted`` (settings taken as
        independent), ``p_families`` (whole families permuted, Holm; None where exploratory), ``turned`` (tau-b turned
        so that a good metric is positive; as measured where no direction was stated).
    """
    rows = []
    listed = [("confirmatory", entry) for entry in found["confirmatory"]]
    listed += [
        ("exploratory", entry)
        for entry in found["exploratory"]["rows"]
        if (entry["endpoint"], entry["coefficient"]) == ("test_loss", "kendall")
    ]
    for block, entry in listed:
        values, metric = numbers(entry["result"]), entry["metric"]
        direction = found["metrics"][metric]
        about = {"metric": metric, "direction": direction, "confirmatory": block == "confirmatory"}
        about |= {"tau_b": values.pop("value")} | values
        tau = entry["result"]["statistic"]
        turned = tau if tau is None or direction != "higher" else -tau
        whole = entry["families"]["p_holm"] if "families" in entry else None
        adjusted = {"p_adjusted": entry.get("p_holm", entry.get("p_bh")), "p_families": whole}
        rows.append({**about, **adjusted, "turned": turned})
    return sorted(rows, key=lambda row: -math.inf if row["turned"] is None else row["turned"], reverse=True)


def metrics(found: Mapping[str, Any]) -> Chart | None:
    """Kendall's tau-b of every metric, those that were fixed in advance marked.

    Parameters
    ----------
    found : mapping
        From :func:`dametric.stats.analyse`.

    Returns
    -------
    Chart or None
        None where there is only one.
    """
    data = pd.DataFrame(metrics_rows(found))
    if len(data) < 2:
        return None

    def draw(axes: Axes) -> Axes:
        for place, row in enumerate(data.to_dict("records")):
            ends = (row["low"], row["high"]) if row["direction"] != "higher" else (row["high"], row["low"])
            turn = -1 if row["direction"] == "higher" else 1
            colour = COLOURS[1] if row["confirmatory"] else LINE
            if pd.notna(row["low"]) and pd.notna(row["high"]):
                axes.plot([turn * end for end in ends], [place, place], color=colour, linewidth=1.6)
            if pd.notna(row["turned"]):
                shape = "D" if row["confirmatory"] else "o"
                face = colour if row["direction"] != "open" else "white"
                axes.plot(row["turned"], place, marker=shape, color=colour, mfc=face, markersize=7, clip_on=False)
        axes.set_xlabel(f"Kendall's tau-b with the {outcome_of(found).name}, in the stated direction")
        return coefficient_rows(axes, list(data["metric"]))

    said = "; ".join(
        f"{row['metric']} {rounded(row['turned'])}{' (fixed in advance)' if row['confirmatory'] else ''}"
        for row in data.to_dict("records")
    )
    intervals = " Intervals: from the law of tau for a normal copula." if data["low"].notna().any() else ""
    note = (
        "Diamonds: metrics that were fixed in advance; circles: exploratory. Hollow: no direction was stated for the"
        " metric, so the sign is as measured. Everywhere else a positive value is as stated."
        f"{intervals}"
    )
    panel = Panel(f"Kendall's tau-b of each metric: {said}.", draw, (4.6, 1.4 + 0.25 * len(data)))
    return Chart("metrics", "Metrics compared", note, (panel,), data, {})
