"""A part of the training images, the same for everybody."""

from __future__ import annotations

import torch

from dametric.data.imageset import ImageSet
from dametric.errors import UsageError


def few(images: ImageSet, count: int) -> ImageSet:
    """So many images of a set, of every class as many as of any other, or one more.

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
    if not max(1, images.num_classes) <= count <= len(images):
        raise UsageError(
            f"{count} training images cannot be taken of {len(images)} in {images.num_classes} classes: "
            f"a number from {max(1, images.num_classes)} to {len(images)}"
        )
    labels = images.labels.cpu()
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    # the place of every image among those of its class; ties between classes go by the class
    place = torch.empty(len(images), dtype=torch.int64)
    for label in labels.unique():
        members = order[labels[order] == label]
        place[members] = torch.arange(len(members))
    ranked = torch.argsort(place * (int(labels.max()) + 1) + labels, stable=True)
    return images.subset(ranked[:count].sort().values)
