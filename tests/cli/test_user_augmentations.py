"""The user's own augmentations on the command line."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dametric.cli.console import wide_console

Run = Callable[..., Any]
AUGS = """
import sys

import torch

print("imported")


def snow(images, p=0.5):
    print("snowing")
    return (images.float() * (1 - p) + 255 * p).to(torch.uint8)


def roll(images):
    return images.roll(1, 0)


def leaves(images):
    sys.exit(3)


class Shift:
    def __init__(self, by=1):
        self.by = by

    def __call__(self, images):
        return images.roll(self.by, -1)
"""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "augs.py").write_text(AUGS)
    return tmp_path


def test_parameters_are_scored_and_named_and_stdout_is_one_document(score: Run) -> None:
    said = score("-a", "./augs.py:snow:p=0.25", "-a", "./augs.py:snow", "-a", "./augs.py:snow:p=0.5", "--json", "-q")
    assert said.code == 0, said.err
    rows = {row["aug"]: row["metrics"]["t_stddev"]["value"] for row in said.document["scores"]}
    assert sorted(rows) == ["./augs.py:snow", "./augs.py:snow:p=0.25", "./augs.py:snow:p=0.5"]
    assert rows["./augs.py:snow"] == rows["./augs.py:snow:p=0.5"] != rows["./augs.py:snow:p=0.25"]
    assert set(said.err.split()) == {"imported", "snowing"}


def test_a_specification_typed_twice_is_scored_once(score: Run) -> None:
    for name in ("snow", "snow:p=0.25", "Shift:by=2"):
        own = f"./augs.py:{name}"
        said = score("-a", own, "-a", "flip", "-a", own, "-a", f"{own}+flip", "-a", f"{own}+flip", "--json", "-q")
        assert said.code == 0, said.err
        assert sorted(row["aug"] for row in said.document["scores"]) == [own, f"{own}+flip", "flip"]


def test_an_identity_is_not_scored_in_silence(score: Run) -> None:
    jitter = "torchvision.transforms.v2:ColorJitter:brightness=0.4"
    said = score("-a", "torchvision.transforms:ColorJitter", "-a", jitter, "-a", "./augs.py:roll")
    assert said.code == 0, said.err
    assert said.err.count("WARNING: augmentation") == 1
    assert "torchvision.transforms:ColorJitter changed none of 32 images" in said.err
    assert "augmentation ./augs.py:roll mixes images of a batch" in said.err
    assert jitter in said.out


def test_refusals(score: Run, refused: Callable[..., str]) -> None:
    assert "./augs.py:leaves failed: SystemExit: 3" in refused("-a", "./augs.py:leaves", command=score)
    assert "--aug cutmix --aug mixup" in refused("-a", "cutmix,mixup", command=score)
    assert "did you mean augs?" in refused("ls", "augmentations")
    assert "randaugment: n is at most 100" in refused("-a", "randaugment:n=999999999", command=score)
    for option in ("--seed", "-a"):
        line = refused("-a", "flip", option, ("randaugment:n=" if option == "-a" else "") + "9" * 5000, command=score)
        assert len(line) < 300
    line = refused("distill", "-t", "t.pth", "-s", "resnet8", "-a", "flip", "-o", "runs", "--seeds", "9" * 5000)
    assert len(line) < 300


def test_a_table_whose_reader_has_gone_leaves_it_to_the_command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError(32, "Broken pipe")

    monkeypatch.setattr(sys, "stdout", Gone())
    with pytest.raises(BrokenPipeError):
        wide_console().print("a table")


def test_show_draws_what_is_scored(run: Run) -> None:
    Path("norm.py").write_text("def norm(images):\n    return images.float() / 127.5 - 1\n")
    said = run("show", "-a", "./norm.py:norm", "-o", "x.png", "--images", 2)
    assert said.code == 0, said.err
    assert "norm returns images normalised by the constants of half, taken back to pixels" in said.err
