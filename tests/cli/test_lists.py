"""What `dametric ls` and `dametric init` say is what the code has."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from dametric import cli
from dametric.augment import AUGS, parse
from dametric.augment.catalogue import RANGES
from dametric.errors import UsageError
from experiments.lists import FILE, lists

REAL_NETWORKS = True


def test_the_lists_are_what_the_code_has() -> None:
    assert json.loads(FILE.read_text()) == json.loads(json.dumps(lists())), "run python -m experiments.lists"


def test_ranges_of_parameters_are_those_that_are_kept() -> None:
    assert {name for name, known in RANGES.items() if known} == AUGS.keys() - {"identity", "trivialaugment"}
    inside = ["flip:p=0", "flip:p=1", "crop:padding=0", "rrc:scale=1:ratio=1", "cutout:length=1", "randaugment:n=1:m=0"]
    inside += ["randaugment:n=100:m=30", "mixup:alpha=0.001", "cutmix:partner=roll", "cutmixpick:runs=2:by=kld"]
    for spec in inside:
        parse(spec)
    outside = ["flip:p=1.1", "crop:padding=-1", "rrc:scale=0", "rrc:ratio=0.9", "cutout:length=0", "randaugment:n=0"]
    outside += ["randaugment:n=101", "randaugment:m=31", "mixup:alpha=0", "cutmix:partner=other", "cutmixpick:runs=1"]
    outside += ["autoaugment:policy=other", "mixup:partner=other"]
    for spec in outside:
        with pytest.raises(UsageError):
            parse(spec)


def test_lists_take_no_torch() -> None:
    code = "import sys; from dametric import cli; cli._run(['ls', 'augs']); cli._run(['ls', 'grid'])"
    code += "; assert not {'torch', 'pandas', 'numpy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_init_writes_a_grid_that_can_be_planned(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "grid.yaml"
    assert cli._run(["init", str(path)]) == 0
    assert f"next: dametric sweep {path} --dry-run" in capsys.readouterr().err
    assert cli._run(["sweep", str(path), "--dry-run", "-o", str(tmp_path / "runs"), "-q"]) == 0
    assert "digits: resnet8 -> resnet8     8" in capsys.readouterr().out
    assert cli._run(["init", str(path)]) == 2
    assert "is there already" in capsys.readouterr().err


def test_shells_are_told_how_to_complete_and_h_is_help(capsys: pytest.CaptureFixture[str]) -> None:
    words = {**os.environ, "_DAMETRIC_COMPLETE": "complete_bash", "COMP_WORDS": "dametric corr", "COMP_CWORD": "1"}
    asked = [sys.executable, "-m", "dametric"]
    answer = subprocess.run(asked, env=words, capture_output=True, text=True)
    assert answer.stdout.strip() == "correlate"
    assert cli._run(["score", "-h"]) == 0
    assert "Examples:" in capsys.readouterr().out


def test_every_command_shows_two_examples(capsys: pytest.CaptureFixture[str]) -> None:
    for command in cli.app.registered_commands:
        name = command.name or getattr(command.callback, "__name__", "")
        assert cli._run([name, "--help"]) == 0
        assert capsys.readouterr().out.count(f"    dametric {name}") >= 2, name
