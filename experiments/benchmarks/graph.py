"""Training steps on a GPU, kernel by kernel and as one CUDA graph: ``python -m experiments.benchmarks.graph``.

A resnet56 teaches resnet20 by cutmix in batches of 64, on noise of CIFAR's size: one student, and students in lockstep.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from unittest.mock import patch

import torch

from dametric.data import ImageSet
from dametric.models import build
from dametric.models.network import Network
from dametric.training import Recipe, Training, trainer
from dametric.training.graph import graphed
from dametric.training.trainer import advance_together

WARM_UP, STEPS, CLASSES = 10, 200, 100
RECIPE = Recipe(epochs=4, batch_size=64, aug="cutmix", base_aug="crop+flip")


def students(count: int, data: ImageSet, device: torch.device) -> list[Training]:
    """Students with one teacher."""
    module = build("resnet56", CLASSES, 32).to(device).eval()
    teacher = Network(module, mean=data.mean, std=data.std, chunk=1024, dtype=torch.float32, device=device)
    return [Training(build("resnet20", CLASSES, 32), data, RECIPE, device, teacher=teacher) for _ in range(count)]


def measured(device: torch.device) -> Iterator[tuple[str, int, float]]:
    """How steps are taken, students in lockstep, and steps a second."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (64 * 400, 3, 32, 32), dtype=torch.uint8, generator=generator)
    labels = torch.arange(len(images)) % CLASSES
    data = ImageSet.from_tensors(images, labels, mean=(0.5,) * 3, std=(0.25,) * 3, name="noise")
    for way, steps in (("kernel by kernel", lambda members, ordinary, body: ordinary), ("graph", graphed)):
        for count in (1, 8, 16):
            members = students(count, data, device)
            with patch.object(trainer, "graphed", steps):
                advance_together(members, WARM_UP)
                torch.cuda.synchronize()
                start = time.perf_counter()
                advance_together(members, WARM_UP + STEPS)
                torch.cuda.synchronize()
            yield way, count, STEPS / (time.perf_counter() - start)


if __name__ == "__main__":
    print(torch.cuda.get_device_name(), torch.__version__)
    for way, count, rate in measured(torch.device("cuda")):
        print(f"{way}, {count} students: {rate:.1f} steps/s, {count * rate:.0f} student-steps/s")
