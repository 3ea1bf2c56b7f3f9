"""Operations that happen with some probability, and one operation of several.

All that may happen is carried out for every row, and each row keeps what it drew: as many operations whatever is drawn.
A mixture is one augmentation of several for each training step, and only the one that is drawn is carried out.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from dametric.augment.base import Augmentation, Augmented, Draw, Operation, choose, per_row, whole
from dametric.augment.keys import Keys
from dametric.augment.photometric import check_between


@dataclass(frozen=True)
class Sometimes:
    """An operation that happens with probability ``p``.

    Where it does not, rows are their own in full: their own partners, with lambda = 1. What was blended before is
    rounded to whole pixel values if the operation's result is.
    """

    operation: Operation
    p: float

    def __post_init__(self) -> None:
        check_between(f"{self.operation.stream}: p", self.p, 0, 1)

    @property
    def stream(self) -> str:
        return self.operation.stream

    @property
    def mixes(self) -> bool:
        return self.operation.mixes

    @property
    def random(self) -> bool:
        return self.operation.random or 0 < self.p < 1

    @property
    def partner(self) -> str:
        """Partner rule of the operation."""
        return getattr(self.operation, "partner", "roll")

    def draw(self, keys: Keys, shape: torch.Size) -> Draw:
        return {**self.operation.draw(keys, shape), "happens": keys.uniform("happens") < self.p}

    def apply(self, images: Tensor, draw: Draw) -> Augmented:
        result = self.operation.apply(images, draw)
        happens, dtype = draw["happens"], result.images.dtype
        untouched = whole(images) if dtype == torch.uint8 else images.to(dtype)
        kept = choose(per_row(happens), result.images, untouched)
        if result.partner is None or result.lam is None:
            return result._replace(images=kept)
        rows = torch.arange(len(images), device=images.device)
        return Augmented(kept, torch.where(happens, result.partner, rows), torch.where(happens, result.lam, 1))


@dataclass(frozen=True)
class OneOf:
    """One of several augmentations, drawn for every row, all equally likely.

    A row that drew one that does not mix images is its own partner, with lambda = 1.
    """

    branches: tuple[Augmentation, ...]
    stream = "oneof"
    random = True

    @property
    def mixes(self) -> bool:
        return any(branch.mixes for branch in self.branches)

    @property
    def partner(self) -> str:
        """Partner rule of those that mix; that which is not the next row, where there is one."""
        rules = [getattr(op, "partner", "roll") for branch in self.branches for op in branch.operations]
        return next((rule for rule in rules if rule != "roll"), "roll")

    def draw(self, keys: Keys, shape: torch.Size) -> Draw:
        """The number of the row's branch, and the draws of all branches."""
        draws: Draw = {"branch": keys.integer("branch", len(self.branches))}
        for number, branch in enumerate(self.branches):
            for place, draw in enumerate(branch.draw(keys.sub(str(number)), shape)):
                draws |= {f"{number}.{place}.{name}": values for name, values in draw.items()}
        return draws

    def apply(self, images: Tensor, draw: Draw) -> Augmented:
        chosen, rows = draw["branch"], torch.arange(len(images), device=images.device)
        result = Augmented(images)
        if self.mixes:
            result = Augmented(images, rows, torch.ones(len(images), dtype=torch.float64, device=images.device))
        for number, branch in enumerate(self.branches):
            parts = tuple(_of(draw, f"{number}.{place}.") for place in range(len(branch.operations)))
            result = _replaced(result, branch.apply(images, parts), chosen == number)
        return result


def _of(draw: Draw, prefix: str) -> Draw:
    """The draw of one operation, without the prefix of its names."""
    return {name.removeprefix(prefix): values for name, values in draw.items() if name.startswith(prefix)}


def _replaced(result: Augmented, branch: Augmented, rows: Tensor) -> Augmented:
    """The result with some of its rows from a branch; float32 as soon as either is."""
    dtype = torch.promote_types(result.images.dtype, branch.images.dtype)
    images = choose(per_row(rows), branch.images.to(dtype), result.images.to(dtype))
    if branch.partner is None or branch.lam is None or result.partner is None or result.lam is None:
        return result._replace(images=images)
    partner, lam = torch.where(rows, branch.partner, result.partner), torch.where(rows, branch.lam, result.lam)
    return Augmented(images, partner, lam)


@dataclass(frozen=True)
class Mixture(Augmentation):
    """One of several augmentations for each batch that is trained on, all equally likely; picks may be among them.

    The batch sees what it would see if training knew that augmentation alone: the random numbers are the same.

    Attributes
    ----------
    candidates : tuple of Augmentation
        Each once, in the order of their canonical specifications, so that the order in which they were given is no
        part of it.

    Examples
    --------
    >>> from dametric.augment import Keys, parse
    >>> mixture = Mixture.of([parse("flip"), parse("cutmix")])
    >>> mixture.canonical, mixture.of_batch(Keys(0, 1, 64, first=3)).name in ("flip", "cutmix")
    ('per_batch(cutmix,flip)', True)
    """

    candidates: tuple[Augmentation, ...] = ()

    @classmethod
    def of(cls, candidates: Iterable[Augmentation]) -> Mixture:
        """Of these augmentations; what is spelt in two ways counts once."""
        each = {candidate.canonical: candidate for candidate in candidates}
        return cls(f"per_batch({','.join(sorted(each))})", candidates=tuple(each[name] for name in sorted(each)))

    @property
    def members(self) -> tuple[Augmentation, ...]:
        return self.candidates

    def of_batch(self, keys: Keys) -> Augmentation:
        one = replace(keys, batches=1, batch_size=1).on("cpu")  # so that nothing waits for a device
        return self.candidates[int(one.sub("mixture").integer("candidate", len(self.candidates)))]
