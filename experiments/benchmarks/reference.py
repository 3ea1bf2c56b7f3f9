"""The published protocol as a plain loop, the way one writes it first: the baseline of the scoring benchmark.

float32, NCHW, no folding; every augmentation has a pass of its own in which teacher and student see the raw and
the augmented batch of 64; random parameters once a batch; draws of five batches.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torchvision.transforms.v2 as v2
from torch import Tensor, nn

Augment = Callable[[Tensor], Tensor]


class PlainReference:
    """Scores one augmentation at a time.

    Parameters
    ----------
    teacher, student : nn.Module
        In evaluation mode.
    images : Tensor of shape (N, C, H, W), uint8
    mean, std : tuple of float
    """

    def __init__(
        self, teacher: nn.Module, student: nn.Module, images: Tensor, mean: tuple[float, ...], std: tuple[float, ...]
    ) -> None:
        self.teacher, self.student, self.images = teacher, student, images
        self.normalise = v2.Compose([v2.ToDtype(torch.float32, scale=True), v2.Normalize(mean, std)])
        size = images.shape[-1]
        self.loader = v2.Compose([v2.RandomCrop(size, padding=size // 8), v2.RandomHorizontalFlip()])

    @torch.no_grad()
    def step(self, name: str, batch: int = 64) -> Tensor:
        """Show one batch raw and augmented to both networks; teacher's probabilities, shape (2 batch, classes)."""
        index = torch.randperm(len(self.images))[:batch]
        raw = torch.stack([self.loader(image) for image in self.images[index]])
        normal = self.normalise(raw)
        rows = [self.teacher(normal).softmax(1)]
        self.student(normal).softmax(1)
        augmented = self._augment(name, raw, normal)
        rows.append(self.teacher(augmented).softmax(1))
        self.student(augmented).softmax(1)
        return torch.cat(rows)

    def draw(self, name: str, batches: int = 5) -> Tensor:
        """Mean probability over a draw: shape (classes,)."""
        return torch.cat([self.step(name) for _ in range(batches)]).mean(0)

    def _augment(self, name: str, raw: Tensor, normal: Tensor) -> Tensor:
        if name.startswith("cutmixpick"):
            pool: Tensor = torch.cat([cutmix(normal), cutmix(normal)])
            judge = self.student if "student" in name else self.teacher
            probability = judge(pool).softmax(1)
            entropy = -(probability * probability.clamp(min=1e-30).log()).sum(1)
            kept: Tensor = pool[entropy.topk(len(raw)).indices]
            return kept
        if name in _ON_PIXELS:
            views: Tensor = self.normalise(_ON_PIXELS[name](raw))
            return views
        return _ON_NORMAL[name](normal)


def _cutout(images: Tensor) -> Tensor:
    y, x = (int(torch.randint(32, ())) for _ in range(2))
    images = images.clone()
    images[:, :, max(0, y - 4) : y + 4, max(0, x - 4) : x + 4] = 0
    return images


def _mixup(images: Tensor) -> Tensor:
    lam = float(torch.rand(()))
    return lam * images + (1 - lam) * images[torch.randperm(len(images))]


def cutmix(images: Tensor) -> Tensor:
    """One box of another image of the batch for all of it: images of shape (batch, channels, 32, 32)."""
    side = int(32 * (1 - float(torch.rand(()))) ** 0.5)
    y, x = (int(torch.randint(32, ())) for _ in range(2))
    top, bottom, left, right = max(0, y - side // 2), y + side // 2, max(0, x - side // 2), x + side // 2
    mixed, partner = images.clone(), torch.randperm(len(images))
    mixed[:, :, top:bottom, left:right] = images[partner, :, top:bottom, left:right]
    return mixed


_ON_PIXELS: dict[str, Augment] = {
    "flip": v2.RandomHorizontalFlip(),
    "crop+flip": v2.Compose([v2.RandomCrop(32, padding=4), v2.RandomHorizontalFlip()]),
    "autoaugment": v2.AutoAugment(v2.AutoAugmentPolicy.CIFAR10),
}
_ON_NORMAL: dict[str, Augment] = {
    "identity": torch.clone,  # the published code forwards it again
    "cutout": _cutout,
    "mixup": _mixup,
    "cutmix": cutmix,
}
