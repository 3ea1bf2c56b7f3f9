"""What a sweep says before the first run of networks and augmentations as people write them."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import asdict
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image

from dametric.base import files
from dametric.data.request import ImageRequest
from dametric.records.runs import load_runs
from dametric.records.scores import Scores
from dametric.sweeps import tasks
from dametric.sweeps.grid import read_grid
from dametric.sweeps.options import RunEnvironment
from dametric.sweeps.study import make_study
from dametric.sweeps.tasks import ScoreTask
from tests.sweeps.conftest import Said

_WORDS = (
    "augs teacher data arch student student_arch split mean std accuracy device dtype output picture json passed_on",
    "source root download cache_dir image_size lazy quiet train_images held_out",
)
OPTIONS, DATA_OPTIONS = (frozenset(words.split()) for words in _WORDS)
CODE = '''
import torch
from torch import nn

class Grey(nn.Module):
    def __init__(self, num_classes=4):
        super().__init__()
        self.conv, self.fc = nn.Conv2d(1, 8, 8), nn.Linear(8, num_classes)

    def forward(self, x):
        x = self.conv(x).relu()
        return self.fc(x.view(x.size(0), -1))

class Shares(Grey):
    """A student that ends in softmax."""

    def forward(self, x):
        return super().forward(x).softmax(1)

def halves(batch):
    return batch // 2 + batch.roll(1, 0) // 2
'''


def test_grey_networks_guesses_and_functions_are_said_once(
    run: Callable[..., Said], grid: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.py").write_text(CODE)
    recipe = {"epochs": 1, "batch_size": 16, "dtype": "float32"}
    path = grid(
        teachers={"lenet": {"arch": "./own.py:Grey", **recipe}},
        pairs=["lenet -> ./own.py:Shares"],
        augmentations=["./own.py:halves"],
        training=recipe,
        score={"batches": 4, "batch_size": 16},
    )
    said = run("sweep", path, "-j", 1)
    assert said.code == 0, said.err
    line = "data: images become one-channel (grey), as the teacher's first layer takes one channel"
    assert said.err.count(line) == 1
    (guess,) = [line for line in said.err.splitlines() if line.startswith("student ./own.py:Shares: ")]
    assert "probabilities" in guess
    assert said.err.count("augmentation ./own.py:halves mixes images of a batch") == 1
    assert said.err.index(guess) < said.err.index("[1/4]")
    runs = load_runs("runs/grid")
    assert set(runs["status"]) == {"finished"}
    (scores,) = (tmp_path / "runs/grid/scores").glob("*.json")
    assert len(Scores.read(scores).config["mean"]) == 1

    # the same teacher, given as a file
    path = grid(
        teachers={"given": {"checkpoint": "runs/grid/teachers/tiny-lenet.pth", "arch": "./own.py:Grey"}},
        pairs=["given -> ./own.py:Shares"],
        augmentations=["identity"],
        seeds=0,
        training=recipe,
        accuracy_images=7,
    )
    again = run("sweep", path, "-j", 1, "-o", "runs/given")
    assert again.code == 0, again.err
    assert again.err.count(line) == 1
    assert re.search(r"tiny-lenet\.pth: [0-9.]+ % top-1 ± [0-9.]+ on 7 of [0-9]+ test images", again.err)


def test_score_files_of_colour_images_are_asked_for_as_ever(grid: Callable[..., Path], tmp_path: Path) -> None:
    """By the hash of what decides them, in which later options do not appear."""
    study = make_study(read_grid(grid(score={"batches": 4}), []), RunEnvironment(tmp_path / "runs"))
    (task,) = [task.payload for task in study.tasks if isinstance(task.payload, ScoreTask)]
    teacher = Path(task.options.teacher)
    teacher.parent.mkdir(parents=True)
    teacher.write_bytes(b"weights")
    data = task.options.data
    parts = {key: value for key, value in asdict(task.options).items() if key in OPTIONS}
    parts["data"] = {key: value for key, value in parts["data"].items() if key in DATA_OPTIONS}
    parts["data"] |= {"quiet": True, "cache_dir": None}
    parts |= {"output": None, "teacher": files.sha256(teacher), "student": None, "passed_on": task.options.options}
    parts |= {"student_arch": None, "accuracy": True, "picture": None, "json": False}
    parts["images"] = data.load("train").fingerprint
    text = json.dumps(parts, sort_keys=True, default=str)
    assert task.asked() == hashlib.sha256(text.encode()).hexdigest()[:16]


def test_a_sweep_shows_images_as_the_teachers_library_does(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    for split, name in product(("train", "val"), ("ant", "bee")):
        folder = tmp_path / "photos" / split / name
        folder.mkdir(parents=True)
        for number in range(3):
            Image.fromarray(draw.integers(0, 256, (150, 170, 3), dtype=np.uint8)).save(folder / f"{number}.png")
    network = torchvision.models.mobilenet_v2(num_classes=2)
    torch.save(network.state_dict(), tmp_path / "teacher.pth")
    data = ImageRequest(source=str(tmp_path / "photos"), image_size=128, cache_dir=str(tmp_path / "cache"), quiet=True)
    tasks.forget()
    try:
        shown = tasks.context(data, "cpu", str(tmp_path / "teacher.pth"), "torchvision:mobilenet_v2")
        assert (shown.train.evaluation, shown.test.evaluation) == ("Resize(132, bilinear) and CenterCrop(128)",) * 2
        assert tasks.context(data, "cpu").train.evaluation == "Resize(146, bilinear) and CenterCrop(128)", "the usual"
    finally:
        tasks.forget()
