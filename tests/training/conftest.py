"""Tiny networks, a teacher whose batch norms do something, and a few images that do not fill the last batch."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import nn

from dametric.data import ImageSet
from dametric.models.network import Network
from tests.oracles import training as oracle

CLASSES = 7


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """Networks this small only get slower by more, and several-fold beside another process."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def _layers(kind: str) -> nn.Module:
    if kind == "plain":
        return nn.Sequential(nn.Flatten(), nn.Linear(192, 16), nn.ReLU(), nn.Linear(16, CLASSES))
    if kind == "dropout":
        return nn.Sequential(
            *(nn.Conv2d(3, 6, 3, stride=2, bias=False), nn.BatchNorm2d(6), nn.ReLU(), nn.Dropout2d(0.3), nn.Flatten()),
            *(nn.Dropout(0.4), nn.Linear(54, CLASSES)),
        )
    if kind == "depthwise":  # its weights look the same in two memory layouts
        return nn.Sequential(
            *(nn.Conv2d(3, 8, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU()),
            *(nn.Conv2d(8, 8, 3, stride=2, padding=1, groups=8, bias=False), nn.BatchNorm2d(8), nn.ReLU()),
            *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, CLASSES)),
        )
    return nn.Sequential(
        *(nn.Conv2d(3, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4), nn.ReLU()),
        *(nn.Conv2d(4, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8), nn.ReLU()),
        *(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, CLASSES)),
    )


@pytest.fixture(scope="session")
def network() -> Callable[..., nn.Module]:
    """Build a tiny network: ``network(kind, seed)``."""

    def build(kind: str = "tiny", seed: int = 1) -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return _layers(kind)

    return build


@pytest.fixture(scope="session")
def data() -> ImageSet:
    """22 random images of 8 x 8: 4 batches of 5, and 2 that are left out of an epoch."""
    draw = torch.Generator().manual_seed(0)
    coarse = torch.randn(22, 3, 4, 4, generator=draw)
    smooth = nn.functional.interpolate(coarse, size=8, mode="bilinear")
    images = (128 + 80 * smooth + 15 * torch.randn(22, 3, 8, 8, generator=draw)).clamp(0, 255).to(torch.uint8)
    labels = torch.arange(22) % CLASSES
    return ImageSet.from_tensors(images, labels, mean=(0.5, 0.45, 0.4), std=(0.25, 0.3, 0.2), name="tiny")


@pytest.fixture(scope="session")
def teacher(network: Callable[..., nn.Module], data: ImageSet) -> oracle.Teacher:
    """Sure of some images and not of others; its normalisation is not the data set's."""
    model = network("tiny", 5).double()
    teacher = oracle.Teacher(model, (0.48, 0.5, 0.43), (0.22, 0.24, 0.27))
    with torch.no_grad():
        for _ in range(30):
            teacher.logits(data.images)  # in training mode: brings the running statistics to the images
        model.eval()
        model[-1].weight.mul_(3 / teacher.logits(data.images).std(0)[:, None])
        model[-1].bias.sub_(teacher.logits(data.images).mean(0))
    return teacher


@pytest.fixture(scope="session")
def asked(teacher: oracle.Teacher) -> Callable[..., Network]:
    """The same teacher as training takes it, asked in chunks that no batch fits: ``asked(dtype)``."""

    def ask(dtype: torch.dtype = torch.float64) -> Network:
        module = copy.deepcopy(teacher.module).to(dtype)
        where = torch.device("cpu")
        return Network(module, mean=teacher.mean, std=teacher.std, chunk=7, dtype=dtype, device=where)

    return ask
