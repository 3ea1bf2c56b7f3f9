"""Kernels and waits of training steps and scoring groups on a pretended GPU: ``python -m tests.gpu_pretended.counts``.

With ``--write`` the budgets in ``kernels.csv`` are set to what is counted now.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from dametric import score
from dametric.augment.spec import expand
from dametric.data import ImageSet
from dametric.models import inference_copy
from dametric.models.network import Network
from dametric.training import Recipe, Training
from dametric.training.trainer import _one_step, advance_together
from tests.pretended_device import Counts, PretendedDevice, pretended_cuda

TABLE = Path(__file__).with_name("kernels.csv")
DAS = expand(["paper"])
PICKS = ["cutmixpick:by=student_entropy", "cutmixpick:by=kld", "cutmixpick:by=dissimilarity"]
EVERY = list(dict.fromkeys([*DAS, *PICKS]))
CLASSES, BATCH, GROUP = 5, 16, 512


class Row(NamedTuple):
    """What was counted of a step, or of a group of 512 rows; ``waits`` are of the host."""

    what: str
    aug: str
    launches: int
    waits: int


def image_set(count: int = 4 * GROUP) -> ImageSet:
    """Smooth random images of 16 x 16 pixels."""
    draw = torch.Generator().manual_seed(0)
    coarse = torch.randn(count, 3, 4, 4, generator=draw)
    smooth = nn.functional.interpolate(coarse, size=16, mode="bilinear")
    images = (128 + 70 * smooth + 15 * torch.randn(count, 3, 16, 16, generator=draw)).clamp(0, 255).to(torch.uint8)
    labels = torch.arange(count) % CLASSES
    return ImageSet.from_tensors(images, labels, mean=(0.5, 0.45, 0.4), std=(0.25, 0.3, 0.2), name="tiny")


def network(width: int, seed: int) -> nn.Module:
    """A convolution with batch norm and a linear layer, sure of some images."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        layers = [nn.Conv2d(3, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
        model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(4 * width, CLASSES))
    with torch.no_grad():
        model[-1].weight.mul_(8)
    return model


def prepared(device: str, data: ImageSet, dtype: torch.dtype = torch.float64) -> Network:
    """The teacher as training takes it."""
    copy = inference_copy(network(8, 1), dtype=dtype, device=device)
    return Network(copy, mean=data.mean, std=data.std, chunk=64, dtype=dtype, device=torch.device(device))


def training(device: str, data: ImageSet, aug: str = "cutmix", **recipe: Any) -> Training:
    """A student to be trained on a device."""
    settings = {"batch_size": BATCH, "dtype": "float64", "steps": 4, "aug": aug, "lr": 0.05} | recipe
    return Training(network(4, 2), data, Recipe(**settings), torch.device(device), teacher=prepared(device, data))


def of_step(device: PretendedDevice, data: ImageSet, aug: str) -> Counts:
    """What a step launches, once everything that is made at the first is there."""
    trained = training("cuda", data, aug)
    advance_together([trained], 3)
    (index,) = trained.batches(4)
    labels = trained.data.labels_of(index, trained.device)
    (pixels,) = trained.view.stream([(index, [trained.base_keys(BATCH, 3)])], trained.device)
    with device.counting() as counts:
        _one_step([trained], pixels, labels)
    return counts


def of_pass(device: PretendedDevice, data: ImageSet, augs: list[str], groups: int, **options: Any) -> Counts:
    """What a pass over some groups launches, with all that comes before and after."""
    settings = {"batch_size": BATCH, "batches": groups * GROUP // BATCH, "chunk": GROUP, "quiet": True} | options
    with device.counting() as counts:
        score(network(8, 1), data, augs, device="cuda", dtype=torch.float64, student=network(4, 2), **settings)
    return counts


def rows(augs: list[str], data: ImageSet) -> Iterator[Row]:
    """Each augmentation's step and group, and a group of all nine."""
    with pretended_cuda() as device:
        for aug in augs:
            counts = of_step(device, data, aug)
            yield Row("step", aug, counts.launches, counts.waits.total())
        for name, group in [*((aug, [aug]) for aug in augs), ("paper", list(DAS))]:
            _, more, less = (of_pass(device, data, group, groups) for groups in (3, 3, 2))  # the first fills caches
            yield Row("group", name, more.launches - less.launches, more.waits.total() - less.waits.total())


def budgets() -> dict[tuple[str, str], int]:
    """The table that is committed: launches by what and augmentation."""
    with TABLE.open(newline="") as file:
        return {(row["what"], row["aug"]): int(row["launches"]) for row in csv.DictReader(file)}


def main() -> None:
    """Print the table, or write it."""
    counted = list(rows(EVERY, image_set()))
    for row in counted:
        print(f"{row.what:6} {row.aug:32} {row.launches:6d} launches {row.waits:3d} waits")
    if "--write" in sys.argv:
        with TABLE.open("w", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerows([("what", "aug", "launches"), *(row[:3] for row in counted)])


if __name__ == "__main__":
    main()
