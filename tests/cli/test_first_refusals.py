"""What cannot be is refused before images are decoded; how good a teacher is, is told by a part of the images."""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import typer

from dametric import cli
from dametric.base.arguments import argument, speaking
from dametric.data import AvailableSplit, find_data, load_data, request
from dametric.models import build, load_checkpoint, save_checkpoint
from dametric.models.network import normalisation

Refused = Callable[..., str]
Run = Callable[..., Any]


def never_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Image sets may be found from here on, and not read."""

    def decode(rows: Any) -> None:
        raise AssertionError("images were read")

    def found(*asked: Any, **options: Any) -> AvailableSplit:
        return replace(find_data(*asked, **options), read=decode)

    monkeypatch.setattr(request, "find_data", found)


def test_before_images_are_decoded(
    refused: Refused, teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    never_decoded(monkeypatch)
    (tmp_path / "file").write_text("")
    train = ("train", "--data", "digits", "-q")
    distill = ("distill", "-t", teacher, "-a", "flip", "--data", "digits", "-q")
    for arguments, said in (
        ((*train, "--arch", "resnet9", "-o", tmp_path / "t.pth"), "unknown architecture 'resnet9'"),
        ((*train, "--arch", "torchvision:resnet19", "-o", tmp_path / "t.pth"), "unknown torchvision architecture"),
        ((*train, "--arch", "./none.py:net", "-o", tmp_path / "t.pth"), "there is no file"),
        ((*train, "--arch", "resnet8", "-o", tmp_path / "file" / "t.pth"), "is not a folder"),
        ((*distill, "-s", "resnet9", "-o", tmp_path / "runs"), "unknown architecture 'resnet9'"),
        ((*distill, "-s", "resnet8", "-o", tmp_path / "file"), "is not a folder"),
    ):
        assert said in refused(*arguments)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file"]


def test_other_classes_are_refused_before_images_are_decoded(
    refused: Refused, score: Run, teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    never_decoded(monkeypatch)
    pixels = np.random.default_rng(0).integers(0, 256, (40, 32, 32, 3), dtype=np.uint8)
    np.savez(
        tmp_path / "data.npz",
        images=pixels,
        labels=np.arange(40) % 5,
        test_images=pixels,
        test_labels=np.arange(40) % 5,
    )
    few = save_checkpoint(
        tmp_path / "few.pth", build("resnet8", 7, 32), arch="resnet8", image_size=32, classes=None, mean=None, std=None
    )
    teacher_of_10 = ("--teacher", teacher, "--data", tmp_path / "data.npz")
    said = refused("--accuracy", *teacher_of_10, command=score)
    assert re.search(r"the teacher has 10 classes and .* has 5: .*--no-accuracy", said)
    assert "the student has 7 classes and the teacher 10" in refused("--accuracy", "--student", few, command=score)
    assert "the student has 7 classes and the teacher 10" in refused("--student", few, command=score)
    distill = ("distill", "-s", "resnet8", "-a", "flip", "-o", tmp_path / "runs")
    assert "the teacher has 10 classes and" in refused(*distill, *teacher_of_10)


def test_a_part_of_the_images_tells_how_good_the_teacher_is(
    run: Run, score: Run, refused: Refused, teacher: Path, tmp_path: Path
) -> None:
    test = load_data("digits", "test", quiet=True)
    index = torch.randperm(len(test), generator=torch.Generator().manual_seed(0))[:100]
    checkpoint = load_checkpoint(teacher)
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in normalisation(test.mean, test.std, 3))
    with torch.inference_mode():
        right = checkpoint.model((test.images[index] / 255 - mean) / std).argmax(1) == test.labels[index]
    share = float(right.double().mean())
    line = f"{100 * share:.2f} % top-1 ± {100 * math.sqrt(share * (1 - share) / 100):.2f}"
    said = score("--accuracy", "--accuracy-images", 100, "--json")
    assert f"teacher: {line}, loss " in said.err
    assert " on 100 of 355 test images" in said.err
    clean = said.document["config"]["teacher"]["clean"]
    assert (clean["images"], clean["top1"]) == (100, share)
    options = ("--steps", 1, "--dtype", "float32", "--accuracy-images", 100, "-o", tmp_path / "runs", "--json")
    learnt = run("distill", "-t", teacher, "-s", "resnet8", "-a", "identity", *options)
    assert f"teacher: {line} on 100 of 355 test images" in learnt.err
    (record,) = learnt.document  # type: ignore[misc]
    every_one = score("--accuracy", "--accuracy-images", "all", "--json")
    assert " on 355 test images" in every_one.err
    for wrong in ("some", "0", "-1", "1.5"):
        said = refused("--accuracy", "--accuracy-images", wrong, command=score)
        assert "--accuracy-images is a whole number from 1 up, or all" in said, wrong
    model = checkpoint.model
    with torch.inference_mode():
        every = (model((test.images / 255 - mean) / std).argmax(1) == test.labels).double().mean()
    assert record["about"]["teacher"]["clean"]["top1"] == float(every), "the record is of all images"


def test_no_hint_names_an_option_that_does_not_exist() -> None:
    options = {
        name
        for command in typer.main.get_command(cli.app).commands.values()  # type: ignore[attr-defined]
        for option in command.params
        for name in (*option.opts, *option.secondary_opts)
    }
    elsewhere = {"--nproc-per-node", "--head", "--json", "--help", "--version"}
    assert {"--rel-se", "--no-accuracy", "--data"} <= options
    for path in Path(cli.__file__).parents[1].rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*[a-z]", node.value))
                assert named <= options | elsewhere, f"{path.name}, line {node.lineno}: {named - options}"
            if (
                isinstance(node, ast.Call)
                and ast.unparse(node.func) == "argument"
                and isinstance(node.args[0], ast.Constant)
            ):
                with speaking("command line"):
                    flag = argument(str(node.args[0].value))
                assert flag in options, f"{path.name}, line {node.lineno}: {flag}"


def test_a_checkpoint_s_word_runs_no_code_as_its_data(refused: Refused, tmp_path: Path) -> None:
    (tmp_path / "evil.py").write_text(f"import pathlib\npathlib.Path({str(tmp_path / 'ran')!r}).touch()\n")
    spec = f"{tmp_path / 'evil.py'}:go"
    file = save_checkpoint(tmp_path / "t.pth", build("resnet8", 10, 32), arch="resnet8", data=spec, image_size=32)
    said = refused("score", "-t", file, "-a", "flip")
    assert f"'{spec}', which is code and is not run because a file says so: give --data {spec}" in said
    assert "is not run" in refused("distill", "-t", file, "-s", "resnet8", "-a", "flip", "-o", tmp_path / "runs")
    assert not (tmp_path / "ran").exists()
