"""A page of a replay: what each rule's choice loses at each cost, and whether stated probabilities are right."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter

from dametric.reports.cells import Table, number, table_of, word
from dametric.reports.chart import Chart, Panel
from dametric.reports.drawing import COLOURS, GREY, Mark, finish
from dametric.reports.page import Lead, Page
from dametric.reports.replay_words import headline

_SHAPES = {"choose": "o", "compressed": "s", "halving": "^", "score": "D", "published": "v"}
_MARKS: dict[str, Mark] = {
    name: (shape, colour) for (name, shape), colour in zip(_SHAPES.items(), COLOURS, strict=False)
}


@dataclass(frozen=True, repr=False)
class ReplayReport(Page):
    """A page on a replay.

    Attributes
    ----------
    sentences : tuple of str
    frontier, calibration : pandas.DataFrame
        As :class:`dametric.choosing.replay.Replay` has them.
    charts : tuple of Chart
    runs : None
    provenance : list of (str, str)
    """

    sentences: tuple[str, ...]
    frontier: pd.DataFrame
    calibration: pd.DataFrame
    charts: tuple[Chart, ...]
    runs: Table | None
    provenance: list[tuple[str, str]]

    @property
    def title(self) -> str:
        """Of the page."""
        return "What dametric choose would have done: a replay on runs that exist"

    @property
    def answer(self) -> list[str]:
        """What choose achieved beside simpler rules."""
        return headline(self.frontier)

    @property
    def reasons(self) -> list[str]:
        """How that was judged, and at which budget."""
        return list(self.sentences)

    @property
    def leads(self) -> list[Lead]:
        """Rules by budget."""
        note = (
            "Rules: choose; score, which takes the best score; published, the published study's order; compressed, one"
            " shortened training of each augmentation; halving, which trains the better half on. Budget and spent:"
            " student-steps, 1 being one whole training. Regret: loss of a whole training over that of the best"
            " augmentation, nats, mean over units (pairs of teacher and student). Over choose: regret over that of"
            " choose at the same budget, paired in each unit. Intervals: 95 %, over units. – : not known. Click a"
            " column's head to sort by it."
        )
        return [Lead("frontier-table", "Rules and budgets", note, _rules(self.frontier))]

    @property
    def table(self) -> pd.DataFrame:
        """Rules by budget as numbers."""
        return self.frontier


def build(
    frontier: pd.DataFrame,
    calibration: pd.DataFrame,
    sentences: Sequence[str],
    provenance: Sequence[tuple[str, str]] = (),
) -> ReplayReport:
    """Put a page of a replay together.

    Parameters
    ----------
    frontier, calibration : pandas.DataFrame
        As :class:`dametric.choosing.replay.Replay` has them.
    sentences : sequence of str
    provenance : sequence of (str, str)
        How the numbers were made.
    """
    charts = (_costs(frontier), _stated(calibration))
    return ReplayReport(tuple(sentences), frontier, calibration, charts, None, list(provenance))


def _rules(frontier: pd.DataFrame) -> Table:
    columns = ("regret", "low", "high", "over_choose", "over_low", "over_high")
    rows = [
        (
            word(row["rule"]),
            number(row["budget"], "g"),
            number(row["units"], "d"),
            number(row["spent"], ".3g"),
            *(number(row[name]) for name in columns),
        )
        for row in frontier.to_dict("records")
    ]
    heads = ("Rule", "Budget", "Units", "Spent", "Regret", "low", "high", "Over choose", "over low", "over high")
    return table_of("rules", "Regret in nats", heads, rows)


def _costs(frontier: pd.DataFrame) -> Chart:
    """Mean regret over what was spent; rules that train nothing are lines."""
    known = frontier.dropna(subset=["regret"])
    marks = {name: mark for name, mark in _MARKS.items() if name in set(known.rule)}
    note = (
        "Mean regret over units of what a rule takes, over the student-steps that it spent; bars: 95 % over units, cut"
        " at 0, none for one unit. Rules that train nothing are horizontal lines. Lower and further left is better."
    )
    last = known.groupby("rule", sort=False).tail(1)
    listed = "; ".join(f"{row['rule']} {row['regret']:.4f} after {row['spent']:.3g}" for row in last.to_dict("records"))
    panel = Panel(
        f"Mean regret in nats at the largest budget, in whole schedules spent: {listed}.",
        partial(_draw_costs, known, marks),
        (5.4, 3.6),
    )
    return Chart("frontier", "Cost and regret", note, (panel,), known, marks)


def _draw_costs(known: pd.DataFrame, marks: dict[str, Mark], axes: Axes) -> Axes:
    for name, part in known.groupby("rule", sort=False):
        shape, colour = marks[str(name)]
        if not part.spent.any():
            axes.axhline(part.regret.iloc[0], color=colour, linewidth=1, linestyle="--")
            axes.plot([part.budget.min()], [part.regret.iloc[0]], shape, color=colour, markersize=5)
            continue
        part = part[part.spent > 0]
        axes.plot(part.spent, part.regret, color=colour, marker=shape, markersize=4.5)
        ends = part.dropna(subset=["low"])
        axes.vlines(ends.spent, ends.low.clip(lower=0), ends.high, color=colour, linewidth=0.8, alpha=0.5)
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))  # powers would be formulas
    top = float(np.nanmax([known.regret.max(), *known[known.spent > 0].high]))
    axes.set_ylim(bottom=0, top=1.05 * top or 1.0)
    axes.set_xlabel("student-steps spent (whole schedules)")
    axes.set_ylabel("mean regret (nats)")
    return finish(axes)


def _stated(calibration: pd.DataFrame) -> Chart:
    """Frequency over what was stated, by bin."""
    bins = calibration[calibration.stated != "all"]
    note = (
        "Looks of choose, by the probability that it stated for its regret, as it is judged here, being below epsilon,"
        " and how often it was. Bars: 95 % over units, since looks of a unit are alike; none for one unit."
    )
    rows = [
        (
            word(row["stated"]),
            number(row["looks"], "d"),
            number(row["units"], "d"),
            *(number(row[name], ".2f") for name in ("mean_stated", "frequency", "gap", "low", "high")),
        )
        for row in calibration.to_dict("records")
    ]
    heads = ("Stated", "Looks", "Units", "Mean stated", "Frequency", "Difference", "low", "high")
    listed = "; ".join(f"{row['mean_stated']:.2f}: {row['frequency']:.2f}" for row in bins.to_dict("records"))
    panel = Panel(f"Mean stated probability and frequency by bin: {listed}.", partial(_draw_stated, bins), (4.2, 3.7))
    table = table_of("calibration", "Stated probability and frequency", heads, rows)
    return Chart("calibration", "Are its probabilities right?", note, (panel,), calibration, tables=(table,))


def _draw_stated(bins: pd.DataFrame, axes: Axes) -> Axes:
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle="--")
    axes.plot(bins.mean_stated, bins.frequency, "o", color=COLOURS[0], markersize=5)
    for row in bins.to_dict("records"):
        if math.isfinite(row["low"]):
            ends = np.clip([row["mean_stated"] + row["low"], row["mean_stated"] + row["high"]], 0, 1)
            axes.vlines(row["mean_stated"], *ends, color=COLOURS[0], linewidth=0.8, alpha=0.6)
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(-0.02, 1.02)
    axes.set_xlabel("stated probability")
    axes.set_ylabel("how often it was so")
    return finish(axes)
