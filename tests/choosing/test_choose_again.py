"""What a choice goes on with, what it refuses, and what it says to type next."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

import dametric
from dametric import cli
from dametric.base.arguments import speaking
from dametric.choosing import api, runs
from dametric.choosing.advice import distill_command, export_command, with_augmentation
from dametric.choosing.api import choose
from dametric.choosing.arms import arms_of
from dametric.choosing.parameters import read_parameters
from dametric.choosing.state import Question
from dametric.errors import RunFailed, UsageError
from dametric.models import build
from dametric.records.choices import Choice, ChoiceArm, read_choice
from dametric.records.runs import find_runs
from dametric.records.scores import Scores
from tests.loops import each

SHORT: dict[str, Any] = {"device": "cpu", "dtype": "float32", "quiet": True, "image_size": 8, "train_images": 200}
SHORT |= {"fractions": (1,), "steps": 20, "budget": "40steps"}


def network(arch: str = "resnet8", seed: int = 0) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build(arch, 10, 8)


def states(folder: Path, augs: Any = "cutmix", student: Any = "resnet8", **options: Any) -> Any:
    own = {"batch_size": 32} if "runner" not in options else {}
    teacher = options.pop("teacher", None) or network()
    return choose(teacher, student, "digits", augs, output=folder, **{**SHORT, **own, **options})


def last(*arguments: Any, **options: Any) -> Choice:
    every: list[Choice] = list(states(*arguments, **options))
    return every[-1]


def constant(loss: float) -> Callable[..., float]:
    return lambda augment, steps, seed: loss + (augment.name != "identity") + seed / 1000


def test_what_to_type_next_trains_by_the_same_recipe(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    teacher = tmp_path / "the teacher.pth"
    torch.save(network().state_dict(), teacher)
    options: dict[str, Any] = {"weight_decay": 0.0, "momentum": 0.0, "raw_weight": 0.0, "base_aug": "none"}
    options |= {"mean": (0.4, 0.4, 0.4), "std": (0.3, 0.3, 0.3), "arch": "resnet8", "lazy": False, "temperature": 3}
    options |= {"cache_dir": str(tmp_path / "cache")}
    choice = last(tmp_path / "c", "oneof(cutmix,mixup)", teacher=str(teacher), **options)
    kept = Scores.read(tmp_path / "c" / "scores.json").settings
    assert (kept.base_aug, kept.per) == ("identity", "sample")
    (line,) = [line for line in choice.sentences if line.startswith("Next: ")]
    words = shlex.split(line.removeprefix("Next: ").split("; as code")[0])
    assert words[words.index("--aug") + 1] == choice.best
    with speaking("command line"):
        assert cli._run([*words[1:-1], str(tmp_path / "runs"), "--quiet"]) == 0, capsys.readouterr().err
    record = find_runs(tmp_path / "runs")[0].written
    assert record is not None
    trained = record.config.document()
    objective = choice.config["recipe"].pop("objective")
    assert trained["recipe"].pop("objective").items() <= objective.items()
    assert choice.config["recipe"].items() <= trained["recipe"].items()
    assert trained["teacher"] == choice.config["teacher"]


@each(
    ("aug", "code"),
    [
        ("cutmix", "dametric export cutmix --for torchvision --image-size 8 --mean 0.5,0.25,0.5"),
        ("oneof(flip,cutout)", None),
        ("./my augs.py:snow", None),
        ("cutmixpick:by=teacher_entropy", None),
    ],
)
def test_only_what_can_be_exported_is_offered(aug: str, code: str | None) -> None:
    command = export_command(aug, 8, (0.5, 0.25, 0.5))
    if code is not None:
        assert command == code
    elif command is not None:
        words = shlex.split(command)
        library = words[words.index("--for") + 1]
        assert dametric.export(words[2], library, 8, (0.5, 0.25, 0.5))
    assert shlex.split(with_augmentation("dametric distill --aug {aug} -o runs", aug))[3] == aug


def test_what_is_in_memory_cannot_be_typed() -> None:
    assert distill_command(network(), "resnet8", None, None, []) is None
    assert distill_command("t.pth", network(), None, None, []) is None
    assert distill_command("t.pth", "resnet8", (1, 2), None, []) is None
    assert distill_command("t.pth", "resnet8", None, "cpu", []) is not None


def test_another_student_or_trainer_needs_another_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    first = last(tmp_path / "s", student=network(seed=1))
    for other in (network(seed=2), network("resnet20", seed=1)):
        with pytest.raises(UsageError, match="the student has changed since"):
            states(tmp_path / "s", student=other)
    assert last(tmp_path / "s", student=network(seed=1)).runs == first.runs

    file = tmp_path / "own.py"
    file.write_text("def train(augment, steps, seed):\n    return 1.0 + seed / 100\n", encoding="utf-8")
    before = last(tmp_path / "r", runner="./own.py:train")
    assert last(tmp_path / "r", runner="./own.py:train").runs == before.runs
    file.write_text("def train(augment, steps, seed):\n    return 5.0 + seed / 1000\n", encoding="utf-8")
    with pytest.raises(UsageError, match="the runner has changed since"):
        states(tmp_path / "r", runner="./own.py:train")
    path = tmp_path / "r" / "choice.json"
    document = json.loads(path.read_text(encoding="utf-8"))
    del document["config"]["code"]  # as former versions wrote it
    path.write_text(json.dumps(document), encoding="utf-8")
    assert last(tmp_path / "r", runner="./own.py:train").runs == before.runs

    last(tmp_path / "l", runner=constant(1.0))
    with pytest.raises(UsageError, match="the runner has changed since"):
        states(tmp_path / "l", runner=constant(5.0))


@each("own", [False, True])
def test_runs_and_scores_of_code_that_has_changed_are_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], own: bool
) -> None:
    folder = tmp_path / str(own)
    folder.mkdir()
    monkeypatch.chdir(folder)
    more = {"runner": constant(1.0)} if own else {}
    file = folder / "augs.py"
    file.write_text("def a(images):\n    return images // 2\n", encoding="utf-8")
    before = last(folder / "c", "./augs.py:a", **more)
    file.write_text("def a(images):\n    return 255 - images  # another one\n", encoding="utf-8")
    capsys.readouterr()
    after = last(folder / "c", "./augs.py:a", **{**more, "quiet": False})
    assert "./augs.py:a has changed since: its runs of before are left out" in capsys.readouterr().err

    def of(choice: Choice, aug: str) -> tuple[ChoiceArm, list[float]]:
        (arm,) = [arm for arm in choice.arms if arm.aug == aug]
        return arm, [run.loss for run in choice.runs if run.aug == aug]

    assert of(after, "identity")[1] == of(before, "identity")[1]
    assert of(after, "./augs.py:a")[0].score != of(before, "./augs.py:a")[0].score
    if not own:
        assert of(after, "./augs.py:a")[1] != of(before, "./augs.py:a")[1]


@each(
    ("option", "before", "after"),
    [
        ("base_aug", "def own(images):\n    return images // 2\n", "def own(images):\n    return 255 - images\n"),
        (
            "loss_term",
            "def own(inputs):\n    return inputs.student.mean()\n",
            "def own(inputs):\n    return inputs.student.std()\n",
        ),
    ],
)
def test_another_loader_or_loss_needs_another_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, option: str, before: str, after: str
) -> None:
    """Code that all runs have in common: they would be compared with runs of another training."""
    monkeypatch.chdir(tmp_path)
    file = tmp_path / f"{option}.py"
    file.write_text(before, encoding="utf-8")
    own = {option: f"./{option}.py:own"}
    first = last(tmp_path / option, **own)
    assert first.config["code"][option].keys() == {own[option]}
    assert last(tmp_path / option, **own).runs == first.runs
    file.write_text(after, encoding="utf-8")
    with pytest.raises(UsageError, match=f"the code of {option} has changed since"):
        states(tmp_path / option, **own)
    assert last(tmp_path / f"{option} again", **own).runs != first.runs


def test_a_metric_that_was_edited_is_read_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    file, text = tmp_path / "own.py", (Path(__file__).parents[2] / "examples" / "metric.py").read_text(encoding="utf-8")
    file.write_text(text, encoding="utf-8")
    asked: dict[str, Any] = {"metric": "./own.py:SHARE_OF_OWN_LABEL", "runner": constant(1.0)}

    def scores() -> dict[str, float]:
        return {arm.aug: arm.score for arm in last(tmp_path / "c", **asked).arms}

    first = scores()
    assert scores() == first
    file.write_text(text.replace('total["distance"] / total["rows"]', '1 + total["distance"] / total["rows"]'), "utf-8")
    assert scores()["cutmix"] == pytest.approx(first["cutmix"] + 1)


def test_scores_of_other_images_are_not_found(tmp_path: Path) -> None:
    def scored(folder: str, images: int) -> dict[str, float]:
        choice = last(tmp_path / folder, runner=constant(1.0), train_images=images)
        return {arm.aug: arm.score for arm in choice.arms}

    few = scored("c", 200)
    (tmp_path / "c" / "choice.json").unlink()
    many = scored("c", 600)
    assert many != few
    assert many == scored("fresh", 600)


def test_whoever_holds_the_folder_reads_what_was_before(tmp_path: Path) -> None:
    one, two = (states(tmp_path / "c", runner=constant(1.0)) for _ in range(2))
    first, second = list(one)[-1], list(two)[-1]
    assert second.looks[: len(first.looks)] == first.looks
    assert second.costs.seconds > first.costs.seconds


def test_time_of_before_is_not_that_of_scores(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = last(tmp_path / "c", runner=constant(1.0), budget="10m", epsilon=0.2)
    assert first.status == "sure"
    (tmp_path / "c" / "clock.json").write_text('{"seconds": 400}', encoding="utf-8")
    late = last(tmp_path / "c", ["cutmix", "cutout"], runner=constant(1.0), budget="10m", epsilon=0.2)
    assert late.costs.seconds >= 400
    assert all(arm.score == arm.score for arm in late.arms)
    (tmp_path / "c" / "clock.json").write_text('{"seconds": 601}', encoding="utf-8")
    spent = last(tmp_path / "c", ["cutmix", "flip"], runner=constant(1.0), budget="10m", epsilon=0.2, quiet=False)
    scores = {arm.aug: arm.score for arm in spent.arms}
    assert scores["cutmix"] == {arm.aug: arm.score for arm in late.arms}["cutmix"]
    assert "those that are there are kept" in capsys.readouterr().err


def test_what_picks_by_a_network_is_left_out_of_a_trainer_of_ones_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    choice = last(tmp_path / "c", "paper", runner=constant(1.0), quiet=False)
    err = capsys.readouterr().err
    for aug in ("cutmixpick:by=student_entropy", "cutmixpick:by=teacher_entropy"):
        assert f"{aug} is left out: it picks by asking a network" in err
    assert "cutmix" in [arm.aug for arm in choice.arms]
    assert not any("pick" in arm.aug for arm in choice.arms)


@each(
    ("options", "message"),
    [
        ({"runner": constant(1.0), "jobs": 2}, "runner cannot be given to other processes"),
        ({"held_out": 0}, "held_out is a number of images from 1 up, not 0"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_scored(
    tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        states(tmp_path / "c", **options)
    assert not (tmp_path / "c" / "scores.json").exists()


def test_a_trial_whose_student_fails_leaves_the_pace_unknown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def failing(*works: Any, **how: Any) -> None:
        raise RunFailed("it diverged")

    monkeypatch.setattr(api, "carry_out", failing)
    trial_of: list[str] = []

    def watched(self: runs.Students, key: runs.Key) -> None:
        trial_of.append(key.aug)

    monkeypatch.setattr(runs.Students, "run", watched)

    @dataclass(frozen=True)
    class Request:
        output: str = ""

    question = Question(arms_of(["cutmix"]), (20,), 0.01, read_parameters())
    pace, _ = api._trial(runs.Students(Request()), question)  # type: ignore[arg-type]
    assert pace != pace
    assert trial_of == ["identity"]


@each("runner", [None, constant(1.0)])
def test_runs_count_however_their_augmentation_was_spelt(tmp_path: Path, runner: Callable[..., float] | None) -> None:
    """In a folder of its own each: a choice that knows none of its runs would wait for them for ever."""
    folder, own = tmp_path / str(runner is None), {} if runner is None else {"runner": runner}
    before = last(folder, "cutmix", **own)
    assert sorted(run.aug for run in before.runs) == ["cutmix", "identity"]
    after = last(folder, ["cutmix:alpha=1", "rotate:degrees=0"], budget="80steps", epsilon=1e-9, **own)
    assert [arm.aug for arm in sorted(after.arms, key=lambda arm: arm.aug)] == ["cutmix:alpha=1", "identity"]
    losses = {(run.aug, run.seed): run.loss for run in after.runs}
    assert len(losses) == len(after.runs) == (4 if runner is None else 2)
    assert {(run.aug.replace("cutmix", "cutmix:alpha=1"), run.seed): run.loss for run in before.runs}.items() <= (
        losses.items()
    )


def test_runs_of_another_teacher_are_neither_made_nor_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of the same name that is another teacher by the time that a process of its own reads it."""
    identity = last(tmp_path / "c").config["teacher"]
    other = {**identity, "sha256": "0"}
    request: Any = SimpleNamespace(output=str(tmp_path / "c" / "runs"), teacher="teacher.pth")
    assert [len(runs.Students(request, teacher=who).outcomes()) for who in (identity, other)] == [2, 0]
    monkeypatch.setattr(runs, "context_of", lambda request: SimpleNamespace(teacher=SimpleNamespace(identity=other)))
    with pytest.raises(UsageError, match="is no longer the one that this choice began with: put that one back"):
        runs.Students(request, teacher=identity).run(runs.Key("cutmix", 20, 0))


