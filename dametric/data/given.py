"""Image sets from a caller's objects: tensors, arrays, data sets of torchvision."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from torch import Tensor

from dametric.base.arguments import argument
from dametric.base.progress import say
from dametric.data.checks import numbered_from_one
from dametric.data.imageset import ImageSet
from dametric.errors import UsageError

Source = str | os.PathLike[str] | None


def is_source(data: object) -> bool:
    """Whether this is a name or a path of images, or None, which leaves them to the checkpoint."""
    return data is None or isinstance(data, (str, os.PathLike))


def source_of(data: object) -> str | None:
    """The name or path given; None for other objects."""
    return os.fspath(data) if isinstance(data, (str, os.PathLike)) else None


def as_image_set(data: object, split: str = "train") -> ImageSet:
    """Convert a caller's object to an image set.

    Parameters
    ----------
    data : ImageSet, Tensor, ndarray, tuple or data set
        An image set; uint8 images of shape (N, C, H, W), alone or in a tuple with labels of shape (N,); a data set
        of torchvision or alike, whose items are pairs of an image (PIL, or uint8 tensor) and a label. Its transform
        is not applied.
    split : {"train", "test"}
        Which split it is.

    Raises
    ------
    UsageError
        For anything else.

    Examples
    --------
    >>> import torch
    >>> images = torch.randint(0, 256, (10, 3, 8, 8), dtype=torch.uint8)
    >>> len(as_image_set((images, torch.arange(10) % 2)))
    10
    """
    if isinstance(data, ImageSet):
        images = data
    elif isinstance(data, (Tensor, np.ndarray)):
        images = ImageSet.from_tensors(data, None, split=split)
    elif isinstance(data, tuple) and len(data) == 2 and not hasattr(data, "_fields"):
        images = ImageSet.from_tensors(*data, split=split)
    elif hasattr(data, "__len__") and hasattr(data, "__getitem__") and not isinstance(data, (list, dict)):
        images = _of_dataset(data, split)
    else:
        raise _unknown(data)
    line = numbered_from_one(int(images.labels.min()), images.classes) if split == "train" else ""
    if line:
        say(f"data: {line}")
    return images


def _unknown(data: object) -> UsageError:
    return UsageError(
        "data are a name or a path, an image set (dametric.load_data), uint8 images, a tuple of images and labels, or "
        f"a data set of torchvision, not {type(data).__name__}"
    )


def _of_dataset(dataset: Any, split: str) -> ImageSet:
    """Stored images of a data set, without its transform."""
    _refuse_what_changes_items(dataset)
    name, classes = type(dataset).__name__, getattr(dataset, "classes", None)
    pixels, labels = getattr(dataset, "data", None), getattr(dataset, "targets", getattr(dataset, "labels", None))
    if pixels is None or labels is None:
        before = {key: getattr(dataset, key) for key in ("transform", "transforms") if hasattr(dataset, key)}
        try:
            for key in before:
                setattr(dataset, key, None)
            items = [dataset[position] for position in range(len(dataset))]
        finally:
            for key, value in before.items():
                setattr(dataset, key, value)
        pixels, labels = _stacked([image for image, *_ in items], name), [int(label) for _, label, *_ in items]
    array = np.asarray(pixels)
    if array.ndim == 3:
        array = array[:, None]
    elif array.shape[-1] in (1, 3) and array.shape[1] not in (1, 3):
        array = array.transpose(0, 3, 1, 2)
    named = [str(word) for word in classes] if classes is not None else None
    return ImageSet.from_tensors(array, np.asarray(labels), classes=named, name=name, split=split)


def _refuse_what_changes_items(dataset: Any) -> None:
    """Labels that are changed, and images that are changed further in, cannot be had as they are stored."""
    if getattr(dataset, "target_transform", None) is not None:
        raise UsageError(f"{type(dataset).__name__} has a target_transform: leave it out, or give images and labels")
    inner = getattr(dataset, "dataset", None)
    while inner is not None:
        if any(getattr(inner, name, None) is not None for name in ("transform", "target_transform")):
            raise UsageError(f"{type(dataset).__name__} is of a data set with a transform: make it of one without")
        inner = getattr(inner, "dataset", None)


def _stacked(images: list[Any], name: str) -> np.ndarray:
    arrays = [np.asarray(image) for image in images]
    shapes = {array.shape for array in arrays}
    if len(shapes) > 1:
        raise UsageError(f"the images of {name} differ in size: give its folder instead, and {argument('image_size')}")
    if any(array.dtype != np.uint8 for array in arrays):
        raise UsageError(f"the images of {name} are not stored as uint8 pixels: give its files, or uint8 tensors")
    return np.stack(arrays)
