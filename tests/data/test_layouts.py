"""Image sets as people have them: unpacked, sorted and wrapped by many hands."""

from __future__ import annotations

import gzip
import hashlib
import json
import pickle
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
import torchvision
from PIL import Image

from dametric.data import ImageSet, NoSplit, load_data
from dametric.errors import UsageError

Picture = Callable[..., Image.Image]


def fill(folder: Path, picture: Picture, seed: int, count: int = 2) -> Path:
    """Images of noise in a folder."""
    folder.mkdir(parents=True)
    for i in range(count):
        picture(seed + i).save(folder / f"{i}.png")
    return folder


def pixels(*paths: Path) -> torch.Tensor:
    return torch.stack([torch.from_numpy(np.array(Image.open(path)).transpose(2, 0, 1)) for path in paths])


@pytest.fixture
def tiny(tmp_path: Path, picture: Picture) -> Path:
    """Tiny ImageNet after a script has sorted val/ by class: test/images is left as it was, without labels."""
    root = tmp_path / "tiny-imagenet-200"
    for label, name in enumerate(("n01", "n02")):
        fill(root / "train" / name / "images", picture, 10 * label)
        fill(root / "val" / name, picture, 100 + 10 * label)
    fill(root / "test" / "images", picture, 200)
    return root


def test_tiny_imagenet_is_evaluated_on_val_beside_an_unlabelled_test_folder(tiny: Path) -> None:
    wanted = sorted((tiny / "val").glob("*/*.png"))
    for kept in ("nothing", "images", "table"):
        if kept != "nothing":  # what the script leaves of the folder that it sorted
            (tiny / "val" / "images").mkdir(exist_ok=True)
        if kept == "table":
            (tiny / "val" / "val_annotations.txt").write_text("val_0.JPEG\tn01\t0\t0\t5\t5\n")
        data = load_data(tiny, "test", quiet=True)
        assert torch.equal(data.images, pixels(*wanted)), kept
        assert (data.labels.tolist(), data.classes) == ([0, 0, 1, 1], ("n01", "n02"))
        assert data.notes == ("the evaluation split is val/: test/ has no folders of these classes",)
    shutil.rmtree(tiny / "train")
    assert load_data(tiny, "test", quiet=True).classes == ("n01", "n02")


def test_one_wrapping_folder_stands_for_what_is_in_it(tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "__MACOSX" / "train").mkdir(parents=True)
    plain = load_data(tiny, quiet=True)
    data = load_data(tmp_path, quiet=True)
    assert torch.equal(data.images, plain.images)
    assert data.classes == ("n01", "n02")
    assert "are in" in data.notes[0]
    outer = tmp_path / "outer"
    shutil.copytree(tiny / "val", outer / "archive" / "animals")
    data = load_data(outer, quiet=True)  # classes alone, twice wrapped: not one class called "archive"
    assert (data.classes, data.labels.tolist()) == (("n01", "n02"), [0, 0, 1, 1])


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("seg_train/seg_train", "seg_test/seg_test"),
        ("train_images", "test_images"),
        ("Training", "Testing"),
        ("Train", "Val"),
        ("my.train.set", "my.validation.set"),
    ],
)
def test_names_of_which_the_split_is_a_part(
    tiny: Path, tmp_path: Path, train: str, test: str, picture: Picture
) -> None:
    root = tmp_path / "intel"
    shutil.copytree(tiny / "train", root / train)
    shutil.copytree(tiny / "val", root / test)
    fill(root / "seg_pred" / "seg_pred", picture, 5)
    assert torch.equal(load_data(root, quiet=True).images, load_data(tiny, quiet=True).images)
    assert torch.equal(load_data(root, "test", quiet=True).images, load_data(tiny, "test", quiet=True).images)


def test_two_folders_that_may_be_the_split_are_refused_with_the_choices(tiny: Path, tmp_path: Path) -> None:
    for name in ("cats_train", "dogs_train"):
        shutil.copytree(tiny / "train", tmp_path / "pets" / name)
    with pytest.raises(UsageError, match=r"cats_train, dogs_train in .* may each be the train split"):
        load_data(tmp_path / "pets", quiet=True)


