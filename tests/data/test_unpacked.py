"""Parquet of which single images are drawn: unpacked once, so that images cost their own bytes."""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from dametric.data import cache, load_data, unpacked
from dametric.data.cache import entries
from dametric.data.decode import workers
from dametric.data.rowgroups import RowGroups
from dametric.errors import UsageError

GROUPS = 6 * workers()  # of ten images, of which few stay in memory
ORDER = torch.randperm(10 * GROUPS, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def shards(tmp_path: Path, write_shard) -> Path:  # type: ignore[no-untyped-def]
    labels = [0, 1] * (5 * GROUPS // 2)
    for n in range(2):
        write_shard(tmp_path / "set" / f"train-{n}.parquet", labels, group=10, seed=10_000 * n)
    return tmp_path / "set"


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    numbers: list[int] = []
    plain = RowGroups._load
    monkeypatch.setattr(RowGroups, "_load", lambda self, group: numbers.append(group) or plain(self, group))
    return numbers


def lazily(shards: Path, **options):  # type: ignore[no-untyped-def]
    settings = {"lazy": True, "memory_limit": 1e-6, "cache_dir": shards.parent / "cache", **options}
    return load_data(shards, **settings)


def kept(shards: Path) -> list[str]:
    return [entry.what for entry in entries(shards.parent / "cache" / "decoded") if "encoded images" in entry.what]


def test_images_cost_their_own_bytes_and_are_the_same(
    shards: Path, loads: list[int], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = load_data(shards, lazy=False, cache_dir=shards.parent / "other", quiet=True)
    loads.clear()
    images = lazily(shards)
    assert sorted(loads) == [0, *range(GROUPS)]  # each group once, and the first for the size of its first image
    message = capsys.readouterr().err
    assert re.search(rf"the {10 * GROUPS:,} encoded images of .*set, \d+ MB, are unpacked once, and kept in", message)
    read, pread = [], os.pread
    monkeypatch.setattr(os, "pread", lambda file, size, at: read.append(size) or pread(file, size, at))
    assert torch.equal(torch.cat(list(images.stream(ORDER.split(7), "cpu"))), expected.images[ORDER])
    assert len(loads) == GROUPS + 1
    table = pq.read_table(shards)["image"].to_pylist()
    assert sum(read) == sum(len(table[row]["bytes"]) for row in range(10 * GROUPS))
    assert torch.equal(images.labels, expected.labels)
    again = lazily(shards)
    assert len(loads) == GROUPS + 2
    assert "unpacked" not in capsys.readouterr().err
    assert torch.equal(again.images[ORDER[:20]], expected.images[ORDER[:20]])
    monkeypatch.delattr(os, "pread")  # as on Windows
    assert torch.equal(again.images[ORDER[:20]], expected.images[ORDER[:20]])
    assert images.fingerprint == again.fingerprint == lazily(shards, memory_limit=1, quiet=True).fingerprint
    assert len(kept(shards)) == 1


def test_a_changed_file_is_unpacked_anew(shards: Path, write_shard, loads: list[int]) -> None:  # type: ignore[no-untyped-def]
    first = lazily(shards, quiet=True).images[0]
    write_shard(shards / "train-0.parquet", [0, 1] * (5 * GROUPS // 2), group=10, seed=777)
    loads.clear()
    images = lazily(shards, quiet=True)
    assert len(loads) == GROUPS + 1
    assert not torch.equal(images.images[0], first)
    assert len(kept(shards)) == 1  # of the earlier state nothing is left


def test_what_fits_in_memory_is_not_unpacked(shards: Path) -> None:
    lazily(shards, memory_limit=1, quiet=True)
    lazily(shards, lazy=False, quiet=True)
    assert not kept(shards)


def test_where_it_cannot_be_kept_a_line_tells_the_cost_and_the_way_out(
    shards: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    expected = load_data(shards, lazy=False, cache_dir=shards.parent / "other", quiet=True).images
    monkeypatch.setattr(unpacked, "LIMIT", 1000)
    images = lazily(shards)
    cost = round(10 * (1 - 2 * workers() / GROUPS))
    told = f"each image drawn costs {cost} times its bytes, as Parquet is read in whole row groups"
    assert sum(told in note and "in Arrow files as save_to_disk" in note for note in images.notes) == 1
    assert told in capsys.readouterr().err
    assert torch.equal(images.images[ORDER[:30]], expected[ORDER[:30]])
    monkeypatch.undo()
    monkeypatch.setattr(unpacked.shutil, "disk_usage", lambda path: os.terminal_size((0, 0)) and Full())
    assert any("has 0 GB left" in note for note in lazily(shards, quiet=True).notes)
    monkeypatch.undo()
    (shards.parent / "file").write_text("")
    assert any("cannot write" in note for note in lazily(shards, quiet=True, cache_dir=shards.parent / "file").notes)


class Full:
    """A full disk."""

    free = 0


def test_rows_without_an_image_and_damage_are_told_as_ever(tmp_path: Path, write_shard, picture) -> None:  # type: ignore[no-untyped-def]
    from tests.data.conftest import png

    encoded = [png(picture(n)) for n in range(10 * GROUPS)]
    encoded[25], encoded[37] = None, b""  # type: ignore[call-overload]
    (tmp_path / "set").mkdir()
    write_shard(tmp_path / "set" / "train-0.parquet", [0, 1] * (5 * GROUPS), images=encoded, group=10)
    with pytest.raises(UsageError, match="row 25 holds no image bytes"):
        lazily(tmp_path / "set", quiet=True, image_size=8)
    images = lazily(tmp_path / "set", quiet=True, image_size=8, skip_broken=2)
    assert len(images.images[torch.arange(40)]) == 40
    missing, damaged = images.passed_over
    assert "row 25 holds no image bytes" in missing
    assert re.search(r"cannot decode .*row 37", damaged)
    assert np.array_equal(images.images[38], np.asarray(picture(38)).transpose(2, 0, 1))
    assert torch.equal(images.images[25], images.images[27])  # the next of its class


def test_a_damaged_copy_is_made_again(shards: Path, loads: list[int]) -> None:
    first = lazily(shards, quiet=True).images[ORDER[:5]]
    (entry,) = [e for e in cache.entries(shards.parent / "cache" / "decoded") if "encoded images" in e.what]
    entry.path.write_bytes(entry.path.read_bytes()[: entry.size // 2])
    loads.clear()
    assert torch.equal(lazily(shards, quiet=True).images[ORDER[:5]], first)
    assert len(loads) == GROUPS + 1
