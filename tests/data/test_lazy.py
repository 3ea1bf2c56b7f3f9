"""Sets too large for memory: the same pixels as in memory, decoded a bounded way ahead."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from dametric.data import decoded, load_data
from dametric.data.lazy import AHEAD
from dametric.data.listing import Listing
from dametric.errors import UsageError


@pytest.fixture
def shard(tmp_path: Path, write_shard) -> Path:  # type: ignore[no-untyped-def]
    write_shard(tmp_path / "set" / "test-0.parquet", [0, 1], seed=70)
    return write_shard(tmp_path / "set" / "train-0.parquet", [0, 1] * 10, group=4).parent


@pytest.mark.parametrize("kind", ["folder", "shard"])
@pytest.mark.parametrize("image_size", [None, 5])
@pytest.mark.parametrize("split", ["train", "test"])
def test_lazy_equals_eager(kind: str, image_size: int | None, split: str, request: pytest.FixtureRequest) -> None:
    source = request.getfixturevalue(kind)
    eager = load_data(source, split, image_size=image_size, quiet=True)
    lazy = load_data(source, split, image_size=image_size, lazy=True, quiet=True)
    assert lazy.lazy
    assert lazy.images.shape == eager.images.shape
    assert len(lazy.images) == len(eager)
    assert torch.equal(lazy.labels, eager.labels)
    order = torch.randperm(len(eager), generator=torch.Generator().manual_seed(0))
    batches = [*order.split(3), torch.zeros(4, dtype=torch.int64)]
    for got, want in zip(lazy.stream(iter(batches), "cpu"), eager.stream(batches, "cpu"), strict=True):
        assert torch.equal(got, want)
    assert torch.equal(lazy.images[-1], eager.images[-1])
    assert torch.equal(lazy.images[1:3], eager.images[1:3])
    assert lazy.mean == pytest.approx(eager.mean)  # smaller than the sample: nothing is estimated
    assert lazy.to("cpu") is lazy


def test_subsets_of_subsets(folder: Path) -> None:
    eager, lazy = load_data(folder, quiet=True), load_data(folder, lazy=True, quiet=True)
    some, same = (data.subset([7, 2, 5, 1]).subset([3, 0]) for data in (lazy, eager))
    assert some.lazy
    assert torch.equal(some.images[:], same.images)
    assert torch.equal(some.labels, same.labels)
    assert len({lazy.fingerprint, some.fingerprint, lazy.subset([0]).fingerprint}) == 3


def test_fingerprint_depends_on_names_sizes_labels_and_image_size_not_on_the_place(
    folder: Path, tmp_path: Path
) -> None:
    first = load_data(folder, lazy=True, quiet=True).fingerprint
    assert first != load_data(folder, lazy=True, image_size=4, quiet=True).fingerprint
    moved = folder.rename(tmp_path / "elsewhere")
    assert load_data(moved, lazy=True, quiet=True).fingerprint == first
    (moved / "train" / "bee" / "0.png").rename(moved / "train" / "bee" / "7.png")
    assert load_data(moved, lazy=True, quiet=True).fingerprint != first


def test_no_more_than_the_bound_is_taken_ahead(folder: Path) -> None:
    data = load_data(folder, lazy=True, quiet=True)
    taken = 0

    def endless() -> Iterator[torch.Tensor]:
        nonlocal taken
        while True:
            taken += 1
            yield torch.tensor([taken % 10])

    stream = data.stream(endless(), "cpu")
    for consumed in range(1, 20):
        next(stream)
        assert taken == consumed + AHEAD
    before = threading.active_count()
    stream.close()  # type: ignore[attr-defined]
    assert threading.active_count() <= before


def test_the_next_batches_are_decoded_before_they_are_asked_for(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = load_data(folder, lazy=True, quiet=True)
    started = threading.Event()
    decode = Listing.decode

    def watching(self: Listing, i: int, *rest: object) -> object:
        if i == 9:
            started.set()
        return decode(self, i, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(Listing, "decode", watching)
    stream = data.stream([torch.tensor([0]), torch.tensor([9])], "cpu")
    next(stream)
    assert started.wait(5)


def test_damage_surfaces_where_the_batch_is_asked_for(folder: Path) -> None:
    data = load_data(folder, lazy=True, quiet=True)
    (folder / "train" / "ant" / "3.png").write_text("no image")
    stream = data.stream([torch.tensor([0]), torch.tensor([3]), torch.tensor([1])], "cpu")
    assert len(next(stream)) == 1
    with pytest.raises(UsageError, match=r"3\.png"):
        next(stream)


def test_differing_sizes_are_told_before_the_work_starts(folder: Path, picture) -> None:  # type: ignore[no-untyped-def]
    picture(0, 9, 9).save(folder / "train" / "bee" / "9.png")
    with pytest.raises(UsageError, match="image_size="):
        load_data(folder, lazy=True, quiet=True)
    assert load_data(folder, lazy=True, image_size=8, quiet=True).images[:].shape == (11, 3, 8, 8)


def test_the_size_of_the_memory_decides(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = 10 * 3 * 8 * 8
    monkeypatch.setattr(decoded, "memory_bytes", lambda: 4 * pixels)
    assert not load_data(folder, quiet=True).lazy
    monkeypatch.setattr(decoded, "memory_bytes", lambda: 4 * (pixels - 1))
    data = load_data(folder, quiet=True)
    assert data.lazy
    assert any("decoded when drawn" in note for note in data.notes)
    assert not load_data(folder, lazy=False, quiet=True).lazy
    test = load_data(folder, "test", quiet=True)  # small enough itself; its statistics are of the lazy training split
    assert not test.lazy
    assert test.mean == data.mean


def test_a_fixed_limit_decides_on_a_large_machine(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pixels = 10 * 3 * 8 * 8
    monkeypatch.setattr(decoded, "memory_bytes", lambda: 10**12)
    assert not load_data(folder, memory_limit=pixels / 1e9).lazy
    capsys.readouterr()
    data = load_data(folder, memory_limit=(pixels - 1) / 1e9)
    assert data.lazy
    line = "data: images are decoded when drawn and not kept in memory: all at once they take 1.92e-06 GB, and the "
    assert capsys.readouterr().err.count(line + "limit is 1.92e-06 GB") == 1
    assert not load_data(folder, lazy=False, memory_limit=1e-9, quiet=True).lazy
    monkeypatch.setattr(decoded.limits, "MEMORY_GB", 1e-9)
    assert load_data(folder, quiet=True).lazy
    monkeypatch.setattr(decoded, "memory_bytes", lambda: 4 * (pixels - 1))
    assert load_data(folder, memory_limit=1, quiet=True).lazy, "a quarter of the memory is the most"
    for wrong in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(UsageError, match="memory_limit is a number of GB above 0"):
            load_data(folder, memory_limit=wrong)


def test_estimated_statistics_are_kept_and_say_so(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoded, "SAMPLE", 6)
    first = load_data(folder, lazy=True, quiet=True, cache_dir=tmp_path / "cache")
    assert any("estimated from 6 of 10 images" in note for note in first.notes)
    exact = load_data(folder, quiet=True)
    assert first.mean == pytest.approx(exact.mean, abs=0.1)
    assert first.mean != exact.mean
    monkeypatch.setattr(decoded.LazyImages, "stream", None)
    monkeypatch.setattr(decoded.LazyImages, "__getitem__", lambda *_: None)
    assert load_data(folder, lazy=True, quiet=True, cache_dir=tmp_path / "cache").mean == first.mean


def test_imagenet_is_recognised_by_its_thousand_classes(tmp_path: Path, write_shard) -> None:  # type: ignore[no-untyped-def]
    names = [f"n{i:08d}" for i in range(1000)]
    data = load_data(write_shard(tmp_path / "x.parquet", [0, 999], names=names), lazy=True, quiet=True)
    assert (data.mean, data.std) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    assert len(data.notes) == 1


@pytest.mark.gpu
def test_lazy_batches_reach_the_gpu(folder: Path) -> None:
    eager, lazy = load_data(folder, quiet=True), load_data(folder, lazy=True, quiet=True).to("cuda")
    batches = torch.arange(10).repeat(20).split(7)
    for index, got in zip(batches, lazy.stream(batches, "cuda"), strict=True):
        assert got.is_cuda
        assert torch.equal(got.cpu(), eager.images[index])
