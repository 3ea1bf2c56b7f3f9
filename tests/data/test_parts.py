"""A part of the training images is found before any is decoded, and equals the part of the whole."""

from __future__ import annotations

from pathlib import Path

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
    with pytest.raises(UsageError, match="no evaluation split"):
        ImageRequest(source=str(folder / "train"), quiet=True, cache_dir=str(folder / "cache")).splits()
    assert not decoded
