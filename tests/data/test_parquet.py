"""Parquet in the Hugging Face image layout: made here, and the real shards beside the project."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from dametric.data import load_data
from dametric.data.decode import workers
from dametric.data.rowgroups import RowGroups
from dametric.errors import UsageError


def plain(path: Path, column: str, rows: list[int]) -> torch.Tensor:
    """Decode some rows with nothing but pyarrow and Pillow."""
    cells = pq.read_table(path, columns=[column])[column].take(rows).to_pylist()
    arrays = [np.array(Image.open(io.BytesIO(cell["bytes"])).convert("RGB")) for cell in cells]
    return torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2)


def test_shards_are_joined_in_order_and_splits_told_apart(tmp_path: Path, write_shard) -> None:  # type: ignore[no-untyped-def]
    first = write_shard(tmp_path / "data" / "train-00000-of-00002.parquet", [0, 1, 1, 0, 1], seed=0)
    second = write_shard(tmp_path / "data" / "train-00001-of-00002.parquet", [1, 0, 0, 0], seed=50)
    valid = write_shard(tmp_path / "data" / "valid-00000-of-00001.parquet", [1, 1], seed=90)
    train = load_data(tmp_path, quiet=True)
    assert train.labels.tolist() == [0, 1, 1, 0, 1, 1, 0, 0, 0]
    assert torch.equal(
        train.images, torch.cat([plain(first, "image", [*range(5)]), plain(second, "image", [*range(4)])])
    )
    assert (train.classes, train.notes) == (("ant", "bee"), ())
    test = load_data(tmp_path, "test", quiet=True)
    assert torch.equal(test.images, plain(valid, "image", [0, 1]))
    assert (test.mean, test.std) == (train.mean, train.std)


def test_a_missing_shard_is_a_note(tmp_path: Path, write_shard) -> None:  # type: ignore[no-untyped-def]
    for i in (0, 2):
        write_shard(tmp_path / f"train-0000{i}-of-00004.parquet", [0, 1])
    (note,) = load_data(tmp_path, quiet=True).notes
    assert "lacks 2 of the 4 shards" in note
    assert "(1, 3)" in note


def test_one_file_has_the_split_of_its_name(tmp_path: Path, write_shard) -> None:  # type: ignore[no-untyped-def]
    file = write_shard(tmp_path / "test-00000-of-00001.parquet", [0, 1])
    test = load_data(file, "test", quiet=True)
    assert "no training split" in test.notes[0]
    assert test.mean == pytest.approx((test.images.double() / 255).mean((0, 2, 3)).tolist())
    with pytest.raises(UsageError, match=r"no train split: its files hold test: give a split that is there"):
        load_data(file, quiet=True)
    assert len(load_data(write_shard(tmp_path / "mine" / "latest.parquet", [0, 1]), quiet=True)) == 2


def test_splits_in_folder_names(tmp_path: Path, write_shard) -> None:  # type: ignore[no-untyped-def]
    write_shard(tmp_path / "train" / "0000.parquet", [0, 1, 1])
    write_shard(tmp_path / "validation" / "0000.parquet", [0])
    assert [len(load_data(tmp_path, split, quiet=True)) for split in ("train", "test")] == [3, 1]


@pytest.mark.parametrize("names", [("bee", "ant"), ("ant", "cow"), ("ant", "bee", "cow")])
def test_splits_that_number_their_classes_differently_are_refused(tmp_path: Path, write_shard, names) -> None:  # type: ignore[no-untyped-def]
    write_shard(tmp_path / "train-0.parquet", [0, 1])
    write_shard(tmp_path / "test-0.parquet", [0, 1], names=names)
    for split in ("train", "test"):
        with pytest.raises(UsageError, match="name or order their classes differently"):
            load_data(tmp_path, split, quiet=True)
    write_shard(tmp_path / "test-0.parquet", [0, 1], names=None)  # which says nothing to the contrary
    assert len(load_data(tmp_path, quiet=True)) == 2


def test_a_test_split_without_labels_gives_way_to_validation(tmp_path: Path, write_shard) -> None:  # type: ignore[no-untyped-def]
    write_shard(tmp_path / "train-0.parquet", [0, 1])
    write_shard(tmp_path / "test-0.parquet", [-1, -1, -1])
    with pytest.raises(UsageError, match="no rows with labels"):
        load_data(tmp_path, "test", quiet=True)
    write_shard(tmp_path / "validation-0.parquet", [1])
    data = load_data(tmp_path, "test", quiet=True)
    assert data.labels.tolist() == [1]
    assert "also has test" in data.notes[0]


@pytest.mark.parametrize("label", ["label", "labels", "fine_label", "breed"])
def test_label_columns_in_their_order(tmp_path: Path, write_shard, label: str) -> None:  # type: ignore[no-untyped-def]
    more = {} if label == "breed" else {"coarse_label": [0, 0]}
    file = write_shard(tmp_path / "x.parquet", [1, 0], image="img", label=label, names=["p", "q"], more=more)
    data = load_data(file, quiet=True)
    assert (data.labels.tolist(), data.classes) == ([1, 0], ("p", "q"))


def test_plain_bytes_and_names_by_number(tmp_path: Path, picture) -> None:  # type: ignore[no-untyped-def]
    out = io.BytesIO()
    picture(1).save(out, "PNG")
    table = pa.table({"image": [out.getvalue()] * 2, "label": pa.array([1, 0], pa.uint8())})
    features = {"label": {"_type": "ClassLabel", "names": {"0": "zero", "1": "one"}}}
    table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pq.write_table(table, tmp_path / "x.parquet")
    data = load_data(tmp_path / "x.parquet", quiet=True)
    assert data.classes == ("zero", "one")
    assert torch.equal(data.images[0], torch.from_numpy(np.array(picture(1)).transpose(2, 0, 1)))


def test_without_names_the_classes_are_counted_over_every_split(tmp_path: Path, write_shard) -> None:  # type: ignore[no-untyped-def]
    write_shard(tmp_path / "train-0.parquet", [0, 3, 1], names=None)
    write_shard(tmp_path / "test-0.parquet", [0, 1], names=None)
    assert load_data(tmp_path, "test", quiet=True).classes == ("0", "1", "2", "3")


def test_bad_files_are_told_in_one_line(tmp_path: Path, write_shard, picture) -> None:  # type: ignore[no-untyped-def]
    def failing(path: Path, message: str) -> None:
        with pytest.raises(UsageError, match=message) as caught:
            load_data(path, quiet=True)
        assert "\n" not in str(caught.value)
        path.unlink()

    (tmp_path / "x.parquet").write_bytes(b"PAR1 and then something else")
    failing(tmp_path / "x.parquet", "cannot read .*x.parquet as Parquet")
    failing(write_shard(tmp_path / "a.parquet", [0, 1], image="photo"), "no column img or image; it has photo, label")
    failing(
        write_shard(tmp_path / "b.parquet", [0, 1], label="a", more={"b": [0, 1]}), "not exactly one integer column"
    )
    failing(write_shard(tmp_path / "c.parquet", [0, None]), "1 rows without a label")
    failing(write_shard(tmp_path / "d.parquet", [0, 2]), "the label 2 and names for 2 classes")
    failing(
        write_shard(tmp_path / "e.parquet", [0, 1], images=[b"text", None]), r"cannot decode .*e.parquet row 0: not an"
    )
    ok = io.BytesIO()
    picture(0).save(ok, "PNG")
    failing(write_shard(tmp_path / "f.parquet", [0, 1], images=[ok.getvalue(), None]), "row 1 holds no image bytes")
    failing(write_shard(tmp_path / "g.parquet", []), "no rows with labels")


def test_shards_that_name_different_classes_are_refused(tmp_path: Path, write_shard) -> None:  # type: ignore[no-untyped-def]
    write_shard(tmp_path / "train-0.parquet", [0, 1])
    write_shard(tmp_path / "train-1.parquet", [0, 1], names=["cat", "dog"])
    with pytest.raises(UsageError, match="different classes"):
        load_data(tmp_path, quiet=True)


def test_row_groups_are_read_once_while_they_fit(
    tmp_path: Path,
    write_shard,
    monkeypatch: pytest.MonkeyPatch,  # type: ignore[no-untyped-def]
) -> None:
    rows = 60 * workers()
    path = write_shard(tmp_path / "x.parquet", [0] * rows, group=10)
    loads: list[int] = []
    load = RowGroups._load
    monkeypatch.setattr(RowGroups, "_load", lambda self, g: loads.append(g) or load(self, g))
    for memory, most in ((1 << 30, rows // 10), (0, rows // 10 * 2)):
        groups = RowGroups([(path, "image.bytes", pq.read_metadata(path))], memory)
        loads.clear()
        for _ in range(2):
            for i in range(rows):
                groups.read(i)
        assert len(loads) == most
        assert len(groups._held) <= max(rows // 10 if memory else 0, 2 * workers())


def moments(images: torch.Tensor) -> tuple[list[float], list[float]]:
    """Mean and standard deviation in float64 by the textbook's two passes, a piece at a time."""
    pieces = images.split(500)
    count = images[:, 0].numel()
    mean = sum((piece.double() / 255).sum((0, 2, 3)) for piece in pieces) / count
    square = sum(((piece.double() / 255 - mean[:, None, None]) ** 2).sum((0, 2, 3)) for piece in pieces) / count
    return mean.tolist(), square.sqrt().tolist()


