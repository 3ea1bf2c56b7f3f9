"""Images set aside: balanced, the same for everybody, and never among those that are trained on."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from dametric.data import ImageSet, balanced_subset, hold_out
from dametric.errors import UsageError


def numbered(*counts: int) -> ImageSet:
    """So many images of every class, shuffled; each says its number."""
    labels = torch.cat([torch.full((count,), label) for label, count in enumerate(counts)])
    labels = labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(5))]
    pixels = torch.arange(len(labels), dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 3, 4, 4).contiguous()
    return ImageSet.from_tensors(pixels, labels, name="numbers", mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6))


def numbers(images: ImageSet) -> list[int]:
    assert isinstance(images.images, Tensor)
    return images.images[:, 0, 0, 0].tolist()


@pytest.fixture
def even() -> ImageSet:
    """160 images: 40 of each of four classes."""
    return numbered(40, 40, 40, 40)


@pytest.fixture
def uneven() -> ImageSet:
    """100 images: 10 of the first class, 30 of the second, 60 of the third."""
    return numbered(10, 30, 60)


def test_they_are_balanced_and_apart_from_those_to_train_on(even: ImageSet, uneven: ImageSet) -> None:
    for images, halves in ((even, (20, 20, 20, 20)), (uneven, (5, 15, 30))):
        classes = len(halves)
        for count in (classes, classes + 1, 13, 29, sum(halves)):
            for train_images in (None, classes, 17, 50):
                training, held_out = hold_out(images, count, train_images)
                assert len(held_out) == count
                assert len(training) == (len(images) - count if train_images is None else train_images)
                for part in (training, held_out):
                    chosen = numbers(part)
                    assert chosen == sorted(set(chosen)), "in the order of the set, each once"
                    assert torch.equal(part.labels, images.labels[chosen])
                    assert (part.mean, part.std, part.classes, part.name) == (
                        *(images.mean, images.std, images.classes),
                        "numbers",
                    )
                assert not set(numbers(training)) & set(numbers(held_out))
                found = torch.bincount(held_out.labels, minlength=classes)
                for label, there in enumerate(halves):  # as many as the largest class, one less, or all of its half
                    assert found[label] >= min(there, int(found.max()) - 1)
    assert hold_out(even, 8)[0].split == even.split != hold_out(even, 8)[1].split


def test_they_are_the_same_for_every_number_of_training_images(even: ImageSet) -> None:
    """And in every process, whatever else it draws; a larger number has them all."""
    once = hold_out(even, 30)[1]
    for train_images in (4, 5, 61, 80, 81, 100, 130):
        torch.manual_seed(train_images)
        training, held_out = hold_out(even, 30, train_images)
        assert held_out.fingerprint == once.fingerprint
        assert set(numbers(training)) <= set(numbers(hold_out(even, 30)[0]))
    chosen = [set(numbers(hold_out(even, count)[1])) for count in (4, 9, 30, 80)]
    assert chosen[0] < chosen[1] < chosen[2] < chosen[3]


def test_training_images_are_those_that_are_chosen_without(even: ImageSet, uneven: ImageSet) -> None:
    """Up to half of the set: students of a part of it can be compared with those of earlier records."""
    for count in (4, 31, 80):
        for train_images in (4, 6, 41, 80):
            assert numbers(hold_out(even, count, train_images)[0]) == numbers(balanced_subset(even, train_images))
    for train_images in (4, 6, 15):  # as far as the smallest class has its half
        assert numbers(hold_out(uneven, 20, train_images)[0]) == numbers(balanced_subset(uneven, train_images))


def test_training_images_beyond_half_of_the_set_are_balanced_too(even: ImageSet) -> None:
    left = (40 - torch.bincount(hold_out(even, 30)[1].labels, minlength=4)).tolist()
    for train_images in (81, 90, 100, 120, 130):
        found = torch.bincount(hold_out(even, 30, train_images)[0].labels, minlength=4).tolist()
        for label, there in enumerate(left):
            assert found[label] >= min(there, max(found) - 1), (train_images, found)


def test_the_choice_is_one_of_its_own(even: ImageSet) -> None:
    """Not simply those that would be trained on next, or last."""
    order: list[int] = []
    for count in range(4, 161, 4):
        order += sorted(set(numbers(balanced_subset(even, count))) - set(order))
    for place in (slice(80, 120), slice(120, 160)):
        assert set(numbers(hold_out(even, 40)[1])) != set(order[place])


def test_numbers_that_cannot_be(even: ImageSet, uneven: ImageSet) -> None:
    for images, classes, half in ((even, 4, 80), (uneven, 3, 50)):
        for count in (-1, 0, classes - 1, half + 1, len(images), len(images) + 1):
            with pytest.raises(UsageError, match=f"from {classes} to {half}") as caught:
                hold_out(images, count)
            assert "\n" not in str(caught.value)
        left = len(images) - 20
        for train_images in (-1, 0, classes - 1, left + 1, len(images)):
            with pytest.raises(UsageError, match=f"from {classes} to {left}"):
                hold_out(images, 20, train_images)