def test_a_class_may_be_called_train(tmp_path: Path, picture: Picture) -> None:
    for seed, name in enumerate(("bullet_train", "road", "test_tube", "train")):
        fill(tmp_path / name, picture, 10 * seed)
    data = load_data(tmp_path, quiet=True)
    assert data.classes == ("bullet_train", "road", "test_tube", "train")
    assert data.labels.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]


def test_the_unpacked_archive_of_cifar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kind = torchvision.datasets.CIFAR10
    folder = tmp_path / "my cifar" / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    images = np.random.default_rng(0).integers(0, 256, (6, 3, 32, 32), dtype=np.uint8)
    files = {f"data_batch_{i}": images[i - 1 : i] for i in range(1, 6)} | {"test_batch": images[5:]}
    for name, part in files.items():
        (folder / name).write_bytes(pickle.dumps({"data": part.reshape(len(part), -1), "labels": [3]}))
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": [f"class{i}" for i in range(10)]}))
    sums = {name: hashlib.md5((folder / name).read_bytes()).hexdigest() for name in [*files, "batches.meta"]}
    for name in ("train_list", "test_list"):
        monkeypatch.setattr(kind, name, [[file, sums[file]] for file, _ in getattr(kind, name)])
    monkeypatch.setattr(kind, "meta", {**kind.meta, "md5": sums["batches.meta"]})
    for source in (folder, folder.parent, folder.parent / "renamed"):
        if source.name == "renamed":
            folder.rename(source)
        train, test = (load_data(source, split, quiet=True) for split in ("train", "test"))
        assert np.array_equal(train.images.numpy(), images[:5])
        assert np.array_equal(test.images.numpy(), images[5:])
        assert train.std == (0.2470, 0.2435, 0.2616)
    (source / "data_batch_2").write_bytes(b"changed")
    with pytest.raises(UsageError, match=r"cifar10 in .*renamed are damaged or incomplete"):
        load_data(source, quiet=True)


@pytest.mark.parametrize("packed", [False, True])
def test_idx_files_of_mnist(tmp_path: Path, packed: bool) -> None:
    images = np.random.default_rng(0).integers(0, 256, (7, 5, 4), dtype=np.uint8)
    labels = np.arange(7, dtype=np.uint8)

    def write(name: str, array: np.ndarray) -> None:
        content = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()
        path = tmp_path / "MNIST" / "raw" / (name + ".gz" * packed)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(gzip.compress(content) if packed else content)

    for split, part in (("train", slice(0, 5)), ("t10k", slice(5, 7))):
        write(f"{split}-images-idx3-ubyte", images[part])
        write(f"{split}-labels-idx1-ubyte", labels[part])
    train, test = (load_data(tmp_path, split, quiet=True) for split in ("train", "test"))
    assert np.array_equal(train.images.numpy(), images[:5, None].repeat(3, 1))
    assert (test.labels.tolist(), test.num_classes, train.num_classes) == ([5, 6], 7, 7)
    assert test.mean == ImageSet.from_tensors(train.images).mean
    write("train-labels-idx1-ubyte", labels[:4])
    with pytest.raises(UsageError, match="5 images and 4 labels"):
        load_data(tmp_path, quiet=True)
    path = next(tmp_path.rglob("train-images*"))
    path.write_bytes(path.read_bytes()[:30])
    with pytest.raises(UsageError, match=r"cut off|cannot read|end-of-stream"):
        load_data(tmp_path, quiet=True)


