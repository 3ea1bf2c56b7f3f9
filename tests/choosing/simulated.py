"""Units whose truth is known: losses drawn from the model of a choice, as plain numpy."""

from __future__ import annotations

import numpy as np

from dametric.choosing.arms import arms_of, likeness
from dametric.choosing.units import Unit

AUGS = ("identity", "cutmix", "cutout:length=16", "cutout:length=4", "mixup", "mixup:alpha=0.2")
STEPS = (20, 80, 400)


def simulated(
    seed: int,
    spread: float = 0.03,
    noise: float = 0.008,
    half: float = 0.1,
    growth: float = 0.2,
    seeds: int = 2,
    augs: tuple[str, ...] = AUGS,
) -> Unit:
    """A complete unit of three lengths."""
    random = np.random.default_rng(seed)
    root = spread * np.linalg.cholesky(likeness(arms_of(augs), 0.6, 1.0))
    odds = half / (1 - half)
    share = np.array([steps / STEPS[-1] for steps in STEPS])
    agreement = 1 / (1 + odds * (1 / share - 1))
    effects = [root @ random.normal(size=len(augs))]
    for place in (1, 0):
        ratio = agreement[place] / agreement[place + 1]
        own = root @ random.normal(size=len(augs))
        effects.insert(0, ratio * effects[0] + np.sqrt(1 - ratio**2) * own)
    losses = {}
    for fraction in range(3):
        for trained in range(seeds):
            start = 1 + noise * random.normal()
            for arm in range(len(augs)):
                loss = start + share[fraction] ** -growth * effects[fraction][arm] + noise * random.normal()
                losses[arm, fraction, trained] = float(loss)
    return Unit(f"t{seed} -> s", augs, STEPS, losses, f"sha{seed}")
