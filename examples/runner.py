"""Short runs by a trainer of one's own: ``dametric choose --runner ./examples/runner.py:train --steps 200 ...``.

A runner is a function of an augmentation, a number of steps and a seed, and returns the held-out loss of a student that
was trained so long, alone or in a dict with "top1". What is compared must differ by the augmentation alone: the same
images, initial weights and order for the same seed. This one trains a linear network on the digits,
which stands for whatever your trainer does.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

import dametric


@cache
def digits() -> tuple[Any, Tensor]:
    images = dametric.load_data("digits", "train", quiet=True)
    return images.images, images.labels


def train(augment: Any, steps: int, seed: int) -> dict[str, float]:
    """Train for so many steps; every tenth image is held out."""
    images, labels = digits()
    held_out = torch.arange(len(images)) % 10 == 0
    own, target, generator = images[~held_out], labels[~held_out], torch.Generator().manual_seed(seed)
    weights = torch.zeros(10, images[0].numel(), requires_grad=True)
    optimizer = torch.optim.SGD([weights], lr=0.05, momentum=0.9)
    for step in range(steps):
        rows = torch.randint(len(own), (32,), generator=generator)
        views = augment(own[rows], step)
        logits = (views.images.float() / 255).flatten(1) @ weights.T
        loss = cross_entropy(logits, target[rows], reduction="none")
        if views.partner is not None:  # mixed images have two labels
            other = cross_entropy(logits, target[rows][views.partner], reduction="none")
            loss = views.lam * loss + (1 - views.lam) * other
        optimizer.zero_grad()
        loss.mean().backward()
        optimizer.step()
    with torch.no_grad():
        logits = (images[held_out].float() / 255).flatten(1) @ weights.T
        right = logits.argmax(1) == labels[held_out]
        return {"loss": float(cross_entropy(logits, labels[held_out])), "top1": float(right.float().mean())}
