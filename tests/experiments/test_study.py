"""The study's runs: what they are, that none is trained twice, how far they are."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import typer
from typer.testing import CliRunner

from dametric import cli
from dametric.base.files import sha256
from experiments.study import plan, run
from experiments.study.plan import RECORDS, ROOT, Ledger, expected, files, status
from experiments.study.run import TAG, collect

CIFAR = ROOT.parent / "shared" / "data" / "cifar100"
needs_images = pytest.mark.skipif(not CIFAR.is_dir(), reason=f"no CIFAR-100 in {CIFAR}")


def test_the_study_is_what_was_fixed() -> None:
    """36 runs of the ladder, 8 units of 12 settings, their short schedules, four settings once more."""
    runs = expected()
    students = [run for run in runs if run.part != "teachers"]
    assert {run.key[0] for run in runs if run.part == "teachers"} == {f"T{number}" for number in range(1, 9)}
    by_steps = {steps: [run.key for run in students if run.steps == steps] for steps in (2000, 100, 400)}
    assert {steps: len(keys) for steps, keys in by_steps.items()} == {2000: 36 + 87 + 23, 100: 128, 400: 128}
    units = {("T0", "resnet8"), ("T2", "resnet8"), ("T4", "resnet8"), ("T8", "resnet8")}
    units |= {("T3", "wrn_16_1"), ("T5", "wrn_16_1"), ("T6", "wrn_16_1"), ("T7", "wrn_16_1")}
    for unit in units:
        for seed, count in ((0, 12), (1, 4)):
            for steps in (2000, 100, 400):
                settings = {key[2] for key in by_steps[steps] if key[:2] == unit and key[3] == seed}
                assert len(settings) == count or (unit[1], steps) == ("resnet8", 2000), (unit, seed, steps)
    ladder = [run.key for run in runs if run.part == "ladder"]
    assert {key[0] for key in ladder} == {f"T{number}" for number in range(6)}
    assert {(key[1], key[2]) for key in ladder} == {
        ("resnet8", aug) for aug in ("identity", "cutmix", "randaugment:n=2,m=9")
    }


def test_a_unit_is_finished_with_its_short_schedules_before_the_next_begins() -> None:
    runs = [run for run in expected() if run.part in ("strengths", "short")]
    order = list(dict.fromkeys(run.unit for run in runs))
    teachers = [unit.partition(" ")[0] for unit in order]
    assert teachers == ["T0", "T3", "T4", "T5", "T2", "T6", "T8", "T7"]
    assert [run.unit for run in runs] == sorted((run.unit for run in runs), key=order.index)


def entry(folder: Path, teacher: str | None, status: str = "finished", **recipe: Any) -> Path:
    config = {"kind": "distill" if teacher else "train", "student": "resnet8"}
    more = {"recipe": {"aug": "identity", "seed": 0, "steps": 2000, **recipe}, "teacher": {"sha256": teacher}}
    folder.mkdir(parents=True)
    record = {"status": status, "config": {**config, **more}, "timing": {"seconds": 100.0}}
    (folder / "record.json").write_text(json.dumps(record))
    (folder / "history.csv").write_text("epoch,step,seconds\n1,78,4\n2,156,5\n")
    return folder


def test_finished_runs_are_copied_once_and_counted(tmp_path: Path) -> None:
    runs, records = tmp_path / "runs", tmp_path / "records"
    (runs / "teachers").mkdir(parents=True)
    for name in ("T0", "cifar100-5000-T1"):
        (runs / "teachers" / f"{name}.pth").write_bytes(name.encode())
    given = sha256(runs / "teachers" / "T0.pth")
    entry(runs / "teachers" / "cifar100-5000-T1.run", None)
    entry(runs / "a", given)
    entry(runs / "steps=100" / "b", given, steps=100, aug="cutmix")
    entry(runs / "begun", given, "running", aug="cutmix")
    (runs / "begun" / "last.pt").write_bytes(b"weights")
    assert collect(runs, records) == 7, "the teacher's network, and record and history of three"
    assert collect(runs, records) == 0
    kept = {path.relative_to(records).as_posix() for path in records.rglob("*") if path.is_file()}
    assert not any("begun" in name or name.endswith(".pt") for name in kept)
    assert files(records / "a")[-1].name == "record.json", "last: what it speaks of is there"
    shutil.copy(runs / "teachers" / "T0.pth", records / "teachers")
    lines = status(records, runs)
    assert [line.split()[:4] for line in lines[:2]] == [["ladder", "1", "of", "36"], ["teachers", "1", "of", "8"]]
    assert lines[-1].startswith("all          3 of 410 runs finished, 1 begun")
    assert "hours of two cores" in lines[-1]
    nowhere = status(tmp_path / "nothing", tmp_path / "nowhere")
    assert nowhere[-1] == "all          0 of 410 runs finished, 0 begun; left: ?"


def test_how_far_it_is_shows_without_loading_torch() -> None:
    script = "import sys; from experiments.study import status; assert 'torch' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_tag_s_commit_is_recorded() -> None:
    commit = (ROOT / "experiments" / "study" / "commit.txt").read_text().strip()
    assert len(commit) == 40
    tagged = subprocess.run(
        ["git", "-C", str(ROOT), "rev-parse", "-q", "--verify", TAG], capture_output=True, text=True
    )
    assert tagged.stdout.strip() in ("", commit)


@needs_images
@pytest.mark.parametrize("chip", [pytest.param("as it is", marks=pytest.mark.slow), "with bfloat16"])
def test_committed_records_count_as_done_wherever_they_are_looked_at(
    chip: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A fresh clone has records and teachers, and neither weights of students nor what training was kept in."""
    clone = tmp_path / "study"
    ledger = Ledger(RECORDS)
    for folder, _ in ledger.finished().values():
        for path in files(folder):
            place = clone / path.relative_to(RECORDS)
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, place)
    monkeypatch.chdir(ROOT)
    if chip == "with bfloat16":
        monkeypatch.setattr("dametric.models.computing.preferred_dtype", lambda device: torch.bfloat16)
    counts = {"ladder": 0, "strengths": 0}
    for grid in plan.GRIDS:
        said = CliRunner().invoke(
            cli.app,
            ["sweep", f"experiments/{grid}.yaml", "-o", str(clone), "--dry-run", "--set", f"data.source={CIFAR}"],
        )
        assert said.exit_code == 0, said.output
        *_, total = (line.split() for line in said.output.splitlines() if line.startswith("all "))
        counts[grid] = int(total[2])
    named = {grid: {run.key for run in expected() if run.key in ledger.finished()} for grid in plan.GRIDS}
    assert counts["ladder"] == len([key for key in named["ladder"] if _in(key, "ladder")])
    assert counts["strengths"] == len([key for key in named["strengths"] if _in(key, "strengths")])


