"""Parts of the training images, the same for everybody: some to train on, others that nothing is trained on."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from dametric.data.imageset import ImageSet
from dametric.errors import UsageError

_FEW_SEED, _HELD_OUT_SEED = 0, 1


def few(images: ImageSet, count: int) -> ImageSet:
    """So many images of a set, of every class as many as of any other, or one more, as far as it has them.

    Parameters
    ----------
    images : ImageSet
        With labels, or they are drawn from all alike.
    count : int
        How many; the same number chooses the same images, and a larger one chooses these too.

    Returns
    -------
    ImageSet
        In the order of the set, with its mean, standard deviation and classes.

    Raises
    ------
    UsageError
        If there are not so many, or fewer than classes are asked for.
    """
    return images.subset(few_rows(images.labels.cpu(), images.num_classes, count))


def few_rows(labels: Tensor, classes: int, count: int) -> Tensor:
    """Which images :func:`few` takes, of labels int64 (N,) on the CPU: rows in ascending order."""
    _check(count, len(labels), labels, classes, "training")
    return _balanced(labels, _FEW_SEED)[:count].sort().values


def hold_out(images: ImageSet, count: int, train_images: int | None = None) -> tuple[ImageSet, ImageSet]:
    """Set images aside that nothing is trained on, of every class as many as of any other, or one more.

    Of a class that is too small it is half of it. They come from that half of every class which :func:`few` takes last.
    So they are the same however many images are trained on, and as long as no more than half of any class is trained
    on, the images to train on are the same with them set aside as without.

    Parameters
    ----------
    images : ImageSet
        A training split.
    count : int
        How many; the same number chooses the same images, and a larger one chooses these too.
    train_images : int, optional
        How many of the others to train on, as by :func:`few`; all by default.

    Returns
    -------
    training, held_out : ImageSet
        Both in the order of the set; "held-out" is the split of the second.

    Raises
    ------
    UsageError
        If more than half of the images are asked for, or fewer than there are classes.

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
    """Images of a training split as those that are held out of it."""
    return replace(images, split="held-out")


def hold_out_rows(labels: Tensor, classes: int, count: int, train_images: int | None = None) -> tuple[Tensor, Tensor]:
    """Which images :func:`hold_out` trains on and holds out, of labels int64 (N,) on the CPU: rows, ascending."""
    late = _place_in_class(labels, _FEW_SEED) * 2 >= torch.bincount(labels)[labels]
    candidates = late.nonzero()[:, 0]
    _check(count, len(candidates), labels, classes, "held-out")
    chosen = candidates[_balanced(labels[candidates], _HELD_OUT_SEED)[:count]].sort().values
    rest = torch.ones(len(labels), dtype=torch.bool).index_fill_(0, chosen, False)
    order = _balanced(labels, _FEW_SEED, rest)
    if train_images is not None:
        _check(train_images, len(order), labels, classes, "training")
    return order[:train_images].sort().values, chosen


def _check(count: int, available: int, labels: Tensor, classes: int, what: str) -> None:
    if not max(1, classes) <= count <= available:
        raise UsageError(
            f"{count} {what} images cannot be taken of {len(labels)} in {classes} classes: "
            f"a number from {max(1, classes)} to {available}"
        )


def _balanced(labels: Tensor, seed: int, among: Tensor | None = None) -> Tensor:
    """An order of images, or of some of them, whose beginnings are balanced; ties between classes go by the class."""
    place = _place_in_class(labels, seed, among)
    ranked = torch.argsort(place * (int(labels.max()) + 1) + labels, stable=True)
    return ranked if among is None else ranked[among[ranked]]


def _place_in_class(labels: Tensor, seed: int, among: Tensor | None = None) -> Tensor:
    """The place of every image among those of its class, in a random order."""
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    order = order if among is None else order[among[order]]
    place = torch.zeros(len(labels), dtype=torch.int64)
    for label in labels.unique():
        members = order[labels[order] == label]
        place[members] = torch.arange(len(members))
    return place
