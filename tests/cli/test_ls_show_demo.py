"""``dametric ls``, ``show`` and ``demo``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from dametric import scoring
from dametric.augment import AUGS, PAPER
from dametric.cli import demo as demo_command
from dametric.data import DATA
from dametric.data.request import ImageRequest, Splits
from dametric.metrics import METRICS
from dametric.models import MODELS, load_checkpoint
from dametric.records.choices import read_choice
from dametric.records.joining import join
from dametric.records.runs import load_runs
from dametric.records.scores import Scores

Run = Callable[..., Any]


# ls


@pytest.mark.parametrize(
    ("what", "names"),
    [("augs", AUGS), ("metrics", METRICS), ("models", MODELS), ("data", DATA)],
    ids=lambda v: v if isinstance(v, str) else "names",
)
def test_a_list_has_every_name_in_a_line_of_its_own(run: Run, what: str, names: dict[str, Any]) -> None:
    said = run("ls", what)
    assert said.code == 0
    assert said.err == ""
    lines = said.out.splitlines()
    listed = [line.split()[0] for line in lines]
    assert set(names) <= set(listed)
    assert len(set(listed)) == len(listed)
    described = {line.split()[0]: line.split(None, 1)[1:] for line in lines}
    assert all(described[name] for name in names)
    assert all(line == line.rstrip() for line in lines)


def test_lists_say_what_else_can_be_given(run: Run) -> None:
    assert "./augs.py:fn" in run("ls", "augs").out
    assert "paper" in run("ls", "augs").out
    models = run("ls", "models").out
    assert all(word in models for word in ("torchvision:NAME", "timm:NAME", "./nets.py:fn"))
    assert "Parquet" in run("ls", "data").out
    assert "needs --student" in next(
        line for line in run("ls", "metrics").out.splitlines() if line.startswith("ce_cov")
    )


@pytest.mark.parametrize(
    ("typed", "hint"), [("aug", "augs"), ("model", "models"), ("metric", "metrics"), ("x", "data")]
)
def test_a_list_with_a_typo(refused: Callable[..., str], typed: str, hint: str) -> None:
    assert hint in refused("ls", typed)


def test_without_a_word_the_lists_are_named(refused: Callable[..., str]) -> None:
    assert "augs|metrics|models|data|grid" in refused("ls")


# show


def test_show_draws_raw_and_augmented_rows(run: Run, tmp_path: Path) -> None:
    target = tmp_path / "grids" / "grid.png"
    said = run("show", "--aug", "crop+flip+cutmix", "--aug", "mixup", "--data", "digits", "-o", target)
    assert said.code == 0
    assert said.out == ""
    assert str(target) in said.err
    with Image.open(target) as picture:
        width, height = picture.size
        pixels = np.asarray(picture.convert("RGB"))
    assert 1000 < width < 4000
    assert 400 < height < 2000
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 100
    assert [path.name for path in target.parent.iterdir()] == ["grid.png"]


def test_show_is_digits_unless_told_otherwise_and_quiet_when_asked(run: Run, tmp_path: Path) -> None:
    said = run("show", "-a", "cutout", "-o", tmp_path / "grid.png", "-q")
    assert (said.code, said.out, said.err) == (0, "", "")


def test_one_seed_draws_one_picture(run: Run, tmp_path: Path) -> None:
    for name, seed in (("a.png", 1), ("b.png", 1), ("c.png", 2)):
        assert run("show", "-a", "cutmix", "-o", tmp_path / name, "--seed", seed, "--images", 2).code == 0
    first, again, other = (np.asarray(Image.open(tmp_path / name)) for name in ("a.png", "b.png", "c.png"))
    np.testing.assert_array_equal(first, again)
    assert first.shape != other.shape or (first != other).any()


@pytest.mark.parametrize("more", [["--base-aug", "none"], ["--images", "1"], ["--images", "40"]])
def test_show_takes_the_options_of_scoring(run: Run, tmp_path: Path, more: list[str]) -> None:
    assert run("show", "-a", "cutmix", "-o", tmp_path / "grid.png", *more).code == 0
    assert (tmp_path / "grid.png").read_bytes().startswith(b"\x89PNG")


def test_parameters_per_batch_are_the_same_in_a_row(run: Run, tmp_path: Path) -> None:
    for per in ("sample", "batch"):
        assert run("show", "-a", "cutout", "-o", tmp_path / f"{per}.png", "--per", per, "--images", 4).code == 0
    assert (tmp_path / "sample.png").read_bytes() != (tmp_path / "batch.png").read_bytes()


def test_every_augmentation_of_the_paper_can_be_shown(run: Run, tmp_path: Path) -> None:
    said = run("show", *(word for aug in PAPER for word in ("-a", aug)), "-o", tmp_path / "grid.svg", "--images", 3)
    assert said.code == 0
    assert "<svg" in (tmp_path / "grid.svg").read_text()


def test_paper_can_be_shown_by_its_name_as_it_can_be_scored(run: Run, tmp_path: Path) -> None:
    assert run("show", "--aug", "paper", "-o", tmp_path / "grid.png", "--images", 3).code == 0


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["-a", "cutmx"], "did you mean cutmix"),
        (["-a", "cutmix", "-o", "grid.gif"], ".png, .svg, .pdf"),
        (["-a", "cutmix", "-o", "grid"], ".png, .svg, .pdf"),
        (["-a", "cutmix", "--images", "0"], "--images"),
        (["-a", "cutmix", "--images", "65"], "--images"),
        (["-a", "cutmix", "--per", "image"], "sample"),
        (["-a", "cutmix", "--data", "digit"], "did you mean digits"),
        (["-a", "cutmix", "--base-aug", "flop"], "flip"),
        ([], "--aug"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be_shown(
    refused: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], hint: str
) -> None:
    monkeypatch.chdir(tmp_path)
    given = [] if "-o" in arguments else ["-o", "grid.png"]
    assert hint in refused("show", *given, *arguments)
    assert list(tmp_path.iterdir()) == []


def test_show_needs_a_place_to_write(refused: Callable[..., str], tmp_path: Path) -> None:
    assert "--output" in refused("show", "-a", "cutmix")
    (tmp_path / "grid.png").mkdir()
    assert "grid.png" in refused("show", "-a", "cutmix", "-o", tmp_path / "grid.png")


# demo


MADE = {
    "teacher.pth",
    "teacher.run",
    "runs",
    "scores.json",
    "scores.png",
    "students.csv",
    "students.png",
    "choice",
    "choice.html",
}


def test_the_demo_leaves_teacher_students_scores_and_pictures_and_can_be_repeated(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real_score, real_load, real_splits = scoring.score, ImageRequest.load, ImageRequest.splits

    def short(*args: Any, **options: Any) -> Scores:
        return real_score(*args, **{**options, "batches": 3, "batch_size": 16})

    def few(self: Any, split: str, *found: Any) -> Any:
        return real_load(self, split, *found).subset(range(64 if split == "train" else 40))

    monkeypatch.setattr(scoring, "score", short)

    def fewer(self: Any, *found: Any) -> Any:
        train, test, _ = real_splits(self, *found)
        return Splits(train.subset(range(64)), test.subset(range(40)))

    monkeypatch.setattr(ImageRequest, "load", few)
    monkeypatch.setattr(ImageRequest, "splits", fewer)
    monkeypatch.setattr(demo_command, "TEACHER_EPOCHS", 1)
    monkeypatch.setattr(demo_command, "STUDENT_EPOCHS", 1)
    monkeypatch.setattr(demo_command, "MEANT_EPOCHS", 1)
    monkeypatch.setattr(demo_command, "BUDGET", "60steps")
    folder = tmp_path / "new" / "demo"
    first = run("demo", "-o", folder)
    assert first.code == 0, first.err
    assert sum("±" in line for line in first.out.splitlines()[:10]) == 9
    assert {path.name for path in folder.iterdir()} == MADE
    assert len(read_choice(folder / "choice").runs) == 3
    assert "when the budget was spent" in first.out
    steps = [line for line in first.err.splitlines() if line.startswith("step ")]
    assert [line.partition(":")[0] for line in steps] == [f"step {number} of 4" for number in (1, 2, 3, 4)]
    assert all(line.endswith(" left") for line in steps)
    *_, one, two, three, last = first.out.splitlines()
    best, lowest = Scores.read(folder / "scores.json").scores[0]["aug"], read_choice(folder / "choice").best
    assert one == (
        f"1. Asked without training any student, the teacher (resnet14) scores {best} best of 9 ways to augment images."
    )
    assert two.startswith(f"2. Students (resnet8) that were then trained with {best} came out as ")
    assert lowest in three or lowest == "identity"
    joined = join(Scores.read(folder / "scores.json"), load_runs(folder / "runs"))
    for name, taken in (
        ("mixup", "would take mixup, the best of 9 with"),
        ("identity", "keeps the loader's own"),
    ):
        choice = replace(read_choice(folder / "choice"), best=name)
        assert demo_command.ending(joined, choice, "resnet14", "resnet8")[2].startswith(
            f"3. dametric choose, which trains a few students briefly, {taken}"
        )
    assert last.startswith(f"Open {folder / 'choice.html'}: ")
    assert max(map(len, (one, two, three))) < 250
    scores = Scores.read(folder / "scores.json")
    assert sorted(row["aug"] for row in scores.scores) == sorted(PAPER)
    assert "ce_cov" in scores.metrics
    for picture in ("scores.png", "students.png"):
        assert (folder / picture).read_bytes().startswith(b"\x89PNG")
    assert load_checkpoint(folder / "teacher.pth").data == "digits"
    assert str(folder) in first.err

    ledger = load_runs(folder / "runs")
    assert len(ledger) == 9 * demo_command.SEEDS
    joined = pd.read_csv(folder / "students.csv").set_index("aug")
    assert list(joined.index) == [row["aug"] for row in scores.scores]
    for row in scores.scores:
        losses = ledger[ledger["aug"] == row["aug"]]["test_loss"].to_numpy()
        assert joined["score"][row["aug"]] == pytest.approx(row["metrics"]["t_stddev"]["value"])
        assert joined["test_loss"][row["aug"]] == pytest.approx(losses.mean())
        assert joined["test_loss_se"][row["aug"]] == pytest.approx(np.std(losses, ddof=1) / len(losses) ** 0.5)
        line = next(line for line in first.out.splitlines()[12:] if line.split(" ")[0] == row["aug"])
        assert f"{losses.mean():.3f} ±" in line

    again = run("demo", "-o", folder, "-q")
    assert again.code == 0
    assert not [line for line in again.err.splitlines() if "WARNING" not in line]
    assert {path.name for path in folder.iterdir()} == MADE
    assert load_runs(folder / "runs").equals(ledger)
    assert [row["metrics"] for row in Scores.read(folder / "scores.json").scores] == [
        row["metrics"] for row in scores.scores
    ]


def test_the_time_left_is_that_of_this_run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """On a machine that is four times as slow as two idle cores; the budget of the choice is a time of its own."""
    now, moved = [0.0], [0.0]

    def advance(steps: float = 1, note: str = "") -> None:
        moved[0] += steps

    monkeypatch.setattr("dametric.cli.demo.time.monotonic", lambda: now[0])
    teacher, students, scoring_, rest = demo_command.SECONDS
    step = demo_command._Steps(advance, False)
    step("teacher")
    now[0] = 4 * teacher
    step("students")
    for third in (1, 2, 3):
        now[0] += 4 * students / 3
        step.part(1 / 3, f"{third} of 3")
    step("scores")
    now[0] += 4 * scoring_
    step("choice")
    step.done()
    assert moved[0] == pytest.approx(sum(demo_command.SECONDS) + demo_command.CHOICE)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "step 1 of 4: teacher, on two idle cores about 3 min left"
    expected = [students + scoring_ + rest, *(share * students / 3 + scoring_ + rest for share in (2, 1, 0))]
    expected += [scoring_ + rest, rest]
    words = [demo_command._minutes(4 * seconds + demo_command.CHOICE) for seconds in expected]
    assert [line.rpartition(", ")[2] for line in lines[1:]] == [f"about {time_} left" for time_ in words]


def test_the_demo_refuses_a_file_in_place_of_its_folder_before_training(
    refused: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: Any) -> None:
        raise AssertionError("trained for nothing")

    monkeypatch.setattr("dametric.training.train", never)
    (tmp_path / "demo").write_text("a file")
    assert "demo" in refused("demo", "-o", tmp_path / "demo")


@pytest.mark.slow
def test_the_whole_demo(run: Run, tmp_path: Path) -> None:
    said = run("demo", "-o", tmp_path / "demo")
    assert said.code == 0
    rows = [line for line in said.out.splitlines() if line.split(" ")[0] in PAPER]
    assert len(rows) == 18
    assert all("±" in row for row in rows)
    scores = Scores.read(tmp_path / "demo" / "scores.json")
    assert scores.config["teacher"]["clean"]["top1"] > 0.9
    assert all(row["metrics"]["t_stddev"]["se"] < 0.1 * row["metrics"]["t_stddev"]["value"] for row in scores.scores)
    assert load_runs(tmp_path / "demo" / "runs")["test_top1"].mean() > 0.85
    warnings = [line for line in said.err.splitlines() if "WARNING" in line]
    assert all("the budget bears" in line for line in warnings), "a slow machine is told that the time is short"


def test_the_keys_of_a_grid_are_listed(run: Run) -> None:
    said = run("ls", "grid")
    assert said.code == 0
    names = [line.split()[0] for line in said.out.splitlines()]
    assert {"data", "pairs", "data.train_images", "teachers.NAME.checkpoint", "training.epochs", "score.rel_se"} <= set(
        names
    )
