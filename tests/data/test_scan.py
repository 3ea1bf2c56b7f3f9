"""Lists of image files: the order of os.walk, and a memory of them that notices every change that matters."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from dametric.data import load_data
from dametric.data.scan import SUFFIXES, RememberedFiles, _Walk, scan
from dametric.errors import UsageError


def by_walking(root: Path, folders: list[str]) -> list[str]:
    """Image files in the order that fingerprints of recorded runs are of."""
    names = []
    for folder in folders:
        for where, inside, files in os.walk(root / folder, followlinks=True):
            inside[:] = sorted(name for name in inside if not name.startswith("."))
            for name in sorted(files):
                if not name.startswith(".") and os.path.splitext(name)[1].lower() in SUFFIXES:
                    names.append(str(Path(where, name).relative_to(root)))
    return names


@pytest.mark.parametrize("system", ["quick", "slow", "Windows"])
def test_order_sizes_and_times_are_those_of_a_walk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, system: str
) -> None:
    if system == "Windows":  # where a folder cannot be opened
        monkeypatch.setattr(os, "supports_fd", set())
    if system == "slow":  # as a network's file system, of which several folders are listed at a time
        monkeypatch.setattr("dametric.data.scan._PATIENCE", 0)
        monkeypatch.setattr("dametric.data.scan._SLOW", 0)
    root = tmp_path / "set"
    names = "B.png a.JPEG a.jpg/b.png z/a.png z/Z/1.gif z-/1.png .h.png .h/x.png t.txt 9.tar.png x..png é.bmp 10.tif"
    for number, name in enumerate(names.split()):
        path = root / ("ant" if number % 3 else "bee") / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * number)
    (root / "bee" / "file.png").symlink_to(root / "ant" / "a.JPEG")
    (root / "bee" / "folder").symlink_to(root / "ant")
    (root / "ant" / "self.png").symlink_to(root / "ant" / "self.png")
    (root / "ant" / "nothing.png").symlink_to(root / "there is no such file")
    folders = ["bee", "missing", "ant"]
    shown = scan(root, folders)
    assert shown.files.names == by_walking(root, folders)
    assert [name.split(os.sep)[0] for name in shown.files.names] == np.repeat(folders, shown.counts).tolist()
    for name, size, changed in zip(shown.files.names, shown.files.sizes, shown.files.times, strict=True):
        broken = name.endswith(("self.png", "nothing.png"))
        status = None if broken else (root / name).stat()
        assert (size, changed) == ((status.st_size, status.st_mtime_ns) if status else (-1, 0)), name


@pytest.fixture
def walks(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Folders that were listed; every list is remembered at once, and two files of one are looked at."""
    listed: list[str] = []
    into = _Walk.into
    monkeypatch.setattr(_Walk, "into", lambda self, folder: (listed.append(folder), into(self, folder))[1])
    for name, value in (("REMEMBERED", 1), ("SETTLED", 0), ("_LOOKED_AT", 2)):
        monkeypatch.setattr(f"dametric.data.scan.{name}", value)
    return listed


@pytest.fixture
def load(folder: Path, tmp_path: Path) -> Callable[..., list[object]]:
    """Fingerprint, labels and pixels of the training images."""

    def read(lazy: bool = True) -> list[object]:
        data = load_data(folder, cache_dir=tmp_path / "cache", lazy=lazy, quiet=True)
        return [data.fingerprint, data.labels.tolist(), data.images[torch.arange(len(data))].tolist()]

    return read


def test_what_is_remembered_is_what_was_listed(load: Callable[..., list[object]], walks: list[str]) -> None:
    first = load()
    assert sorted(walks) == ["train/ant", "train/bee"]
    assert load() == first
    assert sorted(walks) == ["train/ant", "train/bee"]


def test_files_that_come_go_or_are_renamed_are_noticed(
    folder: Path,
    load: Callable[..., list[object]],
    walks: list[str],
    picture,  # type: ignore[no-untyped-def]
) -> None:
    load()
    changes: list[Callable[[Path], object]] = [
        lambda ant: picture(77).save(ant / "new.png"),
        lambda ant: (ant / "new.png").rename(ant / "newer.png"),
        lambda ant: (ant / "newer.png").unlink(),
        lambda ant: picture(78).save(ant / "0.png"),  # the first file, written anew in place
    ]
    for number, change in enumerate(changes):
        change(folder / "train" / "ant")
        before = len(walks)
        assert len(load()[1]) == (11 if number < 2 else 10)
        assert len(walks) == before + 2, number


def test_a_file_that_changes_in_place_is_noticed_when_it_matters(
    folder: Path,
    load: Callable[..., list[object]],
    walks: list[str],
    picture,  # type: ignore[no-untyped-def]
) -> None:
    load()
    kept = load(lazy=False)
    assert kept == load(lazy=False)
    path = folder / "train" / "ant" / "3.png"  # not among the two that are looked at
    picture(79).convert("L").save(path)  # of another size than before
    before = len(walks)
    assert load(lazy=False) != kept
    assert len(walks) == before, "decoded images go by the files as they are; the list is still the same"
    with pytest.raises(UsageError, match=r"3\.png has changed since its folder was listed: start again"):
        load()
    assert load()[0] != kept[0]
    assert len(walks) == before + 2


def test_folders_that_just_changed_are_not_remembered(
    load: Callable[..., list[object]], walks: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dametric.data.scan.SETTLED", 10**12)
    load()
    load()
    assert len(walks) == 4


def test_a_damaged_memory_is_made_again(tmp_path: Path, load: Callable[..., list[object]], walks: list[str]) -> None:
    first = load()
    (entry,) = (tmp_path / "cache" / "decoded").glob("*-list.npz")
    entry.write_bytes(entry.read_bytes()[:500])
    assert load() == first
    assert len(walks) == 4
    assert isinstance(scan(tmp_path / "pictures", ["train/ant", "train/bee"], entry.parent).files, RememberedFiles)
