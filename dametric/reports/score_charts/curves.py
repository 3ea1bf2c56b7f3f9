"""A metric over strengths."""

from __future__ import annotations

from functools import partial

import pandas as pd

from dametric.analysis.curves import Curve, curves_of, sentences
from dametric.records.scores import Scores
from dametric.reports.cells import Table, error, number, table_of, word
from dametric.reports.chart import Chart, Panel
from dametric.reports.drawing import LINE, Mark
from dametric.reports.score_figures import BEST, GONE, LOST, curve_chart, curve_limits, reference_of

PLACE = 20


def chart(scores: Scores) -> Chart | None:
    """One panel for each augmentation that was scored at several strengths; None where none was."""
    curves = curves_of(scores)
    if not curves:
        return None
    reference = reference_of(scores)
    limits = curve_limits(curves, reference)
    panels = tuple(
        Panel(
            f"{curve.metric} over {curve.parameter}: {' '.join(sentences([curve]))}",
            partial(curve_chart, curve, limits=limits, reference=reference),
            (3.4, 2.7),
        )
        for curve in curves
    )
    marks: dict[str, Mark] = {"value, band: 95 % interval": ("o", LINE)}
    if any(curve.inside for curve in curves):
        marks["best strength, green: its 95 % interval"] = ("D", BEST)
    if any(row.destroyed for curve in curves for row in curve.rows):
        marks[LOST] = ("X", GONE)
    dashed = " Dashed: unchanged images." if reference is not None else ""
    note = (
        "The best strength's interval holds the strengths that are not shown to be worse than another of the same curve"
        f" (paired differences, one-sided, Bonferroni over the curve's strengths).{dashed}"
    )
    title = "How strong it should be"
    return Chart("strengths", title, note, panels, _data(curves), marks, (strengths_table(curves),))


def _data(curves: tuple[Curve, ...]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "curve": curve.name,
            "parameter": curve.parameter,
            "strength": strength,
            "metric": curve.metric,
            "value": value.value,
            "low": value.low,
            "high": value.high,
            "destroyed": row.destroyed,
            "may_be_best": place in curve.tied,
        }
        for curve in curves
        for place, (strength, row, value) in enumerate(zip(curve.strengths, curve.rows, curve.values, strict=True))
    )


def strengths_table(curves: tuple[Curve, ...]) -> Table:
    """Each curve's best strength with its interval."""
    columns = ("Augmentation", "Best strength", "low", "high", curves[0].metric, "±", "Range", "Inside")
    rows = []
    for curve in curves:
        best = None if curve.best is None else curve.best
        low, high = curve.interval or (None, None)
        value = None if best is None else curve.values[best]
        numbers = (number(None), number(None)) if value is None else (number(value.value, "#.4g"), error(value.se))
        shown = number(None) if best is None else number(curve.strengths[best], "g")
        span = word(f"{curve.strengths[0]:g} to {curve.strengths[-1]:g}")
        inside = word("yes" if curve.inside else "no, at an end")
        rows.append((word(curve.name), shown, number(low, "g"), number(high, "g"), *numbers, span, inside))
    return table_of("strengths", "Best strength of each augmentation", columns, rows)
