"""The ledger as a table, in a terminal of any width."""

from __future__ import annotations

from pathlib import Path

import pytest

from dametric.cli import runs
from dametric.records.ledger import Ledger
from dametric.records.runs import Run, find_runs

MEASURED = {"test_loss": 1.25, "test_top1": 0.5, "test_top5": 0.9, "test_ece": 0.1, "test_agreement": 0.75}


@pytest.fixture
def ledger(tmp_path: Path) -> list[Run]:
    """Two students."""
    for seed in (0, 1):
        config = {"kind": "distill", "recipe": {"aug": "mixup:alpha=0.2", "seed": seed, "epochs": 240}}
        about = {"teacher": {"arch": "resnet20"}, "student": {"arch": "resnet8"}, "data": {"name": "cifar100"}}
        run = Run.of(tmp_path, config, "resnet8")
        row = {"epoch": 240, **MEASURED}
        record = {"id": str(seed), "status": "finished", "config": config, "about": about, "last": row, "best": row}
        run.write_record({**record, "timing": {"seconds": 61.2}})
    return find_runs(tmp_path)


@pytest.mark.parametrize(
    ("width", "left_out"),
    [(250, set()), (100, {"ece"}), (80, {"ece", "best", "agree"})],
)
def test_a_narrow_terminal_gets_fewer_columns_but_whole_words(
    ledger: list[Run],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    width: int,
    left_out: set[str],
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("TERM", "dumb")  # no bold letters
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    runs.print_runs(Ledger(tuple(ledger)))
    heading, *rows = capsys.readouterr().out.splitlines()
    assert set(heading.split()) == {
        *("teacher", "student", "augmentation", "epochs", "test", "loss", "top-1", "%"),
        *({"ece", "best", "agree", "seconds", "seed"} - left_out),
    }
    assert all(len(line) <= width for line in (heading, *rows))
    assert len(rows) == 2
    assert all("mixup:alpha=0.2" in row and "1.2500" in row and "…" not in row for row in rows)


def test_what_one_student_s_recipes_differ_in_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], ledger: list[Run]
) -> None:
    for run in ledger[:1]:
        record = dict(run.record or {})
        config = record["config"]
        recipe = {**config["recipe"], "per": "batch", "epochs": 960}
        other = Run.of(run.folder.parent, {**config, "recipe": recipe}, "resnet8")
        other.write_record({**record, "id": "2", "config": {**config, "recipe": recipe}})
        run.write_record({**record, "config": {**config, "recipe": {**config["recipe"], "per": "sample"}}})
    runs.print_runs(Ledger(tuple(find_runs(tmp_path))))
    _, *rows = capsys.readouterr().out.splitlines()
    said = sorted(row.split("  ")[1].strip() for row in rows)
    assert said == ["resnet8", "resnet8 (per batch)", "resnet8 (per sample)"]
