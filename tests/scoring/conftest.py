"""A tiny teacher and student that are sure of some images, and images that are not all alike."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from dametric import ImageSet

CLASSES = 5


class Tiny(nn.Module):
    """Two convolutions with batch norm, global average, one linear layer."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, 2 * width, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(2 * width),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
        )
        self.head = nn.Linear(8 * width, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.body(images))


def trained(width: int, seed: int, images: Tensor, spread: float) -> nn.Module:
    """Weights at random, logits brought to mean 0 and the given spread over the images."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = Tiny(width)
    x = images.float() / 127.5 - 1
    with torch.no_grad():
        model.train()
        for _ in range(30):
            model(x)
        model.eval()
        logits = model(x)
        model.head.weight.mul_(spread / logits.std(0)[:, None])
        model.head.bias.zero_()
        model.head.bias.sub_(model(x).mean(0))
    return model


@pytest.fixture(scope="session")
def images() -> Tensor:
    """500 smooth random images of 16 x 16 pixels."""
    draw = torch.Generator().manual_seed(0)
    coarse = torch.randn(500, 3, 4, 4, generator=draw)
    smooth = nn.functional.interpolate(coarse, size=16, mode="bilinear")
    return (128 + 70 * smooth + 15 * torch.randn(500, 3, 16, 16, generator=draw)).clamp(0, 255).to(torch.uint8)


@pytest.fixture(scope="session")
def data(images: Tensor) -> ImageSet:
    """The images as a set, with labels that are not used."""
    labels = torch.arange(500) % CLASSES
    return ImageSet.from_tensors(images, labels, mean=(0.5, 0.45, 0.4), std=(0.25, 0.3, 0.2), name="tiny")


@pytest.fixture(scope="session")
def teacher(images: Tensor) -> nn.Module:
    return trained(8, 1, images, 2.0)


@pytest.fixture(scope="session")
def student(images: Tensor) -> nn.Module:
    return trained(4, 2, images, 1.0)
