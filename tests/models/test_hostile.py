"""Checkpoint files that were made to hang or to exhaust the memory are refused at once, in one line."""

from __future__ import annotations

import os
import resource
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from dametric.errors import UsageError
from dametric.models import build, load_checkpoint

MOST_BYTES = 500 << 20
MOST_SECONDS = 2.0


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    return build("resnet8", 10).state_dict()


@contextmanager
def bounded() -> Iterator[None]:
    """Little processor time and little more memory than before."""
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    yield
    assert time.process_time() - start < MOST_SECONDS
    assert 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) < MOST_BYTES


def refusal(path: Path, **options: Any) -> str:
    with pytest.raises(UsageError) as caught, bounded():
        load_checkpoint(path, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def doubling(leaf: Any, times: int) -> Any:
    """A list that holds the same list twice, and so on: small in a file, and 2^times leaves when it is written out."""
    for _ in range(times):
        leaf = [leaf, leaf]
    return leaf


def test_lists_that_double_are_not_written_out(tmp_path: Path, state: dict[str, Tensor]) -> None:
    torch.save({"model": state, "classes": list("abcdefghij")}, tmp_path / "good.pth")
    assert load_checkpoint(tmp_path / "good.pth").classes == tuple("abcdefghij")
    twice = doubling("x", 60)
    for number, beside in enumerate(
        (
            {"classes": [twice] * 10},
            {"classes": twice * 5},
            {"mean": twice, "std": twice},
            {"dametric": 1, "arch": "resnet8", "classes": [twice] * 10, "mean": [twice] * 3, "data": twice},
            {"arch": twice, "accuracy": twice, "image_size": twice},
        )
    ):
        path = tmp_path / f"{number}.pth"
        torch.save({"model": state, **beside}, path)
        with bounded():
            loaded = load_checkpoint(path)
        assert loaded.classes is None
        assert loaded.mean is None
        assert all(len(note) < 1000 for note in loaded.notes)
    holder: dict[str, Any] = {"w": torch.zeros(3)}
    for _ in range(60):
        holder = {"a": holder, "b": holder}
    torch.save(holder, tmp_path / "dicts.pth")
    assert "no weights" in refusal(tmp_path / "dicts.pth")


def test_archives_that_swell_are_refused_before_they_are_unpacked(tmp_path: Path, state: dict[str, Tensor]) -> None:
    torch.save({"model": state}, tmp_path / "t.pth")
    with zipfile.ZipFile(tmp_path / "t.pth") as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    folder = next(iter(contents)).split("/")[0]
    with zipfile.ZipFile(tmp_path / "bomb.pth", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, content in contents.items():
            archive.writestr(name, content)
        block = bytes(1 << 24)
        with archive.open(f"{folder}/data/99999", "w", force_zip64=True) as entry:
            for _ in range(40):
                entry.write(block)
    line = refusal(tmp_path / "bomb.pth")
    assert "would become 0.62" in line
    assert "at most 4 times a file's size and 256 MiB are read" in line
    with zipfile.ZipFile(tmp_path / "small.pth", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in contents.items():
            archive.writestr(name, content)
    assert load_checkpoint(tmp_path / "small.pth").arch == "resnet8", "a little compression harms nobody"


def test_views_of_a_few_bytes_are_not_made_large(tmp_path: Path, state: dict[str, Tensor]) -> None:
    torch.save({**state, "conv1.weight": torch.zeros(()).expand(1 << 20, 1 << 20)}, tmp_path / "t.pth")
    assert "is refused: its" in refusal(tmp_path / "t.pth")


def test_what_is_no_file_is_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.pth")
    for path in (tmp_path / "pipe.pth", Path("/dev/zero"), Path("/dev/urandom")):
        if path.exists():
            assert "is a pipe or a device" in refusal(path)


def test_files_without_a_checksum_say_so(tmp_path: Path, state: dict[str, Tensor]) -> None:
    """A bit that flips in a file of torch before 1.6 cannot be noticed."""
    path = tmp_path / "old.pth"
    torch.save(state, path, _use_new_zipfile_serialization=False)
    content = bytearray(path.read_bytes())
    weights = max(state.values(), key=Tensor.numel).numpy().tobytes()
    content[content.index(weights)] ^= 1  # storages are in no fixed order, and their lengths stand between them
    path.write_bytes(content)
    said = [note for note in load_checkpoint(path).notes if "no checksum" in note]
    assert len(said) == 1
    torch.save(state, path)
    assert not any("checksum" in note for note in load_checkpoint(path).notes)
