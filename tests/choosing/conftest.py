"""A tiny student, a teacher that is neither sure nor ignorant, and digits of 8 pixels."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import nn

from dametric.choosing.warm import WarmStudent
from dametric.data import ImageSet, hold_out
from dametric.data.request import ImageRequest
from dametric.models.registry import MODELS
from dametric.training import LABELS, Recipe, Teacher, Training, TrainingContext
from tests.cli.small import Small
from tests.sweeps.small import forget_shapes

CPU = torch.device("cpu")


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """Networks this small only get slower by more, and several-fold beside another process."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module", autouse=True)
def _small_networks(request: pytest.FixtureRequest) -> Iterator[None]:
    """Two layers under the name resnet8, where no process of its own takes part."""
    if getattr(request.module, "REAL_NETWORKS", False):
        yield
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(MODELS, "resnet8", Small)
        forget_shapes()
        yield
    forget_shapes()


def tiny(seed: int, width: int = 4) -> nn.Module:
    """Two stages with batch norm, dropout and a linear layer."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Sequential(nn.Conv2d(3, width, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()),
            nn.Sequential(nn.Conv2d(width, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8), nn.ReLU()),
            *(nn.Flatten(), nn.Dropout(0.1), nn.Linear(32, 10)),
        )


def trained(network: nn.Module, data: ImageSet, steps: int) -> nn.Module:
    recipe = Recipe(steps=steps, objective=LABELS, base_aug="none", schedule="onecycle", lr=0.1, dtype="float64")
    training = Training(network, data, recipe, CPU)
    while not training.over:
        training.run_epoch()
    return network.eval()


@pytest.fixture(scope="session")
def images() -> tuple[ImageSet, ImageSet]:
    """Training images and held-out ones."""
    return hold_out(ImageRequest(source="digits", image_size=8, quiet=True).load("train"), 100)


@pytest.fixture(scope="session")
def context(images: tuple[ImageSet, ImageSet]) -> TrainingContext:
    training, held_out = images
    teacher = trained(tiny(5, width=12), training, 300)
    return TrainingContext(training, held_out, CPU, Teacher.of(teacher, training))


@pytest.fixture(scope="session")
def student(images: tuple[ImageSet, ImageSet]) -> WarmStudent:
    """In float64, a little trained."""
    from dametric.training.context import weights_digest

    training, _ = images
    model = trained(tiny(1), training, 20)
    return WarmStudent(model, "tiny", training.mean, training.std, weights_digest(model))


@pytest.fixture
def recipe() -> Recipe:
    """The schedule meant: 240 steps of float64."""
    return Recipe(steps=240, batch_size=64, dtype="float64", lr=0.05)
