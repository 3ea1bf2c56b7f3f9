"""What cannot be read is listed, all of it, whatever holds the images."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import dametric
from dametric import cli
from dametric.data.check import check_data
from dametric.errors import UsageError
from tests.data.conftest import Picture, png


@pytest.fixture
def broken(folder: Path, picture: Picture) -> dict[str, str]:
    """Files that cannot be read, with words of the reason, in a folder of others."""
    large = io.BytesIO()
    picture(3, 64, 64).save(large, "JPEG")
    (folder / "train" / "ant" / "cut.jpg").write_bytes(large.getvalue()[:-600])
    (folder / "train" / "ant" / "whole.jpg").write_bytes(large.getvalue())  # of another size, which is no damage
    (folder / "train" / "bee" / "empty.png").write_bytes(b"")
    (folder / "train" / "bee" / "text.png").write_text("no image")
    (folder / "val" / "ant" / "link.png").symlink_to("nothing.png")
    os.mkfifo(folder / "val" / "bee" / "pipe.png")
    with open(folder / "val" / "bee" / "vast.png", "wb") as file:
        file.truncate(1 << 30)
    return {
        "train/ant/cut.jpg": "truncated",
        "train/bee/empty.png": "empty",
        "train/bee/text.png": "not an image",
        "val/ant/link.png": "No such file",
        "val/bee/pipe.png": "no regular file",
        "val/bee/vast.png": "too large",
    }


def test_everything_that_is_broken_is_listed_with_its_reason(folder: Path, broken: dict[str, str]) -> None:
    result = dametric.check_data(folder, quiet=True)
    assert [os.path.relpath(each.file, folder) for each in result.broken] == list(broken)
    for each, words in zip(result.broken, broken.values(), strict=True):
        assert words in each.reason
        assert str(folder) not in each.reason
    assert [each.split for each in result.broken] == ["train"] * 3 + ["test"] * 3
    assert result.images == {"train": 14, "test": 7}
    assert not result.ok
    assert "6 of 21 images cannot be read (14 train, 7 test)" in repr(result)
    assert all(name in repr(result) and name in result._repr_html_() for name in broken)
    for path in broken:
        (folder / path).unlink()
    assert check_data(folder, quiet=True).ok


def test_tables_and_arrays_are_checked_too(tmp_path: Path, picture: Picture, write_shard) -> None:  # type: ignore[no-untyped-def]
    whole = [png(picture(i)) for i in range(5)]
    images = [*whole[:3], whole[3][:60], b"", None, whole[4]]
    path = write_shard(tmp_path / "x.parquet", [0, 1] * 3 + [0], images=images)
    result = check_data(path, quiet=True)
    assert [each.file for each in result.broken] == [f"{path} row {row}" for row in (3, 4, 5)]
    assert "no image bytes" in result.broken[2].reason
    np.savez(tmp_path / "x.npz", images=np.stack([np.array(Image.open(io.BytesIO(each))) for each in whole]),
             labels=[0, 1, 0, 1, 0])  # fmt: skip
    assert check_data(tmp_path / "x.npz", quiet=True).images == {"train": 5}
    assert repr(check_data("digits", quiet=True)) == "digits: 0 of 1,797 images cannot be read (1,442 train, 355 test)"
    with pytest.raises(UsageError, match="no such file or folder"):
        check_data(tmp_path / "none.npz", quiet=True)


def test_the_command(folder: Path, broken: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    def run(*arguments: object) -> tuple[int, str, str]:
        code = cli._run(["data", "check", *map(str, arguments)])
        return code, *capsys.readouterr()

    code, listed, _ = run(folder)
    assert code == 1
    assert len(listed.splitlines()) == len(broken) + 1
    assert all(f"{folder}/{path}: " in listed for path in broken)
    document = json.loads(run(folder, "--json", "-q")[1])
    assert document["images"] == {"train": 14, "test": 7}
    assert [each["file"] for each in document["broken"]] == [f"{folder}/{path}" for path in broken]
    code, out, err = run(folder / "none")
    assert (code, out, err.count("\n")) == (2, "", 1)
    for path in broken:
        (folder / path).unlink()
    assert run(folder, "-q")[0] == 0