# The real thing.


def test_cifar100_equals_a_plain_reading(shared: Path) -> None:
    folder = shared / "data" / "cifar100"
    path = folder / "test-00000-of-00001.parquet"
    data = load_data(str(folder), "test", quiet=True)
    rows = [0, 1, 1999, 2000, 5555, 9999]
    assert data.images.shape == (10000, 3, 32, 32)
    assert torch.equal(data.images[rows], plain(path, "img", rows))
    assert data.labels.tolist() == pq.read_table(path, columns=["fine_label"])["fine_label"].to_pylist()
    names = json.loads(pq.read_schema(path).metadata[b"huggingface"])["info"]["features"]["fine_label"]["names"]
    assert list(data.classes) == names
    assert data.labels.bincount().tolist() == [100] * 100
    assert (data.mean, data.std) == ((0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761))
    assert data.notes == ()


def test_oracle_images_are_recognised_as_cifar10(shared: Path) -> None:
    data = load_data(shared / "reference" / "oracle" / "images", "test", quiet=True)
    assert len(data) == 2000
    assert data.mean == (0.4914, 0.4822, 0.4465)


@pytest.mark.slow
def test_tinyimagenet25_with_the_statistics_of_its_training_split(shared: Path) -> None:
    folder = shared / "data" / "tinyimagenet25"
    test, train = load_data(folder, "test", quiet=True), load_data(folder, quiet=True)
    assert (len(train), len(test), train.num_classes) == (12500, 1250, 25)
    mean, std = moments(train.images)
    assert train.mean == pytest.approx(mean, rel=1e-10)
    assert train.std == pytest.approx(std, rel=1e-10)
    assert (test.mean, test.std) == (train.mean, train.std)
    path = folder / "train-00000-of-00001.parquet"
    rows = list(range(0, 12500, 499))  # some of them greyscale
    assert torch.equal(train.images[rows], plain(path, "image", rows))


@pytest.mark.slow
def test_the_constants_of_cifar100_are_those_of_its_training_split(shared: Path) -> None:
    data = load_data(shared / "data" / "cifar100", quiet=True)
    assert len(data) == 50000
    mean, std = moments(data.images)
    assert mean == pytest.approx(data.mean, abs=2e-4)
    assert std == pytest.approx(data.std, abs=2e-4)
