"""The page of scores alone: the answer first, every number as it was scored, whatever the names are."""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pandas as pd
import pytest

import dametric
from dametric.analysis.curves import FOR_EVER
from dametric.analysis.score_words import NOT_COMPARABLE
from dametric.errors import UsageError
from dametric.records.scores import Scores
from tests.reports.test_page import HOSTILE, Page

HALF = 0.00042
VALUES = {"noise": 0.0010, HOSTILE: 0.0013, "mixup": 0.0030, "mixup:alpha=2": 0.0040, "mixup:alpha=4": 0.0050}
VALUES |= {"black": 0.0001}


def scores_of(values: dict[str, float], arch: str = "resnet20") -> Scores:
    rows: list[dict[str, Any]] = []
    for name, value in sorted(values.items(), key=lambda item: (item[0] == "black", item[1])):
        metrics = {}
        for metric, turn, direction in (("t_stddev", 1, "lower"), ("t_gini", -1, "higher"), ("ce_cov", 1, "open")):
            number = 5 + turn * value if turn < 0 else value
            ends = {"low": number - 0.0002, "high": number + 0.0002}
            metrics[metric] = {"value": number, "se": 0.0001, **ends, "direction": direction, "blocks": 20}
        gaps = {
            other: {"value": value - second, "se": 0.0002, "low": value - second - HALF, "high": value - second + HALF}
            for other, second in values.items()
        }
        gap = {"to": "noise", **gaps["noise"]}
        alpha = [{"operation": "Mixup", "alpha": 1.0}] if name == "mixup" else []
        row = {"aug": name, "metrics": metrics, "difference": gap, "differences": gaps, "parameters": alpha}
        tied = name in ("noise", HOSTILE)
        rows.append({**row, "tied_with_best": tied, "destroyed": name == "black", "rows": 1280, "batches": 20})
    kappa = {"value": 0.75, "se": 0.01, "low": 0.73, "high": 0.77, "direction": "open", "blocks": 20}
    teacher = {"arch": arch, "sha256": arch[-1] * 64}
    config = {"metrics": ["t_stddev", "t_gini", "ce_cov"], "teacher": teacher, "b": 64, "batches": 20, "seed": 0}
    config |= {"t_confidence": kappa, "data": {"name": "d/digits", "split": "train", "fingerprint": "f" * 64}}
    return Scores(rows, config, {"torch": "2.6"})


@pytest.fixture(scope="module")
def scores() -> Scores:
    return scores_of(VALUES)


def test_the_answer_comes_first_and_provenance_last(scores: Scores) -> None:
    built = dametric.report(scores, quiet=True)
    text = Page(built.html()).text
    assert built.answer == [
        "noise has the best t_stddev of 5 augmentations (1 more destroys the images) for resnet20 on digits: 0.00100 ±"
        " 0.00010 (lower is better).",
        f"Not distinguishable from it (95 %, paired differences): {HOSTILE}.",
        "The teacher's confidence kappa is 0.750 ± 0.010 on its training images (1: one-hot).",
    ]
    ends = "Best strength: none inside the range (t_stddev is best at its end): mixup."
    order = [*built.answer, ends, FOR_EVER, "Destroyed: under black", "This is what the teacher says"]
    order += ["Value ± standard error", "95 % interval", "Score file", "f" * 64]
    places = [text.index(words) for words in order]
    assert places == sorted(places)


def test_every_number_of_the_tables_is_one_that_was_scored(scores: Scores) -> None:
    page = Page(dametric.report(scores, quiet=True).html())
    for rank, row in enumerate(scores.rows, 1):
        cells = [row for row in page.rows if row and row[0][0] == scores.rows[rank - 1].aug]
        main, other = cells[0], cells[-1]
        assert main[-1] == (str(rank), str(float(rank)))
        assert main[1][1] == str(row.metrics["t_stddev"].value)
        assert main[2][1] == str(row.difference.value)
        assert other[1][1] == str(row.metrics["t_gini"].value)
        standing = {"noise": "best", HOSTILE: "not distinguishable", "black": "destroyed"}.get(row.aug, "worse")
        assert main[3][0] == standing
    ids = [about["id"] for _, about in page.tags if "id" in about]
    assert len(ids) == len(set(ids))
    assert all(about.get("alt") for tag, about in page.tags if tag == "img")


def test_a_notebook_shows_the_answer_and_the_table(scores: Scores) -> None:
    page = Page(scores._repr_html_())
    assert page.text.startswith("noise has the best t_stddev of 5 augmentations (1 more destroys the images)")
    assert [row[0][0] for row in page.rows[1:]] == [row.aug for row in scores.rows]
    assert page.row("noise")[1][0] == "0.00100 ± 0.00010"


