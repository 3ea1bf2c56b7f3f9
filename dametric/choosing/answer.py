"""Every sentence of a choice's answer, and the numbers that it gives."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import t as student_t

from dametric.choosing.advice import export_command, with_augmentation
from dametric.records.choices import Choice, ChoiceRun

SHOWN = 0.95
_NOT_EXCLUDED = 0.05
_MOST_NAMED = 5
_LEAST = 0.0005  # nats: a forecast says no more digits
_MOMENT = 0.5  # seconds: less is not said


@dataclass(frozen=True)
class Points:
    """What a nat of held-out loss is worth in points of accuracy, by the runs themselves."""

    slope: float = math.nan
    low: float = math.nan
    high: float = math.nan


def points_of(runs: Sequence[ChoiceRun]) -> Points:
    """Slope of accuracy on loss within each fraction of the schedule, with a 95 % interval.

    Needs three degrees of freedom, and says nothing where the interval holds 0.

    Examples
    --------
    >>> runs = [ChoiceRun("a", 100, 0.05, 0, loss, 0.9 - 0.2 * loss + 0.001 * (-1) ** place)
    ...         for place, loss in enumerate([1.0, 1.2, 1.3, 1.5, 1.6, 1.8])]
    >>> round(points_of(runs).slope)
    20
    """
    known = [run for run in runs if math.isfinite(run.top1)]
    fractions = sorted({run.fraction for run in known})
    groups = [
        [(run.loss, 100 * run.top1) for run in known if run.fraction == fraction]
        for fraction in fractions
        if sum(run.fraction == fraction for run in known) > 1
    ]
    if not groups:
        return Points()
    centred = np.concatenate([np.array(group) - np.mean(group, axis=0) for group in groups])
    freedom = len(centred) - len(groups) - 1
    power = (centred[:, 0] ** 2).sum()
    if freedom < 3 or not power > 0:
        return Points()
    slope = (centred[:, 0] @ centred[:, 1]) / power
    rest = ((centred[:, 1] - slope * centred[:, 0]) ** 2).sum()
    reach = float(student_t.ppf(0.975, freedom) * np.sqrt(rest / freedom / power))
    gain = -float(slope)
    return Points(gain, gain - reach, gain + reach) if gain > reach else Points()


def sentences(choice: Choice, base: str, remarks: Sequence[str] = ()) -> tuple[str, ...]:
    """The answer in words: what to use, how sure that is, what it is worth, what is left open.

    Parameters
    ----------
    choice : Choice
    base : str
        The loader's own augmentation, which identity leaves as it is.
    remarks : sequence of str
        What else determined it.
    """
    lines = [_verdict(choice, base), _certainty(choice)]
    if others := _others(choice):
        lines.append(others)
    if failed := [f"{arm.aug} ({arm.failed})" for arm in choice.arms if arm.failed]:
        lines.append(f"No candidates any more, since their students failed: {', '.join(failed)}.")
    lines.append(_more(choice))
    lines.append(_spent(choice))
    return (*lines, *remarks, *_next(choice))


def _verdict(choice: Choice, base: str) -> str:
    loader = "the images as they are" if base == "none" else base
    if not choice.runs:
        return f"Nothing was trained yet: without runs, no augmentation is shown to beat {loader} alone."
    if choice.best == "identity":
        return f"Use {loader} alone: nothing is shown to beat it."
    worth = f"{_nats(choice.gain)} nats [{_nats(choice.gain_low)}, {_nats(choice.gain_high)}]{_points(choice)}"
    loss = "divergence from the teacher" if choice.config.get("loss") == "divergence" else "loss"
    if not (choice.gain_low > 0 and choice.p_gain >= SHOWN):  # the interval is said too: the two agree
        return (
            f"Nothing is shown to beat {loader}: {choice.best} looks best, and lowers the held-out {loss} by {worth}, "
            f"but may be worse (probability {_share(1 - choice.p_gain)})."
        )
    return f"Use {choice.best}: it lowers the held-out {loss} of {loader} alone by {worth}."


def _points(choice: Choice) -> str:
    if not math.isfinite(choice.points) or not math.isfinite(choice.gain):
        return ""
    # the widest that both intervals allow: of the slope and of the gain
    slopes, gains = (choice.points_low, choice.points_high), (choice.gain_low, choice.gain_high)
    ends = [slope * gain for slope in slopes for gain in gains]
    return f", about {choice.points * choice.gain:.1f} points of accuracy [{min(ends):.1f}, {max(ends):.1f}]"


def _certainty(choice: Choice) -> str:
    state = {
        "sure": "which is what was asked for",
        "spent": "when the budget was spent",
        "stopped": "when it was stopped",
        "running": "so far",
    }[choice.status]
    count = sum(arm.failed is None for arm in choice.arms)
    return (
        f"It is the best of {count} with probability {_share(choice.p_best)}, and "
        f"within {choice.epsilon:g} nats of the best with probability {_share(choice.p_within)}, {state}; expected "
        f"regret {_nats(choice.regret)} nats."
    )


def _others(choice: Choice) -> str:
    open_ = [arm for arm in choice.arms if arm.aug != choice.best and arm.p_best >= _NOT_EXCLUDED]
    if not open_ and sum(arm.failed is None for arm in choice.arms) < 2:
        return "No other candidate is left."
    if not open_:
        if choice.p_best >= SHOWN:
            return "All others are excluded at 5 %."
        together = _share(1 - choice.p_best)
        return f"Not excluded as the best: one of the others, each below .05, together {together}."
    open_.sort(key=lambda arm: -arm.p_best)
    named = ", ".join(f"{arm.aug} ({_share(arm.p_best)})" for arm in open_[:_MOST_NAMED])
    rest = f" and {len(open_) - _MOST_NAMED} more" if len(open_) > _MOST_NAMED else ""
    return f"Not excluded as the best (probability): {named}{rest}."


def _more(choice: Choice) -> str:
    if not math.isfinite(choice.hour_more) and choice.runs and choice.status == "running":
        return "What an hour more would buy is said at the end."
    if not math.isfinite(choice.hour_more):
        return "What an hour more would buy is not known before a run is finished."
    saved = max(choice.regret - choice.hour_more, 0.0)
    if saved < _LEAST:
        return f"An hour more is expected to buy less than {_LEAST:g} nats."
    left = f"{_nats(choice.hour_more)} nats" if choice.hour_more >= _LEAST else f"less than {_LEAST:g} nats"
    return f"An hour more is expected to lower the regret from {_nats(choice.regret)} to {left}."


def _spent(choice: Choice) -> str:
    runs = ", ".join(
        f"{'whole schedules' if fraction == '1' else f'{fraction} of the schedule'}: {steps:,} steps"
        for fraction, steps in choice.costs.steps.items()
    )
    beside = " side by side" if choice.costs.runs > choice.costs.seconds else ""
    parts = [f"scoring {_time(choice.costs.scoring)}"] if choice.costs.scoring else []
    if choice.costs.student:
        parts += [f"warm student and its scores {_time(choice.costs.student)} ({choice.costs.student_steps:,} steps)"]
    parts += (
        [f"{len(choice.runs)} run{'s' * (len(choice.runs) != 1)} {_time(choice.costs.runs)}{beside} ({runs})"]
        if choice.runs
        else []
    )
    rest = choice.costs.seconds - choice.costs.scoring - choice.costs.student - choice.costs.runs
    if rest >= _MOMENT:
        parts += [f"starting, reading and deciding {_time(rest)}"]
    return f"Time: {_time(choice.costs.seconds)} in all" + (f"; {'; '.join(parts)}." if parts else ".")


def _next(choice: Choice) -> list[str]:
    """What to type now."""
    command = choice.config.get("command")
    if not command or not choice.runs:
        return []
    lines = [f"Next: {with_augmentation(str(command), choice.best)}"]
    if choice.best != "identity":
        size = dict(choice.config.get("images") or {}).get("size")
        mean = dict(choice.config.get("teacher") or {}).get("mean")
        if code := export_command(choice.best, size, tuple(mean) if mean else None):
            base = dict(choice.config.get("recipe") or {}).get("base_aug") or "none"
            lines[0] += "; as code" + (f", after {base}" if base != "none" else "") + f": {code}"
    return lines


def _nats(value: float) -> str:
    return f"{value:.4f}" if abs(value) < 0.1 else f"{value:.3f}"


def _share(value: float) -> str:
    return "over .99" if value > 0.99 else "under .01" if value < 0.01 else f"{value:.2f}".lstrip("0")


def _time(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
