"""Training by labels: one visible loop, the data set on the device as bytes, augmentation on the device."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from dametric.augment import Images, Keys, parse
from dametric.data import ImageSet
from dametric.errors import UsageError
from dametric.progress import Advance


@dataclass(frozen=True)
class TrainOptions:
    """How a network is trained.

    Attributes
    ----------
    epochs : int
    lr : float
        Peak learning rate of the one-cycle schedule.
    batch_size : int
    momentum, weight_decay : float
        Of SGD with Nesterov momentum.
    aug : str
        Augmentation of every batch, drawn per image.
    seed : int
        Of the order of images and of the augmentation.
    """

    epochs: int
    lr: float = 0.1
    batch_size: int = 64
    momentum: float = 0.9
    weight_decay: float = 5e-4
    aug: str = "crop+flip"
    seed: int = 0


def train(model: nn.Module, data: ImageSet, options: TrainOptions, device: torch.device, advance: Advance) -> None:
    """Train a network in place by cross-entropy with labels.

    Parameters
    ----------
    model : nn.Module
        Takes normalised images, returns logits; left in evaluation mode on ``device``.
    data : ImageSet
        The training split.
    options : TrainOptions
    device : torch.device
    advance : Advance
        Called once an epoch.

    Raises
    ------
    UsageError
        If the augmentation mixes images, there are fewer images than a batch, or the loss is not finite.
    """
    images = data.to(device)
    augment = parse(options.aug, Images(data.image_size, data.mean))
    if augment.mixes:
        raise UsageError(f"training by labels cannot use {options.aug}: mixed images need mixed labels")
    mean = torch.tensor(data.mean, device=device).view(1, -1, 1, 1) * 255
    std = torch.tensor(data.std, device=device).view(1, -1, 1, 1) * 255
    steps = len(data) // options.batch_size
    if steps == 0:
        raise UsageError(f"{len(data)} images are fewer than one batch of {options.batch_size}")

    model.to(device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    optimizer = torch.optim.SGD(
        model.parameters(), options.lr, options.momentum, weight_decay=options.weight_decay, nesterov=True
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, options.lr, total_steps=steps * options.epochs, cycle_momentum=False
    )

    for epoch in range(options.epochs):
        generator = torch.Generator().manual_seed(options.seed * 1_000_003 + epoch)
        order = torch.randperm(len(data), generator=generator).split(options.batch_size)[:steps]
        running = torch.zeros((), device=device)
        for step, (index, pixels) in enumerate(zip(order, images.stream(order, device), strict=True)):
            keys = Keys(options.seed, 1, len(index), epoch * steps + step, "sample", device).sub("train")
            batch = ((augment(pixels, keys).images.float() - mean) / std).contiguous(memory_format=torch.channels_last)
            loss = F.cross_entropy(model(batch), images.labels[index.to(images.labels.device)].to(device))
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
            running += loss.detach()
        mean_loss = float(running) / steps
        if not math.isfinite(mean_loss):
            raise UsageError(
                f"the loss is not finite in epoch {epoch + 1}: use a smaller learning rate than {options.lr}"
            )
        advance(1, note=f"loss {mean_loss:.3f}")
    model.eval()