def test_a_notebook_runs_nothing_that_a_file_says() -> None:
    hostile = scores_of({"./a.py:<img src=x onerror=alert(1)>": 0.001, "noise": 0.002}, "<b>t</b>")
    for shown in (dametric.report(hostile, quiet=True), dametric.compare(hostile, hostile)):
        text = shown._repr_html_()
        assert "<img" not in text
        assert "<b>t" not in text
        assert "&lt;img" in text


def test_csv_markdown_and_figures_say_the_same(scores: Scores, tmp_path: Path) -> None:
    file = scores.write(tmp_path / "scores.json")
    built = dametric.report(file, tmp_path / "page.md", figures=tmp_path / "figures", quiet=True)
    dametric.report(str(file), tmp_path / "table.csv", quiet=True)
    table = pd.read_csv(tmp_path / "table.csv")
    assert table["t_stddev"].tolist() == [row.metrics["t_stddev"].value for row in scores.rows]
    assert table["t_stddev_low"].tolist() == [row.metrics["t_stddev"].low for row in scores.rows]
    assert table["rank"].tolist() == [1, 2, 3, 4, 5, 6]
    assert table["family"].tolist()[2:5] == ["mixup"] * 3
    text = (tmp_path / "page.md").read_text(encoding="utf-8")
    assert built.answer[0] in text.replace("\\", "")
    assert "<script>" not in text
    named = {f"{key}.{kind}" for key in ("ranking", "strengths") for kind in ("png", "svg", "pdf", "csv")}
    assert {path.name for path in (tmp_path / "figures").iterdir()} == named
    curve = pd.read_csv(tmp_path / "figures" / "strengths.csv")
    assert curve["strength"].tolist() == [1, 2, 4]
    assert curve["may_be_best"].tolist() == [True, False, False]
    uris = [about["href"] for tag, about in Page(built.html()).tags if tag == "a" and "download" in about]
    assert pd.read_csv(io.StringIO(unquote(uris[0].partition(",")[2])))["rank"].max() == 6


def test_several_files_stand_on_one_page_and_teachers_are_not_compared_by_value(scores: Scores, tmp_path: Path) -> None:
    other = scores_of({"noise": 0.2, "flip": 0.1, "black": 0.3}, "wrn_16_2").write(tmp_path / "b.json")
    built = dametric.report([scores, other], quiet=True)
    assert built.answer[3].startswith(
        "flip has the best t_stddev of 2 augmentations (1 more destroys the images) for wrn_16_2 on digits"
    )
    assert built.answer[-1] == NOT_COMPARABLE
    page = Page(built.html())
    ids = [about["id"] for _, about in page.tags if "id" in about]
    assert len(ids) == len(set(ids))
    assert {row["scored"] for row in built.table.to_dict("records")} == {"resnet20 on digits", "wrn_16_2 on digits"}
    same = dametric.report([other, other], quiet=True)
    assert "for wrn_16_2 on digits (b.json)" in same.answer[0]


def test_scores_without_a_value_or_a_direction_promise_nothing() -> None:
    nothing = scores_of({"noise": math.nan, "flip": math.nan})
    assert dametric.report(nothing, quiet=True).answer[0].startswith("Not known: too few batches")
    undirected = scores_of(VALUES)
    config = {**undirected.config, "metrics": ["ce_cov", "t_gini", "t_stddev"]}
    answer = dametric.report(Scores(undirected.scores, config, {}), quiet=True).answer
    assert answer[0].startswith("Nobody has said which values of ce_cov are good")
    lost = scores_of({"black": 0.1, "noise": 0.2})
    gone = [{**row, "destroyed": True} for row in lost.scores]
    assert dametric.report(Scores(gone, lost.config, {}), quiet=True).answer[0].startswith("No augmentation")


def test_what_cannot_be_is_said_in_one_line(scores: Scores, tmp_path: Path) -> None:
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"only": "temperature=4"}, "of scores with students"),
        ({"metrics": "t_gini"}, "of scores with students"),
        ({"charts": [lambda scores: 3]}, "returned a int"),
    ]
    for options, words in wrong:
        with pytest.raises(UsageError, match=words) as caught:
            dametric.report(scores, tmp_path / "r.html", quiet=True, **options)
        assert "\n" not in str(caught.value)
    with pytest.raises(UsageError, match="dametric correlate writes every coefficient"):
        dametric.report(published=True, output=tmp_path / "r.csv", quiet=True)
    assert list(tmp_path.iterdir()) == []
