"""Original images of different sizes, decoded and held in memory: what random resized crops are cut from."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from dametric.data.decode import Pixels, Resize, fitted
from dametric.data.parallel import in_parallel

Size = tuple[int, int]


class Zoom(NamedTuple):
    """The closest look that crops take: their smallest share of the area, and their largest aspect ratio."""

    share: float
    ratio: float


def working_size(size: Size, image_size: int, resize: Resize | None, zoom: Zoom) -> Size:
    """Height and width in which an image is held: its own, or smaller ones that lose nothing.

    The smallest part that is cut keeps the pixels of the image made from it, so that no part is upsampled which would
    not have been; and so does the whole.
    """
    height, width = size
    side = math.sqrt(height * width * zoom.share / zoom.ratio)  # shorter side of the smallest part
    factor = max(image_size / side, (resize.size if resize else image_size) / min(size))
    return (math.ceil(height * factor), math.ceil(width * factor)) if factor < 1 else size


@dataclass(frozen=True)
class Originals:
    """Images of any size, one after the other.

    Attributes
    ----------
    pixels : ndarray of shape (bytes,), uint8
        Every image with its channels last.
    sizes : ndarray of shape (N, 2), int64
        Heights and widths.
    resize : Resize or None
        What images are resized to before their centre is cropped.
    """

    pixels: Pixels
    sizes: np.ndarray
    resize: Resize | None = None

    def __post_init__(self) -> None:
        ends = (3 * self.sizes.prod(1)).cumsum()
        object.__setattr__(self, "_ends", ends)
        object.__setattr__(self, "_flat", torch.from_numpy(self.pixels))

    def __len__(self) -> int:
        return len(self.sizes)

    def size(self, i: int) -> Size:
        """Height and width of the i-th image."""
        height, width = self.sizes[i].tolist()
        return height, width

    def original(self, i: int) -> Tensor:
        """The i-th image: uint8 (3, H, W), a view."""
        height, width = self.size(i)
        end = int(self._ends[i])  # type: ignore[attr-defined]
        flat: Tensor = self._flat[end - 3 * height * width : end]  # type: ignore[attr-defined]
        return flat.view(height, width, 3).permute(2, 0, 1)

    def decode(self, i: int, image_size: int | None, shape: tuple[int, ...] | None = None) -> Pixels:
        """The i-th image, resized and cropped in the centre: uint8 (3, H, W)."""
        pixels: Pixels = fitted(self.original(i), image_size, self.resize).numpy()
        return pixels


def held(
    read: Callable[[int], Tensor],
    count: int,
    size: Callable[[Size], Size],
    expected: float,
    *,
    description: str,
    quiet: bool,
) -> tuple[Pixels, np.ndarray]:
    """Decode images in parallel, and hold them in their working sizes.

    Parameters
    ----------
    read : callable
        Returns the i-th image, uint8 (3, H, W); called from several threads at once.
    count : int
        Number of images.
    size : callable
        Working size of an image of some height and width.
    expected : float
        Bytes that all of them are expected to take.
    description, quiet
        Of the progress bar.

    Returns
    -------
    pixels, sizes : ndarray
        See :class:`Originals`.
    """

    pixels, end = np.empty(int(1.2 * expected) + 1, dtype=np.uint8), 0  # pages that are never written take no memory
    sizes: list[Size] = []

    def take(images: list[Tensor]) -> None:
        nonlocal pixels, end
        for image in images:
            start, end = end, end + image.numel()
            if end > len(pixels):
                pixels = np.concatenate([pixels[:start], np.empty(end + len(pixels) // 2, dtype=np.uint8)])
            pixels[start:end] = image.permute(1, 2, 0).numpy().reshape(-1)
            sizes.append((image.shape[1], image.shape[2]))

    in_parallel(lambda i: _working(read(i), size), take, count, description=description, quiet=quiet)
    return pixels[:end], np.array(sizes, dtype=np.int64)


def _working(image: Tensor, size: Callable[[Size], Size]) -> Tensor:
    own = (image.shape[1], image.shape[2])
    wanted = size(own)
    return image if wanted == own else F.interpolate(image[None], wanted, mode="bilinear", antialias=True)[0]
