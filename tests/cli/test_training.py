"""`dametric train`, `distill` and `runs` as a user types them, with what they say and what they leave."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import signal
import subprocess
import sys
import time
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import typer

from dametric import cli
from dametric.augment import PAPER
from dametric.base.files import sha256
from dametric.errors import UsageError
from dametric.models import load_checkpoint
from dametric.records.runs import Run, load_runs, read_record
from dametric.sweeps.reading import whole_numbers
from dametric.training import TrainingRun, distill
from dametric.training.api import named_augmentations
from tests.loops import each

Said = Any
Command = Callable[..., Said]
Refused = Callable[..., str]
ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
PATIENCE = 120  # seconds after which something is taken for stuck
SMALL = ("--batch-size", "8", "--epochs", "1", "--device", "cpu", "--dtype", "float32")
# As many threads as each of two runs side by side has: sums are the same bits for the same number only.
THREADS = max(1, (os.cpu_count() or 1) // 2)


FORKED = get_context("forkserver")
FORKED.set_forkserver_preload(["dametric.training", "dametric.training.run", "dametric.training.many", "pandas"])


@pytest.fixture(scope="module", autouse=True)
def _threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(THREADS)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def images(count: int, size: int, classes: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Noisy patterns of a few kinds."""
    kinds = np.random.default_rng(0).integers(0, 256, (classes, size, size, 3))
    labels = np.arange(count) % classes
    noisy = kinds[labels] + np.random.default_rng(count).normal(0, 40, (count, size, size, 3))
    return np.clip(noisy, 0, 255).astype(np.uint8), labels


def archive(path: Path, train: int, test: int, size: int, classes: int = 4) -> Path:
    x, y = images(train, size, classes)
    x_test, y_test = images(test, size, classes)
    np.savez(path, x_train=x, y_train=y, x_test=x_test, y_test=y_test)
    return path


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """32 images of 8 x 8 to learn from, and 24 to test on."""
    return archive(tmp_path_factory.mktemp("tiny") / "tiny.npz", 32, 24, 8)


