"""The loss over strength, where an augmentation was a candidate at several."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import pandas as pd
from matplotlib.axes import Axes

from dametric.records.choices import Choice, ChoiceArm
from dametric.reports.chart import Chart, Panel
from dametric.reports.drawing import COLOURS, GREY, LINE, Mark, finish
from dametric.stats.families import operations, strength

PLACE = 30


def chart(choice: Choice) -> Chart | None:
    """One panel for each augmentation with several strengths; None where there is none."""
    curves: dict[str, list[ChoiceArm]] = {}
    for arm in choice.arms:
        if not arm.failed and arm.aug != "identity":
            curves.setdefault(operations(arm.aug), []).append(arm)
    curves = {name: sorted(arms, key=_strength) for name, arms in curves.items() if len(arms) > 1}
    if not curves:
        return None
    identity = next((arm.over_best for arm in choice.arms if arm.aug == "identity"), 0.0)
    ends = [end for arms in curves.values() for arm in arms for end in (arm.low, arm.high)] + [identity]
    limits = (min(ends), max(ends))
    panels = tuple(
        Panel(_alt(name, arms), partial(_draw, name, arms, identity, limits), (3.4, 2.8))
        for name, arms in curves.items()
    )
    data = pd.DataFrame(
        {"augmentation": name, "strength": _strength(arm), "over_best": arm.over_best, "low": arm.low, "high": arm.high}
        for name, arms in curves.items()
        for arm in arms
    )
    marks: dict[str, Mark] = {"expected loss, band: 95 % interval": ("o", LINE), "lowest": ("D", COLOURS[2])}
    note = (
        "Held-out loss over the chosen one's at every strength; the band is what runs and the family leave open."
        " Dashed: identity, every family's zero strength."
    )
    return Chart("strengths", "How strong it should be", note, panels, data, marks)


def _strength(arm: ChoiceArm) -> float:
    return strength(arm.aug)


def _alt(name: str, arms: Sequence[ChoiceArm]) -> str:
    listed = "; ".join(f"{_strength(arm):g}: {arm.over_best:.4f} [{arm.low:.4f}, {arm.high:.4f}]" for arm in arms)
    return f"Held-out loss over the chosen one's by strength of {name}: {listed}."


def _draw(name: str, arms: Sequence[ChoiceArm], identity: float, limits: tuple[float, float], axes: Axes) -> Axes:
    places = [_strength(arm) for arm in arms]
    axes.axhline(identity, color=GREY, linewidth=1, linestyle="--")
    axes.fill_between(
        places, [arm.low for arm in arms], [arm.high for arm in arms], color=LINE, alpha=0.18, linewidth=0
    )
    axes.plot(places, [arm.over_best for arm in arms], color=LINE, marker="o", markersize=4)
    best = min(arms, key=lambda arm: arm.over_best)
    axes.plot([_strength(best)], [best.over_best], "D", color=COLOURS[2], markersize=6)
    if min(places) > 0 and max(places) / min(places) > 5:
        axes.set_xscale("log")
    axes.set_xticks(places, [f"{place:g}" for place in places], fontsize="small")
    axes.minorticks_off()
    margin = 0.05 * (limits[1] - limits[0] or 1.0)
    axes.set_ylim(limits[0] - margin, limits[1] + margin)
    axes.set_title(name, fontsize="medium")
    axes.set_xlabel("strength (product of its parameters)")
    axes.set_ylabel("loss (nats)")
    return finish(axes)
