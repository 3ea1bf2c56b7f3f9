"""Words are explained where they stand, and sentences do not list what tables have."""

from __future__ import annotations

import dametric
from dametric.metrics import METRICS
from dametric.records.scores import Scores
from dametric.reports.words import WORDS
from tests.reports.test_page import Page
from tests.reports.test_score_page import scores_of


def test_words_are_explained_where_they_stand() -> None:
    page = Page(dametric.report(scores_of({"noise": 0.001, "flip": 0.002}), quiet=True).html())
    for term in ("t_stddev", "kappa", "Standing", "Difference to best", "ce_cov"):
        assert WORDS[term] in page.text
    assert WORDS["ECE"] not in page.text, "what is not on the page is not explained"
    first = ("t_stddev", "t_entropy", "information_kept", "t_gini", "t_conf", "ce_mean", "ce_std", "ce_cov")
    assert all(name in WORDS and name in METRICS for name in first)


def test_many_tied_names_are_counted_not_listed() -> None:
    names = [f"./augmentations.py:a_long_name_number_{place:02d}" for place in range(12)]
    many = scores_of({"noise": 0.001, **{name: 0.0011 + place / 1e6 for place, name in enumerate(names)}})
    rows = [{**row, "tied_with_best": True} for row in many.scores]
    answer = dametric.report(Scores(rows, many.config, {}), quiet=True).answer
    assert answer[1].endswith("_02 and 9 more.")
    assert max(map(len, answer)) < 250
