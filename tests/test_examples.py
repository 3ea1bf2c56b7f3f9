"""Everything that is extended by one file, from Python and on the command line: the files of examples/ at work."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

import dametric
from dametric import cli
from dametric.augment import Keys, parse
from dametric.errors import UsageError
from dametric.models import build

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
QUICK: dict[str, Any] = {"device": "cpu", "dtype": "float32", "quiet": True}


def test_a_runner_of_ones_own_makes_the_runs_of_a_choice(tmp_path: Path) -> None:
    spec = f"{EXAMPLES / 'runner.py'}:train"
    sets = tuple(dametric.load_data("digits", split, quiet=True) for split in ("train", "test"))
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(sets[0].images[0].numel(), 10))
    about: dict[str, Any] = {"output": tmp_path, "budget": "600steps", "steps": 100, "runner": spec, **QUICK}
    *_, choice = dametric.choose(network, "", sets, ["cutmix", "rotate:degrees=10..80/2"], **about)
    assert 0 < sum(run.steps for run in choice.runs) <= 600
    assert {run.aug for run in choice.runs} <= {"identity", "cutmix", "rotate:degrees=10", "rotate:degrees=80"}
    again = list(dametric.choose(network, "", sets, ["cutmix", "rotate:degrees=10..80/2"], **about))
    assert again[-1].runs == choice.runs
    assert len(list((tmp_path / "own").glob("*.json"))) == len(choice.runs)
    broken = tmp_path / "broken.py"
    broken.write_text("def train(augment, steps, seed):\n    return {'accuracy': 1}\n")
    with pytest.raises(UsageError, match="returns the held-out loss"):
        list(
            dametric.choose(
                network, "", sets, "cutmix", **{**about, "output": tmp_path / "b", "runner": f"{broken}:train"}
            )
        )


def images_and_teacher() -> tuple[torch.Tensor, torch.Tensor, torch.nn.Module]:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (256, 3, 8, 8), dtype=torch.uint8, generator=generator)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        teacher = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 4))
    return images, torch.arange(256) % 4, teacher.eval()


def test_a_metric_sees_labels_and_shares_of_mixed_images() -> None:
    images, labels, teacher = images_and_teacher()
    spec = f"{EXAMPLES / 'metric.py'}:SHARE_OF_OWN_LABEL"
    options = {**QUICK, "batches": 20, "batch_size": 8, "base_aug": "none", "seed": 3}
    scores = dametric.score(teacher, (images, labels), ["identity", "cutmix"], metrics=[spec], **options)
    # by hand, over all images, of which the score has seen a part
    with torch.no_grad():
        mean, std = images.double().mean((0, 2, 3)) / 255, images.double().div(255).std((0, 2, 3), correction=0)
        normal = (images.double() / 255 - mean[:, None, None]) / std[:, None, None]
        own = teacher(normal.float()).softmax(1).gather(1, labels[:, None]).squeeze(1)
    whole = float((own.double() - 1).abs().mean())
    found = scores["identity"]["metrics"]["share_of_own_label"]
    assert abs(found["value"] - whole) < 4 * found["se"] + 1e-3
    assert scores["cutmix"]["metrics"]["share_of_own_label"]["value"] < found["value"]  # chance is nearer to a share
    with pytest.raises(UsageError, match="share_of_own_label cannot be computed without labels"):
        dametric.score(teacher, images, "flip", metrics=[spec], **options)


def test_a_metric_of_several_views() -> None:
    images, _, teacher = images_and_teacher()
    spec = f"{EXAMPLES / 'metric_of_views.py'}:AGREEMENT_OF_VIEWS"
    options = {**QUICK, "batches": 20, "batch_size": 8, "base_aug": "none", "metrics": [spec]}
    two, four = (
        dametric.score(teacher, images, ["identity", "flip", "cutout:length=2"], views=views, **options)
        for views in (None, 4)
    )
    value = {row["aug"]: row["metrics"]["agreement_of_views"]["value"] for row in four.scores}
    assert value["identity"] == 1
    assert value["flip"] < value["cutout:length=2"] < 1
    # of an image and its mirror image the teacher sees either with even chance
    mean, std = images.double().mean((0, 2, 3)) / 255, images.double().div(255).std((0, 2, 3), correction=0)
    normal = ((images.double() / 255 - mean[:, None, None]) / std[:, None, None]).float()
    with torch.no_grad():
        alike = (teacher(normal).argmax(1) == teacher(normal.flip(3)).argmax(1)).double().mean()
    flip = two["flip"]["metrics"]["agreement_of_views"]
    assert abs(flip["value"] - (1 + float(alike)) / 2) < 4 * flip["se"]
    assert four["flip"]["metrics"]["agreement_of_views"]["se"] < flip["se"]


def test_a_metric_is_asked_for_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = _checkpoint(tmp_path)
    spec = f"{EXAMPLES / 'metric.py'}:SHARE_OF_OWN_LABEL"
    words = ["score", "-t", str(path), "-a", "flip", "-m", spec, "--batches", "20", "--batch-size", "8", "--json", "-q"]
    assert cli._run([*words, "--device", "cpu"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["config"]["metrics"][0] == "share_of_own_label"
    assert 0 < document["scores"][0]["metrics"]["share_of_own_label"]["value"] < 1
    assert cli._run(["score", "-t", str(path), "-a", "flip", "-m", f"{EXAMPLES / 'metric.py'}:observe"]) == 2
    assert "is a function, not a dametric.metrics.Metric" in capsys.readouterr().err


def _checkpoint(folder: Path) -> Path:
    path = folder / "teacher.pth"
    dametric.train("resnet8", "digits", output=path, steps=2, image_size=8, eval_every="last", **QUICK)
    return path


def test_a_loss_term_is_added_and_is_part_of_the_run(tmp_path: Path) -> None:
    teacher, short = build("resnet8", 10, 8), {**QUICK, "steps": 2, "image_size": 8, "eval_every": "last"}
    spec = f"{EXAMPLES / 'loss_term.py'}:same_order"
    without = dametric.distill(teacher, "resnet8", "digits", "flip", out=tmp_path, **short)
    with_it = dametric.distill(teacher, "resnet8", "digits", "flip", out=tmp_path, loss_term=spec, **short)
    assert with_it.record["id"] != without.record["id"]
    assert spec in with_it.record["config"]["user_code"]
    more = with_it.record["last"]["train_loss"] - without.record["last"]["train_loss"]
    (row,), (before,) = (trained.work.run.history() for trained in (with_it, without))
    assert set(row) - set(before) == {"train_term"}
    rest = sum(weight * row[f"train_{name}"] for name, weight in (("ce", 0.1), ("kd_raw", 0.9), ("kd_aug", 0.9)))
    assert row["train_term"] == pytest.approx(row["train_loss"] - rest, abs=1e-5)
    assert with_it.record["last"]["train_term"] == row["train_term"] > 0
    assert 0 < more <= 1.1  # half a cosine distance, which is between 0 and 2, on nearly the same weights
    scaled = tmp_path / "term.py"
    scaled.write_text("def rows(inputs):\n    return inputs.student\n")
    with pytest.raises(UsageError, match=r"returns a tensor of shape \(64, 10\), not a scalar"):
        dametric.distill(teacher, "resnet8", "digits", "flip", out=tmp_path, loss_term=f"{scaled}:rows", **short)


def test_a_data_source_and_a_model_are_functions(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, model = f"{EXAMPLES / 'data_source.py'}:stripes", f"{EXAMPLES / 'model.py'}:tiny"
    images = dametric.load_data(source, quiet=True)
    assert (len(images), images.num_classes, images.image_size) == (256, 4, 16)
    assert len(dametric.load_data(source, "test", quiet=True)) == 64
    output = tmp_path / "t.pth"
    words = ["train", "--arch", model, "--data", source, "-o", str(output), "--steps", "3", "--eval-every", "last"]
    assert cli._run([*words, "--device", "cpu", "--dtype", "float32", "-q"]) == 0
    assert math.isfinite(dametric.Ledger.read(tmp_path).table["test_loss"][0])
    capsys.readouterr()
    (tmp_path / "bad.py").write_text("def broken(split):\n    return 1 / 0\n")
    assert cli._run(["train", "--arch", "resnet8", "--data", f"{tmp_path / 'bad.py'}:broken", "-o", str(output)]) == 2
    assert "bad.py:broken failed for split 'train': ZeroDivisionError: division by zero" in capsys.readouterr().err


def test_an_augmentation_takes_parameters() -> None:
    images = torch.randint(0, 256, (4, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    aug = parse(f"{EXAMPLES / 'augmentation.py'}:fog:strength=0.5")
    assert torch.equal(aug(images, Keys(0, 1, 4)).images, (images * 0.5 + 127.5).round().to(torch.uint8))
    assert "strength=0.5" in aug.name
