"""An architecture of one's own: ``dametric distill --student ./examples/model.py:tiny ...``."""

from __future__ import annotations

from torch import nn


def tiny(num_classes: int) -> nn.Module:
    """Two convolutions, for images of any size."""
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 16, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(16, num_classes),
    )
