"""A network of a few layers under the names of deep ones: what sweeps do does not depend on depth."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from dametric.models import recognise
from dametric.models.registry import MODELS
from dametric.sweeps import carry_out
from dametric.sweeps import perform as own


class Small(nn.Module):
    """A convolution with batch norm, the mean of each quarter of the image, a linear layer."""

    def __init__(self, width: int, num_classes: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, width, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(width)
        self.pool = nn.AdaptiveAvgPool2d(2)
        self.fc = nn.Linear(4 * width, num_classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.fc(self.pool(torch.relu(self.norm(self.conv(images)))).flatten(1))


def resnet8(num_classes: int = 100, image_size: int = 32) -> nn.Module:
    return Small(12, num_classes)


def resnet14(num_classes: int = 100, image_size: int = 32) -> nn.Module:
    return Small(16, num_classes)


SMALL = {"resnet8": resnet8, "resnet14": resnet14}


def use_small_networks() -> None:
    """From now on, in this process."""
    MODELS.update(SMALL)
    forget_shapes()


def use_small_networks_everywhere() -> None:
    """In the processes and on the nodes that do this one's sweeps, too."""
    use_small_networks()
    carry_out.perform = perform


def forget_shapes() -> None:
    """Let no table of architectures outlast a change of them."""
    for thing in vars(recognise).values():
        if hasattr(thing, "cache_clear"):
            thing.cache_clear()


def perform(task: Any, advance: Any, stop: Any) -> Any:
    """What workers of a sweep do, with small networks there too."""
    use_small_networks()
    return own.perform(task, advance, stop)
