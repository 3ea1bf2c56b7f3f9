"""A part of the training images: as many of every class, the same for everybody."""

from __future__ import annotations

import pytest
import torch

from dametric.data import ImageSet, few
from dametric.errors import UsageError


@pytest.fixture
def images() -> ImageSet:
    """100 images: 10 of the first class, 30 of the second, 60 of the third; each says its number."""
    labels = torch.cat([torch.full((count,), label) for label, count in enumerate((10, 30, 60))])
    labels = labels[torch.randperm(100, generator=torch.Generator().manual_seed(5))]
    pixels = torch.arange(100, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 3, 4, 4).contiguous()
    return ImageSet.from_tensors(pixels, labels, name="numbers")


@pytest.mark.parametrize("count", [3, 4, 17, 30, 31, 70, 100])
def test_classes_are_as_even_as_they_can_be(images: ImageSet, count: int) -> None:
    some = few(images, count)
    assert len(some) == count
    numbers = some.images[:, 0, 0, 0]
    assert torch.equal(numbers, numbers.sort().values), "in the order of the set"
    assert torch.equal(some.labels, images.labels[numbers.long()])
    counts = torch.bincount(some.labels, minlength=3)
    for label, there in enumerate((10, 30, 60)):  # a class has as many as the largest, one less, or all it has
        assert counts[label] >= min(there, int(counts.max()) - 1)
    assert (some.mean, some.std, some.classes, some.name) == (images.mean, images.std, images.classes, "numbers")


def test_more_images_are_these_and_others(images: ImageSet) -> None:
    chosen = [set(few(images, count).images[:, 0, 0, 0].tolist()) for count in (5, 20, 60)]
    assert chosen[0] < chosen[1] < chosen[2]
    assert few(images, 20).fingerprint == few(images, 20).fingerprint != few(images, 21).fingerprint
    assert few(images, 100).fingerprint == images.fingerprint


@pytest.mark.parametrize("count", [0, 2, 101])
def test_numbers_that_cannot_be(images: ImageSet, count: int) -> None:
    with pytest.raises(UsageError, match="from 3 to 100"):
        few(images, count)
