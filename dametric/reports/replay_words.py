"""What a replay achieved, in sentences: the answer of its page, and the first lines of the command."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from dametric.analysis.numbers import counted

_UNTRAINED = {"score": "taking the best score", "published": "following the published study's list"}
_TRAINED = {
    "compressed": "one shortened training of every augmentation",
    "halving": "successive halving",
}


def headline(frontier: pd.DataFrame) -> list[str]:
    """What `choose` loses to the best augmentation over all budgets, beside what simpler rules lose; and how sure.

    Parameters
    ----------
    frontier : pandas.DataFrame
        As :class:`dametric.choosing.replay.Replay` has it.

    Returns
    -------
    list of str
        Two sentences; one that says so where choose was never replayed.
    """
    known = frontier.dropna(subset=["regret"]).assign(under_high=-frontier.over_high)
    ours = known[known.rule == "choose"]
    if ours.empty:
        return ["No answer: no run of choose could be replayed."]
    units = int(ours.units.max())
    others = [_untrained(known, name, what) for name, what in _UNTRAINED.items() if (known.rule == name).any()]
    beside = f"; {' and '.join(others)}" if others else ""
    loses = f"What dametric choose takes loses {_range(ours.regret)} nats to the best augmentation{beside}"
    budgets = f"budgets of {ours.budget.min():g} to {ours.budget.max():g} whole trainings"
    return [
        f"{loses} ({budgets}, mean of {counted(units, 'unit')}; less is better).",
        *_against(known),
    ]


def _untrained(known: pd.DataFrame, name: str, what: str) -> str:
    return f"{what} loses {_range(known[known.rule == name].regret)}"


def _range(values: pd.Series[float]) -> str:
    low, high = f"{values.min():.3f}", f"{values.max():.3f}"
    return low if low == high else f"{low} to {high}"


def _against(known: pd.DataFrame) -> Iterator[str]:
    """At how many budgets choose loses less than each rule, and at how many that is shown; nothing without another."""
    parts = []
    for name, what in (*_TRAINED.items(), *_UNTRAINED.items()):
        rows = known[(known.rule == name) & known.over_choose.notna()]
        if len(rows):
            less, shown, worse = ((rows[end] > 0).sum() for end in ("over_choose", "over_low", "under_high"))
            against = f"; loses more at {worse}" if worse else ""
            parts.append(f"{what} at {less} of {len(rows)} budgets (shown, 95 %, at {shown}{against})")
    if parts:
        yield f"choose loses less than {', than '.join(parts)}."
