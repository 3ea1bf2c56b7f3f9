"""Tables that may be read in several ways: configurations, columns, labels that are text or missing."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from dametric.data import load_data
from dametric.errors import UsageError


def png(image: Image.Image) -> bytes:
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


def table(path: Path, columns: dict[str, Any], picture: Any, names: dict[str, list[str]] | None = None) -> Path:
    """A Parquet file of plain bytes, with what else is to stand in it; ``names`` are class labels."""
    count = len(next(iter(columns.values())))
    content = pa.table({"image": [png(picture(i)) for i in range(count)], **columns})
    if names:
        features = {label: {"names": known, "_type": "ClassLabel"} for label, known in names.items()}
        content = content.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(content, path)
    return path


def test_configurations_beside_each_other_are_not_one_set(tmp_path: Path, write_shard) -> None:  # type: ignore[no-untyped-def]
    for seed, name in ((0, "full"), (50, "small")):
        write_shard(tmp_path / name / "train-00000-of-00001.parquet", [0, 1] * 6, seed=seed)
        write_shard(tmp_path / name / "test-00000-of-00001.parquet", [int(seed > 0)], seed=seed)
    for split in ("train", "test"):
        with pytest.raises(UsageError, match=r"several configurations, full, small: .*config='full'"):
            load_data(tmp_path, split, quiet=True)
    for name, label in (("full", 0), ("small", 1)):
        data = load_data(tmp_path, quiet=True, config=name)
        assert torch.equal(data.images, load_data(tmp_path / name, quiet=True).images)
        assert len(data) == 12
        assert load_data(tmp_path, "test", quiet=True, config=name).labels.tolist() == [label]
    with pytest.raises(UsageError, match="no configuration 'tiny': it holds full, small"):
        load_data(tmp_path, config="tiny")
    with pytest.raises(UsageError, match="is one file"):
        load_data(tmp_path / "full" / "test-00000-of-00001.parquet", config="full")


@pytest.mark.parametrize("names", [("cats-train", "dogs-train"), ("cifar10", "cifar100"), ("a", "b")])
def test_two_sets_in_one_folder_are_not_merged(tmp_path: Path, write_shard, names: tuple[str, str]) -> None:  # type: ignore[no-untyped-def]
    for name in names:
        write_shard(tmp_path / f"{name}.parquet", [0, 1, 1], names=None)
    with pytest.raises(UsageError, match="several configurations"):
        load_data(tmp_path, quiet=True)
    first = names[0].removesuffix("-train")
    assert len(load_data(tmp_path, quiet=True, config=first)) == 3


@pytest.mark.parametrize(
    "paths",
    [
        ("train/0000.parquet", "train/0001.parquet", "test/0000.parquet"),
        ("data/train-00000-of-00002-0123456789abcdef.parquet", "data/train-00001-of-00002-fedcba9876543210.parquet",
         "data/test-00000-of-00001-aaaabbbbccccdddd.parquet"),
        ("cifar_train/part-00000-2f0d8a4c-1b1c-4c3e-9d7e-3c1a2b4d5e6f-c000.snappy.parquet",
         "cifar_train/part-00001-2f0d8a4c-1b1c-4c3e-9d7e-3c1a2b4d5e6f-c000.snappy.parquet", "cifar_test/x.parquet"),
        ("default/train/0000.parquet", "default/train/0001.parquet", "default/test/0000.parquet"),
        ("animals-train-0.parquet", "animals-train-1.parquet", "animals-test.parquet"),
        ("train1.parquet", "train2.parquet", "validation.parquet"),
    ],
)  # fmt: skip
def test_shards_of_one_set_however_they_are_numbered(tmp_path: Path, write_shard, paths: tuple[str, ...]) -> None:  # type: ignore[no-untyped-def]
    for label, path in enumerate(paths):
        write_shard(tmp_path / path, [label, 0], names=("a", "b", "c"))
    assert load_data(tmp_path, quiet=True).labels.tolist() == [0, 0, 1, 0]
    assert load_data(tmp_path, "test", quiet=True).labels.tolist() == [2, 0]


def test_a_table_without_images_is_no_set(tmp_path: Path, write_shard) -> None:  # type: ignore[no-untyped-def]
    write_shard(tmp_path / "pictures.parquet", [0, 1])
    pq.write_table(pa.table({"file": ["x"], "label": [0]}), tmp_path / "metadata.parquet")
    assert len(load_data(tmp_path, quiet=True)) == 2
    write_shard(tmp_path / "train.parquet", [0, 1, 1])
    data = load_data(tmp_path, quiet=True)
    assert len(data) == 3
    assert "pictures.parquet is not read" in data.notes[0]


@pytest.mark.parametrize("label", ["label", "class"])
@pytest.mark.parametrize("other", ["width", "idx"])
def test_text_labels_are_labels_whatever_integers_stand_beside_them(
    tmp_path: Path,
    picture,
    label: str,
    other: str,  # type: ignore[no-untyped-def]
) -> None:
    table(tmp_path / "train.parquet", {other: [8, 9, 10, 11], label: ["dog", "ant", "dog", "cow"]}, picture)
    table(tmp_path / "test.parquet", {other: [0, 1], label: ["cow", "dog"]}, picture)
    train, test = (load_data(tmp_path, split, quiet=True) for split in ("train", "test"))
    assert train.classes == test.classes == ("ant", "cow", "dog")
    assert (train.labels.tolist(), test.labels.tolist()) == ([2, 0, 2, 1], [1, 2])
    assert "3 classes in alphabetical order (ant, cow, dog)" in train.notes[-1]
    table(tmp_path / "test.parquet", {other: [0, 1], label: ["cow", "emu"]}, picture)
    with pytest.raises(UsageError, match="class 'emu', which the training split does not have"):
        load_data(tmp_path, "test", quiet=True)


def test_what_may_be_several_columns_is_refused_with_the_choices(tmp_path: Path, picture) -> None:  # type: ignore[no-untyped-def]
    path = table(tmp_path / "x.parquet", {"species": ["a", "b"], "breed": [1, 0], "path": ["p", "q"]}, picture)
    with pytest.raises(UsageError, match=r"choose with label_column one of species \(string\), breed \(int64\)"):
        load_data(path, quiet=True)
    assert load_data(path, quiet=True, label_column="species").classes == ("a", "b")
    assert load_data(path, quiet=True, label_column="breed").labels.tolist() == [1, 0]
    for column, message in (("colour", "no column colour"), ("image", "labels are integers or text")):
        with pytest.raises(UsageError, match=message):
            load_data(path, quiet=True, label_column=column)
    path = table(tmp_path / "y.parquet", {"breed": [1, 0], "idx": [7, 8]}, picture)
    data = load_data(path, quiet=True)
    assert data.labels.tolist() == [1, 0]
    assert "labels are the column 'breed'" in data.notes[0]
    with pytest.raises(UsageError, match="that may hold labels"):
        load_data(table(tmp_path / "z.parquet", {"idx": [7, 8]}, picture), quiet=True)


def test_columns_that_were_chosen_have_decoded_images_of_their_own(tmp_path: Path, picture) -> None:  # type: ignore[no-untyped-def]
    thumbs = [png(picture(100 + i)) for i in range(3)]
    path = table(tmp_path / "x.parquet", {"thumb": thumbs, "label": [0, 1, 1]}, picture)
    for _ in range(2):  # decoded, and from the cache
        for lazy in (False, True):
            small, usual = (
                load_data(path, quiet=True, cache_dir=tmp_path, lazy=lazy, image_column=name)
                for name in ("thumb", None)
            )
            assert small.fingerprint != usual.fingerprint
            assert torch.equal(small.images[0], torch.from_numpy(np.array(picture(100)).transpose(2, 0, 1)))
            assert not torch.equal(small.images[0], usual.images[0])


def test_coarse_labels_of_cifar100_have_its_constants(shared: Path) -> None:
    path = shared / "data" / "cifar100" / "test-00000-of-00001.parquet"
    data = load_data(path, "test", quiet=True, lazy=True, label_column="coarse_label")
    assert data.labels.tolist() == pq.read_table(path, columns=["coarse_label"])["coarse_label"].to_pylist()
    names = json.loads(pq.read_schema(path).metadata[b"huggingface"])["info"]["features"]["coarse_label"]["names"]
    assert list(data.classes) == names
    assert data.std == (0.2675, 0.2565, 0.2761)


def test_rows_with_a_negative_label_are_left_out_and_counted(tmp_path: Path, write_shard) -> None:  # type: ignore[no-untyped-def]
    path = write_shard(tmp_path / "x.parquet", [0, -1, 1, 1])
    data = load_data(path, quiet=True)
    whole = load_data(write_shard(tmp_path / "y.parquet", [0, 0, 1, 1]), quiet=True)
    assert data.labels.tolist() == [0, 1, 1]
    assert torch.equal(data.images, whole.images[[0, 2, 3]])
    assert "1 of 4 rows have a negative label" in data.notes[0]
    assert data.mean == pytest.approx((data.images.double() / 255).mean((0, 2, 3)).tolist())


@pytest.mark.parametrize("label", [4294967295, 2**40, 2**64 - 1])
def test_a_label_that_would_name_a_class_for_every_number_is_refused(tmp_path: Path, picture, label: int) -> None:  # type: ignore[no-untyped-def]
    path = table(tmp_path / "x.parquet", {"label": pa.array([0, label], pa.uint64())}, picture)
    with pytest.raises(UsageError, match=f"label {label}; labels are integers from 0, of at most 1,000,000 classes"):
        load_data(path, quiet=True)


def test_other_sources_have_no_columns() -> None:
    for option in ({"label_column": "x"}, {"image_column": "x"}, {"config": "x"}):
        with pytest.raises(UsageError, match="that is for Parquet and Arrow files"):
            load_data("digits", **option)  # type: ignore[arg-type]
