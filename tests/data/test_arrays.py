"""Sets that need no decoding: the bundled digits, torchvision's, NumPy archives; and unknown names."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image

from dametric.data import DATA, ImageSet, load_data
from dametric.errors import UsageError
from tests.loops import each


def test_digits_are_split_once_and_for_all() -> None:
    train, test = load_data("digits"), load_data("digits", "test")
    assert train.images.shape == (1442, 3, 32, 32)
    assert test.images.shape == (355, 3, 32, 32)
    assert train.classes == tuple("0123456789")
    share = test.labels.bincount() / (train.labels.bincount() + test.labels.bincount())
    assert share.min() > 0.19
    assert share.max() <= 0.2
    assert (test.mean, test.std) == (train.mean, train.std)
    assert train.images.min() == 0
    assert train.images.max() == 255
    assert torch.equal(train.images[:, 0], train.images[:, 2])
    assert train.fingerprint == load_data("digits").fingerprint
    seen = {row.numpy().tobytes() for row in train.images}
    assert not any(row.numpy().tobytes() in seen for row in test.images)


def test_arrays_are_brought_to_a_size_as_files_are(tmp_path: Path) -> None:
    big = load_data("digits", image_size=48)
    assert big.images.shape == (1442, 3, 48, 48)
    small = Image.fromarray(load_data("digits").images[5].permute(1, 2, 0).numpy())
    same = np.asarray(small.resize((48, 48), Image.Resampling.BILINEAR)).transpose(2, 0, 1)
    assert np.array_equal(big.images[5].numpy(), same)


def test_cifar_from_the_files_torchvision_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (4, 3, 32, 32), dtype=np.uint8)
    names = [f"c{i}" for i in range(100)]
    base = tmp_path / "cifar-100-python"
    base.mkdir()
    for split, labels in (("train", [3, 99, 0, 5]), ("test", [7, 8, 9, 10])):
        (base / split).write_bytes(pickle.dumps({"data": pixels.reshape(4, -1), "fine_labels": labels}))
    (base / "meta").write_bytes(pickle.dumps({"fine_label_names": names}))
    monkeypatch.setattr(torchvision.datasets.CIFAR100, "_check_integrity", lambda self: True)
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda *_: True)
    for split, labels in (("train", [3, 99, 0, 5]), ("test", [7, 8, 9, 10])):
        data = load_data("cifar100", split, root=tmp_path)
        assert torch.equal(data.images, torch.from_numpy(pixels))
        assert (data.labels.tolist(), list(data.classes)) == (labels, names)
        assert data.mean == (0.5071, 0.4867, 0.4408)
        assert (data.name, data.split) == ("cifar100", split)


def test_svhn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Fake:
        def __init__(self, root: str, split: str, download: bool) -> None:
            assert (root, download) == (str(tmp_path), True)
            self.data = np.full((2, 3, 32, 32), len(split), np.uint8)
            self.labels = np.array([0, 9])

    monkeypatch.setattr(torchvision.datasets, "SVHN", Fake)
    data = load_data("svhn", "test", root=tmp_path, download=True)
    assert data.images.unique().tolist() == [4]
    assert data.classes == tuple("0123456789")
    assert data.std == (0.1980, 0.2010, 0.1970)


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "svhn"])
def test_missing_files_are_not_fetched_unasked(name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=f"{name} is not in .*root=.*download=True"):
        load_data(name, root=tmp_path)
    with pytest.raises(UsageError, match=f"{name} is not in"):
        load_data(name, cache_dir=tmp_path)


def test_a_failed_fetch_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError("no route\nto host")

    monkeypatch.setattr(torchvision.datasets, "CIFAR10", fail)
    with pytest.raises(UsageError, match=r"cannot fetch cifar10 into .*: no route to host"):
        load_data("cifar10", root=tmp_path, download=True)


RGB = np.random.default_rng(0).integers(0, 256, (6, 3, 8, 9), dtype=np.uint8)
LABELS = np.array([0, 1, 2, 0, 1, 2])


@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        (RGB, RGB),
        (RGB.transpose(0, 2, 3, 1), RGB),
        (RGB[:, 0], RGB[:, [0, 0, 0]]),
        (RGB[:, :1], RGB[:, [0, 0, 0]]),
        (RGB[:, 0, :, :, None], RGB[:, [0, 0, 0]]),
    ],
)
def test_npz_layouts(tmp_path: Path, stored: np.ndarray, expected: np.ndarray) -> None:
    np.savez(tmp_path / "x.npz", images=stored, labels=LABELS[:, None])
    data = load_data(tmp_path / "x.npz")
    assert np.array_equal(data.images.numpy(), expected)
    assert data.labels.tolist() == LABELS.tolist()
    assert data.classes == ("0", "1", "2")
    with pytest.raises(UsageError, match="no evaluation split"):
        load_data(tmp_path / "x.npz", "test")


@pytest.mark.parametrize("keys", ["x_train y_train x_test y_test", "train_images train_labels test_images test_labels"])
def test_npz_splits(tmp_path: Path, keys: str) -> None:
    arrays = dict(zip(keys.split(), (RGB, LABELS, RGB[:2] // 2, LABELS[:2]), strict=True))
    np.savez_compressed(tmp_path / "x.npz", **arrays)
    test = load_data(tmp_path / "x.npz", "test")
    assert np.array_equal(test.images.numpy(), RGB[:2] // 2)
    assert test.num_classes == 3
    assert test.mean == ImageSet.from_tensors(RGB).mean
    np.savez(tmp_path / "x.npz", classes=["ant", "bee", "cow"], **arrays)
    assert load_data(tmp_path / "x.npz", "test").classes == ("ant", "bee", "cow")


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"images": RGB / 255, "labels": LABELS}, "float64 of shape .*; give uint8"),
        ({"images": RGB[..., :3], "labels": LABELS}, "could be both"),
        ({"images": RGB.reshape(6, 9, 8, 3)[..., :2], "labels": LABELS}, "give uint8"),
        ({"images": RGB, "labels": LABELS / 2}, "one integer an image"),
        ({"images": RGB, "labels": LABELS[:5]}, "one label an image"),
        ({"images": RGB}, "has the arrays images; known are x_train"),
        ({"images": RGB, "labels": np.array([None] * 6)}, "allow_pickle"),
        ({"images": RGB, "labels": LABELS, "classes": ["a", "b"]}, "up to 2"),
    ],
)
def test_bad_npz(tmp_path: Path, arrays: dict[str, np.ndarray], message: str) -> None:
    np.savez(tmp_path / "x.npz", **arrays)
    with pytest.raises(UsageError, match=message):
        load_data(tmp_path / "x.npz")


@pytest.mark.parametrize("compressed", [False, True])
def test_npz_with_zeroed_bytes_anywhere_is_refused_or_whole(tmp_path: Path, compressed: bool) -> None:
    """Which part of the file is hit decides which library notices, each with errors of its own."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 8, (40, 8, 8, 3), dtype=np.uint8) * 32
    file = tmp_path / "a.npz"
    (np.savez_compressed if compressed else np.savez)(file, images=pixels, labels=np.arange(40) % 2)
    content, refused = file.read_bytes(), 0
    for start in range(0, len(content) - 40, len(content) // 60):
        file.write_bytes(content[:start] + bytes(40) + content[start + 40 :])
        try:
            assert torch.equal(load_data(file, quiet=True).images, torch.from_numpy(pixels).permute(0, 3, 1, 2))
        except UsageError:
            refused += 1
    assert refused > 40


def test_files_that_are_no_npz(tmp_path: Path) -> None:
    (tmp_path / "x.npz").write_bytes(b"PK\x03\x04 and no more")
    with pytest.raises(UsageError, match="cannot read"):
        load_data(tmp_path / "x.npz")
    np.save(tmp_path / "y.npy", RGB)
    (tmp_path / "y.npy").rename(tmp_path / "x.npz")
    with pytest.raises(UsageError, match="one array"):
        load_data(tmp_path / "x.npz")


@each(
    ("source", "options", "message"),
    [
        ("cifar1000", {}, "unknown data set 'cifar1000': did you mean .*cifar100.*a path"),
        ("nowhere/at/all", {}, "no such file or folder: nowhere/at/all"),
        ("x.parquet", {}, "no such file or folder"),
        ("digits", {"split": "val"}, "unknown split 'val': it is train or test"),
        ("digits", {"image_size": 0}, "at least 1 pixel"),
        ("digits", {"lazy": True}, "always read into memory"),
        (__file__, {}, "no folder, .parquet or .npz"),
    ],
)
def test_bad_requests(source: str, options: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        load_data(source, **options)  # type: ignore[arg-type]


def test_every_listed_name_is_known(tmp_path: Path) -> None:
    assert "digits" in DATA
    for name in DATA:
        try:
            load_data(name, root=tmp_path)
        except UsageError as error:
            assert f"{name} is not in" in str(error)  # noqa: PT017 - digits do not fail at all
