"""Documents that were edited by hand: one line that names the file and the field, from every command."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dametric import cli
from dametric.errors import UsageError
from dametric.records.runs import Run, read_record
from dametric.records.scores import Scores

DEMO = Path(__file__).resolve().parents[2] / "experiments" / "results" / "digits" / "demo"
ABSENT = object()

SCORES: list[tuple[str, Any]] = [
    ("scores", {}),
    ("scores", []),
    ("scores[0]", "cutmix"),
    ("scores[0].aug", 3),
    ("scores[1].aug", ABSENT),
    ("scores[1].metrics", ["t_stddev"]),
    ("scores[1].metrics.t_stddev", ABSENT),
    ("scores[1].metrics.t_stddev", 0.5),
    ("scores[1].metrics.t_stddev.value", "0.0130"),
    ("scores[1].metrics.t_stddev.value", [0.0130]),
    ("scores[1].metrics.t_stddev.value", True),
    ("scores[1].metrics.t_stddev.se", ABSENT),
    ("scores[1].metrics.t_stddev.low", {"value": 1}),
    ("scores[1].metrics.t_stddev.direction", "up"),
    ("scores[1].metrics.t_stddev.direction", "higher"),
    ("scores[1].difference", None),
    ("scores[1].difference.value", "0"),
    ("scores[1].tied_with_best", "no"),
    ("scores[1].rows", -1),
    ("scores[1].rows", 2.5),
    ("config", []),
    ("config.metrics", "t_stddev"),
    ("config.metrics", ABSENT),
    ("config.teacher", "resnet8"),
    ("config.teacher.sha256", 12),
    ("config.data", "digits"),
    ("config.data.name", ABSENT),
    ("config.seed", "0"),
    ("versions", ["torch 2"]),
]
RECORDS: list[tuple[str, Any]] = [
    ("id", 3),
    ("id", ABSENT),
    ("status", "done"),
    ("config", "distill"),
    ("config.kind", "distillation"),
    ("config.recipe", ABSENT),
    ("config.recipe.seed", "0"),
    ("config.recipe.seed", -1),
    ("config.recipe.aug", ABSENT),
    ("config.recipe.epochs", None),
    ("config.recipe.batch_size", 0),
    ("config.recipe.lr", "0.05"),
    ("config.recipe.objective", [0.1, 0.9, 0.9]),
    ("config.recipe.objective.temperature", "4"),
    ("about.student", "resnet8"),
    ("about.student.arch", ABSENT),
    ("about.teacher", ["resnet8"]),
    ("about.data.name", None),
    ("about.data.train", "1442"),
    ("last", [1.0]),
    ("last.test_loss", "0.25"),
    ("last.test_top1", {"mean": 0.5}),
    ("last.epoch", 1.5),
    ("best", "last"),
    ("timing", 12.5),
    ("timing.seconds", "12.5"),
    ("code", "0.1.0"),
]


def changed(document: dict[str, Any], place: str, value: Any) -> dict[str, Any]:
    """A copy with one field replaced, or taken away."""
    copy = json.loads(json.dumps(document))
    inner: Any = copy
    *parents, last = place.replace("[", ".").replace("]", "").split(".")
    for key in parents:
        inner = inner[int(key) if key.isdecimal() else key]
    if value is ABSENT:
        del inner[last]
    else:
        inner[int(last) if last.isdecimal() else last] = value
    return copy


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """A score file and a ledger of one run, which nothing has changed yet."""
    shutil.copy(DEMO / "scores.json", tmp_path)
    shutil.copytree(next((DEMO / "runs").glob("*cutmix-s0*")), tmp_path / "runs" / "a")
    assert Scores.read(tmp_path / "scores.json").scores
    assert read_record(tmp_path / "runs" / "a" / "record.json")["status"] == "finished"
    return tmp_path


@pytest.fixture
def line(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """What a command that is refused says."""

    def line(*arguments: object) -> str:
        assert cli._run([str(argument) for argument in arguments]) == 2
        said = capsys.readouterr()
        assert said.out == ""
        assert len(said.err.splitlines()) == 1, said.err
        assert len(said.err) < 400
        return said.err

    return line


def test_a_score_file_that_was_edited_by_hand(study: Path, line: Callable[..., str]) -> None:
    path = study / "scores.json"
    whole = json.loads(path.read_text(encoding="utf-8"))
    commands = (("correlate", path, study / "runs"), ("report", path, study / "runs", "-o", study / "r.html", "-q"))
    for number, (place, value) in enumerate(SCORES):
        path.write_text(json.dumps(changed(whole, place, value)), encoding="utf-8")
        said = line(*commands[number % 2])
        assert str(path) in said, (place, value)
        assert f"'{place}'" in said, (place, value, said)
    assert not (study / "r.html").exists()


def test_a_record_that_was_edited_by_hand(study: Path, line: Callable[..., str]) -> None:
    path = study / "runs" / "a" / "record.json"
    whole = json.loads(path.read_text(encoding="utf-8"))
    ledger, scores = study / "runs", study / "scores.json"
    commands = (("runs", ledger), ("correlate", scores, ledger), ("report", scores, ledger, "-o", study / "r.md", "-q"))
    for number, (place, value) in enumerate(RECORDS):
        path.write_text(json.dumps(changed(whole, place, value)), encoding="utf-8")
        said = line(*commands[number % 3])
        assert str(path) in said, (place, value)
        assert f"'{place}'" in said, (place, value, said)


def test_numbers_that_json_does_not_have(study: Path) -> None:
    path = study / "scores.json"
    text = path.read_text(encoding="utf-8")
    value = json.dumps(json.loads(text)["scores"][0]["metrics"]["t_stddev"]["value"])
    assert value in text
    for number, said in (
        ("NaN", "NaN is no number of JSON's"),
        ("-Infinity", "-Infinity"),
        ("1e999", "is inf, not at most 1e\\+300"),
        ("9" * 4000, "is a huge number, not at most"),
        ("9" * 5000, "is not JSON"),
        ("[" * 100_000, "is not JSON"),
    ):
        path.write_text(text.replace(value, number, 1), encoding="utf-8")
        with pytest.raises(UsageError, match=said) as caught:
            Scores.read(path)
        assert len(str(caught.value)) < 500


def test_an_augmentation_that_stands_twice(study: Path) -> None:
    path = study / "scores.json"
    whole = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(changed(whole, "scores[2].aug", whole["scores"][0]["aug"])), encoding="utf-8")
    with pytest.raises(UsageError, match=r"'scores\[2\]\.aug' is .* once more"):
        Scores.read(path)


def test_a_history_without_what_it_needs(study: Path, line: Callable[..., str]) -> None:
    folder = study / "runs" / "a"
    record = json.loads((folder / "record.json").read_text(encoding="utf-8"))
    Run(folder).write_record({**record, "status": "running"})
    for text in (
        "epoch,seconds\n1,2\n",
        "epoch,test_top1,seconds\n1,0.5\n",
        "epoch,test_top1,seconds\n1,x,2\n",
        "\0\n1\n",
    ):
        (folder / "history.csv").write_text(text, encoding="utf-8")
        assert f"cannot read {folder / 'history.csv'}" in line("runs", study / "runs")


def test_documents_that_never_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pipe would be waited for, a device read for ever."""
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero")):
        with pytest.raises(UsageError, match="it is a pipe or a device; give the name of a file"):
            Scores.read(path)
    monkeypatch.setattr("dametric.records.scores.MOST_TEXT", 10)
    (tmp_path / "long.json").write_text("[1, 2, 3, 4, 5]")
    with pytest.raises(UsageError, match="more than the 10 bytes"):
        Scores.read(tmp_path / "long.json")
    with pytest.raises(UsageError, match="cannot read"):
        Scores.read("with\0nul.json")