def test_npy_files_beside_their_labels(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    fog, snow = rng.integers(0, 256, (2, 6, 4, 5, 3), dtype=np.uint8)
    np.save(tmp_path / "fog.npy", fog)
    np.save(tmp_path / "labels.npy", np.array([0, 1, 2, 2, 1, 0]))
    for source in (tmp_path, tmp_path / "fog.npy"):
        data = load_data(source, quiet=True)
        assert np.array_equal(data.images.numpy(), fog.transpose(0, 3, 1, 2))
        assert data.labels.tolist() == [0, 1, 2, 2, 1, 0]
        with pytest.raises(NoSplit):
            load_data(source, "test", quiet=True)
    np.save(tmp_path / "snow.npy", snow)
    with pytest.raises(UsageError, match=r"several arrays of images, fog, snow: name one, as .*fog\.npy"):
        load_data(tmp_path, quiet=True)
    assert np.array_equal(load_data(tmp_path / "snow.npy", quiet=True).images.numpy(), snow.transpose(0, 3, 1, 2))
    (tmp_path / "labels.npy").unlink()
    with pytest.raises(UsageError, match="none is called labels"):
        load_data(tmp_path / "snow.npy", quiet=True)
    for name, array in (("X_train", fog), ("y_train", np.arange(6)), ("X_test", snow), ("y_test", np.arange(6))):
        np.save(tmp_path / f"{name}.npy", array)
    assert np.array_equal(load_data(tmp_path, "test", quiet=True).images.numpy(), snow.transpose(0, 3, 1, 2))


def test_what_save_to_disk_wrote(tmp_path: Path, picture: Picture, write_shard) -> None:  # type: ignore[no-untyped-def]
    import pyarrow.parquet as pq

    for split, labels in (("train", [0, 1, 1, 0]), ("test", [1, 0])):
        content = pq.read_table(write_shard(tmp_path / "parquet" / f"{split}.parquet", labels, seed=len(labels)))
        folder = tmp_path / "saved" / split
        folder.mkdir(parents=True)
        for number, part in enumerate((content.slice(0, 1), content.slice(1))):
            path = folder / f"data-{number:05}-of-00002.arrow"
            with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, part.schema) as writer:
                writer.write_table(part)
        (folder / "state.json").write_text(json.dumps({"_data_files": [], "_indices_data_files": None}))
        (folder / "cache-0123.arrow").write_bytes(b"what a map computed")
    for split in ("train", "test"):
        saved, plain = (load_data(tmp_path / name, split, quiet=True) for name in ("saved", "parquet"))
        assert torch.equal(saved.images, plain.images)
        assert (saved.fingerprint, saved.classes, saved.mean) == (plain.fingerprint, plain.classes, plain.mean)
    (tmp_path / "saved" / "train" / "data-00000-of-00002.arrow").write_bytes(b"no table")
    with pytest.raises(UsageError, match=r"cannot read .*\.arrow as Arrow"):
        load_data(tmp_path / "saved", quiet=True)
    (tmp_path / "saved" / "train" / "state.json").write_text(json.dumps({"_indices_data_files": [{"filename": "i"}]}))
    with pytest.raises(UsageError, match="flatten_indices"):
        load_data(tmp_path / "saved", quiet=True)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("shard-000000.tar", "is a tar archive: unpack it .* of a webdataset .* Parquet"),
        ("imagenet.tar.gz", "is a tar archive: unpack it"),
        ("pets.zip", "is a zip archive: unpack it and give the folder"),
        ("camelyon.h5", "is an HDF5 file: write its images as"),
        ("train_32x32.mat", "is a MATLAB file"),
        ("train.tfrecord", "TensorFlow's records"),
        ("data.pkl", "a pickle, which may run any code"),
    ],
)
def test_what_is_not_read_is_named_with_what_to_do(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / name).write_bytes(b"content")
    with pytest.raises(UsageError, match=message):
        load_data(tmp_path / name, quiet=True)
    with pytest.raises(UsageError, match=f"holds {name}, "):
        load_data(tmp_path, quiet=True)
    (tmp_path / "train").mkdir()
    (tmp_path / name).rename(tmp_path / "train" / name)
    with pytest.raises(UsageError, match=f"train holds {name}, "):
        load_data(tmp_path, quiet=True)
