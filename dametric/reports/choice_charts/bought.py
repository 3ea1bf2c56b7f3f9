"""What the student-steps bought."""

from __future__ import annotations

from functools import partial

import pandas as pd
from matplotlib.axes import Axes

from dametric.records.choices import Choice
from dametric.reports.chart import Chart, Panel
from dametric.reports.drawing import COLOURS, GREY, LINE, finish, short

PLACE = 20


def chart(choice: Choice) -> Chart | None:
    """Expected regret and probability of being right over student-steps; None before there are two looks."""
    looks = [look for look in choice.looks if look.runs]
    if len(looks) < 2:
        return None
    data = pd.DataFrame(
        {
            "runs": look.runs,
            "steps": look.steps,
            "seconds": look.seconds,
            "best": look.best,
            "p_best": look.p_best,
            "p_within": look.p_within,
            "regret": look.regret,
        }
        for look in looks
    )
    note = (
        "After every run: by how much the choice of that moment was expected to miss the best, and how probable it was"
        f" that it missed it by less than {choice.epsilon:g} nats. A vertical line is a change of mind."
    )
    last = looks[-1]
    said = f"after {last.steps:,} steps"
    panels = (
        Panel(f"Expected regret, {last.regret:.4f} nats {said}.", partial(_regret, data), (4.6, 3.2)),
        Panel(f"Probability of being within epsilon, {last.p_within:.2f} {said}.", partial(_sure, data), (4.6, 3.2)),
    )
    return Chart("bought", "What the runs bought", note, panels, data)


def _regret(data: pd.DataFrame, axes: Axes) -> Axes:
    axes.plot(data.steps, data.regret, color=LINE, marker="o", markersize=3.5)
    _changes(data, axes, True)
    axes.set_ylim(bottom=0)
    axes.set_ylabel("expected regret (nats)")
    return _frame(axes)


def _sure(data: pd.DataFrame, axes: Axes) -> Axes:
    axes.axhline(0.95, color=GREY, linewidth=0.8, linestyle=":")
    axes.plot(data.steps, data.p_within, color=LINE, marker="o", markersize=3.5, label="within epsilon of the best")
    axes.plot(data.steps, data.p_best, color=COLOURS[1], marker="s", markersize=3, label="the best", linestyle="--")
    _changes(data, axes, False)
    axes.set_ylim(0, 1.02)
    axes.set_ylabel("probability of the choice being ...")
    axes.legend(frameon=False, fontsize="small", loc="best")
    return _frame(axes)


def _changes(data: pd.DataFrame, axes: Axes, named: bool) -> None:
    """A line where another augmentation took the lead."""
    changed = data[data.best != data.best.shift()]
    for steps in changed.steps[1:]:
        axes.axvline(steps, color="#BBBBBB", linewidth=0.8, zorder=0)
    if named:
        axes.set_title(f"now: {short(str(data.best.iloc[-1]), 40)}", fontsize="small", loc="right")


def _frame(axes: Axes) -> Axes:
    axes.set_xlabel("student-steps")
    return finish(axes)
