"""Objects that show themselves: a short repr, a table in notebooks, and no attribute that prints."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import dametric
from dametric.errors import UsageError
from dametric.models import build, load_checkpoint, save_checkpoint


def test_scores_are_chosen_from_drawn_and_shown() -> None:
    images = torch.randint(0, 256, (256, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    teacher = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 10))
    options = {"batches": 20, "batch_size": 8, "base_aug": "none", "quiet": True, "device": "cpu"}
    scores = dametric.score(teacher, images, ["identity", "cutmix", "flip"], **options)
    assert scores.best == scores.scores[0]
    assert scores["flip"]["aug"] == "flip"
    with pytest.raises(UsageError, match="unknown augmentation 'flop': did you mean flip"):
        scores["flop"]
    assert len(scores) == 3
    assert repr(scores).startswith("Scores(t_stddev: ")
    assert len(repr(scores)) < 100
    assert "<table" in scores._repr_html_()
    assert scores._repr_html_().count("<tr") == 4
    assert scores.plot().axes
    no_direction = dametric.score(teacher, images, ["flip"], metrics=["ce_mean"], student=teacher, **options)
    with pytest.raises(UsageError, match="ce_mean has no direction"):
        _ = no_direction.best


def test_images_checkpoints_runs_and_ledgers_are_shown_in_a_line_and_a_table(tmp_path: Path) -> None:
    images = dametric.load_data("digits", image_size=8, quiet=True)
    assert repr(images) == "ImageSet(digits train: 1442 images of 3x8x8, 10 classes)"
    assert images._repr_html_().count("<tr") == 11
    path = save_checkpoint(tmp_path / "t.pth", build("resnet8", 10, 32), arch="resnet8", image_size=32)
    checkpoint = load_checkpoint(path)
    assert repr(checkpoint).startswith("Checkpoint(resnet8, 10 classes, 32 pixels, sha256 ")
    assert "<li>" in checkpoint._repr_html_()
    short = {"steps": 1, "eval_every": "last", "device": "cpu", "dtype": "float32", "quiet": True, "image_size": 8}
    trained = dametric.train("resnet8", "digits", out=tmp_path / "runs", **short)
    assert repr(trained).startswith("Trained(resnet8, crop+flip, seed 0: test loss ")
    ledger = dametric.Ledger.read(tmp_path / "runs")
    assert repr(ledger) == "Ledger(1 runs, 1 finished)"
    assert "<table" in ledger._repr_html_()
    assert ledger.table["student"].tolist() == ["resnet8"]
    assert [run.folder for run in ledger] == [trained.folder]


def test_public_names_are_all_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert dir(dametric) == sorted(dametric.__all__)
    assert not capsys.readouterr().out


def test_held_out_images_are_a_number_of_what_is_read_and_a_set_beside_what_is_in_memory(tmp_path: Path) -> None:
    images = dametric.load_data("digits", image_size=8, quiet=True)
    teacher, more = build("resnet8", 10, 8), {"out": tmp_path, "steps": 1, "quiet": True, "device": "cpu"}
    for call in (
        lambda: dametric.distill(teacher, "resnet8", "digits", held_out=images, **more),
        lambda: dametric.train("resnet8", "digits", held_out=images, **more),
    ):
        with pytest.raises(UsageError, match="held_out of images that are read here is a number"):
            call()
    for call in (
        lambda: dametric.distill(teacher, "resnet8", (images, images), held_out=10, **more),
        lambda: dametric.train("resnet8", (images, images), held_out=10, **more),
    ):
        with pytest.raises(UsageError, match="held_out of images in memory is an image set"):
            call()
    assert list(tmp_path.iterdir()) == []
