"""``dametric export``."""

from __future__ import annotations

import pytest

import dametric
from dametric import cli


def test_export_prints_code_that_runs(capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        cli._run(["export", "crop:padding=3+flip+mixup:alpha=0.4", "--for", "torchvision", "--image-size", "24"]) == 0
    )
    code = capsys.readouterr().out
    assert code == dametric.export("crop:padding=3+flip+mixup:alpha=0.4", "torchvision", 24) + "\n"
    place: dict[str, object] = {}
    exec(code, place)
    assert {"transform", "mix"} <= set(place)
    assert "v2.RandomCrop(24, padding=3)" in code
    assert cli._run(["export", "erasing", "--for", "torchvision", "--mean", "0.2,0.4,0.6"]) == 0
    assert "value=[51, 102, 153]" in capsys.readouterr().out


def test_what_has_no_effect_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    told = {"--image-size": "--image-size 24", "--mean": "--mean 0.1,0.2,0.3"}
    values = {"--image-size": "24", "--mean": "0.1,0.2,0.3"}
    for aug, without in (("flip", {*told}), ("crop", {"--mean"}), ("erasing", {"--image-size"}), ("cutmix", {*told})):
        typed = [word for pair in values.items() for word in pair]
        assert cli._run(["export", aug, "--for", "torchvision", *typed]) == 0
        captured = capsys.readouterr()
        lines = {f"{told[name]} changes nothing of {aug} for torchvision" for name in without}
        assert set(captured.err.splitlines()) == lines
        assert captured.out == dametric.export(aug, "torchvision", 24, (0.1, 0.2, 0.3)) + "\n"
        assert cli._run(["export", aug, "--for", "torchvision"]) == 0
        assert not capsys.readouterr().err, "defaults are not typed"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["cutout", "--for", "timm"], "cutout cannot be written for timm: its RandomErasing keeps rectangles inside"),
        (["mixup", "--for", "albumentations"], "it has no mixing of the images of a batch"),
        (["flip", "--for", "tensorflow"], "unknown library 'tensorflow': known: albumentations, kornia, timm"),
        (["erasing", "--for", "torchvision", "--mean", "a,b"], "--mean a,b: numbers between commas are needed"),
        (["flip", "--for", "timm", "--image-size", "0"], "an image size is a number of pixels from 1 up, not 0"),
        (["flip"], "Missing option '--for': it takes torchvision, timm, albumentations or kornia"),
    ],
)
def test_what_cannot_be_exported_is_one_line(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli._run(["export", *words]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert message in captured.err
    assert captured.err.count("\n") == 1
