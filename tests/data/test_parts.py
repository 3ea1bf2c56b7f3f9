"""A part of the training images is found before any is decoded, and equals the part of the whole."""

from __future__ import annotations

import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dametric.data import ImageSet, balanced_subset, hold_out, load_data
from dametric.data.listing import Listing
from dametric.data.request import ImageRequest
from dametric.errors import UsageError

CIFAR10 = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


def cifar_folder(root: Path, picture) -> Path:  # type: ignore[no-untyped-def]
    """Images of CIFAR-10's classes and size, whose mean and standard deviation are known."""
    for split, count in (("train", 6), ("test", 1)):
        for label, name in enumerate(CIFAR10):
            (root / split / name).mkdir(parents=True)
            for i in range(count):
                picture(10 * label + i, 32, 32).save(root / split / name / f"{i}.png")
    return root


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Rows that were decoded."""
    rows: list[int] = []
    decode = Listing.decode

    def counting(self: Listing, i: int, *args: object) -> object:
        rows.append(i)
        return decode(self, i, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(Listing, "decode", counting)
    return rows


def same(got: ImageSet, wanted: ImageSet) -> None:
    assert torch.equal(got.images[:], wanted.images[:])
    assert torch.equal(got.labels, wanted.labels)
    for field in ("fingerprint", "mean", "std", "classes", "name", "split"):
        assert getattr(got, field) == getattr(wanted, field), field


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("known", [False, True])
def test_parts_equal_those_of_the_whole(tmp_path: Path, folder: Path, picture, known: bool, lazy: bool) -> None:  # type: ignore[no-untyped-def]
    source = cifar_folder(tmp_path / "cifar", picture) if known else folder
    count, aside = (20, 10) if known else (4, 2)
    whole, test = (
        load_data(source, split, quiet=True, lazy=lazy, cache_dir=tmp_path / "a") for split in ("train", "test")
    )
    options = {"cache_dir": str(tmp_path / "b"), "lazy": lazy, "quiet": True, "train_images": count}
    same(ImageRequest(source=str(source), **options).load("train"), balanced_subset(whole, count))
    found = ImageRequest(source=str(source), **options, held_out=aside).splits()
    training, held_out = hold_out(whole, aside, count)
    same(found.train, training)
    same(found.test, test)
    assert found.held_out is not None
    same(found.held_out, held_out)


def test_no_more_is_decoded_than_is_taken_where_the_statistics_are_known(
    tmp_path: Path,
    picture,
    decoded: list[int],  # type: ignore[no-untyped-def]
) -> None:
    source = str(cifar_folder(tmp_path / "cifar", picture))
    options = ImageRequest(source=source, cache_dir=str(tmp_path / "cache"), quiet=True, train_images=20)
    options.load("train")
    assert len(decoded) <= 21  # the first one twice, for the size
    decoded.clear()
    first = options.load("train")
    assert not decoded
    load_data(source, quiet=True, cache_dir=tmp_path / "cache")
    decoded.clear()
    same(
        ImageRequest(source=source, cache_dir=str(tmp_path / "cache"), quiet=True, train_images=20).load("train"), first
    )
    assert not decoded


def test_what_cannot_be_is_refused_before_an_image_is_decoded(folder: Path, decoded: list[int]) -> None:
    for options, message in (
        ({"train_images": 11}, "11 training images cannot be taken from 10"),
        ({"held_out": 7}, "7 held-out images cannot be taken"),
        ({"label_column": "x"}, "no label column"),
    ):
        with pytest.raises(UsageError, match=message):
            ImageRequest(source=str(folder), quiet=True, cache_dir=str(folder / "cache"), **options).splits()  # type: ignore[arg-type]
    alone = ImageRequest(source=str(folder / "train"), quiet=True, cache_dir=str(folder / "cache"), train_images=51)
    with pytest.raises(UsageError, match="has no evaluation split, and 51 training images cannot be taken"):
        alone.splits()
    assert not decoded


def test_an_evaluation_split_is_replaced_only_where_nothing_of_it_is_there(
    tmp_path: Path, picture: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    images, labels = np.arange(40 * 192, dtype=np.uint8).reshape(40, 8, 8, 3), np.arange(40) % 4
    whole = {"x_train": images, "y_train": labels}
    for name, more in (
        ("half", {"x_test": images}),
        ("labels", {"y_test": labels}),
        ("misspelt", {"X_test": images, "Y_test": labels}),
    ):
        np.savez(tmp_path / f"{name}.npz", **whole, **more)
        with pytest.raises(UsageError, match="add x_test and y_test"):
            ImageRequest(source=str(tmp_path / f"{name}.npz"), quiet=True).splits()
    flat = tmp_path / "flat"
    for label in range(4):
        (flat / "train" / str(label)).mkdir(parents=True)
        for i in range(10):
            picture(10 * label + i, 8, 8).save(flat / "train" / str(label) / f"{i}.png")
    (flat / "test").mkdir()
    picture(0, 8, 8).save(flat / "test" / "0.png")
    with pytest.raises(UsageError, match="no evaluation split: put one beside"):
        ImageRequest(source=str(flat), quiet=True, cache_dir=str(tmp_path / "cache")).splits()
    shutil.rmtree(flat / "test")
    shutil.copytree(flat / "train", flat / "eval")
    with pytest.raises(UsageError, match="if it is eval/, call that test/ or val/"):
        ImageRequest(source=str(flat), quiet=True, cache_dir=str(tmp_path / "cache")).splits()
    (tmp_path / "idx").mkdir()
    for name, array in (("images-idx3", images[..., 0]), ("labels-idx1", labels.astype(np.uint8))):
        head = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
        (tmp_path / "idx" / f"train-{name}-ubyte").write_bytes(head + array.tobytes())
    idx = ImageRequest(source=str(tmp_path / "idx"), quiet=True)
    capsys.readouterr()
    parts = idx.splits()
    assert "has no evaluation split: 4 of its training images, which are not trained on" in capsys.readouterr().err
    assert (len(parts.train), len(parts.test)) == (36, 4)
    shutil.copy(tmp_path / "idx" / "train-images-idx3-ubyte", tmp_path / "idx" / "t10k-images-idx3-ubyte")
    with pytest.raises(UsageError, match="has no test split: its files are"):
        idx.splits()
