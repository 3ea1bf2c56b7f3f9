"""Decoded images in arrays: the common form of the bundled, torchvision's and NumPy sets."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from PIL import Image

from dametric.data.decode import Pixels, Resize, fit, workers

_TASK = 64  # images: to hand a small one to a thread costs as much as to resize it


@dataclass(frozen=True)
class Arrays:
    """Pixels uint8 (N, 3, H, W), labels int64 (N,), class names, and notes for the user."""

    pixels: Pixels
    labels: np.ndarray
    classes: tuple[str, ...]
    notes: tuple[str, ...] = ()


def resized(pixels: Pixels, image_size: int | None, resize: Resize | None = None) -> Pixels:
    """Resize RGB images (N, 3, H, W) by the rule for image files."""
    if image_size is None or (resize is None and pixels.shape[2:] == (image_size, image_size)):
        return pixels
    out = np.empty((len(pixels), 3, image_size, image_size), dtype=np.uint8)

    def resize_some(start: int) -> None:
        for i in range(start, min(start + _TASK, len(pixels))):
            image = Image.fromarray(np.ascontiguousarray(pixels[i].transpose(1, 2, 0)))
            out[i] = np.asarray(fit(image, image_size, resize)).transpose(2, 0, 1)

    with ThreadPoolExecutor(workers()) as pool:
        for _ in pool.map(resize_some, range(0, len(pixels), _TASK)):
            pass
    return out
