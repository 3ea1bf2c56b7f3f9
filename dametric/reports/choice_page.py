"""A page of a choice: what to use, how sure that is, what the runs bought, and everything that determined it."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from dametric.records.choices import Choice
from dametric.reports import choice_charts
from dametric.reports.cells import Table, number, table_of, word
from dametric.reports.chart import Chart
from dametric.reports.charts import makers_in, own_charts
from dametric.reports.page import Lead, Page


@dataclass(frozen=True, repr=False)
class ChoiceReport(Page):
    """A page on a choice.

    Attributes
    ----------
    choice : Choice
    charts : tuple of Chart
    runs : Table or None
    provenance : list of (str, str)
    """

    choice: Choice
    charts: tuple[Chart, ...]
    runs: Table | None
    provenance: list[tuple[str, str]]

    @property
    def title(self) -> str:
        """Of the page."""
        about = self.choice.config
        return f"Which augmentation to use: a choice for {about.get('student') or 'a student'}"

    @property
    def answer(self) -> list[str]:
        """What to use, and how sure that is."""
        return list(self.choice.sentences[:2])

    @property
    def reasons(self) -> list[str]:
        """What is left open, what more would buy, what it took."""
        return list(self.choice.sentences[2:])

    @property
    def leads(self) -> list[Lead]:
        """The candidates."""
        note = (
            "P(best): probability that it has the lowest held-out loss of a whole schedule. Over best: expected loss"
            " over the chosen one's, with its 95 % interval. – : not known. Click a column's head to sort by it."
        )
        return [Lead("candidates", "The candidates", note, _candidates(self.choice))]

    @property
    def table(self) -> pd.DataFrame:
        """The candidates as numbers."""
        table: pd.DataFrame = self.choice.table
        return table


def build(choice: Choice, own: Sequence[str | Callable[[Any], Chart | None]] = (), made_by: str = "") -> ChoiceReport:
    """Put a page of a choice together.

    Parameters
    ----------
    choice : Choice
    own : sequence of str or callable
        Charts of the user's own, from a Choice to a :class:`dametric.reports.Chart`.
    made_by : str
        The command or call that makes it.
    """
    charts = [chart for make in makers_in(choice_charts) if (chart := make(choice)) is not None]
    charts += own_charts(choice, own, {chart.key for chart in charts})
    return ChoiceReport(choice, tuple(charts), _runs(choice), _provenance(choice, made_by))


def _candidates(choice: Choice) -> Table:
    arms = choice.ranked
    metric = str(choice.config.get("metric", "score"))
    others = [name for name in arms[0].scores if name != metric] if arms else []
    rows = [
        (
            word(arm.aug),
            number(arm.p_best, ".3f"),
            number(arm.over_best),
            number(arm.low),
            number(arm.high),
            number(arm.runs, "d"),
            number(arm.score, "#.4g"),
            *(number(arm.scores.get(name, math.nan), "#.4g") for name in others),
            word(arm.family or "none"),
            word(arm.failed),
        )
        for arm in arms
    ]
    heads = ("Augmentation", "P(best)", "Over best", "low", "high", "Runs", metric, *others, "Family", "Failed")
    return table_of("candidates", "Held-out losses in nats", heads, rows)


def _runs(choice: Choice) -> Table | None:
    if not choice.runs:
        return None
    rows = [
        (
            word(run.aug),
            number(run.fraction, ".3g"),
            number(run.steps, "d"),
            number(run.seed, "d"),
            number(run.loss),
            number(100 * run.top1, ".2f"),
            number(run.seconds, ".1f"),
        )
        for run in choice.runs
    ]
    heads = ("Augmentation", "Fraction", "Steps", "Seed", "Held-out loss", "Top-1 (%)", "Seconds")
    return table_of("runs", "Every run, on held-out images of the training split", heads, rows)


def _provenance(choice: Choice, made_by: str) -> list[tuple[str, str]]:
    rows = [("Command", made_by)]
    rows += [(name.capitalize(), _text(value)) for name, value in choice.config.items()]
    rows += [("Assumed of short runs and scores", _text(choice.parameters)), ("Versions", _text(choice.versions))]
    return [(name, text) for name, text in rows if text]


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)
