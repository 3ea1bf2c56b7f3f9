"""A network of two layers under the name of a deep one: what commands do does not depend on depth."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from dametric.models.registry import MODELS
from dametric.training import many
from tests.sweeps.small import forget_shapes

own = many.group_in_a_process


class Small(nn.Module):
    """A convolution with batch norm and a linear layer, which learn digits in an epoch."""

    def __init__(self, num_classes: int = 100, image_size: int = 32) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 12, 5, stride=4, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(12)
        self.pool = nn.AdaptiveAvgPool2d(4)
        self.fc = nn.Linear(16 * 12, num_classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.fc(self.pool(torch.relu(self.norm(self.conv(images)))).flatten(1))


def use_small_networks() -> None:
    """From now on, in this process."""
    MODELS["resnet8"] = Small
    forget_shapes()


def use_small_networks_everywhere() -> None:
    """In the processes that do this one's runs, too."""
    use_small_networks()
    many.group_in_a_process = group_in_a_process


def group_in_a_process(*arguments: Any) -> list[tuple[str, bool]]:
    """What workers of ``distill`` do, with small networks there too."""
    use_small_networks()
    return own(*arguments)
