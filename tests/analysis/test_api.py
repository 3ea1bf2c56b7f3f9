"""`dametric.correlate` and `dametric.report` from Python: whatever stands for scores and runs, objects that show
themselves, nothing printed."""

from __future__ import annotations

import doctest
import html
import importlib
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import dametric
from dametric.analysis import Analysis
from dametric.errors import UsageError
from dametric.records.joining import study
from dametric.records.ledger import Ledger
from dametric.records.scores import Scores

DEMO = Path(__file__).resolve().parents[2] / "experiments" / "results" / "digits" / "demo"
EXAMPLES = (
    "analysis.document",
    "analysis.numbers",
    "analysis.plain",
    "analysis.api",
    "reports.api",
    "stats.multiplicity",
)


@pytest.fixture(scope="module")
def demo() -> Analysis:
    return dametric.correlate(DEMO / "scores.json", DEMO / "runs", resamples=99)


def test_paths_objects_and_tables_say_the_same(demo: Analysis) -> None:
    scores, runs = Scores.read(DEMO / "scores.json"), dametric.load_runs(DEMO / "runs")
    given = [
        dametric.correlate(scores, Ledger.read(DEMO / "runs"), resamples=99),
        dametric.correlate([str(DEMO / "runs"), scores], resamples=99),
        dametric.correlate(study([scores], runs), metrics="t_stddev", resamples=99),
    ]
    for found in given:
        assert found.to_dict() == demo.to_dict()
    assert [name for name, _ in given[0].study.files] == ["scores"]
    assert given[0].advice == demo.advice
    assert given[2].advice[0].best_scored == demo.advice[0].best_scored, "a joined table alone has its errors"


def test_a_ledger_that_overlaps_counts_once(demo: Analysis) -> None:
    runs = dametric.load_runs(DEMO / "runs")
    twice = dametric.correlate(DEMO / "scores.json", [runs, runs[:5], DEMO / "runs"], resamples=99)
    assert twice.to_dict() == demo.to_dict()


def test_an_analysis_shows_itself_and_prints_nothing(demo: Analysis, capsys: pytest.CaptureFixture[str]) -> None:
    assert repr(demo).startswith("<Analysis of t_stddev, ")
    assert len(repr(demo)) < 500
    page = html.unescape(demo._repr_html_())
    assert all(sentence.split(" ± ")[0] in page for sentence in demo.answer)
    assert page.count("<table") == 1
    assert repr(dametric.report(demo, quiet=True)).startswith("<Report of 8 sections: No recommendation")
    assert capsys.readouterr() == ("", "")


def test_the_table_has_the_regressions_of_both_outcomes(demo: Analysis) -> None:
    row = demo.table.set_index("metric").loc["t_entropy"]
    points = demo.rows[demo.rows["metric"] == "t_entropy"]
    for name, column in (("loss", "test_loss"), ("top1", "test_top1")):
        slope, residuals, *_ = np.polyfit(points["score"], points[column], 1, full=True)
        assert row[f"slope_{name}"] == pytest.approx(slope[0])
        spread = ((points[column] - points[column].mean()) ** 2).sum()
        assert row[f"r_squared_{name}"] == pytest.approx(1 - residuals[0] / spread)
        kendall = dametric.stats.correlate(points["score"], points[column])
        assert (row[f"tau_b_{name}"], row[f"p_{name}"]) == pytest.approx((kendall.statistic, kendall.pvalue))
    bare = dametric.correlate(published=True, resamples=9).table
    assert bare["slope_top1"].isna().all()


def test_errors_speak_of_arguments() -> None:
    for options, words in (
        ({"published": True, "only": "temperature=4"}, "^only chooses among runs"),
        ({"scores": DEMO / "scores.json"}, r"too, or published=True for"),
        ({"scores": DEMO / "scores.json", "runs": DEMO / "runs", "better": "t_stddev=lower"}, "^better is for metrics"),
        ({"scores": pd.DataFrame({"aug": ["a"], "score": [1.0], "test_loss": [math.nan]})}, "drop=True leaves"),
    ):
        with pytest.raises(UsageError, match=words):
            dametric.correlate(**options)  # type: ignore[arg-type]


def test_power_is_had_from_the_package() -> None:
    assert dametric.power(0.9, 18, 3, simulations=200) == dametric.stats.power(0.9, 18, 3, simulations=200)


def test_examples_of_docstrings_run() -> None:
    for name in EXAMPLES:
        module = importlib.import_module(f"dametric.{name}")
        failed, tried = doctest.testmod(module)
        assert tried > 0, name
        assert failed == 0, name
