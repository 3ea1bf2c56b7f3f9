"""Exact statistics and fingerprints of uint8 pixels."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor

Box = tuple[int, int, int, int]
"""Part of an image: top, left, height and width in pixels."""

_LUMA = (19595, 38470, 7471)  # shares of red, green and blue, of 2^16
_ROWS = 4096  # images a piece, which bounds the memory of intermediate results


def histogram(images: Tensor) -> Tensor:
    """Count the pixel values of each channel.

    Parameters
    ----------
    images : Tensor of shape (N, C, H, W), uint8
        Any number of images.

    Returns
    -------
    Tensor of shape (C, 256), int64
        How often each value occurs.
    """
    counts = torch.zeros(images.shape[1], 256, dtype=torch.int64)
    for piece in images.split(_ROWS):
        for channel, row in enumerate(counts):
            row += torch.bincount(piece[:, channel].reshape(-1), minlength=256).cpu()
    return counts


def grey(images: Tensor) -> Tensor:
    """Convert RGB to one channel: ITU-R 601 luma, rounded as Pillow rounds it; equal channels keep their value.

    Parameters
    ----------
    images : Tensor of shape (N, 3, H, W), uint8

    Returns
    -------
    Tensor of shape (N, 1, H, W), uint8
    """
    weights = torch.tensor(_LUMA, dtype=torch.int32, device=images.device).view(1, 3, 1, 1)
    parts = [((piece * weights).sum(1, keepdim=True) + 0x8000) >> 16 for piece in images.split(_ROWS)]
    return torch.cat(parts).to(torch.uint8)


def mean_std(counts: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and population standard deviation of each channel, from exact integer sums over its histogram.

    A channel that holds one value only gets the standard deviation 1.0: there is nothing to scale, and a
    division by zero would turn every image into NaN.

    Parameters
    ----------
    counts : Tensor of shape (C, 256), int64
        From `histogram`.

    Returns
    -------
    mean, std : tuple of C floats each
        In units of pixel values from 0 to 1.
    """
    means, stds = [], []
    for row in counts.tolist():  # Python's integers are exact at any number of images
        total = sum(row)
        first = sum(value * count for value, count in enumerate(row))
        second = sum(value * value * count for value, count in enumerate(row))
        means.append(first / (255 * total))
        stds.append(math.sqrt(total * second - first * first) / (255 * total) or 1.0)
    return tuple(means), tuple(stds)


def fingerprint(images: Tensor, labels: Tensor) -> str:
    """SHA-256, in hexadecimal, of the shape, the pixels and the labels of an in-memory set."""
    digest = hashlib.sha256(repr(tuple(images.shape)).encode())
    for piece in images.split(_ROWS):
        digest.update(piece.cpu().contiguous().numpy().data)
    digest.update(labels.cpu().contiguous().numpy().data)
    return digest.hexdigest()


def text_fingerprint(parts: Iterable[str | bytes]) -> str:
    """SHA-256, in hexadecimal, of a sequence of texts, including where each of them ends."""
    digest = hashlib.sha256()
    for part in parts:
        raw = part.encode("utf-8", "surrogateescape") if isinstance(part, str) else part
        digest.update(len(raw).to_bytes(8, "little") + raw)
    return digest.hexdigest()


def resized_part(image: Tensor, box: Box, size: tuple[int, int]) -> Tensor:
    """Cut a part out of an image and resize it (bilinear, antialiased), as torchvision's ``resized_crop`` does.

    Parameters
    ----------
    image : Tensor of shape (C, H, W)
        uint8 or floating, on the CPU.
    box : tuple of int
        The part.
    size : tuple of int
        Height and width of the result.
    """
    top, left, height, width = box
    part = image[:, top : top + height, left : left + width]
    return F.interpolate(part[None], size, mode="bilinear", antialias=True)[0]
