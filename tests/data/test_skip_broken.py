"""Broken images are passed over where the user says how many may be; others of their class take their places."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from dametric import cli, load_data
from dametric.base.arguments import speaking
from dametric.data import ImageSet
from dametric.data.balanced_subset import balanced_subset_rows
from dametric.data.lazy import LazyImages
from dametric.data.request import ImageRequest
from dametric.errors import UsageError
from dametric.records.runs import read_record

REPLACED = {2: 3, 3: 4, 9: 5}
"""Rows of the training split, five of each class, by what stands in their places below."""


@pytest.fixture
def damaged(folder: Path) -> tuple[Path, Tensor]:
    """A folder three of whose images are broken, and the pixels that the training split should have."""
    files = sorted((folder / "train").glob("*/*.png"))
    pixels = np.stack([np.asarray(Image.open(path)).transpose(2, 0, 1) for path in files])
    expected = torch.from_numpy(pixels)[[4 if i in (2, 3) else REPLACED.get(i, i) for i in range(10)]]
    files[2].write_bytes(files[2].read_bytes()[:60])  # has a header
    files[3].write_bytes(b"")  # takes the place of the one before, and is broken itself
    files[9].unlink()
    files[9].symlink_to("nothing.png")  # the last of its class: the first takes its place
    return folder, expected


def pixels_of(images: ImageSet) -> Tensor:
    return images.images[torch.arange(len(images))]


def readings(folder: Path, cache: Path) -> Iterator[ImageSet]:
    """All ways to read the training split: from the files, from the cache, when drawn."""
    for lazy in (False, False, True):
        yield load_data(folder, cache_dir=cache, lazy=lazy, skip_broken=3)


def test_the_next_of_the_class_takes_the_place_however_images_are_read(
    damaged: tuple[Path, Tensor], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, expected = damaged
    for images in readings(folder, tmp_path / "cache"):
        assert torch.equal(pixels_of(images), expected)
        assert images.labels.tolist() == [0] * 5 + [1] * 5
        names = images.passed_over
        assert [name.split(":")[0].removeprefix("cannot decode ") for name in names[:2]] == [
            str(folder / "train" / "ant" / "2.png"),
            str(folder / "train" / "ant" / "3.png"),
        ]
        assert "bee/4.png" in names[2]
        told = capsys.readouterr().err
        assert all(told.count(f": {name}\n") == 1 for name in names), "each is named, and once"
        assert "(3 of at most 3)" in told
    request = ImageRequest(source=str(folder), cache_dir=str(tmp_path / "other"), skip_broken=3, quiet=True)
    part = replace(request, train_images=6).load("train")
    rows = balanced_subset_rows(torch.tensor([0] * 5 + [1] * 5), 2, 6)
    assert torch.equal(pixels_of(part), expected[rows])


def test_more_than_allowed_is_one_line_and_so_is_none_allowed(damaged: tuple[Path, Tensor], tmp_path: Path) -> None:
    folder, _ = damaged
    for lazy in (False, True):
        with pytest.raises(UsageError, match="more images are broken than skip_broken=2 allows"):
            pixels_of(load_data(folder, cache_dir=tmp_path / "cache", lazy=lazy, skip_broken=2))
    (folder / "train" / "bee" / "4.png").unlink()  # a dangling link is refused when the folder is listed
    for lazy in (False, True):
        with pytest.raises(UsageError, match=r"2\.png: .*`dametric data check` lists all .* skip_broken=1 passes over"):
            pixels_of(load_data(folder, cache_dir=tmp_path / "cache", lazy=lazy))


def test_a_class_without_any_image_that_can_be_read_is_refused(folder: Path, tmp_path: Path) -> None:
    for path in (folder / "train" / "ant").glob("*.png"):
        path.write_bytes(b"")
    with pytest.raises(UsageError, match=r"no image of the class of .*ant/0\.png can be read"):
        load_data(folder, cache_dir=tmp_path / "cache", skip_broken=9)


@dataclass(frozen=True)
class Outcome:
    code: int
    err: str


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> Outcome:
    capsys.readouterr()
    with speaking("command line"):
        code = cli._run([str(argument) for argument in arguments])
    return Outcome(code, capsys.readouterr().err)


def test_commands_name_them_in_what_they_write(
    damaged: tuple[Path, Tensor], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, _ = damaged
    common = ["--data", folder, "--cache-dir", tmp_path / "cache", "--lazy", "--dtype", "float32", "--batch-size", 4]
    train = ["train", "--arch", "resnet8", *common, "--epochs", 2, "-o", tmp_path / "runs" / "teacher.pth"]
    refused = run(capsys, *train)
    assert refused.code == 2
    assert "cannot read" in refused.err
    assert refused.err.count("\n") == 1
    trained = run(capsys, *train, "--skip-broken", 3)
    assert trained.code == 0, trained.err
    (path,) = (tmp_path / "runs").rglob("*record.json")
    passed_over = read_record(path)["about"]["data"]["passed_over"]
    assert len(passed_over) == 3
    assert all(any(name in reason for reason in passed_over) for name in ("ant/2.png", "ant/3.png", "bee/4.png"))
    score = ["score", "--teacher", tmp_path / "runs" / "teacher.pth", *common, "--aug", "flip", "--batches", 6]
    result = run(capsys, *score, "--skip-broken", 3, "-o", tmp_path / "scores.json", "--no-accuracy")
    assert result.code == 0, result.err
    assert len(json.loads((tmp_path / "scores.json").read_text())["config"]["data"]["passed_over"]) == 3


def test_a_link_into_nothing_says_so_and_names_the_ways_out(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    link = folder / "train" / "bee" / "2.png"
    link.unlink()
    link.symlink_to("../gone.png")
    told = rf"cannot read {link}: No such file or directory: it is a link to \.\./gone\.png; `dametric data check` "
    told += "lists all"
    for lazy in (False, True):
        with pytest.raises(UsageError, match=rf"{told} such images, skip_broken=1 passes over so many"):
            load_data(folder, cache_dir=tmp_path / "cache", lazy=lazy)
        assert len(load_data(folder, cache_dir=tmp_path / "cache", lazy=lazy, skip_broken=1)) == 10
    result = run(capsys, "train", "--arch", "resnet8", "--data", folder, "-o", tmp_path / "teacher.pth")
    assert result.code == 2
    assert re.fullmatch(rf"dametric: {told} such images, --skip-broken 1 passes over so many\n", result.err)


class Killed(BaseException):
    """The end of a process, which nothing handles."""


def test_a_run_that_was_killed_and_goes_on_still_names_what_was_passed_over(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = folder / "train" / "ant" / "1.png", folder / "train" / "ant" / "2.png"
    whole = second.read_bytes()
    first.write_bytes(whole[:-20] + bytes(20))
    assert first.stat().st_size == second.stat().st_size
    command = ["train", "--arch", "resnet8", "--data", folder, "--cache-dir", tmp_path / "cache", "--lazy"]
    command += ["--dtype", "float32", "--batch-size", 5, "--epochs", 4, "-o", tmp_path / "runs" / "teacher.pth"]
    command += ["--skip-broken", 1, "-q"]
    start, calls = LazyImages._start, iter(range(10**6))

    def killed(self: LazyImages, *rest: Any, **options: Any) -> Any:
        if (path := next((tmp_path / "runs").rglob("*history.csv"), None)) and path.read_text().count("\n") > 2:
            raise Killed(next(calls))
        return start(self, *rest, **options)

    monkeypatch.setattr(LazyImages, "_start", killed)
    with pytest.raises(Killed):
        run(capsys, *command)
    monkeypatch.undo()
    first.write_bytes(whole)  # as large as before, and the same pixels: the run that goes on meets no broken image
    result = run(capsys, *command)
    assert result.code == 0, result.err
    (path,) = (tmp_path / "runs").rglob("*record.json")
    record = read_record(path)
    assert (record["status"], record["timing"]["sessions"]) == ("finished", 2)
    (reason,) = record["about"]["data"]["passed_over"]
    assert str(first) in reason
