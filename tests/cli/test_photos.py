"""Photographs of 400 x 350 pixels in folders, as users of ImageNet have them: all commands, at 224 pixels."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from PIL import Image

from dametric.records.runs import load_runs, read_record

if TYPE_CHECKING:
    from tests.cli.conftest import Run

NETWORK = "torchvision:shufflenet_v2_x0_5"
VIEW = "Resize(256, bilinear) and CenterCrop(224)"


@pytest.fixture(scope="module")
def photos(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """JPEGs of three classes of Tiny ImageNet, enlarged: ten of each for training, four for evaluation."""
    pq = pytest.importorskip("pyarrow.parquet")
    root = tmp_path_factory.mktemp("photos") / "set"
    for split, name, count in (("train", "train", 10), ("val", "valid", 4)):
        (file,) = (shared / "data" / "tinyimagenet25").glob(f"{name}-*.parquet")
        table = pq.read_table(file)
        labels = table["label"].to_pylist()
        for label in sorted(set(labels))[:3]:
            (root / split / f"n{label:02d}").mkdir(parents=True)
            for number, row in enumerate([at for at, own in enumerate(labels) if own == label][:count]):
                image = Image.open(io.BytesIO(table["image"][row]["bytes"].as_py())).convert("RGB")
                image = image.resize((400, 350) if number % 3 else (350, 400), Image.Resampling.BICUBIC)
                image.save(root / split / f"n{label:02d}" / f"{number}.JPEG", quality=90)
    return root


@pytest.mark.parametrize("how", ["--lazy", pytest.param("--in-memory", marks=pytest.mark.slow)])
def test_photographs_are_trained_on_scored_and_distilled(run: Run, photos: Path, tmp_path: Path, how: str) -> None:
    common = ["--data", photos, "--image-size", 224, how, "--cache-dir", tmp_path / "cache", "--device", "cpu"]
    common += ["--batch-size", 6, "--dtype", "float32"]
    teacher, scores = tmp_path / "teacher.pth", tmp_path / "scores.json"
    trained = run("train", "--arch", NETWORK, *common, "--epochs", 1, "-o", teacher)
    assert trained.code == 0, trained.err
    assert VIEW in trained.err
    augs = ["-a", "identity", "-a", "cutmix", "-a", "rrc"]
    scored = run("score", "-t", teacher, *common, *augs, "--batches", 4, "-o", scores, "--accuracy-images", "all")
    assert scored.code == 0, scored.err
    assert VIEW in scored.err
    document = json.loads(scores.read_text())
    assert {row["aug"] for row in document["scores"]} == {"identity", "cutmix", "rrc"}
    assert document["config"]["data"]["evaluation"] == VIEW
    assert document["config"]["base_aug"] == "rrc+flip"
    options = ["-t", teacher, "-s", NETWORK, *common, "-a", "cutmix", "--epochs", 1, "-o", tmp_path / "runs"]
    distilled = run("distill", *options)
    assert distilled.code == 0, distilled.err
    runs = load_runs(tmp_path / "runs")
    assert runs["status"].tolist() == ["finished"]
    (path,) = (tmp_path / "runs").rglob("record.json")
    assert read_record(path)["about"]["data"]["evaluation"] == VIEW


SMALL = """
from torch import nn
def small(num_classes, image_size):
    layers = [nn.Conv2d(3, 8, 8, stride=8, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(4)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(128, num_classes))
"""


def test_an_augmentation_is_chosen_for_photographs(
    run: Run, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a small network: images are large here, and the test above is of a large network."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nets.py").write_text(SMALL, encoding="utf-8")
    common = ["--data", photos, "--image-size", 224, "--lazy", "--cache-dir", tmp_path / "cache", "--device", "cpu"]
    common += ["--batch-size", 6, "--dtype", "float32", "--steps", 4]
    teacher = tmp_path / "teacher.pth"
    assert run("train", "--arch", "./nets.py:small", *common, "-o", teacher).code == 0
    asked = ["-t", teacher, "--arch", "./nets.py:small", "-s", "./nets.py:small", *common, "-a", "cutmix"]
    asked += ["--fractions", "0.5,1", "--held-out", 6]
    chosen = run("choose", *asked, "--budget", "12steps", "-o", tmp_path / "choice", "--json")
    assert chosen.code == 0, chosen.err
    answer = chosen.document
    assert {arm["aug"] for arm in answer["arms"]} == {"identity", "cutmix"}
    assert answer["config"]["images"] | {"name": ""} == {"name": "", "train": 24, "held_out": 6, "size": 224}
    assert {run["aug"] for run in answer["runs"]} == {"identity", "cutmix"}
    assert sum(run["steps"] for run in answer["runs"]) <= 12
