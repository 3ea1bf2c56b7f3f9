"""Images without labels: students are judged by their divergence from the teacher."""

from __future__ import annotations

import json
import shlex
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.special import log_softmax, softmax
from torch import Tensor, nn

import dametric
from dametric import cli
from dametric.base.arguments import speaking
from dametric.errors import UsageError
from dametric.models import build, save_checkpoint
from dametric.records.choices import read_choice
from dametric.records.runs import find_runs
from tests.loops import each

SHORT: dict[str, Any] = {"steps": 40, "batch_size": 32, "device": "cpu", "dtype": "float32", "quiet": True}


@pytest.fixture
def images() -> Tensor:
    return torch.randint(0, 256, (140, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def teacher() -> nn.Module:
    torch.manual_seed(0)
    return build("resnet8", 10, 8)


def test_the_loss_is_the_divergence_from_the_teacher(tmp_path: Path, images: Tensor, teacher: nn.Module) -> None:
    sets = (images[:100], images[100:])
    trained = dametric.distill(teacher, "resnet8", sets, "cutmix", out=tmp_path, ce_weight=0, temperature=3, **SHORT)
    train = dametric.data.ImageSet.from_tensors(sets[0], None, split="train")
    mean, std = (torch.tensor(part).view(1, 3, 1, 1) for part in (train.mean, train.std))
    with torch.no_grad():
        shown = (sets[1] / 255 - mean) / std
        asked, told = (network.eval()(shown).double().numpy() for network in (teacher, trained.model))
    own, other = log_softmax(asked / 3, 1), log_softmax(told / 3, 1)
    last = trained.record["last"]
    assert last["test_loss"] == pytest.approx((softmax(asked / 3, 1) * (own - other)).sum(1).mean(), rel=1e-4)
    assert last["test_agreement"] == pytest.approx(np.mean(asked.argmax(1) == told.argmax(1)))
    assert (
        json.loads((trained.folder / "record.json").read_text(), parse_constant=pytest.fail)["last"]["test_top1"]
        is None
    )
    assert dametric.load_checkpoint(trained.folder / "last.pt").num_classes == 10


def test_a_choice_needs_no_labels(tmp_path: Path, images: Tensor, teacher: nn.Module) -> None:
    more = {"fractions": (0.5, 1), "budget": "120steps", "output": tmp_path, **SHORT}
    sets = (images[:100], images[100:])
    with pytest.raises(UsageError, match="has no labels: the loss must need none"):
        next(dametric.choose(teacher, "resnet8", sets, ["cutmix"], **more))
    assert not (tmp_path / "scores.json").exists()
    *_, choice = dametric.choose(teacher, "resnet8", sets, ["cutmix"], ce_weight=0, **more)
    assert choice.runs
    assert all(run.loss > 0 and run.top1 != run.top1 for run in choice.runs)
    assert choice.config["loss"] == "divergence"
    assert not any("accuracy" in sentence for sentence in choice.sentences)


def test_a_folder_without_class_folders_needs_no_labels(
    tmp_path: Path, images: Tensor, teacher: nn.Module, capsys: pytest.CaptureFixture[str]
) -> None:
    """Scored, chosen from and distilled on, by what needs no labels; what needs them is one sentence."""
    for split, part in (("train", images[:100]), ("test", images[100:])):
        (tmp_path / "set" / split).mkdir(parents=True)
        for number, image in enumerate(part):
            Image.fromarray(image.permute(1, 2, 0).numpy()).save(tmp_path / "set" / split / f"{number:03d}.png")
    file = save_checkpoint(tmp_path / "t.pth", teacher, arch="resnet8", image_size=8, data="digits")
    told = {"device": "cpu", "dtype": "float32", "cache_dir": str(tmp_path / "cache")}
    scores = dametric.score(file, str(tmp_path / "set"), ["cutmix"], batches=2, batch_size=16, **told)
    assert scores.rows[0].metrics["t_stddev"].value > 0
    assert scores.settings.scored.clean is None
    said = capsys.readouterr().err
    assert said.count("has no class folders: its images have no labels") == 1
    assert "its accuracy is not known" in said
    with pytest.raises(UsageError, match="without labels, which these images do not have"):
        dametric.score(file, str(tmp_path / "set"), ["cutmix"], metrics=["div_aff"], quiet=True, **told)
    with pytest.raises(UsageError, match="needs labelled images"):
        dametric.train("resnet8", str(tmp_path / "set"), out=tmp_path / "r", **{**SHORT, **told})

    asked = {**SHORT, **told, "ce_weight": 0, "batch_size": 16}
    trained = dametric.distill(file, "resnet8", str(tmp_path / "set"), "cutmix", out=tmp_path / "r", **asked)
    assert trained.record["last"]["test_loss"] > 0
    more = {"fractions": (0.5, 1), "budget": "60steps", "output": tmp_path / "c", **asked}
    *_, choice = dametric.choose(file, "resnet8", str(tmp_path / "set" / "train"), ["cutmix"], **more)
    assert choice.config["loss"] == "divergence"
    assert choice.config["images"]["held_out"] == 10
    assert "--ce-weight 0" in str(choice.config["command"])


@each("labelled", [False, True])
def test_what_to_type_next_runs_where_there_is_no_evaluation_split(
    tmp_path: Path, images: Tensor, teacher: nn.Module, capsys: pytest.CaptureFixture[str], labelled: bool
) -> None:
    """One folder of images, with class folders and without: what a choice ends with is typed."""
    folder = tmp_path / f"labelled {labelled}"
    for number, image in enumerate(images):
        path = folder / "set" / (f"class{number % 10}" if labelled else "") / f"{number:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(path)
    file = save_checkpoint(folder / "t.pth", teacher, arch="resnet8", image_size=8)
    command = f"choose -t {shlex.quote(str(file))} -s resnet8 -a cutmix --steps 40 --batch-size 16 --device cpu"
    command += " --dtype float32 --fractions 0.5,1 --budget 60steps" + ("" if labelled else " --ce-weight 0")
    places = ["--data", str(folder / "set"), "-o", str(folder / "c"), "--cache-dir", str(tmp_path / "cache")]
    with speaking("command line"):
        assert cli._run([*shlex.split(command), *places]) == 0, capsys.readouterr().err
        (line,) = [line for line in read_choice(folder / "c").sentences if line.startswith("Next: ")]
        words = shlex.split(line.removeprefix("Next: ").split("; as code")[0])
        assert (words[:2], words[-2:]) == (["dametric", "distill"], ["-o", "runs"])
        capsys.readouterr()
        assert cli._run([*words[1:-1], str(folder / "runs")]) == 0, capsys.readouterr().err
        said = capsys.readouterr().err
        assert said.count("has no evaluation split: 14 of its training images") == 1
        assert cli._run([*words[1:-1], str(folder / "more"), "--held-out", "20"]) == 0
        assert "has no evaluation split: 20 of its training images" in capsys.readouterr().err
        for split in ("train", "test"):
            shutil.copytree(folder / "set", folder / "both" / split)
        for data, repeated in (("set", True), ("both", False)):
            places[1], places[3] = str(folder / data), str(folder / f"20 of {data}")
            assert cli._run([*shlex.split(command), *places, "--held-out", "20"]) == 0, capsys.readouterr().err
            (line,) = [line for line in read_choice(places[3]).sentences if line.startswith("Next: ")]
            assert ("--held-out 20" in line) is repeated
    for run in (find_runs(folder / "runs")[0], find_runs(folder / "c" / "runs")[0]):
        assert run.written is not None
        assert run.written.about.data.tested_on == "held-out"
    (run,) = find_runs(folder / "runs")
    assert run.written is not None
    data = read_choice(folder / "c").config["data"]
    assert run.written.config.document()["data"] == {"train": data["train"], "test": data["held_out"]}


def test_time_that_a_kill_left_in_the_folder_is_spent(tmp_path: Path, images: Tensor, teacher: nn.Module) -> None:
    (tmp_path / "clock.json").write_text('{"seconds": 3601.0}')
    more = {"fractions": (0.5, 1), "budget": "1h", "output": tmp_path, "ce_weight": 0, **SHORT}
    *_, choice = dametric.choose(teacher, "resnet8", (images[:100], images[100:]), ["cutmix"], **more)
    assert (choice.status, choice.runs) == ("spent", ())
    assert choice.costs.seconds > 3601
    assert 3601 < json.loads((tmp_path / "clock.json").read_text())["seconds"] < 3700


def test_labels_are_in_both_sets_or_in_none(images: Tensor, teacher: nn.Module, tmp_path: Path) -> None:
    sets = (images[:100], (images[100:], torch.arange(40) % 10))
    with pytest.raises(UsageError, match="must have labels both, or neither"):
        dametric.distill(teacher, "resnet8", sets, "cutmix", out=tmp_path, ce_weight=0, **SHORT)
