"""Images that a caller has in memory: as they are stored, or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import Subset

from dametric.data.given import as_image_set
from dametric.data.request import ImageRequest
from dametric.errors import UsageError

PIXELS = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 3), dtype=np.uint8)


class Stored:
    """As torchvision's data sets are: pixels, labels and transforms."""

    classes = ("cat", "dog")

    def __init__(self, lazy: bool = False, **transforms: Any) -> None:
        self.transform = transforms.get("transform")
        self.target_transform = transforms.get("target_transform")
        if not lazy:
            self.data, self.targets = PIXELS, [0, 1, 0, 1, 0, 1]

    def __len__(self) -> int:
        return len(PIXELS)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        image = Image.fromarray(PIXELS[index])
        return (self.transform(image) if self.transform else image), index % 2


def test_data_sets_give_their_images_as_they_are_stored() -> None:
    wanted = torch.from_numpy(PIXELS.transpose(0, 3, 1, 2).copy())
    turned = Stored(lazy=True, transform=lambda image: image.rotate(90))
    for dataset in (
        Stored(),
        Stored(lazy=True),
        Stored(transform=lambda image: 1 / 0),
        turned,
        Subset(Stored(), range(6)),
    ):
        images = as_image_set(dataset)
        assert torch.equal(torch.as_tensor(images.images), wanted)
        assert images.labels.tolist() == [0, 1, 0, 1, 0, 1]
    assert turned.transform is not None, "it is put back"


def test_what_changes_labels_or_images_further_in_is_refused() -> None:
    with pytest.raises(UsageError, match="has a target_transform"):
        as_image_set(Stored(target_transform=lambda label: 0))
    with pytest.raises(UsageError, match="is of a data set with a transform"):
        as_image_set(Subset(Stored(transform=lambda image: image.rotate(90)), range(6)))


def test_labels_that_are_no_numbers_are_refused_and_those_from_one_are_said(
    capsys: pytest.CaptureFixture[str],
) -> None:
    images = torch.zeros(4, 3, 8, 8, dtype=torch.uint8)
    for labels in (np.array(["a"] * 4), ["a"] * 4, np.array([None] * 4), [[0], [1, 2], [3], [4]], [2**70] * 4):
        with pytest.raises(UsageError, match=r"labels are no whole numbers .*give integers from 0") as error:
            as_image_set((images, labels))
        assert "\n" not in str(error.value)
    assert as_image_set((images, [0, 1, 2, 3])).num_classes == 4
    assert capsys.readouterr().err == ""
    assert as_image_set((images, [1, 2, 3, 4])).num_classes == 5
    assert capsys.readouterr().err == (
        "data: class 0 has no image: labels go from 1 to 4, and 5 classes are counted; if they number the classes from"
        " 1, subtract 1\n"
    )


def test_labels_of_files_that_begin_at_one_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.savez(tmp_path / "x.npz", images=PIXELS, labels=np.array([1, 2, 3, 1, 2, 3]))
    assert ImageRequest(source=str(tmp_path / "x.npz")).load("train").num_classes == 4
    assert capsys.readouterr().err.count("data: class 0 has no image: labels go from 1 to 3") == 1
