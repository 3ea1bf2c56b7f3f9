"""The loss over strength, where an augmentation was a candidate at several."""

from __future__ import annotations

from functools import partial

import pandas as pd
from matplotlib.axes import Axes

from dametric.records.choices import Choice, ChoiceArm
from dametric.reports.chart import Chart, Panel
from dametric.reports.drawing import COLOURS, GREY, LINE, Mark, finish, short, strength_ticks
from dametric.stats.families import USUAL_SIZE, strength_curves

PLACE = 30


_WIDTH = 3.4  # inches of a panel
_LEAST = 2  # strengths that make a curve
Curve = tuple[
    str, str, tuple[tuple[float, ChoiceArm], ...]
]  # specification with its strength left open, its name, arms


def chart(choice: Choice) -> Chart | None:
    """One panel for each augmentation with several strengths; None where there is none."""
    arms = [arm for arm in choice.arms if not arm.failed and arm.aug != "identity"]
    found: list[Curve] = [
        (name, key, tuple((strength, arms[place]) for strength, place in sorted(places.items())))
        for name, key, places in strength_curves([arm.aug for arm in arms], _LEAST, image_size=_image_size(choice))
    ]
    if not found:
        return None
    identity = next((arm.over_best for arm in choice.arms if arm.aug == "identity"), 0.0)
    ends = [end for _, _, points in found for _, arm in points for end in (arm.low, arm.high)] + [identity]
    limits = (min(ends), max(ends))
    panels = tuple(Panel(_alt(curve), partial(_draw, curve, identity, limits), (_WIDTH, 2.8)) for curve in found)
    data = pd.DataFrame(
        {
            "augmentation": name,
            "parameter": key,
            "strength": strength,
            "over_best": arm.over_best,
            "low": arm.low,
            "high": arm.high,
        }
        for name, key, points in found
        for strength, arm in points
    )
    marks: dict[str, Mark] = {"expected loss, band: 95 % interval": ("o", LINE), "lowest": ("D", COLOURS[2])}
    note = (
        "Held-out loss over the chosen one's at every strength of what is the same otherwise; the band is what runs and"
        " the family leave open. Dashed: identity, every family's zero strength."
    )
    return Chart("strengths", "How strong it should be", note, panels, data, marks)


def _image_size(choice: Choice) -> int:
    size = dict(choice.config.get("images") or {}).get("size")
    return size if isinstance(size, int) else USUAL_SIZE


def _alt(curve: Curve) -> str:
    name, key, points = curve
    listed = "; ".join(f"{at:g}: {arm.over_best:.4f} [{arm.low:.4f}, {arm.high:.4f}]" for at, arm in points)
    return f"Held-out loss over the chosen one's by {key} of {name}: {listed}."


def _draw(curve: Curve, identity: float, limits: tuple[float, float], axes: Axes) -> Axes:
    name, key, points = curve
    places = [at for at, _ in points]
    axes.axhline(identity, color=GREY, linewidth=1, linestyle="--")
    lows, highs = [arm.low for _, arm in points], [arm.high for _, arm in points]
    axes.fill_between(places, lows, highs, color=LINE, alpha=0.18, linewidth=0)
    axes.plot(places, [arm.over_best for _, arm in points], color=LINE, marker="o", markersize=4)
    best, arm = min(points, key=lambda point: point[1].over_best)
    axes.plot([best], [arm.over_best], "D", color=COLOURS[2], markersize=6)
    if min(places) > 0 and max(places) / min(places) > 5:
        axes.set_xscale("log")
    strength_ticks(axes, places, _WIDTH - 0.9)
    margin = 0.05 * (limits[1] - limits[0] or 1.0)
    axes.set_ylim(limits[0] - margin, limits[1] + margin)
    axes.set_title(short(name, 34), fontsize="medium")
    axes.set_xlabel(key)
    axes.set_ylabel("loss (nats)")
    return finish(axes)
