"""`dametric score --student NAME`: the warm student is made once, and scores are read with it, as a user calls it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from dametric.choosing import warm
from dametric.choosing.student_scores import warm_scores
from dametric.models import build, save_checkpoint
from dametric.records.scores import Scores
from dametric.training import Training
from tests.cli.conftest import Run

NAMES = ("cutmix", "identity")


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Options of a command on digits of 8 pixels, with a short warm student and few batches."""
    torch.manual_seed(2)
    save_checkpoint(tmp_path / "t.pth", build("resnet8", 10, 8), arch="resnet8", data="digits", image_size=8)
    monkeypatch.setattr(warm, "LEAST", 3)
    monkeypatch.setitem(warm_scores.__kwdefaults__ or {}, "batches", 3)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    quick = ["--batches", 4, "--batch-size", 32, "--no-accuracy", "--student-epochs", 2, "--device", "cpu"]
    return ["-t", "t.pth", *(word for name in NAMES for word in ("--aug", name)), *quick]


def test_an_architecture_is_distilled_once_and_its_scores_stand_in_table_and_file(
    run: Run, small: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = ["-m", "grad_align", "-m", "ts_useful", "-m", "ridge_student", "-m", "branch_loss"]
    said = run("score", *small, "--student", "resnet8", *asked, "--json", "-o", "s.json")
    assert said.code == 0, said.err
    assert "distilled for 3 steps on 2 candidates" in said.err
    document = said.document
    assert document["config"]["metrics"][:4] == ["grad_align", "ts_useful", "ridge_student", "branch_loss"]
    student = document["config"]["warm_student"]
    assert (student["steps"], sorted(student["candidates"]), student["held_out"]) == (3, sorted(NAMES), 144)
    for row in document["scores"]:
        for name, cost in (("grad_align", 3 + 144 / 256), ("branch_loss", 2 * 2)):
            metric = row["metrics"][name]
            assert metric["student"] == student["sha256"]
            assert metric["cost"] == cost
            assert metric["low"] < metric["value"] < metric["high"]
        assert "student" not in row["metrics"]["ts_useful"], "which the usual pass computed"
    first, second = (row["metrics"]["grad_align"]["value"] for row in document["scores"])
    assert first > second, "best first by what was asked for first"
    assert document["scores"][1]["difference"]["value"] == pytest.approx(second - first)
    assert document["scores"][0]["difference"]["to"] == document["scores"][0]["aug"]
    assert Scores.read("s.json").to_dict() == document

    monkeypatch.setattr(Training, "learn", lambda *_: pytest.fail("trained again"))
    again = run("score", *small, "--student", "resnet8", *asked, "--json")
    assert again.document["scores"] == document["scores"]
    file = next(Path("cache/dametric/students/warm").glob("*/last.pt"))
    given = run("score", *small, "--student", file, "-m", "grad_align")
    assert "as it was given" in given.out
    assert "no evidence yet" in given.out
    assert "cost of an augmentation in training steps of the student: grad_align 3.56" in given.out
    assert "if it was trained on the held-out images" in given.err
    assert "t_stddev" in given.out.splitlines()[0], "something of the teacher stands beside"


def test_added_to_scores_read_with_a_student_are_what_one_run_gives(
    run: Run, small: list[object], refused: Callable[..., str], tmp_path: Path
) -> None:
    for asked in (["-m", "ridge_student", "-m", "t_entropy"], ["-m", "t_entropy", "-m", "grad_align"]):
        assert run("score", *small, "--student", "resnet8", *asked, "-o", "s.json").code == 0
        student = next(Path("cache/dametric/students/warm").glob("*/last.pt"))
        whole = run("score", *small, "--aug", "flip", "--student", student, *asked, "--json").document
        said = run("score", "-t", "t.pth", "--aug", "flip", "--aug", "cutmix", "--add", "s.json", "--json")
        assert said.code == 0, said.err
        assert said.document["scores"] == whole["scores"]
        assert ("all 3 augmentations are scored again" in said.err) == (asked[1] == "ridge_student")
        config, before = said.document["config"], Scores.read("s.json").settings
        assert config["metrics"] == whole["config"]["metrics"]
        assert config["warm_student"]["steps"] == 3, "whose they are is not forgotten"
        assert before.warm_student is not None
        again = run(
            "score", "-t", "t.pth", "--aug", "noise", "--add", "s.json", "--student", student, "--json"
        ).document
        later = {row["aug"]: row["metrics"] for row in again["scores"]}
        for row in whole["scores"]:
            for name, metric in row["metrics"].items():
                assert later[row["aug"]][name]["value"] == pytest.approx(metric["value"], rel=1e-9), name
    save_checkpoint(tmp_path / "other.pth", build("resnet8", 10, 8), arch="resnet8", data="digits", image_size=8)
    line = refused("score", "-t", "t.pth", "--aug", "blur", "--add", "s.json", "--student", "other.pth")
    assert f"the scores were read with {before.warm_student.sha256[:12]}: give that student with --student FILE" in line
    student.rename("moved.pt")
    line = refused("score", "-t", "t.pth", "--aug", "blur", "--add", "s.json")
    assert "last.pt: give its checkpoint with --student FILE, or score all augmentations anew" in line
    assert run("score", "-t", "t.pth", "--aug", "blur", "--add", "s.json", "--student", "moved.pt").code == 0


def test_a_given_student_is_the_same_theta0_as_the_one_it_was_saved_from(run: Run, small: list[object]) -> None:
    options = ["-m", "ridge_student", "-m", "t_entropy", "--json"]
    made = run("score", *small, "--student", "resnet8", *options).document
    file = next(Path("cache/dametric/students/warm").glob("*/last.pt"))
    given = run("score", *small, "--student", file, *options).document
    for one, other in zip(made["scores"], given["scores"], strict=True):
        assert one["metrics"]["ridge_student"] == other["metrics"]["ridge_student"]
    assert (given["config"]["warm_student"]["steps"], made["config"]["warm_student"]["steps"]) == (0, 3)


def test_what_cannot_be_is_one_line(
    small: list[object], refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Training, "learn", lambda *_: pytest.fail("refused too late"))
    assert "--student" in refused("score", *small[:-4], "-m", "grad_align")
    assert "--student-epochs 2" in refused("score", *small)
    assert "--split test" in refused("score", *small, "--student", "resnet8", "--split", "test")
    assert "resnet9000" in refused("score", *small[:-4], "--student", "resnet9000")
    assert "grad_aling" in refused("score", *small[:-4], "--student", "t.pth", "-m", "grad_aling")
