"""Images that a caller has in memory: as they are stored, or not at all."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import Subset

from dametric.data.given import as_image_set
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
