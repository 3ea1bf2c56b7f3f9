"""Files that are either whole or absent."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from dametric.base import files
from dametric.base.files import default_cache_dir, sha256, write_atomic
from dametric.errors import UsageError


@pytest.fixture
def umask() -> Iterator[None]:
    """Put the process's umask back after a test that changes it."""
    before = os.umask(0o022)
    yield
    os.umask(before)


def modes(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_bytes_text_and_functions_are_written(tmp_path: Path) -> None:
    assert write_atomic(tmp_path / "a", b"\x00\xff").read_bytes() == b"\x00\xff"
    assert write_atomic(str(tmp_path / "b"), "größe\n").read_bytes() == "größe\n".encode()
    assert write_atomic(tmp_path / "c", lambda file: file.write(b"by hand")).read_bytes() == b"by hand"
    assert sorted(os.listdir(tmp_path)) == ["a", "b", "c"]


def test_missing_folders_are_made_and_an_old_file_is_replaced(tmp_path: Path) -> None:
    target = tmp_path / "one" / "two" / "file"
    write_atomic(target, "old and longer")
    write_atomic(target, "new")
    assert target.read_text() == "new"
    assert os.listdir(target.parent) == ["file"]


@pytest.mark.usefixtures("umask")
@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_permissions_are_those_of_any_new_file(tmp_path: Path, mask: int) -> None:
    os.umask(mask)
    assert modes(write_atomic(tmp_path / "file", "x")) == 0o666 & ~mask
    (tmp_path / "plain").write_text("x")
    assert modes(tmp_path / "file") == modes(tmp_path / "plain")
    assert os.umask(mask) == mask, "the process's umask is as it was"


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt(), MemoryError()])
def test_a_writer_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path, error: BaseException) -> None:
    target = write_atomic(tmp_path / "file", "old")

    def write(file: BinaryIO) -> None:
        file.write(b"half of the n")
        raise error

    with pytest.raises(type(error)) as caught:
        write_atomic(target, write)
    assert caught.value is error
    assert target.read_text() == "old"
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("call", ["fsync", "replace", "chmod"])
@pytest.mark.parametrize("old", [True, False])
def test_a_full_disk_is_one_line_and_leaves_no_litter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, old: bool
) -> None:
    target = tmp_path / "file"
    if old:
        write_atomic(target, "old")

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(files.os, call, full)
        with pytest.raises(UsageError, match=r"cannot write .*file: No space left"):
            write_atomic(target, "new")
    assert os.listdir(tmp_path) == (["file"] if old else [])
    if old:
        assert target.read_text() == "old"


def test_a_full_disk_while_writing_is_one_line_too(tmp_path: Path) -> None:
    def write(file: BinaryIO) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(UsageError, match="No space left"):
        write_atomic(tmp_path / "file", write)
    assert os.listdir(tmp_path) == []


def test_content_reaches_the_disk_before_the_name_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = []
    sync, replace = os.fsync, os.replace
    monkeypatch.setattr(files.os, "fsync", lambda handle: (done.append("fsync"), sync(handle)))
    monkeypatch.setattr(files.os, "replace", lambda *names: (done.append("replace"), replace(*names)))
    write_atomic(tmp_path / "file", "x")
    assert done == ["fsync", "replace"]


def test_a_folder_or_a_place_inside_a_file_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "plain").write_text("x")
    with pytest.raises(UsageError, match=r"cannot write .*folder: Is a directory"):
        write_atomic(tmp_path / "folder", "x")
    with pytest.raises(UsageError, match=r"cannot write .*inside"):
        write_atomic(tmp_path / "plain" / "inside", "x")
    assert sorted(os.listdir(tmp_path)) == ["folder", "plain"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_one_line(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(UsageError, match="Permission denied"):
        write_atomic(tmp_path / "file", "x")


@pytest.mark.parametrize("size", [0, 1, (1 << 20) - 1, (1 << 20) + 1])
def test_sha256_is_the_one_everybody_computes(tmp_path: Path, size: int) -> None:
    content = (bytes(range(256)) * (size // 256 + 1))[:size]
    (tmp_path / "file").write_bytes(content)
    expected = hashlib.sha256(content).hexdigest()
    assert sha256(tmp_path / "file") == expected
    with open(tmp_path / "file", "rb") as file:  # what Python 3.10 runs
        assert files._sha256(file) == expected


def test_the_cache_is_where_the_user_keeps_caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_cache_dir() == tmp_path / "dametric"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_cache_dir() == tmp_path / ".cache" / "dametric"
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    assert default_cache_dir() == tmp_path / ".cache" / "dametric"
