"""Random samples of an image set, and the error of what they estimate."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def glance(count: int, most: int) -> Tensor:
    """Positions of at most ``most`` of ``count`` images, drawn with a fixed seed; all where there are fewer.

    Returns
    -------
    Tensor of int64
    """
    if count <= most:
        return torch.arange(count)
    return torch.randperm(count, generator=torch.Generator().manual_seed(0))[:most]


def share_error(share: float, count: int) -> float:
    """Standard error of a share of ``count`` images."""
    return math.sqrt(share * (1 - share) / count)


def share_text(count: int, total: int) -> str:
    """How many of how many: "2,000 of 50,000"; the number alone where that is all."""
    return f"{count:,}" if count == total else f"{count:,} of {total:,}"


def accuracy_text(share: float, count: int) -> str:
    """Top-1 accuracy with its standard error, in per cent: "97.18 % top-1 ± 0.88"."""
    return f"{100 * share:.2f} % top-1 ± {100 * share_error(share, count):.2f}"
