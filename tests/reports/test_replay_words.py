"""The headline of a replay is what choose achieved, counted from its table."""

from __future__ import annotations

import math

import pandas as pd

from dametric.reports.replay_page import build
from dametric.reports.replay_words import headline

NAN = math.nan
ROWS = [
    ("choose", 1, 0.020, NAN, NAN, NAN),
    ("choose", 4, 0.007, NAN, NAN, NAN),
    ("score", 1, 0.03, 0.01, -0.01, 0.03),
    ("score", 4, 0.03, 0.023, 0.01, 0.04),
    ("halving", 4, 0.006, -0.001, -0.002, -0.0005),
]
COLUMNS = ["rule", "budget", "regret", "over_choose", "over_low", "over_high"]


def test_a_replay_opens_with_what_choose_loses_beside_the_others() -> None:
    costs = pd.DataFrame(ROWS, columns=COLUMNS).assign(units=2, spent=1.0, low=NAN, high=NAN)
    stated = pd.DataFrame(columns=["stated", "looks", "units", "mean_stated", "frequency", "gap", "low", "high"])
    page = build(costs, stated, ["2 units; intervals are over these, by Student's t."])
    assert page.answer == [
        "What dametric choose takes loses 0.007 to 0.020 nats to the best augmentation; taking the best score loses"
        " 0.030 (budgets of 1 to 4 whole trainings, mean of 2 units; less is better).",
        "choose loses less than successive halving at 0 of 1 budgets (shown, 95 %, at 0; loses more at 1), than taking"
        " the best score at 2 of 2 budgets (shown, 95 %, at 1).",
    ]
    assert page.reasons == ["2 units; intervals are over these, by Student's t."]
    (alone,) = headline(costs[costs.rule == "choose"].head(1))
    assert alone.startswith("What dametric choose takes loses 0.020 nats to the best augmentation (budgets of 1 to 1")
    assert headline(costs[costs.rule == "score"]) == ["No answer: no run of choose could be replayed."]
