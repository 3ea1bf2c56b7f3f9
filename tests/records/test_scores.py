"""Score files: what goes out comes back, and what is none of ours is refused in one line."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from dametric.errors import UsageError
from dametric.records.scores import SCHEMA, Scores


def row(aug: str, value: float, se: float, gap: float, tied: bool) -> dict[str, Any]:
    metric = {"value": value, "se": se, "low": value - 2 * se, "high": value + 2 * se, "direction": "lower"}
    entropy = {"value": 1.25, "se": 0.5, "low": 0.25, "high": 2.25, "direction": "higher"}
    return {
        "aug": aug,
        "metrics": {"t_stddev": metric, "t_entropy": entropy},
        "difference": {"to": "cutmix", "value": gap, "se": se, "low": gap - 2 * se, "high": gap + 2 * se},
        "tied_with_best": tied,
        "parameters": [{"operation": "CutMix", "alpha": 1.0}],
        "rows": 1280,
    }


@pytest.fixture
def scores() -> Scores:
    rows = [row("cutmix", 0.1 + 0.2, 0.001, 0.0, True), row("größe→flip", 1 / 3, 0.002, 1 / 30, False)]
    return Scores(rows, {"metrics": ["t_stddev", "t_entropy"], "n": 320, "seed": 0}, {"dametric": "0.1.0"})


def test_a_score_file_comes_back_to_the_last_bit(scores: Scores, tmp_path: Path) -> None:
    path = scores.write(tmp_path / "new" / "scores.json")
    assert path == tmp_path / "new" / "scores.json"
    again = Scores.read(path)
    assert again == scores
    assert again.to_json() == scores.to_json()


def test_the_file_is_one_document_of_utf8_that_ends_in_a_newline(scores: Scores, tmp_path: Path) -> None:
    text = scores.write(tmp_path / "s.json").read_bytes().decode("utf-8")
    assert text.endswith("}\n")
    document = json.loads(text)
    assert set(document) == {"dametric_scores", "scores", "config", "versions"}
    assert document["dametric_scores"] == SCHEMA == 1
    assert "größe→flip" in text


@pytest.mark.parametrize("broken", [math.nan, math.inf, -math.inf])
def test_numbers_that_are_not_known_become_null_wherever_they_are(scores: Scores, broken: float) -> None:
    scores.scores[0]["metrics"]["t_stddev"]["se"] = broken
    scores.scores[0]["parameters"].append({"nested": [1.0, (2.0, broken)]})
    scores.config["loss"] = broken

    def refuse(token: str) -> None:
        raise AssertionError(f"{token} is not JSON")

    document = json.loads(scores.to_json(), parse_constant=refuse)
    assert document["scores"][0]["metrics"]["t_stddev"]["se"] is None
    assert document["scores"][0]["parameters"][1] == {"nested": [1.0, [2.0, None]]}
    assert document["config"]["loss"] is None
    assert scores.config["loss"] is broken, "the object itself keeps its numbers"


def test_the_table_has_a_row_an_augmentation_in_order(scores: Scores) -> None:
    table = scores.table
    assert list(table.columns) == [
        "aug",
        "t_stddev",
        "t_stddev_se",
        "t_entropy",
        "t_entropy_se",
        "difference",
        "difference_se",
        "tied_with_best",
        "rows",
    ]
    assert list(table.aug) == ["cutmix", "größe→flip"]
    assert list(table.t_stddev) == [0.1 + 0.2, 1 / 3]
    assert list(table.t_entropy_se) == [0.5, 0.5]
    assert list(table.difference) == [0.0, 1 / 30]
    assert list(table.tied_with_best) == [True, False]
    assert table["rows"].dtype.kind == "i"


def test_the_table_of_a_file_with_nulls_has_nan_there(scores: Scores, tmp_path: Path) -> None:
    scores.scores[1]["metrics"]["t_stddev"]["se"] = math.nan
    table = Scores.read(scores.write(tmp_path / "s.json")).table
    assert table.t_stddev_se.dtype.kind == "f"
    assert math.isnan(table.t_stddev_se[1])


def test_a_notebook_shows_the_table(scores: Scores) -> None:
    assert "größe→flip" in scores._repr_html_()


def test_metrics_are_in_the_order_asked_for(scores: Scores) -> None:
    assert scores.metrics == ["t_stddev", "t_entropy"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "is not JSON"),
        ("{", "is not JSON"),
        ("value: 1", "is not JSON"),
        ("[]", "is not a score file"),
        ("null", "is not a score file"),
        ('"text"', "is not a score file"),
        ("{}", "is not a score file.*dametric score -o"),
        ('{"dametric_scores": 2}', "version 2 of score files, this reads 1"),
        ('{"dametric_scores": null}', "version None"),
        ('{"dametric_scores": 1}', "'scores' is missing"),
        ('{"dametric_scores": 1, "scores": [], "versions": {}}', "'config' is missing"),
        ('{"dametric_scores": 1, "scores": [], "config": {}}', "'versions' is missing"),
    ],
)
def test_what_is_no_score_file_is_refused(tmp_path: Path, content: str, said: str) -> None:
    path = tmp_path / "s.json"
    path.write_text(content)
    with pytest.raises(UsageError, match=said) as caught:
        Scores.read(path)
    assert str(path) in str(caught.value)


def test_binary_files_missing_files_and_folders_are_refused(tmp_path: Path) -> None:
    (tmp_path / "s.bin").write_bytes(bytes(range(256)))
    with pytest.raises(UsageError, match="is not JSON"):
        Scores.read(tmp_path / "s.bin")
    with pytest.raises(UsageError, match=r"cannot read .*No such file"):
        Scores.read(tmp_path / "none.json")
    with pytest.raises(UsageError, match=r"cannot read .*directory"):
        Scores.read(tmp_path)


def test_a_file_that_was_edited_by_hand_is_put_in_order_or_refused(tmp_path: Path) -> None:
    """Whichever row comes first, the best is the best; what cannot be is refused; a mark and other encodings."""
    augs = {"cutmix": 0.1, "flip": 0.2, "noise": 0.3}
    rows = [row(aug, value, 0.001, value - 0.1, aug == "cutmix") for aug, value in augs.items()]
    for each, value in zip(rows, augs.values(), strict=True):
        each["differences"] = {
            other: {"value": value - at, "se": 0.001, "low": value - at - 0.002, "high": value - at + 0.002}
            for other, at in augs.items()
        }
    whole = Scores(rows, {"metrics": ["t_stddev", "t_entropy"]}, {})
    assert Scores.read(Scores(rows[::-1], whole.config, {}).write(tmp_path / "turned.json")) == whole
    rest = Scores.read(Scores(rows[1:], whole.config, {}).write(tmp_path / "rest.json"))
    assert rest.best["aug"] == "flip"
    assert [each.difference.to for each in rest.rows] == ["flip", "flip"]
    assert rest.rows[1].difference.value == 0.3 - 0.2
    assert [each.tied_with_best for each in rest.rows] == [True, False]
    wrong: list[tuple[dict[str, float], str]] = [
        ({"se": -1.0}, r"scores\[1\].metrics.t_stddev.se' is -1, .*at least 0"),
        ({"value": 0.001}, r"t_stddev' has a value of 0.001 outside of its interval from 0.198 to 0.202"),
    ]
    for change, words in wrong:
        document = json.loads(whole.to_json())
        document["scores"][1]["metrics"]["t_stddev"] |= change
        (tmp_path / "wrong.json").write_text(json.dumps(document))
        with pytest.raises(UsageError, match=words):
            Scores.read(tmp_path / "wrong.json")
    bare = Scores([{**each, "differences": {}} for each in rows[1:]], whole.config, {})
    unknown = Scores.read(bare.write(tmp_path / "bare.json"))
    assert [each.difference.to for each in unknown.rows] == ["flip", "flip"]
    assert [each.tied_with_best for each in unknown.rows] == [True, False]
    assert unknown.rows[0].difference.value == 0
    assert math.isnan(unknown.rows[1].difference.value)
    (tmp_path / "mark.json").write_text("\ufeff" + whole.to_json(), encoding="utf-8")
    assert Scores.read(tmp_path / "mark.json") == whole
    (tmp_path / "latin.json").write_text(whole.to_json().replace("noise", "größe"), encoding="latin-1")
    with pytest.raises(UsageError, match="not JSON in UTF-8: save it in that encoding"):
        Scores.read(tmp_path / "latin.json")
