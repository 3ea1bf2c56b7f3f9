"""Score files: written whole or not at all, read back the same, and nothing but JSON inside."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from dametric import UsageError, score
from dametric.records.scores import SCHEMA, Scores


@pytest.fixture(scope="module")
def scores(teacher, student, data) -> Scores:
    augs = ["flip", "mixup", "cutmixpick"]
    options: dict[str, Any] = {"batches": 4, "batch_size": 16, "dtype": torch.float32, "device": "cpu", "quiet": True}
    return score(teacher, data, augs, student=student, **options)


def test_document_survives_being_written_and_read(scores: Scores, tmp_path: Path) -> None:
    path = scores.write(tmp_path / "deep" / "scores.json")
    again = Scores.read(path)
    assert again.to_dict() == scores.to_dict()
    assert again.metrics == scores.metrics
    assert again.table.equals(scores.table)
    assert again.write(tmp_path / "again.json").read_bytes() == path.read_bytes()


def test_document_has_the_documented_keys(scores: Scores) -> None:
    document = json.loads(scores.to_json())
    assert list(document) == ["dametric_scores", "scores", "config", "versions"]
    assert document["dametric_scores"] == SCHEMA == 1
    for row in document["scores"]:
        assert set(row) == {
            "aug", "metrics", "difference", "differences", "tied_with_best", "parameters", "batches", "rows",
            "destroyed", "influence",
        }  # fmt: skip
        assert set(row["differences"]) == {other["aug"] for other in document["scores"]}
        assert row["differences"][row["difference"]["to"]]["se"] == row["difference"]["se"]
        assert set(row["difference"]) == {"to", "value", "se", "low", "high"}
        for metric in row["metrics"].values():
            assert set(metric) == {"value", "se", "low", "high", "direction", "plugin", "blocks", "estimator"}
            assert metric["low"] <= metric["value"] <= metric["high"]
            assert metric["direction"] in ("lower", "higher", "open")


def test_another_way_of_writing_an_augmentation_is_told(teacher, data) -> None:
    augs = ["flip:p=0.5", "mixup"]
    file = score(teacher, data, augs, batches=4, batch_size=16, dtype="float32", device="cpu", quiet=True)
    assert {row.aug: row.aug_spelling for row in file.rows} == {"flip:p=0.5": "flip", "mixup": None}
    assert {score["aug"]: "aug_spelling" in score for score in file.scores} == {"flip:p=0.5": True, "mixup": False}


def test_what_is_not_a_finite_number_is_null(scores: Scores, tmp_path: Path) -> None:
    odd = Scores([{"a": math.nan, "b": [math.inf, (1.0, -math.inf)]}], {"metrics": [], "x": {"y": math.nan}}, {})
    document = json.loads(odd.write(tmp_path / "odd.json").read_text())
    assert document["scores"] == [{"a": None, "b": [None, [1.0, None]]}]
    assert document["config"]["x"] == {"y": None}
    for text in (odd.to_json(), scores.to_json()):
        assert "NaN" not in text
        assert "Infinity" not in text


def test_numbers_are_written_in_full(scores: Scores) -> None:
    document = json.loads(scores.to_json())
    ours = scores.scores[0]["metrics"]["t_stddev"]["value"]
    assert document["scores"][0]["metrics"]["t_stddev"]["value"] == ours


def test_table_has_one_row_an_augmentation_best_first(scores: Scores) -> None:
    table = scores.table
    assert len(table) == 3
    assert table["t_stddev"].is_monotonic_increasing
    assert {
        "aug",
        "t_stddev",
        "t_stddev_se",
        "ce_cov",
        "ce_cov_se",
        "difference",
        "difference_se",
        "tied_with_best",
    } <= set(table.columns)
    assert "flip" in scores._repr_html_()


def test_file_is_replaced_whole_or_not_at_all(scores: Scores, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "scores.json"
    path.write_text("old")

    def crash(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", crash)
        with pytest.raises(KeyboardInterrupt):
            scores.write(path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
    scores.write(path)
    assert Scores.read(path).to_dict() == scores.to_dict()
    assert list(tmp_path.iterdir()) == [path]


def test_non_ascii_names_survive(scores: Scores, tmp_path: Path) -> None:
    odd = Scores([{**scores.scores[0], "aug": "./Überlagerung.py:é"}], scores.config, {})
    assert Scores.read(odd.write(tmp_path / "s.json")).scores[0]["aug"] == "./Überlagerung.py:é"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot read"),
        ("{", "is not JSON"),
        ("\x00\x01", "is not JSON"),
        ("[]", "is not a score file"),
        ("{}", "is not a score file"),
        ('{"dametric_scores": 2, "scores": [], "config": {}, "versions": {}}', "has version 2"),
        ('{"dametric_scores": 1, "scores": [], "config": {}}', "'versions' is missing"),
        ('{"dametric_scores": 1}', "'scores' is missing"),
    ],
)
def test_what_is_no_score_file_is_refused_in_one_line(content: str | None, message: str, tmp_path: Path) -> None:
    path = tmp_path / "scores.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(UsageError, match=message) as caught:
        Scores.read(path)
    assert "\n" not in str(caught.value)
    assert "scores.json" in str(caught.value)


def test_bytes_that_are_no_text_and_folders_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "scores.json"
    path.write_bytes(b"\xff\xfe\x00\x80")
    for what in (path, tmp_path):
        with pytest.raises(UsageError):
            Scores.read(what)


def test_a_folder_that_cannot_be_made_is_refused(scores: Scores, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot write"):
        scores.write(tmp_path / "file" / "scores.json")
