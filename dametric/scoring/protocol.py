"""How many images are shown in what groups, and which estimator that allows."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from dametric.augment import Augmentation
from dametric.augment.keys import Per, check_seed
from dametric.base import limits
from dametric.base.arguments import argument
from dametric.base.option_groups import ScoringOptions
from dametric.errors import UsageError
from dametric.metrics import Design


@dataclass(frozen=True)
class Protocol:
    """Which images the teacher is shown, in what batches, and how their rows are weighted.

    Attributes
    ----------
    reference : bool
        Replay the published protocol: draws of ``draw`` loader batches, which straddle epochs and include each
        epoch's short last batch; plain standard deviation over draws; rows of raw and augmented images pooled.
    per : {"sample", "batch"}
        Random parameters for every image, or shared by a batch.
    batch : int
        Images of a batch, ``b``.
    draw : int
        Batches of a draw, ``G``.
    raw_weight : float
        Weight ``w`` of the raw rows.
    temperature : float
        Softmax temperature of the teacher, and of the student if there is one.
    seed : int
        Random seed.
    """

    reference: bool = False
    per: Per = "sample"
    batch: int = 64
    draw: int = 5
    raw_weight: float = 0.5
    temperature: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        limits.whole("batch size", self.batch, limits.BATCH_SIZE)
        limits.whole("draw", self.draw, limits.DRAW_BATCHES)
        check_seed(self.seed)
        limits.real("raw weight", self.raw_weight)
        limits.real("temperature", self.temperature)
        for name, value, least in (("batch size", self.batch, 4), ("draw", self.draw, 1)):
            if value < least:
                raise UsageError(f"{name} must be at least {least}, not {value}")
        if not 0 <= self.raw_weight < 1:
            raise UsageError(f"raw weight must be from 0 up to, not including, 1, not {self.raw_weight}")
        if not 0 < self.temperature < math.inf:
            raise UsageError(f"temperature must be positive and finite, not {self.temperature}")
        if self.per not in ("sample", "batch"):
            raise UsageError(f"{argument('per')} is sample or batch, not {self.per}")
        if self.reference and self.raw_weight != 0.5:
            raise UsageError("the reference protocol pools raw and augmented rows: raw weight is 0.5")

    @classmethod
    def of(cls, options: ScoringOptions) -> Protocol:
        """The protocol that the options describe."""
        reference = options.protocol == "reference"
        per: Per = options.per or ("batch" if reference else "sample")
        sizes = (options.batch_size, options.draw_batches)
        return cls(reference, per, *sizes, options.raw_weight, options.temperature, options.seed)

    def design(self, augmentation: Augmentation) -> Design:
        """The estimator for an augmentation: per-image components wherever rows are independent enough."""
        independent = self.per == "sample" or not augmentation.random
        images = not self.reference and independent and augmentation.balanced
        return Design(
            estimator="images" if images else "units",
            images=self.draw * self.batch,
            unit=self.draw * self.batch if self.reference else self.batch,
            lag=int(augmentation.mixes),
            controlled=not self.reference,
            raw_weight=self.raw_weight,
            pooled=self.reference,
        )

    def units_per_epoch(self, images: int) -> float:
        """Units (batches, or the reference's draws) of one pass over a set of this size."""
        return -(-images // self.batch) / self.draw if self.reference else images // self.batch


class Unit(NamedTuple):
    """One replicate: indices of the images of each of its batches, in order."""

    batches: list[Tensor]
    first: int  # number of its first batch, counted over the whole pass
    epoch: int


def units(protocol: Protocol, images: int) -> Iterator[Unit]:
    """Endless units over a set of ``images`` images, every epoch in a new random order.

    By default a unit is a batch, drawn without replacement; the last, incomplete batch of an epoch is dropped.
    In the reference protocol a unit is a draw of ``protocol.draw`` loader batches.

    Raises
    ------
    UsageError
        If the set is smaller than one batch.
    """
    if images < protocol.batch:
        raise UsageError(
            f"{images} images are fewer than one batch of {protocol.batch}: use a smaller {argument('batch_size')}"
        )
    batches = _batches(protocol, images)
    if not protocol.reference:
        for number, (epoch, index) in enumerate(batches):
            yield Unit([index], number, epoch)
    number = 0
    while True:
        yield Unit([next(batches)[1] for _ in range(protocol.draw)], number, 0)
        number += protocol.draw


def _batches(protocol: Protocol, images: int) -> Iterator[tuple[int, Tensor]]:
    epoch = 0
    while True:
        generator = torch.Generator().manual_seed(protocol.seed * 1_000_003 + epoch)
        for index in torch.randperm(images, generator=generator).split(protocol.batch):
            if protocol.reference or len(index) == protocol.batch:
                yield epoch, index
        epoch += 1
