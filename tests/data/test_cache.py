"""What is decoded once is kept, until the files change or the copy is damaged."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from dametric.data import ImageSet, load_data
from dametric.data.cache import Stored
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
    whole = counter.load(folder)[0].images.clone()  # the set's own are those of the file, which is damaged
    (entry,) = counter.entries()
    content = bytearray(entry.read_bytes())
    content[len(content) // 3] ^= 0x10
    changed = {"truncated": bytes(content[:300]), "flipped": bytes(content), "empty": b"", "text": b"no archive"}
    entry.write_bytes(changed[damage])
    again, decoded = counter.load(folder)
    assert decoded > 0
    assert torch.equal(again.images, whole)
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


def test_pixels_stay_in_the_file_and_the_file_stays_as_it_is(folder: Path, counter: Counter) -> None:
    counter.load(folder)
    (entry,) = counter.entries()
    content = entry.read_bytes()
    data, decoded = counter.load(folder)
    assert decoded == 0
    before = data.images.clone()
    data.images.add_(1)  # type: ignore[union-attr]
    assert torch.equal(data.images, before + 1)
    assert entry.read_bytes() == content
    entry.unlink()
    assert torch.equal(data.images, before + 1), "what is removed is still there for those who read it"


def test_reading_takes_no_memory_of_the_size_of_the_pixels(tmp_path: Path) -> None:
    stored = Stored(tmp_path / "x.npz", "zeros")
    assert stored.store(pixels=np.ones((300, 1 << 20), np.uint8), labels=np.arange(3)) is None

    def anonymous() -> int:
        lines = Path("/proc/self/status").read_text().splitlines()
        return sum(int(line.split()[1]) for line in lines if line.startswith("RssAnon"))

    before = anonymous()
    arrays = stored.load(["labels"], mapped="pixels")
    assert arrays is not None
    assert arrays["pixels"][:, ::4096].min() == 1
    assert anonymous() - before < 100 << 10, "of 300 MB"


@pytest.mark.parametrize("where", [0.02, 0.5, 0.9])
def test_one_flipped_bit_of_the_pixels_is_noticed(tmp_path: Path, where: float) -> None:
    stored = Stored(tmp_path / "x.npz", "noise")
    pixels = np.random.default_rng(0).integers(0, 256, (100, 3, 8, 8), dtype=np.uint8)
    stored.store(pixels=pixels, labels=np.arange(100))
    loaded = stored.load(["labels"], mapped="pixels")
    assert loaded is not None
    assert np.array_equal(loaded["pixels"], pixels)
    content = bytearray(stored.path.read_bytes())
    content[int(where * pixels.nbytes) + 200] ^= 1
    stored.path.write_bytes(content)
    assert stored.load(["labels"], mapped="pixels") is None
    assert not stored.path.exists()


def test_the_cache_is_named_with_its_size_before_anything_is_decoded(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = folder / "train" / "bee" / "4.png"
    broken.write_bytes(broken.read_bytes()[:45])  # its header can be read
    with pytest.raises(UsageError):
        load_data(folder, cache_dir=tmp_path / "cache", image_size=200)
    said = capsys.readouterr().err
    assert f"10 images of 200x200 are decoded at once, 1 MB, and kept in {tmp_path / 'cache' / 'decoded'} (see" in said
