"""What is decoded once is kept, until the files change or the copy is damaged."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from dametric.data import ImageSet, load_data
from dametric.data.listing import Listing
from dametric.errors import UsageError


class Counter:
    """Counts decoded images, and reads through one cache folder."""

    def __init__(self, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.cache = cache
        self.decoded = 0
        decode = Listing.decode

        def counting(*args: object, **kwargs: object) -> object:
            self.decoded += 1
            return decode(*args, **kwargs)  # type: ignore[arg-type]

        monkeypatch.setattr(Listing, "decode", counting)

    def load(self, source: Path, split: str = "train", **options: object) -> tuple[ImageSet, int]:
        before = self.decoded
        data = load_data(source, split, cache_dir=self.cache, quiet=True, **options)  # type: ignore[arg-type]
        return data, self.decoded - before

    def entries(self) -> list[Path]:
        return sorted((self.cache / "decoded").iterdir())


@pytest.fixture
def counter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Counter:
    return Counter(tmp_path / "cache", monkeypatch)


def test_the_second_reading_decodes_nothing(folder: Path, counter: Counter) -> None:
    first, decoded = counter.load(folder)
    assert decoded >= 10
    second, decoded = counter.load(folder)
    assert decoded == 0
    assert torch.equal(first.images, second.images)
    for field in ("fingerprint", "mean", "std", "classes", "notes", "name"):
        assert getattr(first, field) == getattr(second, field)
    assert first.fingerprint == ImageSet.from_tensors(first.images, first.labels).fingerprint


def test_the_evaluation_split_takes_statistics_from_the_cache(folder: Path, counter: Counter) -> None:
    _, decoded = counter.load(folder, "test")
    assert decoded >= 14  # both splits, as the statistics are those of training
    assert counter.load(folder)[1] == 0
    assert counter.load(folder, "test")[1] == 0


def test_size_and_split_have_their_own_entries(folder: Path, counter: Counter) -> None:
    assert counter.load(folder)[1] > 0
    small, decoded = counter.load(folder, image_size=4)
    assert decoded > 0
    assert small.image_size == 4
    assert counter.load(folder)[0].image_size == 8
    assert len(counter.entries()) == 2


def test_a_changed_file_invalidates_and_the_old_entry_goes(folder: Path, counter: Counter) -> None:
    counter.load(folder)
    before = counter.entries()
    path = folder / "train" / "ant" / "0.png"
    status = path.stat()
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    assert counter.load(folder)[1] > 0
    assert len(counter.entries()) == 1
    assert counter.entries() != before


def test_a_file_that_goes_away_invalidates(folder: Path, counter: Counter) -> None:
    counter.load(folder)
    (folder / "train" / "ant" / "0.png").unlink()
    data, decoded = counter.load(folder)
    assert decoded > 0
    assert len(data) == 9


@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty", "text"])
def test_a_damaged_entry_is_made_again(folder: Path, counter: Counter, damage: str) -> None:
    whole, _ = counter.load(folder)
    (entry,) = counter.entries()
    content = bytearray(entry.read_bytes())
    content[len(content) // 3] ^= 0x10
    changed = {"truncated": bytes(content[:300]), "flipped": bytes(content), "empty": b"", "text": b"no archive"}
    entry.write_bytes(changed[damage])
    again, decoded = counter.load(folder)
    assert decoded > 0
    assert torch.equal(again.images, whole.images)
    assert counter.load(folder)[1] == 0


def test_a_cache_that_cannot_be_written_is_a_note(folder: Path, counter: Counter) -> None:
    counter.cache.write_text("a file where the folder should be")
    data, _ = counter.load(folder)
    assert len(data) == 10
    assert any("could not be cached" in note for note in data.notes)


def test_nothing_is_cached_of_a_failed_reading(folder: Path, counter: Counter) -> None:
    (folder / "train" / "bee" / "2.png").write_text("no image")
    with pytest.raises(UsageError):
        counter.load(folder)
    assert not (counter.cache / "decoded").exists()


def test_parquet_is_cached_too(tmp_path: Path, write_shard, counter: Counter) -> None:  # type: ignore[no-untyped-def]
    path = write_shard(tmp_path / "x.parquet", [0, 1, 0, 1])
    first, decoded = counter.load(path)
    assert decoded >= 4
    second, decoded = counter.load(path)
    assert decoded == 0
    assert first.fingerprint == second.fingerprint
    write_shard(path, [1, 1, 0, 1])
    third, decoded = counter.load(path)
    assert decoded > 0
    assert third.labels.tolist() == [1, 1, 0, 1]
