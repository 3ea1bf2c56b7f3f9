"""Networks as people write them, from the command line: grey ones, views, and what is said of those that fail."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
import torch._dynamo

from dametric.data import load_data
from dametric.errors import UsageError
from dametric.models import load_checkpoint
from dametric.models.failures import network_errors
from dametric.models.interface import forward_pass
from tests.cli.conftest import Run

NETS = '''
from torch import nn

class LeNet(nn.Module):
    """As teaching code has it: one channel, view, and probabilities."""

    def __init__(self, num_classes=10):
        super().__init__()
        self.conv, self.pool = nn.Conv2d(1, 6, 3, padding=1), nn.MaxPool2d(4)
        self.fc = nn.Linear(6 * 8 * 8, num_classes)

    def forward(self, x):
        x = self.pool(self.conv(x).relu())
        return self.fc(x.view(x.size(0), -1)).softmax(1)

class Colour(LeNet):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3, padding=1)

    def forward(self, x):
        features = self.pool(self.conv(x).relu())
        features = features.view(x.size(0), -1)
        return {"features": features, "logits": self.fc(features)}
'''
GREY = "data: images become one-channel (grey), as the {}'s first layer takes one channel\n"
PROBABILITIES = "{}: these are probabilities (rows that sum to one), of which the logarithm is taken\n"


@pytest.fixture
def nets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nets.py").write_text(NETS)
    return tmp_path / "nets.py"


def test_a_grey_network_is_trained_scored_and_learnt_from(run: Run, nets: Path) -> None:
    few = ("--data", "digits", "--train-images", 100, "--dtype", "float32")
    short = ("--steps", 3, "--batch-size", 20)
    trained = run("train", "--arch", f"{nets}:LeNet", *few, *short, "-o", "lenet.pth")
    assert trained.code == 0, trained.err
    assert trained.err.count(GREY.format("network")) == 1
    assert trained.err.count(PROBABILITIES.format("student")) == 1
    grey = load_data("digits", quiet=True).grey()
    assert load_checkpoint("lenet.pth", arch=f"{nets}:LeNet").mean == pytest.approx(grey.mean, abs=0.02)

    teacher = ("--teacher", "lenet.pth", "--arch", f"{nets}:LeNet")
    scored = run("score", *teacher, *few, "--aug", "cutout", "--batches", 4, "--batch-size", 16, "--json")
    assert scored.code == 0, scored.err
    assert (scored.err.count(GREY.format("teacher")), scored.err.count(PROBABILITIES.format("teacher"))) == (1, 1)
    assert scored.document["config"]["guessed"] == [PROBABILITIES.format("teacher").strip()]
    assert len(scored.document["config"]["mean"]) == 1

    taught = run("distill", *teacher, "--student", f"{nets}:LeNet", *few, *short, "--aug", "cutmix", "-o", "runs")
    assert taught.code == 0, taught.err
    for line in (GREY.format("teacher"), PROBABILITIES.format("teacher"), PROBABILITIES.format("student")):
        assert taught.err.count(line) == 1
    (record,) = (json.loads(path.read_text()) for path in Path("runs").glob("*/record.json"))
    assert len(record["about"]["guessed"]) == 2

    colour = run("distill", *teacher, "--student", "resnet8", *few, *short, "--aug", "cutmix", "-o", "others")
    assert colour.code == 2
    assert "student failed on images of shape (1, 32, 32), do they have the size and channels" in colour.err
    assert "Traceback" not in colour.err


def test_a_network_of_its_own_classes_that_returns_a_dict(run: Run, nets: Path) -> None:
    few = ("--data", "digits", "--train-images", 100, "--dtype", "float32")
    trained = run("train", "--arch", f"{nets}:Colour", *few, "--steps", 3, "--batch-size", 20, "-o", "colour.pth")
    assert trained.code == 0, trained.err
    assert "one-channel" not in trained.err
    said = "returns a dict of 'features' (8, 384), 'logits' (8, 10): 'logits' is taken as logits, of shape (8, 10)\n"
    assert trained.err.count(f"student: {said}") == 1
    teacher = ("--teacher", "colour.pth", "--arch", f"{nets}:Colour")
    scored = run("score", *teacher, *few, "--aug", "flip", "--batches", 4, "--batch-size", 16)
    assert scored.code == 0, scored.err
    assert scored.err.count(f"teacher: {said}") == 1


def test_only_what_a_network_raised_is_put_down_to_the_images() -> None:
    def told(error: Exception, *, inside: bool) -> None:
        with network_errors(), forward_pass() if inside else nullcontext():
            raise error

    with pytest.raises(RuntimeError, match=r"^getpwuid: uid not found$"):
        told(RuntimeError("getpwuid: uid not found"), inside=False)
    with pytest.raises(AssertionError, match="of our own"):
        told(AssertionError("of our own"), inside=False)
    for error in (RuntimeError("mat1 and mat2"), AssertionError("mat1 and mat2")):
        with pytest.raises(UsageError, match=r"^a network failed on these images, do they have .* mat1 and mat2$"):
            told(error, inside=True)
    for inside in (False, True):
        with pytest.raises(UsageError, match=r"^as it was said$"):
            told(UsageError("as it was said"), inside=inside)
        with pytest.raises(UsageError, match="GPU has too little memory"):
            told(torch.cuda.OutOfMemoryError("out of memory"), inside=inside)
    with pytest.raises(UsageError, match=r"^compiling a network failed, leave out compile: "):
        told(torch._dynamo.exc.InternalTorchDynamoError("KeyError: getpwuid"), inside=True)