@pytest.fixture(scope="module")
def student_of(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A teacher of the tiny images that knows them."""
    path = tmp_path_factory.mktemp("teacher") / "t.pth"
    options = ["--aug", "identity", "--batch-size", "8", "--epochs", "8", "--dtype", "float32", "--device", "cpu", "-q"]
    with contextlib.redirect_stdout(io.StringIO()):
        assert cli._run(["train", "--arch", "resnet8", "--data", str(tiny), "-o", str(path), *options]) == 0
    return path


@pytest.fixture
def learn(run: Command, student_of: Path) -> Command:
    """``dametric distill`` for an epoch, into ``runs`` with cutmix unless said otherwise."""

    def learn(*arguments: object) -> Said:
        given = [str(argument) for argument in arguments]
        usual: list[object] = []
        for options, values in (
            (("--teacher", "-t"), (student_of,)),
            (("--student", "-s"), ("resnet8",)),
            (("--aug", "-a"), ("cutmix",)),
            (("--output", "-o"), ("runs",)),
            *((option, value) for option, value in (((SMALL[i],), (SMALL[i + 1],)) for i in range(0, len(SMALL), 2))),
        ):
            if not {*options, *(("-c", "--config") if options[0] in ("--aug", "--epochs") else ())} & set(given):
                usual += [options[0], *values]
        return run("distill", *usual, *given)

    return learn


@pytest.fixture
def no(run: Command) -> Refused:
    """What cannot be done is one line on stderr and nothing on stdout, with exit code 2; the line."""

    def no(*arguments: object, command: Command = run) -> str:
        said = command(*arguments, *(["-q"] if arguments[:1] != ("runs",) else []))
        assert said.code == 2, said.err or said.out
        assert said.out == ""
        assert said.err.startswith("dametric: ")
        assert said.err.count("\n") == 1, said.err
        return said.err

    return no


def records(folder: Path | str = "runs") -> list[dict[str, Any]]:
    """Records of all runs, by augmentation and seed."""
    found = [read_record(path) for path in Path(folder).rglob("record.json")]
    return sorted(found, key=lambda record: (record["config"]["recipe"]["aug"], record["config"]["recipe"]["seed"]))


def everything(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


@pytest.fixture(params=["forked", pytest.param("spawned", marks=pytest.mark.slow)])
def workers(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """How processes side by side are started: as they are, or at once from one that has everything imported."""
    if request.param == "forked":
        monkeypatch.setattr("dametric.jobs.side_by_side.get_context", lambda name: FORKED, raising=False)
    return request.param


@pytest.fixture
def untrained(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """From the call on, no step of training can happen."""

    def never(*args: object, **kwargs: object) -> None:
        raise AssertionError("trained again")

    return lambda: monkeypatch.setattr("dametric.training.run.advance_together", never)


# From nothing to a table


def test_a_teacher_two_students_and_their_table(run: Command, here: Path, untrained: Callable[[], None]) -> None:
    few = ["--train-images", "320", "--epochs", "1"]
    teach = ["train", "--arch", "resnet8", "--data", "digits", "--image-size", "16", *few, "-o", "t.pth"]
    said = run(*teach)
    assert said.code == 0, said.err
    assert "labels" in said.out
    assert "wrote t.pth" in said.err
    assert {path.name for path in here.iterdir()} == {"t.pth", "t.run"}
    taught = read_record(here / "t.run" / "record.json")
    assert taught["config"]["kind"] == "train"
    read = load_checkpoint("t.pth")
    assert (read.arch, read.num_classes, read.image_size, read.data) == ("resnet8", 10, 16, "digits")
    assert read.extra == {"run": taught["id"], "test": taught["last"]}
    kept = torch.load("t.run/last.pt", weights_only=True)["model"]
    assert all(torch.equal(kept[name], weight) for name, weight in read.model.state_dict().items())

    study = [
        "distill",
        "--teacher",
        "t.pth",
        "--student",
        "resnet8",
        "--aug",
        "cutmix",
        "--seeds",
        "0-1",
        "-o",
        "runs",
        *few,
    ]
    said = run(*study)
    assert said.code == 0, said.err
    table = [line.split() for line in said.out.splitlines()]
    assert table[0][:4] == ["teacher", "student", "augmentation", "seed"]
    assert [row[:5] for row in table[1:]] == [["resnet8", "resnet8", "cutmix", seed, "1"] for seed in "01"]
    done = records()
    for record, row in zip(done, table[1:], strict=True):
        assert record["config"]["teacher"]["sha256"] == sha256("t.pth")
        assert record["about"]["data"] == {
            "name": "digits",
            "train": 320,
            "test": 355,
            "classes": 10,
            "image_size": 16,
        }
        assert row[5:8] == [
            f"{record['last']['test_loss']:.4f}",
            f"{100 * record['last']['test_top1']:.2f}",
            f"{100 * record['best']['test_top1']:.2f}",
        ]
    assert [record["config"]["recipe"]["seed"] for record in done] == [0, 1]
    assert done[0]["last"] != done[1]["last"]
    clean = done[0]["about"]["teacher"]["clean"]
    assert clean == {name: taught["last"][f"test_{name}"] for name in clean}

    untrained()
    before = {path: path.stat().st_mtime_ns for path in here.rglob("*") if path.is_file()}
    again = run(*study)
    assert (again.code, again.out) == (0, said.out)
    assert again.err.count("done before") == 2
    assert {path: path.stat().st_mtime_ns for path in here.rglob("*") if path.is_file()} == before
    assert "done before" in run(*teach).err

    said = run("runs", "runs")
    assert (said.code, said.err) == (0, "")
    assert said.out == again.out
    said = run("runs", "runs", "--json")
    assert [record["id"] for record in said.document] == [
        Run(path).record["id"] for path in sorted(Path("runs").iterdir())
    ]  # type: ignore[index]
    assert said.err == ""
    said = run("runs", "runs", "--csv", "new/runs.csv")
    assert said.code == 0
    read_back, table_ = pd.read_csv("new/runs.csv"), load_runs("runs")
    assert list(read_back) == list(table_)
    assert read_back["id"].astype(str).tolist() == table_["id"].tolist()
    for name in ("seed", "epoch", "test_loss", "best_test_top1", "seconds"):
        assert read_back[name].tolist() == table_[name].tolist()


def test_teachers_and_students_together_in_one_table(
    run: Command, learn: Command, student_of: Path, here: Path
) -> None:
    """`dametric runs .` where all of it lies in one folder."""
    assert learn("-o", here / "both").code == 0
    (here / "both" / "t.run").mkdir()
    record = (student_of.with_suffix(".run") / "record.json").read_bytes()
    (here / "both" / "t.run" / "record.json").write_bytes(record)
    said = run("runs", "both")
    assert said.code == 0
    rows = [line.split()[:3] for line in said.out.splitlines()[1:]]
    assert rows == [["labels", "resnet8", "identity"], ["resnet8", "resnet8", "cutmix"]]


def test_records_on_stdout_are_pure_json(learn: Command, run: Command, tiny: Path) -> None:
    said = learn("--json", "--seeds", "3,1", "-q")
    assert (said.code, said.err) == (0, "")
    assert [record["config"]["recipe"]["seed"] for record in said.document] == [3, 1]
    assert all(
        record == read_record(path)
        for record in said.document
        for path in Path("runs").rglob("record.json")
        if record["id"] in str(path)
    )
    said = run("train", "--arch", "resnet8", "--data", tiny, "-o", "x.pth", *SMALL, "--json", "-q")
    assert [record["config"]["kind"] for record in said.document] == ["train"]


def test_quiet_is_silent(run: Command, learn: Command, tiny: Path) -> None:
    assert run("train", "--arch", "resnet8", "--data", tiny, "-o", "x.pth", *SMALL, "-q").err == ""
    for _ in range(2):
        said = learn("-q")
        assert (said.code, said.err) == (0, "")
        assert "cutmix" in said.out


@pytest.mark.usefixtures("workers")
def test_a_base_augmentation_of_the_users_own_is_said_once_and_in_silence_not_at_all(
    run: Command, learn: Command, tiny: Path, here: Path
) -> None:
    (here / "augs.py").write_text("def shares(images):\n    return images.flip(-1).float() / 255\n")
    own = "./augs.py:shares"
    train = ("train", "--arch", "resnet8", "--data", tiny, *SMALL, "-a", own)
    for more in ((), ("--jobs", 2)):
        options = ("-a", "identity", "-a", "flip", "--base-aug", own, *more)
        for quiet, said in ((("-q",), 0), ((), 1)):
            for name, command in (("trained", partial(run, *train)), ("runs", partial(learn, *options))):
                found = command("-o", f"{name}-{len(more)}-{said}", *quiet)
                assert found.code == 0
                assert found.err.count(f"augmentation {own} returns values from 0 to 1, times 255") == said, name
                assert found.err == "" or not quiet


def test_a_checkpoint_that_was_removed_is_written_again(
    run: Command, tiny: Path, here: Path, untrained: Callable[[], None]
) -> None:
    command = ["train", "--arch", "resnet8", "--data", tiny, "-o", "new/deep/x.safetensors", *SMALL]
    assert run(*command).code == 0
    path = here / "new" / "deep" / "x.safetensors"
    first = load_checkpoint(path)
    path.unlink()
    untrained()
    said = run(*command)
    assert said.code == 0
    assert "trained again" not in said.err, "its folder has the weights"
    again = load_checkpoint(path)
    assert again.extra == first.extra
    assert all(torch.equal(w, again.model.state_dict()[name]) for name, w in first.model.state_dict().items())


def test_python_knows_what_the_command_has_done(
    learn: Command, student_of: Path, tiny: Path, untrained: Callable[[], None]
) -> None:
    """And the other way round: one ledger."""
    from dametric import load_data

    assert learn("--seeds", "4").code == 0
    untrained()
    data = load_data(tiny, "train", quiet=True), load_data(tiny, "test", quiet=True)
    options: dict[str, Any] = {"epochs": 1, "batch_size": 8, "device": "cpu", "dtype": "float32", "seed": 4}
    done = distill(student_of, "resnet8", data, "cutmix", out="runs", quiet=True, **options)
    assert [done.record["id"]] == [record["id"] for record in records()]


# Options


TRAIN: dict[str, tuple[str, Any]] = {  # option: what is typed, and what the recipe says of it
    "--epochs": ("2", ("epochs", 2)),
    "--batch-size": ("9", ("batch_size", 9)),
    "--lr": ("0.03", ("lr", 0.03)),
    "--schedule": ("cosine", ("schedule", "cosine")),
    "--momentum": ("0.8", ("momentum", 0.8)),
    "--nesterov": ("", ("nesterov", True)),
    "--weight-decay": ("0.001", ("weight_decay", 0.001)),
    "--label-smoothing": ("0.2", ("label_smoothing", 0.2)),
    "--dtype": ("float64", ("dtype", "float64")),
}
ELSEWHERE = {
    "--eval-resize",
    "--memory-limit",
    "--skip-broken",
    "--steps",
    "--held-out",
    "--train-images",
    "--label-column",
    "--image-column",
    "--data-config",
    "--data",
    "--data-root",
    "--download",
    "--cache-dir",
    "--image-size",
    "--lazy",
    "--config",
    "--arch",
}
NOWHERE = {
    "--accuracy-images",
    "--eval-every",
    "--keep",
    "--deterministic",
    "--lockstep",
    "--output",
    "--device",
    "--compile",
    "--tensorboard",
    "--json",
    "--quiet",
    "--help",
}


def typed(options: dict[str, tuple[str, Any]]) -> list[str]:
    return [word for name, (value, _) in options.items() for word in (name, value) if word]


def options_of(name: str) -> set[str]:
    group = typer.main.get_command(cli.app)
    command = group.commands[name]  # type: ignore[attr-defined]
    return {next(o for o in option.opts if o.startswith("--")) for option in command.params if option.opts[0][0] == "-"}


def test_every_option_of_train_reaches_the_record(run: Command, tiny: Path) -> None:
    more = {"--aug": ("mixup", ("base_aug", "mixup")), "--seed": ("7", ("seed", 7))}
    assert options_of("train") - ELSEWHERE - NOWHERE == {*TRAIN, *more}, "an option is new: say where it goes"
    said = run(
        "train", "--arch", "resnet14", "--data", tiny, "-o", "x.pth", *typed({**TRAIN, **more}), "--device", "cpu"
    )
    assert said.code == 0, said.err
    config = read_record("x.run/record.json")["config"]
    for _, (name, value) in {**TRAIN, **more}.values():
        assert config["recipe"][name] == value, name
    assert config["student"] == "resnet14"
    assert config["recipe"]["objective"] | {"temperature": None} == {"ce": 1, "raw": 0, "aug": 0, "temperature": None}


def test_every_option_of_distill_reaches_the_record(learn: Command) -> None:
    more = {
        "--per": ("batch", ("per", "batch")),
        "--base-aug": ("flip", ("base_aug", "flip")),
        "--joint-batch": ("", ("joint_batch", True)),
        "--aug": ("mixup", ("aug", "mixup")),
    }
    objective = {
        "--ce-weight": ("0.2", ("ce", 0.2)),
        "--raw-weight": ("0.3", ("raw", 0.3)),
        "--aug-weight": ("0.4", ("aug", 0.4)),
        "--temperature": ("2.5", ("temperature", 2.5)),
        "--loss-term": (f"{EXAMPLES}/loss_term.py:same_order", ("term", f"{EXAMPLES}/loss_term.py:same_order")),
    }
    normal = {"--mean": ("0.4,0.5,0.6", ("mean", [0.4, 0.5, 0.6])), "--std": ("0.1,0.2,0.3", ("std", [0.1, 0.2, 0.3]))}
    others = {"--teacher", "--weights", "--student", "--seeds", "--jobs", "--views"}
    known = {*TRAIN, *more, *objective, *normal, *others}
    assert options_of("distill") - ELSEWHERE - NOWHERE == known, "an option is new: say where it goes"
    said = learn(*typed({**TRAIN, **more, **objective, **normal}), "--seeds", "7", "-s", "resnet14")
    assert said.code == 0, said.err
    (record,) = records()
    config = record["config"]
    for _, (name, value) in {**TRAIN, **more}.values():
        assert config["recipe"][name] == value, name
    for _, (name, value) in objective.values():
        assert config["recipe"]["objective"][name] == value, name
    for _, (name, value) in normal.values():
        assert config["teacher"][name] == value, name
    assert (config["student"], config["recipe"]["seed"]) == ("resnet14", 7)
    assert not record["about"]["compile"]


@each(
    ("views", "expected"),
    [("both", (0.1, 0.9, 0.9)), ("augmented", (0.0, 0.0, 0.9)), ("raw", (0.1, 0.9, 0.0))],
)
def test_views_choose_the_published_weights(learn: Command, views: str, expected: tuple[float, ...]) -> None:
    assert learn("--views", views, "-o", views).code == 0
    (record,) = records(views)
    assert record["config"]["recipe"]["objective"] == dict(zip(("ce", "raw", "aug"), expected, strict=True)) | {
        "temperature": 4.0
    }
    assert all(
        (record["last"][f"train_{name}"] == 0) == (weight == 0)
        for name, weight in zip(("ce", "kd_raw", "kd_aug"), expected, strict=True)
    )


def test_the_images_size_reaches_the_record(learn: Command, run: Command, tiny: Path) -> None:
    assert run("train", "--arch", "resnet8", "--data", tiny, "--image-size", 12, "-o", "x.pth", *SMALL).code == 0
    assert read_record("x.run/record.json")["about"]["data"]["image_size"] == 12
    assert learn("-t", "x.pth").code == 0
    (record,) = records()
    assert record["about"]["data"]["image_size"] == 12
    assert record["config"]["data"] == read_record("x.run/record.json")["config"]["data"]


def test_a_file_gives_defaults_and_flags_win(learn: Command, here: Path) -> None:
    (here / "c.yaml").write_text(
        "epochs: 2\nlr: 1\naug: [flip, identity]\nseeds: 3\nnesterov: true\nmean: [0.4, 0.5, 0.6]\nstd: [1, 1, 1]\n"
    )
    assert learn("-c", "c.yaml", "--lr", "0.02").code == 0
    for record, aug in zip(records(), ("flip", "identity"), strict=True):
        recipe = record["config"]["recipe"]
        assert (recipe["aug"], recipe["seed"], recipe["epochs"], recipe["nesterov"]) == (aug, 3, 2, True)
        assert recipe["lr"] == 0.02
        assert record["config"]["teacher"]["mean"] == [0.4, 0.5, 0.6]


def test_paper_is_the_paper_s_nine(learn: Command) -> None:
    assert len(PAPER) == 9
    assert named_augmentations(["flip", "paper", "cutmix", "mixup:alpha=2"]) == (
        "flip",
        *(name for name in PAPER if name != "flip"),
        "mixup:alpha=2",
    )
    said = learn("-a", "paper", "-a", "flip")
    assert said.code == 0, said.err
    assert sorted(record["config"]["recipe"]["aug"] for record in records()) == sorted(PAPER)
    assert len(said.out.splitlines()) == 10


@each(
    ("text", "expected"),
    [("0", (0,)), ("0-2", (0, 1, 2)), ("0,3,7", (0, 3, 7)), ("5-5", (5,)), ("7, 0-2 ,1", (7, 0, 1, 2))],
)
def test_seeds_as_a_user_writes_them(text: str, expected: tuple[int, ...]) -> None:
    assert whole_numbers(text, "--seeds") == expected


@each("text", ["0-999999999999", "0-9999,10000", "5,0-9999"])
def test_more_seeds_than_anybody_trains_are_refused_at_once(text: str) -> None:
    with pytest.raises(UsageError, match="at most 10000 seeds at once, start with fewer"):
        whole_numbers(text, "--seeds")
    assert len(whole_numbers("0-9999", "--seeds")) == 10_000


@each("text", ["3-1", "a", "", "1,,2", "-1", "1-", "1-2-3", "0.5", "0x1", "1;2", "²"])
def test_seeds_that_are_none(text: str) -> None:
    with pytest.raises(UsageError, match="--seeds"):
        whole_numbers(text, "--seeds")


class Writer:
    """What TensorBoard's writer would be told."""

    told: list[tuple[str, float, int]]

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        type(self).told = []

    def add_scalar(self, name: str, value: float, step: int) -> None:
        self.told.append((name, value, step))

    def flush(self) -> None:
        """As the real one."""


def test_tensorboard_is_told_of_every_epoch(learn: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("torch.utils.tensorboard")
    module.SummaryWriter = Writer  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    assert learn("--tensorboard", "--epochs", 2).code == 0
    (record,) = records()
    last = record["last"]
    told = {name: value for name, value, step in Writer.told if step == 2}
    assert {step for _, _, step in Writer.told} == {1, 2}
    assert told["test/top1"] == last["test_top1"]
    assert told["train/kd_aug"] == last["train_kd_aug"]
    assert told["lr"] == last["lr"]


# Code of the user's own


AUGS = (
    "def mine(images):\n    return images.flip(3)\n\n\ndef broken(images):\n    return images.float() * float('nan')\n"
)
NETS = (
    "from torch import nn\n\n\ndef net(num_classes, image_size):\n"
    "    return nn.Sequential(nn.Flatten(), nn.Linear(3 * image_size**2, 9), nn.ReLU(), nn.Linear(9, num_classes))\n"
)


def test_a_function_and_a_network_of_the_user_s(learn: Command, run: Command, here: Path, tiny: Path) -> None:
    (here / "augs.py").write_text(AUGS)
    (here / "nets.py").write_text(NETS)
    options = ["-a", "./augs.py:mine", "-s", "./nets.py:net"]
    said = learn(*options)
    assert said.code == 0, said.err
    (record,) = records()
    config = record["config"]
    assert (config["student"], config["recipe"]["aug"]) == ("./nets.py:net", "./augs.py:mine")
    assert set(config["user_code"]) == {"./nets.py:net", "./augs.py:mine"}
    assert "done before" in learn(*options).err
    (here / "augs.py").write_text(AUGS.replace("flip(3)", "flip(2)"))
    said = learn(*options)
    assert said.code == 0
    assert "done before" not in said.err
    assert len(records()) == 2

    said = run("train", "--arch", "./nets.py:net", "--data", tiny, "-o", "own.pth", *SMALL)
    assert said.code == 0, said.err
    said = learn("-t", "own.pth", "--arch", "./nets.py:net", "-o", "others")
    assert said.code == 0, said.err
    assert records("others")[0]["config"]["teacher"]["arch"] == "./nets.py:net"


# Side by side


@pytest.mark.usefixtures("workers")
def test_two_at_a_time_come_to_the_same(learn: Command, here: Path) -> None:
    (here / "augs.py").write_text(AUGS)
    options = ["--seeds", "0-1", "-a", "cutmix", "-a", "./augs.py:mine"]
    one = learn(*options, "-o", "one", "-q")
    two = learn(*options, "-o", "two", "--jobs", 2)
    assert (one.code, two.code) == (0, 0), two.err
    assert "2 side by side" in two.err
    assert "Traceback" not in two.err
    drop_seconds = [[line.rsplit(maxsplit=1)[0] for line in said.out.splitlines()[1:]] for said in (one, two)]
    assert drop_seconds[0] == drop_seconds[1]
    assert everything(here / "one") == everything(here / "two")
    for first, second in zip(records("one"), records("two"), strict=True):
        assert first["id"] == second["id"]
        if first["versions"]["threads"] == second["versions"]["threads"]:
            assert first["last"] == second["last"]
        assert second["last"] == pytest.approx(first["last"], rel=1e-3, abs=0.05)


# What cannot be

MISTAKES: dict[str, tuple[list[str], str]] = {
    "student": (["-s", "resnet9"], "resnet8"),
    "augmentation": (["-a", "cutmx"], "cutmix"),
    "one augmentation of two": (["-a", "flip", "-a", "cutmx"], "cutmix"),
    "schedule": (["--schedule", "cosin"], "cosine"),
    "views": (["--views", "bot"], "both"),
    "per": (["--per", "bath"], "batch"),
    "dtype": (["--dtype", "float23"], "float32"),
    "half": (["--dtype", "float16"], "bfloat16"),
    "device": (["--device", "tpu"], "cpu"),
    "seeds backwards": (["--seeds", "3-1"], "0-2"),
    "seeds of letters": (["--seeds", "a"], "0-2"),
    "a seed that is too large": (["--seeds", str(2**63)], "seed"),
    "epochs": (["--epochs", "-1"], "--epochs"),
    "no epochs": (["--epochs", "0"], "--epochs"),
    "rate": (["--lr", "-0.1"], "--lr is a number above 0"),
    "rate of zero": (["--lr", "0"], "--lr is a number above 0"),
    "rate that is no number": (["--lr", "nan"], "--lr is a number above 0"),
    "batch": (["--batch-size", "-8"], "--batch-size"),
    "batch of one": (["--batch-size", "1"], "--batch-size"),
    "batch larger than the data": (["--batch-size", "33"], "32 images"),
    "momentum": (["--momentum", "1"], "momentum"),
    "nesterov": (["--momentum", "0", "--nesterov"], "momentum"),
    "decay": (["--weight-decay", "-1"], "decay"),
    "smoothing": (["--label-smoothing", "1"], "smoothing"),
    "temperature": (["--temperature", "0"], "temperature"),
    "weight of raw images left out": (["--views", "augmented", "--raw-weight", "0.5"], "--raw-weight"),
    "weight of labels left out": (["--views", "augmented", "--ce-weight", "0.5"], "--ce-weight"),
    "weight of augmented images left out": (["--views", "raw", "--aug-weight", "0.5"], "--aug-weight"),
    "negative weight": (["--ce-weight", "-1"], "weight"),
    "no weights": (["--ce-weight", "0", "--raw-weight", "0", "--aug-weight", "0"], "weights"),
    "base that mixes": (["--base-aug", "cutmix"], "--base-aug"),
    "mean": (["--mean", "0.5,0.5"], "--mean"),
    "std": (["--std", "0,0,0"], "--std"),
    "jobs": (["--jobs", "0"], "--jobs"),
    "teacher": (["-t", "none.pth"], "none.pth"),
    "data": (["--data", "none.npz"], "none.npz"),
    "file of functions": (["-a", "./none.py:fn"], "none.py"),
    "file of networks": (["-s", "./none.py:fn"], "none.py"),
    "option": (["--no-such-flag"], "--no-such-flag"),
    "file of defaults": (["-c", "none.yaml"], "none.yaml"),
}


@each("mistake", MISTAKES)
def test_a_mistake_is_one_line_and_leaves_nothing(no: Refused, learn: Command, here: Path, mistake: str) -> None:
    options, hint = MISTAKES[mistake]
    assert hint in no(*options, command=learn)
    assert everything(here) == set()


@pytest.mark.usefixtures("workers")
@each("mistake", ["student", "batch larger than the data", "augmentation"])
def test_a_mistake_side_by_side_is_one_line_too(no: Refused, learn: Command, here: Path, mistake: str) -> None:
    options, hint = MISTAKES[mistake]
    assert hint in no(*options, "--jobs", 2, "--seeds", "0-1", command=learn)
    assert everything(here) == set()


TEACHING: dict[str, tuple[list[str], str]] = {
    "arch": (["--arch", "resnet9"], "resnet8"),
    "augmentation": (["--aug", "cutmx"], "cutmix"),
    "a pick without a teacher": (["--aug", "cutmixpick"], "pick"),
    "schedule": (["--schedule", "cosin"], "cosine"),
    "dtype": (["--dtype", "float23"], "float32"),
    "epochs": (["--epochs", "-1"], "--epochs"),
    "rate": (["--lr", "-0.1"], "--lr is a number above 0"),
    "batch": (["--batch-size", "-8"], "--batch-size"),
    "batch larger than the data": (["--batch-size", "33"], "32 images"),
    "seed": (["--seed", "-1"], "--seed"),
    "data": (["--data", "none.npz"], "none.npz"),
    "place": (["-o", "/proc/new/x.pth"], "/proc"),
    "name that the run's folder needs": (["-o", "x.run"], "x.run"),
}


@each("mistake", TEACHING)
def test_a_mistake_in_teaching_is_one_line_and_leaves_nothing(
    no: Refused, run: Command, here: Path, tiny: Path, mistake: str
) -> None:
    options, hint = TEACHING[mistake]
    usual = {"--arch": "resnet8", "--data": str(tiny), "-o": "new/x.pth", "--batch-size": "8", "--epochs": "1"}
    usual = {name: value for name, value in usual.items() if name not in options}
    assert hint in no("train", *(word for pair in usual.items() for word in pair), *options)
    assert everything(here) == set()


@pytest.mark.parametrize("command", ["train", "distill"])
def test_what_is_needed_is_asked_for(no: Refused, here: Path, command: str) -> None:
    for option in ("--output", *(("--arch",) if command == "train" else ("--teacher", "--student", "--aug"))):
        every = {"--output": "x", "--arch": "resnet8", "--teacher": "t.pth", "--student": "resnet8", "--aug": "flip"}
        names = ("--output", "--arch") if command == "train" else ("--output", "--teacher", "--student", "--aug")
        given = [word for name in names if name != option for word in (name, every[name])]
        assert option in no(command, *given)
    assert everything(here) == set()


def test_teaching_needs_data(no: Refused, here: Path) -> None:
    assert "--data" in no("train", "--arch", "resnet8", "-o", "x.pth")
    assert everything(here) == set()


def test_a_teacher_of_other_classes(no: Refused, learn: Command, here: Path) -> None:
    line = no("--data", archive(here / "six.npz", 30, 24, 8, classes=6), command=learn)
    assert "4 classes" in line
    assert "6" in line
    assert "--no-accuracy" not in line, "distill has no such option"
    assert everything(here) == {"six.npz"}


@pytest.mark.parametrize("place", ["plain", "plain/runs", "/proc/new"])
def test_a_place_that_cannot_be_written(no: Refused, learn: Command, here: Path, place: str) -> None:
    (here / "plain").write_text("x")
    line = no("-o", place, command=learn)
    assert place.split("/")[0] or "/proc" in line
    assert (here / "plain").read_text() == "x"
    assert everything(here) == {"plain"}


def test_a_teacher_s_folder_of_another_run_is_left_alone(no: Refused, run: Command, tiny: Path, here: Path) -> None:
    command = ["train", "--arch", "resnet8", "--data", tiny, "-o", "x.pth"]
    assert run(*command, *SMALL).code == 0
    before = {path: path.read_bytes() for path in here.rglob("*") if path.is_file()}
    options = list(SMALL)
    for name, value, field in (("--batch-size", "9", "batch_size"), ("--epochs", "2", "epochs")):
        changed = [value if i and options[i - 1] == name else word for i, word in enumerate(options)]
        line = no(*command, *changed)
        assert "x.run" in line
        assert field in line
        assert value in line
    assert "student" in no("train", "--arch", "resnet14", "--data", tiny, "-o", "x.pth", *SMALL)
    assert {path: path.read_bytes() for path in here.rglob("*") if path.is_file()} == before


def test_tensorboard_without_its_package(
    no: Refused, learn: Command, run: Command, tiny: Path, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    assert "pip install tensorboard" in no("--tensorboard", command=learn)
    line = no("train", "--arch", "resnet8", "--data", tiny, "-o", "x.pth", *SMALL, "--tensorboard")
    assert "pip install tensorboard" in line
    assert everything(here) == set()


class Code:
    """Unpickling this would make a folder."""

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, ("ran",)


def test_a_teacher_that_would_run_code(no: Refused, learn: Command, here: Path) -> None:
    torch.save({"model": {"w": torch.zeros(1)}, "hook": Code()}, here / "evil.pth")
    assert "evil.pth" in no("-t", "evil.pth", command=learn)
    assert everything(here) == {"evil.pth"}


def test_a_ledger_that_is_none(no: Refused, here: Path) -> None:
    assert "there is no folder missing" in no("runs", "missing")
    (here / "empty").mkdir()
    assert "no run in empty" in no("runs", "empty")
    (here / "file").write_text("x")
    assert "file" in no("runs", "file")
    (here / "empty" / "a").mkdir()
    (here / "empty" / "a" / "record.json").write_text('{"dametric_run": 2}')
    line = no("runs", "empty")
    assert "version 2" in line
    assert "empty/a/record.json" in line
    (here / "empty" / "a" / "record.json").write_text("{")
    assert "JSON" in no("runs", "empty")


def test_a_table_that_cannot_be_written(no: Refused, learn: Command, here: Path) -> None:
    assert learn("-q").code == 0
    assert "is a folder" in no("runs", "runs", "--csv", here)
    assert "/proc" in no("runs", "runs", "--csv", "/proc/new/x.csv")


def test_a_checkpoint_that_is_damaged_is_one_line(no: Refused, learn: Command, here: Path) -> None:
    assert learn("-q").code == 0
    (path,) = here.glob("runs/*/last.pt")
    record = json.loads((path.parent / "record.json").read_text())
    (path.parent / "record.json").write_text(json.dumps({**record, "status": "running"}))
    whole = path.read_bytes()
    for content in (whole[:1000], b"", b"not a checkpoint"):
        path.write_bytes(content)
        assert "last.pt" in no(command=learn)
    path.write_bytes(whole)
    (path.parent / "history.csv").unlink()
    assert "history" in no(command=learn)


# Runs that fail, or are someone else's


@pytest.mark.usefixtures("workers")
@pytest.mark.parametrize("jobs", [1, 2])
def test_a_run_that_fails_does_not_stop_the_others(learn: Command, run: Command, here: Path, jobs: int) -> None:
    (here / "augs.py").write_text(AUGS)
    options = ["-a", "./augs.py:broken", "-a", "flip", "--seeds", "0-1", "--jobs", jobs, "-q"]
    for _ in range(2):  # what failed is tried again, what is finished is not
        said = learn(*options)
        assert said.code == 1
        assert "Traceback" not in said.err
        assert said.err.count("epoch 1, step 1 of 4") >= 2
        last = said.err.splitlines()[-1]
        assert last.startswith("dametric: ")
        assert "./augs.py:broken, seed 0" in last
        assert "./augs.py:broken, seed 1" in last
        assert "flip" not in last
        done = records()
        assert [record["status"] for record in done] == ["failed"] * 2 + ["finished"] * 2
        assert all("epoch 1, step 1 of 4" in record["error"] for record in done[:2])
        assert [line.split()[-1] for line in said.out.splitlines() if "broken" in line] == ["failed"] * 2
    said = run("runs", "runs")
    assert said.out.count("failed") == 2
    assert load_runs("runs")["status"].tolist() == ["failed"] * 2 + ["finished"] * 2


def test_a_rate_that_is_too_large_fails_with_its_place(run: Command, tiny: Path, here: Path) -> None:
    said = run("train", "--arch", "resnet8", "--data", tiny, "-o", "x.pth", *SMALL, "--lr", "1e30", "-q")
    assert said.code == 1
    assert said.err.count("\n") == 1
    assert said.err.startswith("dametric: ")
    assert "epoch 1, step 2 of 4" in said.err
    assert not (here / "x.pth").exists()
    record = read_record("x.run/record.json")
    assert record["status"] == "failed"
    assert "epoch 1, step 2 of 4" in record["error"]


def test_a_network_that_the_last_step_ruins_is_no_traceback(run: Command, tiny: Path) -> None:
    """Its loss was finite before the step; the second time there is a record."""
    options = ["--epochs", "1", "--batch-size", "32", "--dtype", "float32", "--device", "cpu", "--lr", "1e30"]
    for _ in range(2):
        said = run("train", "--arch", "resnet8", "--data", tiny, "-o", "x.pth", *options, "-q")
        assert said.code == 1
        assert said.err.startswith("dametric: ")
        assert said.err.count("\n") == 1
    assert run("runs", ".").code == 0


def test_a_run_of_another_process_is_left_alone(learn: Command, here: Path) -> None:
    """And the others of the command are carried out."""
    assert learn("--seeds", "0", "-q").code == 0
    (folder,) = (here / "runs").iterdir()
    record = json.loads((folder / "record.json").read_text())
    (folder / "record.json").write_text(json.dumps({**record, "status": "running"}))
    before = {path: path.read_bytes() for path in folder.iterdir()}
    with Run(folder).claimed():
        said = learn("--seeds", "0-1", "-q")
    assert said.code == 1
    assert "another process is working on" in said.err.splitlines()[-1]
    assert "Traceback" not in said.err
    assert {path: path.read_bytes() for path in folder.iterdir()} == before
    assert [record["status"] for record in records()] == ["running", "finished"]


def test_a_run_that_another_process_has_just_begun(learn: Command, here: Path) -> None:
    """There is no record yet."""
    assert learn("-q").code == 0
    (folder,) = (here / "runs").iterdir()
    for path in folder.iterdir():
        path.unlink()
    with Run(folder).claimed():
        said = learn("-q")
    assert said.code == 1
    assert "another process is working on" in said.err.splitlines()[-1]


def test_a_teacher_of_another_process_is_left_alone(run: Command, tiny: Path, here: Path) -> None:
    command = ["train", "--arch", "resnet8", "--data", tiny, "-o", "x.pth", *SMALL, "-q"]
    with Run(here / "x.run").claimed():
        said = run(*command)
    assert said.code == 1
    assert said.err.startswith("dametric: another process is working on")
    assert said.err.count("\n") == 1
    assert not (here / "x.pth").exists()
    assert run(*command).code == 0


# Ctrl-C


@pytest.mark.parametrize("epoch", [1, 2])
def test_control_c_stops_all_runs_of_the_command(learn: Command, monkeypatch: pytest.MonkeyPatch, epoch: int) -> None:
    """Even where it comes as the last step of a run is done: the next must not begin."""

    def pressed(work: TrainingRun, row: dict[str, float]) -> None:
        if row["epoch"] == epoch:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr("dametric.training.many.on_epoch", lambda works, options: pressed)
    said = learn("--seeds", "0-1", "--epochs", 2)
    assert said.code == 130
    assert said.err.splitlines()[-1].startswith("dametric: ")
    assert "the same command goes on" in said.err.splitlines()[-1]
    (record,) = records()
    assert record["status"] == ("interrupted" if epoch == 1 else "finished")


def test_control_c_while_a_teacher_learns(
    run: Command, tiny: Path, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ["train", "--arch", "resnet8", "--data", tiny, *SMALL, "--epochs", 3, "-q"]
    assert run(*command, "-o", "smooth.pth").code == 0
    with monkeypatch.context() as patch:
        patch.setattr(
            "dametric.training.api.on_epoch",
            lambda works, options: lambda work, row: signal.raise_signal(signal.SIGINT),
        )
        said = run(*command, "-o", "x.pth")
    assert said.code == 130
    assert said.err == "dametric: stopped in epoch 2 of 3; everything is saved, the same command goes on\n"
    assert not (here / "x.pth").exists()
    assert run(*command, "-o", "x.pth").code == 0
    assert outcome(here / "x.run") == outcome(here / "smooth.run")
    assert (here / "x.pth").read_bytes() == (here / "smooth.pth").read_bytes()


PROGRAM = (
    "from tests.cli.small import use_small_networks_everywhere; use_small_networks_everywhere(); "
    "from dametric.cli import main; main()"
)


@dataclass
class Started:
    """A command that runs in the background, in a group of processes of its own, its streams in files."""

    process: subprocess.Popen[bytes]
    folder: Path

    @property
    def err(self) -> str:
        return (self.folder / "err").read_text()

    def until(self, reached: Callable[[], bool]) -> None:
        give_up = time.monotonic() + PATIENCE
        while not reached():
            assert self.process.poll() is None, f"ended too early: {self.err}"
            assert time.monotonic() < give_up, f"never came to it: {self.err}"
            time.sleep(0.01)

    def interrupt(self) -> tuple[int, str]:
        """Press Ctrl-C, which a terminal sends to the whole group; the exit code, and what is said after that."""
        before = self.err
        os.killpg(self.process.pid, signal.SIGINT)
        code = self.process.wait(PATIENCE)
        return code, self.err.removeprefix(before)


@pytest.fixture
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Started]]:
    """Start the command; what is left of its group after the test is ended."""
    started: list[Started] = []

    def start(*arguments: object) -> Started:
        folder = tmp_path_factory.mktemp("streams")
        with open(folder / "out", "wb") as out, open(folder / "err", "wb") as err:
            process = subprocess.Popen(
                [sys.executable, "-c", PROGRAM, *map(str, arguments)],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                env={
                    **os.environ,
                    "OMP_NUM_THREADS": str(THREADS),
                    "OMP_WAIT_POLICY": "PASSIVE",
                    "PYTHONPATH": str(ROOT),
                },
                start_new_session=True,
            )
        started.append(Started(process, folder))
        return started[-1]

    yield start
    for command in started:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(command.process.pid, signal.SIGKILL)
        command.process.wait()


@pytest.fixture(scope="module")
def larger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As many images that six epochs on them take a second or more."""
    return archive(tmp_path_factory.mktemp("larger") / "larger.npz", 208, 40, 16)


def outcome(folder: Path) -> dict[str, Any]:
    """What must be the same: all but times."""
    record = {key: value for key, value in read_record(folder / "record.json").items() if key != "timing"}
    with open(folder / "history.csv", encoding="utf-8", newline="") as file:
        rows = [{key: value for key, value in row.items() if key != "seconds"} for row in csv.DictReader(file)]
    return {"record": record, "history": rows, "last.pt": (folder / "last.pt").read_bytes()}


@pytest.mark.parametrize("jobs", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_control_c_saves_and_the_same_command_goes_on_to_the_same_bytes(
    start: Callable[..., Started], run: Command, student_of: Path, larger: Path, here: Path, jobs: int
) -> None:
    options = [
        "--teacher",
        student_of,
        "--student",
        "resnet8",
        "--data",
        larger,
        "-a",
        "cutmix",
        "--seeds",
        f"0-{jobs - 1}",
    ]
    options += ["--batch-size", "16", "--epochs", "6", "--dtype", "float32", "--device", "cpu", "--jobs", jobs]
    command = start("distill", *options, "-o", here / "runs")
    command.until(lambda: len(list(here.glob("runs/*/history.csv"))) == jobs)
    code, said = command.interrupt()
    assert code == 130, command.err
    assert (command.folder / "out").read_text() == ""
    assert said.count("\n") == 1
    assert said.startswith("dametric: stopped")
    assert "the same command goes on" in said
    assert load_runs("runs")["status"].tolist() == ["interrupted"] * jobs
    for path in here.glob("runs/*/last.pt"):
        assert torch.load(path, weights_only=True)["state"]["epoch"] >= 1

    options[-1] = 1
    for folder in ("runs", "smooth"):
        assert run("distill", *options, "-o", folder, "-q").code == 0
    assert everything(here / "runs") == everything(here / "smooth")
    for path in (here / "smooth").iterdir():
        first, second = outcome(path), outcome(here / "runs" / path.name)
        for part in first:
            assert first[part] == second[part], part
    assert all(record["timing"]["sessions"] == 2 for record in records("runs"))


def importing(pid: int) -> int:
    """How many workers of a process are importing torch, which takes them seconds."""
    found = 0
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, IndexError):
            parent = (path / "stat").read_text().rpartition(")")[2].split()[1]
            worker = parent == str(pid) and b"spawn_main" in (path / "cmdline").read_bytes()
            found += worker and "libtorch" in (path / "maps").read_text()
    return found


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="no /proc to see processes in")
@pytest.mark.slow
def test_control_c_while_workers_are_starting_is_one_line(
    start: Callable[..., Started], student_of: Path, larger: Path, here: Path
) -> None:
    options = ["--teacher", student_of, "--student", "resnet8", "--data", larger, "-a", "cutmix", "--seeds", "0-1"]
    command = start("distill", *options, "--batch-size", "16", "--epochs", "100", "--jobs", 2, "-o", here / "runs")
    command.until(lambda: importing(command.process.pid) == 2)
    code, said = command.interrupt()
    assert "Traceback" not in said
    assert said.count("\n") == 1
    assert code == 130
