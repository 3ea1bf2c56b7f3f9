"""What never ends, or would not fit anywhere, is refused at once and in one line."""

from __future__ import annotations

import os
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from dametric.data import ImageSet, decoded, load_data
from dametric.data.decode import decode
from dametric.errors import UsageError

IMAGES = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3), dtype=np.uint8)


def refused(message: str, load: Callable[[], object]) -> None:
    """Check that something is refused in one line, and without much memory on the way."""
    tracemalloc.start()
    try:
        with pytest.raises(UsageError, match=message) as caught:
            load()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert "\n" not in str(caught.value)
    assert peak < 50 << 20


def test_pipes_and_devices_are_no_files(folder: Path, tmp_path: Path) -> None:
    for number, ending in enumerate((".png", ".parquet", ".npz", ".npy", ".arrow", "-images-idx3-ubyte")):
        pipe = tmp_path / f"train{ending}"
        if number % 2:
            os.symlink("/dev/zero", pipe)
        else:
            os.mkfifo(pipe)
        refused("it is no regular file", lambda pipe=pipe: load_data(pipe, quiet=True))
    for name, make in (("x.png", os.mkfifo), ("y.png", lambda path: os.symlink("/dev/zero", path))):
        path = folder / "train" / "ant" / name
        make(path)
        refused(f"cannot read .*{name}: it is no regular file", lambda: load_data(folder, quiet=True))
        path.unlink()
    for name in ("x.parquet", "y.npy"):
        (tmp_path / name).mkdir()
        os.mkfifo(tmp_path / name / f"train-{name}")
        if name == "y.npy":
            np.save(tmp_path / name / "labels.npy", np.arange(4))
        refused("it is no regular file", lambda name=name: load_data(tmp_path / name, quiet=True))


def test_an_image_file_of_gigabytes(folder: Path) -> None:
    with open(folder / "train" / "ant" / "big.png", "wb") as file:
        file.truncate(3 << 30)  # a hole, which takes no room
    refused(r"big\.png is too large for an image: at most 256 MiB are read", lambda: load_data(folder, quiet=True))


def test_image_sizes(folder: Path, monkeypatch: pytest.MonkeyPatch, picture) -> None:  # type: ignore[no-untyped-def]
    np.savez(folder / "x.npz", images=IMAGES, labels=[0, 1, 0, 1])
    for source in (folder / "x.npz", folder):
        refused(
            "at least 1 pixel and at most 8192, not 100000000",
            lambda source=source: load_data(source, image_size=100_000_000, quiet=True),
        )
    monkeypatch.setattr(decoded, "memory_bytes", lambda: 10**7)
    refused(r"x\.npz would take 0\.05033 GB as 4 images of 2048x2048, and there are 0\.01 GB of memory",
            lambda: load_data(folder / "x.npz", image_size=2048))  # fmt: skip
    refused("choose a smaller image size; read it lazily",
            lambda: load_data(folder, image_size=2048, lazy=False, quiet=True))  # fmt: skip
    path = folder / "long.png"
    picture(0, 1, 20000).save(path)
    refused("sides are too unequal", lambda: decode(path.read_bytes(), "long.png", 224))


@pytest.mark.parametrize("label", [4294967295, 2**40, 2**64 - 1])
def test_labels_that_are_no_numbers_of_classes(tmp_path: Path, label: int) -> None:
    labels = np.array([0, 1, 2, label], np.uint64)
    np.savez(tmp_path / "x.npz", images=IMAGES, labels=labels)
    refused("of at most 1,000,000 classes", lambda: load_data(tmp_path / "x.npz", quiet=True))
    refused("of at most 1,000,000 classes", lambda: ImageSet.from_tensors(IMAGES.transpose(0, 3, 1, 2), labels))


def test_archives_without_images_and_archives_that_unpack_to_gigabytes(tmp_path: Path) -> None:
    none = np.zeros((0, 8, 8, 3), np.uint8)
    np.savez(tmp_path / "x.npz", images=none, labels=np.zeros(0, int))
    refused(r"images of .*x\.npz has shape \(0, 8, 8, 3\): there are no images in it",
            lambda: load_data(tmp_path / "x.npz", quiet=True))  # fmt: skip
    arrays = {"x_train": none, "y_train": np.zeros(0, int), "x_test": IMAGES, "y_test": np.zeros(4, int)}
    np.savez(tmp_path / "x.npz", **arrays)
    for split in ("train", "test"):
        refused("there are no images in it", lambda split=split: load_data(tmp_path / "x.npz", split, quiet=True))
    import zipfile

    with zipfile.ZipFile(tmp_path / "x.npz", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for key in ("images", "labels"):
            with archive.open(f"{key}.npy", "w") as file:
                for _ in range(17):
                    file.write(bytes(8 << 20))
    refused(r"unpacks to 272 MiB, over 100 times its size", lambda: load_data(tmp_path / "x.npz", quiet=True))
