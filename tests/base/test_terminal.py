"""What reaches a terminal or a spreadsheet from files of others: text, that does nothing."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from dametric import cli
from dametric.base.spreadsheet import csv_text
from dametric.base.terminal import printable
from dametric.records.runs import Run, read_record

DEMO = Path(__file__).resolve().parents[2] / "experiments" / "results" / "digits" / "demo"
EVIL = "\x1b]0;owned\x07\x1b[2J\x9b31mred\u202e"


def test_control_characters_are_spelt_out() -> None:
    assert printable("größe → 0.1 ± 0.2\t\n") == "größe → 0.1 ± 0.2\t\n"
    assert printable(EVIL) == r"\x1b]0;owned\x07\x1b[2J\x9b31mred\u202e"


def test_names_in_records_move_no_cursor_and_compute_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "runs" / "a"
    shutil.copytree(next((DEMO / "runs").glob("*-cutmix-s0-*")), folder)
    record = read_record(folder / "record.json")
    record["about"]["student"]["arch"] = EVIL
    record["config"]["recipe"]["aug"] = "=cmd|'/c calc'!A1"
    Run(folder).write_record(record)
    assert cli._run(["runs", str(tmp_path / "runs"), "--csv", str(tmp_path / "runs.csv")]) == 0
    out = capsys.readouterr().out
    assert not set(EVIL) & set(out) & set("\x1b\x07\x9b\u202e")
    assert r"\x1b]0;owned\x07" in out
    table = pd.read_csv(tmp_path / "runs.csv")
    assert table["aug"].tolist() == ["'=cmd|'/c calc'!A1"]
    assert table["test_loss"].tolist() == [record["last"]["test_loss"]]
    (folder / "record.json").write_text(
        json.dumps({**json.loads((folder / "record.json").read_text()), "status": EVIL})
    )
    assert cli._run(["runs", str(tmp_path / "runs")]) == 2
    assert "\x1b" not in capsys.readouterr().err


def test_numbers_stay_numbers_in_csv() -> None:
    table = pd.DataFrame({"=a": [-1.5, 0.1 + 0.2], "b": ["-flip", "crop+flip"], "c": ["@x", "\tx"], "d": [None, "+1"]})
    assert csv_text(table).splitlines() == [
        "'=a,b,c,d",
        "-1.5,'-flip,'@x,",
        "0.30000000000000004,crop+flip,'\tx,'+1",
    ]


def test_stdout_that_is_closed(tmp_path: Path) -> None:
    """What is printed goes nowhere, not into the file that is opened next; the same with stderr."""
    arguments = f"'{sys.executable}' -m dametric runs '{DEMO / 'runs'}' --csv '{tmp_path / 'runs.csv'}'"
    script = f"{arguments} >&-; echo $?; {arguments} --json 2>&- <&- | head -c 1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert done.stdout.splitlines() == ["0", "["]
    assert done.returncode == 0
    assert len(pd.read_csv(tmp_path / "runs.csv")) == 18
