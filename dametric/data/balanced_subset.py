"""Class-balanced subsets of the training images, the same in every run: to train on, and held out."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from dametric.data.imageset import ImageSet
from dametric.errors import UsageError

MOST_HELD_OUT = 5_000
HELD_OUT_SPLIT = "held-out"
_SUBSET_SEED, _HELD_OUT_SEED = 0, 1


def balanced_subset(images: ImageSet, count: int) -> ImageSet:
    """A class-balanced subset of a set: class counts differ by at most one, as far as classes have enough images.

    Parameters
    ----------
    images : ImageSet
        Without labels, images are drawn from the whole set.
    count : int
        Number of images; the same number gives the same images, and a larger one includes them.

    Returns
    -------
    ImageSet
        In the order of the set, with its mean, standard deviation and classes.

    Raises
    ------
    UsageError
        If the set has fewer images, or more classes than that.
    """
    return images.subset(balanced_subset_rows(images.labels.cpu(), images.num_classes, count))


def balanced_subset_rows(labels: Tensor, classes: int, count: int) -> Tensor:
    """Rows that :func:`balanced_subset` takes, ascending, by labels int64 (N,) on the CPU."""
    _check(count, len(labels), labels, classes, "training")
    return _balanced(labels, _SUBSET_SEED)[:count].sort().values


def hold_out(images: ImageSet, count: int, train_images: int | None = None) -> tuple[ImageSet, ImageSet]:
    """Hold out a class-balanced subset of a training split: class counts differ by at most one.

    At most half of a class is held out, from the half that :func:`balanced_subset` takes last. So the held-out images
    are the same however many images are trained on; and as long as no more than half of any class is trained on, the
    training images are the same with and without held-out images.

    Parameters
    ----------
    images : ImageSet
        A training split.
    count : int
        Number of images to hold out; the same number gives the same images, and a larger one includes them.
    train_images : int, optional
        Number of the other images to train on, chosen as by :func:`balanced_subset`; all by default.

    Returns
    -------
    training, held_out : ImageSet
        Both in the order of the set; "held-out" is the split of the second.

    Raises
    ------
    UsageError
        If ``count`` is more than half of the images, or less than the number of classes.

    Examples
    --------
    >>> from dametric.data import hold_out, load_data
    >>> training, held_out = hold_out(load_data("digits"), 200, train_images=500)
    >>> len(training), len(held_out)
    (500, 200)
    """
    training, chosen = hold_out_rows(images.labels.cpu(), images.num_classes, count, train_images)
    return images.subset(training), as_held_out(images.subset(chosen))


def as_held_out(images: ImageSet) -> ImageSet:
    """Label images of a training split as its held-out split."""
    return replace(images, split=HELD_OUT_SPLIT)


def usual_held_out(images: int, classes: int) -> int:
    """How many training images are held out where nobody says it: a tenth, 5,000 at most, one of each class at least.

    Examples
    --------
    >>> usual_held_out(50_000, 100), usual_held_out(600, 0)
    (5000, 60)
    """
    return max(1, classes, min(MOST_HELD_OUT, images // 10))


def hold_out_rows(labels: Tensor, classes: int, count: int, train_images: int | None = None) -> tuple[Tensor, Tensor]:
    """Rows that :func:`hold_out` trains on and holds out, ascending, by labels int64 (N,) on the CPU."""
    late = _place_in_class(labels, _SUBSET_SEED) * 2 >= torch.bincount(labels)[labels]
    candidates = late.nonzero()[:, 0]
    _check(count, len(candidates), labels, classes, "held-out")
    chosen = candidates[_balanced(labels[candidates], _HELD_OUT_SEED)[:count]].sort().values
    rest = torch.ones(len(labels), dtype=torch.bool).index_fill_(0, chosen, False)
    order = _balanced(labels, _SUBSET_SEED, rest)
    if train_images is not None:
        _check(train_images, len(order), labels, classes, "training")
    return order[:train_images].sort().values, chosen


def _check(count: int, available: int, labels: Tensor, classes: int, what: str) -> None:
    refused = f"{count} {what} images cannot be taken from {len(labels)} in {classes} classes"
    if available < max(1, classes):
        raise UsageError(f"{refused}: there are too few")
    if not max(1, classes) <= count <= available:
        raise UsageError(f"{refused}: a number from {max(1, classes)} to {available}")


def _balanced(labels: Tensor, seed: int, among: Tensor | None = None) -> Tensor:
    """Order of images, or of some of them, whose beginnings are class-balanced; ties go to the lower class."""
    place = _place_in_class(labels, seed, among)
    ranked = torch.argsort(place * (int(labels.max()) + 1) + labels, stable=True)
    return ranked if among is None else ranked[among[ranked]]


def _place_in_class(labels: Tensor, seed: int, among: Tensor | None = None) -> Tensor:
    """Rank of every image within its class, in a random order."""
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    order = order if among is None else order[among[order]]
    by_class = order[torch.argsort(labels[order], stable=True)]
    counts = torch.bincount(labels[order])
    place = torch.zeros(len(labels), dtype=torch.int64)
    place[by_class] = torch.arange(len(order)) - (counts.cumsum(0) - counts).repeat_interleave(counts)
    return place