def _in(key: tuple[Any, ...], grid: str) -> bool:
    """Whether a grid names a run."""
    from dametric.sweeps.grid import read_grid

    rows = read_grid(str(ROOT / "experiments" / f"{grid}.yaml")).rows
    if len(key) == 1:
        return any(row.teacher == key[0] for row in rows)
    return any((row.teacher, row.student, row.aug, row.seed, dict(row.training)["steps"]) == key for row in rows)


def test_the_worktree_is_brought_to_the_tag(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Made anew where it is missing or broken, moved where it is elsewhere, refused where somebody changed it."""
    root, worktree = tmp_path / "clone", tmp_path / "clone" / ".study"

    def git(*arguments: str, at: Path = root) -> str:
        who = ("-c", "user.name=a", "-c", "user.email=a@b")
        return subprocess.run(["git", "-C", str(at), *who, *arguments], capture_output=True, text=True).stdout.strip()

    root.mkdir()
    git("init", "-q")
    for name in ("first", "second"):
        (root / name).write_text(name)
        git("add", name)
        git("commit", "-q", "-m", name)
    commit = git("rev-parse", "HEAD~1")
    (root / "commit.txt").write_text(commit + "\n")  # of a clone without tags
    for name, value in (("ROOT", root), ("WORKTREE", worktree), ("COMMIT", root / "commit.txt")):
        monkeypatch.setattr(run, name, value)
    for spoil in (
        lambda: None,
        lambda: git("checkout", "-q", "--detach", git("rev-parse", "HEAD"), at=worktree),
        lambda: (worktree / ".git").write_text("gitdir: /nowhere\n"),
        lambda: shutil.rmtree(worktree),
    ):
        spoil()
        run.checkout()
        assert git("rev-parse", "HEAD", at=worktree) == commit
        assert (worktree / "first").exists()
        assert not (worktree / "second").exists()
    (worktree / "first").write_text("changed")
    with pytest.raises(typer.BadParameter, match="as it was committed"):
        run.checkout()
    git("tag", run.TAG)
    git("checkout", "-q", "--", "first", at=worktree)
    run.checkout()
    assert (worktree / "second").exists(), "a tag that was moved"
    (root / "commit.txt").write_text("0" * 40)
    git("tag", "-d", run.TAG)
    with pytest.raises(typer.BadParameter, match="neither the tag"):
        run.checkout()