def test_a_refusal_says_what_differs(tmp_path: Path) -> None:
    last(tmp_path / "c")
    for more, what in (
        ({"temperature": 2}, "temperature of objective of recipe was 4.0, now 2"),
        ({"mean": (0, 0, 0)}, "mean of teacher was"),
    ):
        with pytest.raises(UsageError, match=what):
            last(tmp_path / "c", **more)


def test_an_answer_without_candidates_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Choice("running", "identity", sentences=("Nothing yet.",)).write(tmp_path / "choice.json")
    with speaking("command line"):
        assert cli._run(["choose", "--status", str(tmp_path)]) == 0
    assert "Nothing yet." in capsys.readouterr().out
    assert read_choice(tmp_path).arms == ()
    with pytest.raises(UsageError, match="runs: of scores with students, not of a choice"):
        dametric.report(tmp_path, runs="/nowhere", quiet=True)


def test_a_worker_reads_a_teacher_that_was_written_anew(tmp_path: Path) -> None:
    file = tmp_path / "t.pth"
    read: list[bytes] = []
    file.write_bytes(b"one")

    @dataclass(frozen=True)
    class Request:
        teacher: str

        def context(self) -> Any:
            read.append(file.read_bytes())
            return len(read)

    request: Any = Request(str(file))
    of_request: Callable[[Any], Any] = runs.context_of
    assert [of_request(request), of_request(request)] == [1, 1]
    file.write_bytes(b"three")
    assert of_request(request) == 2
    assert read == [b"one", b"three"]
