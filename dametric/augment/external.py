"""The user's own augmentations, as operations."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dametric.augment.base import Augmented, Draw
from dametric.augment.keys import Keys
from dametric.errors import UsageError
from dametric.importing import one_line


@contextmanager
def _seeded(device: torch.device) -> Iterator[Callable[[int], None]]:
    """Lend the global generators of torch, numpy and random, and give them back as they were."""
    python, array = random.getstate(), np.random.get_state()  # noqa: NPY002 - what a user's function may draw from

    def seed(value: int) -> None:
        random.seed(value)
        np.random.seed(value % 2**32)  # noqa: NPY002
        torch.manual_seed(value)

    try:
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            yield seed
    finally:
        random.setstate(python)
        np.random.set_state(array)  # noqa: NPY002


@dataclass(frozen=True, eq=False)  # itself and no other: a user's function need not be hashable
class External:
    """Any callable that takes uint8 images (rows, channels, height, width) and returns images of that shape.

    It is called image by image, or batch by batch where parameters are shared (``per="batch"``), with the global
    generators seeded for each call, so torchvision's transforms work as they are.

    Attributes
    ----------
    name : str
        As the user wrote it.
    function : callable
        Returns a tensor of the shape it was given: uint8, or floating point in pixel units (0..255).
    """

    name: str
    function: Callable[..., Any]
    mixes = False
    random = True

    @property
    def stream(self) -> str:
        return self.name

    def draw(self, keys: Keys, shape: torch.Size) -> Draw:
        """One seed a call: shape (rows,), or (batches,) where parameters are shared."""
        keys = keys.on("cpu")
        seeds = (keys.uniform("seed") * 2**53).long()
        return {"seed": seeds if keys.per == "sample" else seeds.view(keys.batches, -1)[:, 0]}

    def apply(self, images: Tensor, draw: Draw) -> Augmented:
        seeds = draw["seed"].tolist()
        if images.is_floating_point():  # after an operation that blends
            images = images.round().clamp(0, 255).to(torch.uint8)
        with _seeded(images.device) as seed:
            parts = []
            for value, part in zip(seeds, images.split(len(images) // len(seeds)), strict=True):
                seed(value)
                parts.append(self._call(part.clone()))  # a function that works in place must not reach the raw images
        return Augmented(torch.cat(parts))

    def _call(self, images: Tensor) -> Tensor:
        try:
            result = self.function(images)
        except Exception as error:
            raise UsageError(f"augmentation {self.name} failed: {one_line(error)}") from error
        if not isinstance(result, Tensor) or result.shape != images.shape:
            got = f"a tensor of shape {tuple(result.shape)}" if isinstance(result, Tensor) else type(result).__name__
            raise UsageError(f"augmentation {self.name}: expected images of shape {tuple(images.shape)}, got {got}")
        if not (result.is_floating_point() or result.dtype == torch.uint8):
            raise UsageError(f"augmentation {self.name}: expected uint8 or floating-point images, got {result.dtype}")
        if result.is_floating_point() and float(result.max()) <= 1 < float(images.max()):
            raise UsageError(f"augmentation {self.name}: expected pixel values from 0 to 255, got them from 0 to 1")
        return result.float() if result.is_floating_point() else result
