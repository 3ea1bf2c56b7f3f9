"""Every candidate's loss over that of the one that is chosen."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes

from dametric.records.choices import Choice, ChoiceArm
from dametric.reports.chart import Chart, Panel
from dametric.reports.drawing import COLOURS, GREY, LINE, Mark, finish, short

PLACE = 10


def chart(choice: Choice) -> Chart:
    """Expected loss of a whole schedule over the best one's, with 95 % intervals, the best on top."""
    arms = sorted((arm for arm in choice.arms if not arm.failed), key=lambda arm: arm.over_best)
    data = pd.DataFrame(
        {"aug": arm.aug, "over_best": arm.over_best, "low": arm.low, "high": arm.high, "p_best": arm.p_best}
        for arm in arms
    )
    marks: dict[str, Mark] = {
        "expected loss, bar: 95 % interval": ("o", LINE),
        "never trained, judged by its family": ("s", COLOURS[4]),
    }
    if all(arm.runs for arm in arms):
        del marks["never trained, judged by its family"]
    note = (
        "Held-out loss of a whole schedule over that of the augmentation that is chosen: what runs of all lengths say"
        " together. An interval that reaches below 0 is one that may be better. Dotted: epsilon. Beside the names:"
        " P(best)."
    )
    listed = "; ".join(f"{arm.aug} {arm.over_best:.4f} [{arm.low:.4f}, {arm.high:.4f}]" for arm in arms)
    alt = f"Held-out loss over that of {choice.best}, with 95 % intervals, best first: {listed}."

    def draw(axes: Axes) -> Axes:
        axes.axvline(0, color=GREY, linewidth=1, linestyle="--")
        axes.axvline(choice.epsilon, color=GREY, linewidth=0.8, linestyle=":")
        for row, arm in enumerate(arms):
            _bar(axes, row, arm)
        axes.set_yticks(range(len(arms)), [f"{short(arm.aug, 34)}  {arm.p_best:.2f}" for arm in arms], fontsize="small")
        axes.set_ylim(len(arms) - 0.4, -0.6)
        axes.set_xlabel("held-out loss over the chosen one's (nats)")
        return finish(axes)

    return Chart(
        "arms", "How the candidates compare", note, (Panel(alt, draw, (5.4, _height(len(arms)))),), data, marks
    )


def _bar(axes: Axes, row: int, arm: ChoiceArm) -> None:
    colour, shape = (LINE, "o") if arm.runs else (COLOURS[4], "s")
    axes.plot([arm.low, arm.high], [row, row], color=colour, linewidth=1.4)
    axes.plot([arm.over_best], [row], shape, color=colour, markersize=5)


def _height(rows: int) -> float:
    return 1.0 + 0.24 * rows
