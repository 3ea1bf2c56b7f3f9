"""One id is one run, in however many folders it lies."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from dametric import cli, join, load_runs
from dametric.records.runs import Run, read_record
from dametric.records.scores import Scores

DEMO = Path(__file__).resolve().parents[2] / "experiments" / "results" / "digits" / "demo"


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    """Two students of one augmentation."""
    for folder in (DEMO / "runs").glob("*-cutmix-s*"):
        shutil.copytree(folder, tmp_path / "runs" / folder.name)
    return tmp_path / "runs"


def test_a_ledger_that_was_copied_below_itself(ledger: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scores, once = Scores.read(DEMO / "scores.json"), load_runs(ledger)
    assert len(once) == 2
    assert capsys.readouterr().err == ""
    before = join(scores, once)
    assert before["seeds"].tolist() == [2]
    assert "scored but not distilled" in capsys.readouterr().err
    shutil.copytree(ledger, ledger.parent / "copy")
    shutil.move(str(ledger.parent / "copy"), str(ledger / "backup of monday"))
    twice = load_runs(ledger)
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1
    assert said[0].startswith("2 runs lie in several folders and count once: ")
    assert "backup of monday" in said[0].split(", not ")[1]
    assert twice.equals(once)
    losses = [read_record(path / "record.json")["last"]["test_loss"] for path in ledger.glob("*-s?-*")]
    assert len(losses) == 2
    after = join(scores, twice)
    assert after["test_loss_se"].tolist() == pytest.approx([abs(losses[0] - losses[1]) / 2])  # of the mean of two
    assert after.equals(before)
    assert cli._run(["runs", str(ledger), "--json"]) == 0
    records = json.loads(capsys.readouterr().out)
    assert len(records) == 2


def test_the_copy_that_is_finished_counts_and_others_are_said(ledger: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = sorted(ledger.iterdir())
    shutil.copytree(first, ledger / "deep" / "copy")
    Run(first).write_record({**read_record(first / "record.json"), "status": "interrupted"})
    table = load_runs(ledger)
    assert table["status"].tolist() == ["finished", "finished"]
    assert set(table["folder"]) == {str(ledger / "deep" / "copy"), str(second)}
    assert "WARNING" not in capsys.readouterr().err
    record = read_record(ledger / "deep" / "copy" / "record.json")
    Run(first).write_record({**record, "last": {**record["last"], "test_loss": 9.0}})
    assert load_runs(ledger)["test_loss"].max() == 9.0, "the one that is least deep"
    assert f"WARNING: copies of run {record['id']} differ in their results: {first} counts" in capsys.readouterr().err
