"""Checks of images and labels that a user passes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from dametric.base.user_code import one_line
from dametric.errors import UsageError

MOST_CLASSES = 1_000_000  # a larger label is no class number, and a name for every class would fill memory


def class_numbers(highest: int, where: str) -> tuple[str, ...]:
    """Class names "0", "1", ... up to the highest label, or `UsageError` where those are too many."""
    if highest >= MOST_CLASSES:
        raise UsageError(
            f"{where} has the label {highest}; labels are integers from 0, of at most {MOST_CLASSES:,} classes"
        )
    return tuple(str(number) for number in range(highest + 1))


def check_pixels(images: Tensor | np.ndarray) -> Tensor:
    """Return images as a uint8 tensor of shape (N, C, H, W), or raise `UsageError` with a remedy."""
    if isinstance(images, np.ndarray):
        if images.dtype != np.uint8:
            raise UsageError(_not_bytes(str(images.dtype)))
        images = torch.from_numpy(np.require(images, requirements=["C", "W"]))
    if images.dtype != torch.uint8:
        raise UsageError(_not_bytes(str(images.dtype).removeprefix("torch.")))
    if images.ndim != 4 or 0 in images.shape:
        raise UsageError(f"images have shape {tuple(images.shape)}; give (N, C, H, W) with at least one image")
    if images.shape[1] > 4:
        hint = "permute(0, 3, 1, 2) them first" if images.shape[3] <= 4 else "with 1 to 4 channels"
        raise UsageError(f"images have shape {tuple(images.shape)}; give (N, C, H, W), {hint}")
    return images


def _not_bytes(dtype: str) -> str:
    return f"images are {dtype}; give unnormalised uint8 pixels, as in (images * 255).round().to(torch.uint8)"


def check_labels(labels: Tensor | np.ndarray | Sequence[int], count: int, names: tuple[str, ...] | None) -> Tensor:
    """Return labels as an int64 CPU tensor of shape (count,), from 0 to below the number of class names if given."""
    if isinstance(labels, np.ndarray) and labels.dtype == np.uint64:  # beyond int64 torch goes on with negative ones
        labels = np.minimum(labels, np.iinfo(np.int64).max).astype(np.int64)
    try:
        tensor = torch.as_tensor(labels).cpu()
    except (TypeError, ValueError, RuntimeError) as error:  # text, objects, lists of several lengths, huge numbers
        raise UsageError(f"labels are no whole numbers ({one_line(error)}); give integers from 0") from error
    if tensor.dtype.is_floating_point or tensor.dtype == torch.bool or tensor.dtype.is_complex:
        raise UsageError(f"labels are {str(tensor.dtype).removeprefix('torch.')}; give integers from 0")
    if tuple(tensor.shape) != (count,):
        raise UsageError(f"labels have shape {tuple(tensor.shape)} for {count} images; give one label an image")
    tensor = tensor.long()
    low, high = int(tensor.min()), int(tensor.max())
    if low < 0:
        raise UsageError(f"labels go down to {low}; give integers from 0")
    if names is not None and high >= len(names):
        raise UsageError(f"labels go up to {high} and there are {len(names)} class names; give a name for each class")
    if names is None:
        class_numbers(high, "the set")
    return tensor


def numbered_from_one(lowest: int, names: Sequence[str]) -> str:
    """Line on labels that begin above 0, where classes have no names but their numbers; empty where they do not."""
    if lowest < 1 or names[:2] != ("0", "1"):
        return ""
    return (
        f"class 0 has no image: labels go from {lowest} to {len(names) - 1}, and {len(names)} classes are counted; if"
        " they number the classes from 1, subtract 1"
    )


def check_order(name: str, classes: Sequence[str] | None, other_name: str, other_classes: Sequence[str] | None) -> None:
    """Refuse the same class names in another order; different names are taken for synonyms."""
    if classes and other_classes and set(classes) == set(other_classes) and tuple(classes) != tuple(other_classes):
        first = next(i for i, (a, b) in enumerate(zip(classes, other_classes, strict=True)) if a != b)
        raise UsageError(
            f"the {name} and {other_name} order their classes differently: "
            f"number {first} is '{classes[first]}' to the one and '{other_classes[first]}' to the other"
        )
