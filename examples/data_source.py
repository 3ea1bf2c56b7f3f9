"""A data source of one's own: ``dametric train --data ./examples/data_source.py:stripes ...``.

A function of the split, "train" or "test", that returns uint8 images (N, 3, H, W) with labels (N,), an image set, or a
data set of torchvision.
"""

from __future__ import annotations

import torch
from torch import Tensor


def stripes(split: str) -> tuple[Tensor, Tensor]:
    """Noisy stripes of four widths, 16 x 16 pixels."""
    count = 256 if split == "train" else 64
    generator = torch.Generator().manual_seed(0 if split == "train" else 1)
    labels = torch.arange(count) % 4
    rows = torch.arange(16).div(labels[:, None] + 1, rounding_mode="floor") % 2
    noise = torch.randint(0, 100, (count, 3, 16, 16), generator=generator)
    return (rows[:, None, :, None] * 150 + noise).to(torch.uint8), labels
