"""What belongs to a checkpoint goes with it: image size, normalisation, weights, and the accuracy it once had."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import dametric
from dametric import load_checkpoint
from dametric.data import load_data
from dametric.data.known import KNOWN
from dametric.errors import UsageError
from dametric.models import LoadedNetwork, build, save_checkpoint
from dametric.records.runs import read_record
from dametric.sweeps.grid import read_grid
from dametric.sweeps.options import RunEnvironment, student_task

OWN = ((0.5, 0.4, 0.3), (0.2, 0.25, 0.3))
SMALL = ("--batches", 4, "--batch-size", 16, "--aug", "flip", "--dtype", "float32", "--device", "cpu")


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def network(seed: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build("resnet8", 4, 8)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Images of 16 pixels in four classes, for a teacher of 8."""
    draw = np.random.default_rng(0)
    parts = {
        f"x_{split}": draw.integers(0, 256, (count, 16, 16, 3), dtype=np.uint8)
        for split, count in (("train", 40), ("test", 12))
    }
    labels = {f"y_{split}": np.arange(len(parts[f"x_{split}"])) % 4 for split in ("train", "test")}
    np.savez(tmp_path / "set.npz", **parts, **labels)
    return tmp_path / "set.npz"


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A teacher of images of 8 pixels."""
    about: dict[str, Any] = {"mean": OWN[0], "std": OWN[1], "image_size": 8}
    return save_checkpoint(tmp_path / "t.pth", network(0), arch="resnet8", **about)


def test_images_are_brought_to_the_size_of_the_teacher_s_training(
    run: Callable[..., Any], images: Path, small: Path
) -> None:
    asked = ("score", "--teacher", small, "--data", images, *SMALL, "--json")
    said, same, other = run(*asked), run(*asked, "--image-size", 8), run(*asked, "--image-size", 16)
    assert said.code == same.code == other.code == 0, said.err
    assert said.document["config"]["image_size"] == 8
    assert said.document["scores"] == same.document["scores"] != other.document["scores"]
    assert "images are resized to 8 pixels, the size of the checkpoint's training" in said.err
    assert "resized to" not in same.err
    assert other.document["config"]["image_size"] == 16
    assert "WARNING: the file says that it was trained on images of 8 pixels, not 16" in other.err

    learn = ("distill", "--teacher", small, "--data", images, "--student", "resnet8", "--aug", "flip", "-o", "runs")
    done = run(*learn, "--epochs", 1, "--batch-size", 20, "--device", "cpu", "--dtype", "float32")
    assert done.code == 0, done.err
    (record,) = (read_record(path) for path in Path("runs").rglob("record.json"))
    assert record["about"]["data"]["image_size"] == 8

    Path("grid.yaml").write_text(
        f"data: {images}\nteachers: {{t: {small}, named: {{checkpoint: {small}, mean: imagenet, weights: model}}}}\n"
        "pairs: [t -> resnet8, named -> resnet8]\naugmentations: [flip]\n"
    )
    grid = read_grid("grid.yaml")
    first, second = (student_task(grid, row, RunEnvironment(Path("x"), "cpu")) for row in grid.rows)
    assert first.common.images.image_size == second.common.images.image_size == 8
    assert (first.mean, first.std, first.weights) == (None, None, None)
    assert (second.mean, second.std, second.weights) == (*KNOWN["imagenet"], "model")
    grid = read_grid("grid.yaml", ["data.image_size=16"])
    assert student_task(grid, grid.rows[0], RunEnvironment(Path("x"), "cpu")).common.images.image_size == 16


def test_python_refuses_images_of_another_size_unless_they_are_meant(images: Path, small: Path) -> None:
    data = load_data(images, quiet=True), load_data(images, "test", quiet=True)
    checkpoint = load_checkpoint(small)
    asked: dict[str, Any] = {"batches": 2, "batch_size": 16, "device": "cpu", "quiet": True}
    with pytest.raises(UsageError, match=r"trained on images of 8 pixels.*have 16.*image_size=8"):
        dametric.score(checkpoint, data[0], "flip", **asked)
    for teacher in (checkpoint, small):
        with pytest.raises(UsageError, match=r"trained on images of 8 pixels"):
            dametric.distill(teacher, "resnet8", data, "flip", epochs=1, device="cpu", quiet=True)
    meant = load_checkpoint(small, image_size=16)
    assert dametric.score(meant, data[0], "flip", **asked).config["image_size"] == 16
    with pytest.raises(UsageError, match="the student was trained on images of 8"):
        dametric.score(meant, data[0], "flip", student=checkpoint, **asked)


def test_the_normalisation_in_use_is_said(run: Callable[..., Any], images: Path, small: Path) -> None:
    asked = ("score", "--teacher", small, "--data", images, *SMALL, "--json")
    own = "teacher: normalised by mean 0.5, 0.4, 0.3 and std 0.2, 0.25, 0.3 (written in the file)\n"
    said = run(*asked)
    assert said.err.count("normalised by") == 1
    assert own in said.err
    assert said.document["config"]["normalised_by"] == "written in the file"
    named, numbers = (
        run(*asked, "--mean", "cifar100"),
        run(*asked, "--mean", "0.5071,0.4867,0.4408", "--std", "0.2675,0.2565,0.2761"),
    )
    assert "mean 0.5071, 0.4867, 0.4408 and std 0.2675, 0.2565, 0.2761 (as given)" in named.err
    assert named.document["scores"] == numbers.document["scores"] != said.document["scores"]
    wrong = run(*asked, "--mean", "cifar1000")
    assert (wrong.code, wrong.out) == (2, "")
    assert "did you mean cifar100" in wrong.err
    assert "normalised by" not in run(*asked, "-q").err
    data = load_data(images, quiet=True), load_data(images, "test", quiet=True)
    teach = ("train", "--arch", "resnet8", "--data", images, "-o", "new.pth", "--epochs", 1, "--batch-size", 20)
    said = run(*teach, "--device", "cpu")
    first = ", ".join(f"{value:.4g}" for value in data[0].mean)
    assert f"resnet8: normalised by mean {first} and std " in said.err
    assert "(statistics of the training images)" in said.err


def test_python_says_the_normalisation_too(images: Path, small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = load_data(images, image_size=8, quiet=True)
    asked: dict[str, Any] = {"batches": 2, "batch_size": 16, "device": "cpu"}
    named = dametric.score(load_checkpoint(small), data, "flip", mean="cifar100", **asked)
    assert "(as given)" in capsys.readouterr().err
    assert named.config["mean"] == list(KNOWN["cifar100"].mean)
    assert named.config["std"] == list(KNOWN["cifar100"].std)
    dametric.score(network(0), data, "flip", **asked)
    assert "(statistics of the training images)" in capsys.readouterr().err
    dametric.score(network(0), data, "flip", quiet=True, **asked)
    assert capsys.readouterr().err == ""


def test_python_says_what_the_command_line_says_of_a_file_from_elsewhere(
    images: Path, small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = load_data(images, quiet=True), load_data(images, "test", quiet=True)
    asked: dict[str, Any] = {"batches": 2, "batch_size": 16, "device": "cpu"}
    pixels = {"mean": [0.5 * 255] * 3, "std": [0.25 * 255] * 3}
    torch.save({"state_dict": network(0).state_dict(), **pixels}, tmp_path / "foreign.pth")
    foreign = load_checkpoint(tmp_path / "foreign.pth")
    learn: dict[str, Any] = {"epochs": 1, "batch_size": 20, "device": "cpu", "dtype": "float32", "out": tmp_path}
    warning = (
        "WARNING: nothing says on what size of images the teacher was trained: 32 pixels are assumed, and these have"
    )
    for say in (
        lambda quiet: dametric.score(foreign, data[0].images, "flip", quiet=quiet, **asked),
        lambda quiet: dametric.distill(foreign, "resnet8", data, "flip", quiet=quiet, **learn),
    ):
        say(False)
        said = capsys.readouterr().err
        assert f"{warning} 16" in said
        assert "teacher: resnet8 (recognised by names and shapes), 4 classes, for 32-pixel images (assumed)" in said
        assert "in the file are taken for pixel values 0..255" in said
        say(True)
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(warning)
    meant = load_checkpoint(tmp_path / "foreign.pth", image_size=16)
    dametric.score(meant, data[0], "flip", **asked)
    assert "WARNING" not in capsys.readouterr().err
    dametric.score(network(0), data[0], "flip", **asked)
    assert "teacher: shown images of 16 pixels, a size that a network cannot confirm" in capsys.readouterr().err
    dametric.train("resnet8", data, **learn)
    assert "resnet8: normalised by mean " in capsys.readouterr().err


def test_python_says_that_data_are_not_those_of_the_training(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = save_checkpoint(tmp_path / "t.pth", network(0), arch="resnet8", image_size=8, data="cifar10")
    dametric.score(load_checkpoint(path), load_data("digits", image_size=8), "flip", batches=2, batch_size=16)
    said = capsys.readouterr().err
    assert "teacher: trained on cifar10, these are digits" in said
    assert "teacher: tells 4 classes apart, and digits has 10" in said


def test_python_says_what_is_noted_of_the_data(images: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = images.parent / "outer" / "inner"
    for kind in "ab":
        for split in ("train", "test"):
            (folder / split / kind).mkdir(parents=True)
            Image.new("RGB", (8, 8), (60, 90, 120)).save(folder / split / kind / "0.png")
    data = load_data(folder.parent)
    assert f"data: {data.notes[0]}\n" in capsys.readouterr().err
    load_data(folder.parent, quiet=True)
    assert capsys.readouterr().err == ""


def test_weights_can_be_chosen_by_key(run: Callable[..., Any], images: Path) -> None:
    ways = {
        "both.pth": {"model": network(0).state_dict(), "model_ema": network(1).state_dict()},
        "average.pth": network(1).state_dict(),
        "pair.pth": {"student": network(0).state_dict(), "teacher": network(1).state_dict()},
    }
    for name, content in ways.items():
        torch.save(content, name)
    asked = ("score", "--data", images, *SMALL, "--json", "--teacher")
    plain, average, alone = (
        run(*asked, "both.pth"),
        run(*asked, "both.pth", "--weights", "model_ema"),
        run(*asked, "average.pth"),
    )
    pair = run(*asked, "pair.pth")
    assert average.document["scores"] == alone.document["scores"] == pair.document["scores"]
    assert plain.document["scores"] != alone.document["scores"]
    count = len(network(0).state_dict())
    assert f"teacher: not taken: 'model_ema' (a moving average, {count} tensors); --weights model_ema" in plain.err
    hashes = {said.document["config"]["teacher"]["sha256"] for said in (plain, average)}
    assert len(hashes) == 2
    learn = ("distill", "--teacher", "both.pth", "--weights", "model_ema", "--data", images, "--student", "resnet8")
    run(*learn, "--aug", "flip", "-o", "runs", "--steps", 1, "--batch-size", 20, "--device", "cpu")
    (record,) = (read_record(path) for path in Path("runs").rglob("record.json"))
    assert record["config"]["teacher"]["sha256"] == average.document["config"]["teacher"]["sha256"]
    wrong = run(*asked, "both.pth", "--weights", "modle")
    assert (wrong.code, wrong.out) == (2, "")
    assert f"only 'model' ({count} tensors), 'model_ema' (a moving average, {count} tensors)" in wrong.err


def test_a_teacher_that_knows_less_than_its_own_record_says_is_a_loud_warning(
    run: Callable[..., Any], teacher: Path, tmp_path: Path
) -> None:
    checkpoint = load_checkpoint(teacher)
    asked = ("score", "--data", "digits", "--split", "test", *SMALL, "--json", "-q", "--teacher")
    top1 = run(*asked, teacher).document["config"]["teacher"]["clean"]["top1"]
    assert top1 > 0.5
    about: dict[str, Any] = {"mean": checkpoint.mean, "std": checkpoint.std, "image_size": 32}
    for recorded, warned in ((top1, False), (0.999, True)):
        extra = {"run": "x", "test": {"test_top1": recorded}}
        path = save_checkpoint(tmp_path / "own.pth", checkpoint.model, arch="resnet8", extra=extra, **about)
        said = run(*asked, path)
        assert ("WARNING" in said.err) == warned
    assert f"WARNING: {100 * top1:.2f} % is well below the 99.90 % that the teacher's own file records" in said.err

    for recorded, expected in (
        ({"best_acc1": torch.tensor(82.94)}, 0.8294),
        ({"accuracy": 0.7}, 0.7),
        ({"acc": True, "epoch": 90}, None),
        ({"train_acc": 99.0}, None),
    ):
        torch.save({"state_dict": checkpoint.model.state_dict(), **recorded}, "foreign.pth")
        network = LoadedNetwork.of("foreign.pth", load_data("digits", "test", quiet=True))
        assert network.accuracy == (None if expected is None else pytest.approx(expected))
        # two standard errors of a share of 10,000 images, and a point
        least = 0.0 if expected is None else expected - 0.01 - 2 * (expected * (1 - expected) / 10_000) ** 0.5
        assert network.shortfall(least + 1e-6, 10_000) is None
        assert expected is None or network.shortfall(least - 1e-4, 10_000) is not None
