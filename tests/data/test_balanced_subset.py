"""A part of the training images: as many of every class, the same for everybody."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from dametric.data import ImageSet, balanced_subset
from dametric.data.balanced_subset import balanced_subset_rows, hold_out_rows
from dametric.errors import UsageError
from tests.loops import each


@pytest.fixture
def images() -> ImageSet:
    """100 images: 10 of the first class, 30 of the second, 60 of the third; each says its number."""
    labels = torch.cat([torch.full((count,), label) for label, count in enumerate((10, 30, 60))])
    labels = labels[torch.randperm(100, generator=torch.Generator().manual_seed(5))]
    pixels = torch.arange(100, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 3, 4, 4).contiguous()
    return ImageSet.from_tensors(pixels, labels, name="numbers")


@pytest.mark.parametrize("count", [3, 4, 17, 30, 31, 70, 100])
def test_classes_are_as_even_as_they_can_be(images: ImageSet, count: int) -> None:
    some = balanced_subset(images, count)
    assert len(some) == count
    numbers = some.images[:, 0, 0, 0]
    assert torch.equal(numbers, numbers.sort().values), "in the order of the set"
    assert torch.equal(some.labels, images.labels[numbers.long()])
    counts = torch.bincount(some.labels, minlength=3)
    for label, there in enumerate((10, 30, 60)):  # a class has as many as the largest, one less, or all it has
        assert counts[label] >= min(there, int(counts.max()) - 1)
    assert (some.mean, some.std, some.classes, some.name) == (images.mean, images.std, images.classes, "numbers")


def test_more_images_are_these_and_others(images: ImageSet) -> None:
    chosen = [set(balanced_subset(images, count).images[:, 0, 0, 0].tolist()) for count in (5, 20, 60)]
    assert chosen[0] < chosen[1] < chosen[2]
    assert (
        balanced_subset(images, 20).fingerprint
        == balanced_subset(images, 20).fingerprint
        != balanced_subset(images, 21).fingerprint
    )
    assert balanced_subset(images, 100).fingerprint == images.fingerprint


@pytest.mark.parametrize("count", [0, 2, 101])
def test_numbers_that_cannot_be(images: ImageSet, count: int) -> None:
    with pytest.raises(UsageError, match="from 3 to 100"):
        balanced_subset(images, count)


def places(labels: Tensor, seed: int, among: Tensor | None = None) -> Tensor:
    """Rank of every image within its class in a random order, class by class: what ledgers' runs were trained on."""
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    order = order if among is None else order[among[order]]
    place = torch.zeros(len(labels), dtype=torch.int64)
    for label in labels.unique():
        members = order[labels[order] == label]
        place[members] = torch.arange(len(members))
    return place


def balanced(labels: Tensor, seed: int, among: Tensor | None = None) -> list[int]:
    """Images in the order in which they are taken: by place, and within a place by class."""
    place = places(labels, seed, among)
    ranked = sorted(range(len(labels)), key=lambda i: (int(place[i]), int(labels[i])))
    return [i for i in ranked if among is None or among[i]]


@each("labels", [[0] * 7, [3, 0, 3, 0, 5], [k * k % 11 for k in range(900)], [k % 40 for k in range(400)], [2, 1, 0]])
def test_the_rows_are_those_of_the_walk_through_classes(labels: list[int]) -> None:
    """Classes without images, of different sizes, and of one image are among them."""
    numbers, classes = torch.tensor(labels), len(set(labels))
    for count in {classes, (classes + len(labels)) // 2, len(labels)}:
        assert balanced_subset_rows(numbers, classes, count).tolist() == sorted(balanced(numbers, 0)[:count])
    late = (places(numbers, 0) * 2 >= torch.bincount(numbers)[numbers]).nonzero()[:, 0]
    for count in {classes, len(late)} if len(late) >= classes else ():
        chosen = sorted(late[balanced(numbers[late], 1)[:count]].tolist())
        rest = torch.ones(len(labels), dtype=torch.bool).index_fill_(0, torch.tensor(chosen), False)
        for train_images in (None, classes) if int(rest.sum()) >= classes else (None,):
            training, held_out = hold_out_rows(numbers, classes, count, train_images)
            assert held_out.tolist() == chosen
            assert training.tolist() == sorted(balanced(numbers, 0, rest)[:train_images])
