"""Augmentations: a draw of random parameters, and their application to a batch.

An operation is a small frozen dataclass with two methods. ``draw(keys, shape)`` returns named tensors with one
entry a row; ``apply(images, draw)`` is a deterministic function of images and draw, so that tests can pass the
draw. Images are uint8 of shape (rows, channels, height, width); operations whose result is not whole pixel values
(mixup, a fill with the mean colour) return float32 in the same units, 0..255.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from dametric.augment.keys import Keys
from dametric.base.devices import exact_products
from dametric.errors import UsageError, shortened

Draw = dict[str, Tensor]
MOST_PIXELS = 1_000_000
"""Largest parameter in pixels: more than any image is wide, and small enough for exact sums."""


class Augmented(NamedTuple):
    """A batch of augmented images, with the partners and shares of mixed ones.

    Attributes
    ----------
    images : Tensor of shape (rows, channels, height, width)
        uint8, or float32 in pixel units (0..255).
    partner : Tensor of shape (rows,), int64, or None
        For mixing operations the row with which each image was mixed.
    lam : Tensor of shape (rows,), float64, or None
        Share of the row's own image in the mix: exact area for cut-and-paste, weight for blending.
    """

    images: Tensor
    partner: Tensor | None = None
    lam: Tensor | None = None

    def first(self, rows: int) -> Augmented:
        """The first of these rows."""
        return Augmented(*(None if part is None else part[:rows] for part in self))  # type: ignore[arg-type]


class Operation(Protocol):
    """One built-in operation; see the module's docstring."""

    @property
    def stream(self) -> str:
        """Name of the operation's random numbers: equal names share draws."""

    @property
    def mixes(self) -> bool:
        """Whether the operation mixes two images of the batch."""

    @property
    def random(self) -> bool:
        """Whether the operation draws random parameters."""

    def draw(self, keys: Keys, shape: torch.Size) -> Draw: ...

    def apply(self, images: Tensor, draw: Draw) -> Augmented: ...


@dataclass(frozen=True)
class Augmentation:
    """Operations applied one after the other, at most one of which mixes images.

    Attributes
    ----------
    name : str
        The specification, as a user would type it.
    operations : tuple of Operation
        In order of application; none for the identity.
    spelling : str
        Canonical specification, without parameters at their default; the name by default.
    """

    name: str
    operations: tuple[Operation, ...] = ()
    spelling: str = ""

    @property
    def canonical(self) -> str:
        """Canonical specification, which is hashed: the same for all ways of writing it."""
        return self.spelling or self.name

    @property
    def mixes(self) -> bool:
        """Whether an operation mixes two images of the batch."""
        return any(operation.mixes for operation in self.operations)

    @property
    def random(self) -> bool:
        """Whether an operation draws random parameters."""
        return any(operation.random for operation in self.operations)

    @property
    def own(self) -> bool:
        """Whether an operation calls a user's function, whose results need not be finite."""
        return any(map(_is_user_function, self.operations))

    @property
    def pick(self) -> str | None:
        """Criterion by which rows are picked from a pool; None without a pick."""
        return getattr(self.operations[-1], "by", None) if self.operations else None

    @property
    def runs(self) -> int:
        """Size of the pool that :meth:`__call__` returns, as a multiple of the rows it is given."""
        return int(getattr(self.operations[-1], "runs", 1)) if self.operations else 1

    @property
    def run(self) -> tuple[Operation, ...]:
        """Operations of one run of the pool: equal operations make equal images, whatever is picked afterwards."""
        return tuple(getattr(operation, "once", operation) for operation in self.operations)

    @property
    def balanced(self) -> bool:
        """Whether rows depend on each other only through their partner, the next row of the batch.

        The per-image estimator needs this (and parameters drawn for every row).
        """
        rules = [getattr(operation, "partner", "roll") for operation in self.operations]
        return self.pick is None and all(rule == "roll" for rule in rules)

    def draw(self, keys: Keys, shape: torch.Size) -> tuple[Draw, ...]:
        """Draw the random parameters of every operation for rows of this shape."""
        seen: Counter[str] = Counter()
        draws = []
        for operation in self.operations:
            occurrence = seen[operation.stream]
            seen[operation.stream] += 1
            name = operation.stream if not occurrence else f"{operation.stream}#{occurrence}"
            draws.append(operation.draw(keys.sub(name), shape))
        return tuple(draws)

    @exact_products()
    def apply(self, images: Tensor, draws: tuple[Draw, ...]) -> Augmented:
        """Apply every operation with the parameters given.

        An image that a user's function made NaN or Inf becomes NaN, whatever follows, since conversion to bytes or a
        later operation that covers these pixels would hide the error.
        """
        result, broken = Augmented(images), None
        for operation, draw in zip(self.operations, draws, strict=True):
            step = operation.apply(result.images, draw)
            result = step if step.partner is not None else Augmented(step.images, result.partner, result.lam)
            if _is_user_function(operation) and step.images.is_floating_point():
                rows = ~step.images.isfinite().flatten(1).all(1)
                broken = rows if broken is None else broken | rows
        if broken is not None and bool(broken.any()):
            rows = broken.repeat(len(result.images) // len(broken))  # a pool is in the order of its runs
            result = result._replace(images=result.images.float().masked_fill(per_row(rows), math.nan))
        return result

    @property
    def members(self) -> tuple[Augmentation, ...]:
        """The augmentations that it is a mixture of; of all others it is the only one."""
        return (self,)

    def of_batch(self, keys: Keys) -> Augmentation:
        """The augmentation of a batch: of a mixture the one that is drawn for it, else this one."""
        return self

    def __call__(self, images: Tensor, keys: Keys) -> Augmented:
        """Augment a batch.

        Parameters
        ----------
        images : Tensor of shape (rows, channels, height, width), uint8
            Consecutive statistical batches of ``keys.batch_size`` rows.
        keys : Keys
            Keys of the random numbers.

        Returns
        -------
        Augmented
            With ``runs * rows`` images where rows are picked from a pool, else ``rows``.
        """
        return self.apply(images, self.draw(keys, images.shape))


def _is_user_function(operation: Operation) -> bool:
    """Whether an operation calls a user's function."""
    return hasattr(operation, "findings")


def check_at_most(what: str, value: int, most: int) -> None:
    """Refuse a number larger than ``most``, which bounds time and memory.

    Raises
    ------
    UsageError
    """
    if value > most:
        raise UsageError(f"{what} is at most {most}, not {shortened(value)}")


def parameters(draw: Draw, *names: str) -> tuple[Tensor, ...]:
    """The parameters of these names."""
    return tuple(draw[name] for name in names)


def per_row(values: Tensor) -> Tensor:
    """View of shape (rows, 1, 1, 1), to broadcast one value a row over its pixels."""
    return values.view(-1, 1, 1, 1)


@lru_cache(maxsize=256)
def constant(values: tuple[int, ...], device: torch.device) -> Tensor:
    """Whole numbers on a device, to which they are copied once: Tensor of shape (values,), int64; not to be changed."""
    with torch.inference_mode(False):
        return torch.tensor(values, dtype=torch.int64, device=device)


def whole(images: Tensor) -> Tensor:
    """Images as bytes: those of an operation that blends are rounded to whole pixel values."""
    return images if images.dtype == torch.uint8 else images.round().clamp(0, 255).to(torch.uint8)


def choose(mask: Tensor, chosen: Tensor, other: Tensor) -> Tensor:
    """``torch.where(mask, chosen, other)``; of bytes on a CPU by bit operations, which are many times as fast there.

    Parameters
    ----------
    mask : Tensor of bool
        Broadcast over the images.
    chosen, other : Tensor of shape (rows, channels, height, width)
    """
    if not chosen.dtype == other.dtype == torch.uint8 or chosen.device.type != "cpu":
        return torch.where(mask, chosen, other)
    return (chosen ^ other).bitwise_and_(mask.to(torch.uint8).neg_()).bitwise_xor_(other)


def box_mask(top: Tensor, left: Tensor, bottom: Tensor, right: Tensor, height: int, width: int) -> Tensor:
    """Mask of one rectangle a row: Tensor of shape (rows, 1, height, width), True inside.

    ``bottom`` and ``right`` are exclusive; rectangles may reach over the image's edges.
    """
    y, x = (constant(tuple(range(side)), top.device) for side in (height, width))
    inside_y = (y >= top[:, None]) & (y < bottom[:, None])
    inside_x = (x >= left[:, None]) & (x < right[:, None])
    return (inside_y[:, None, :, None]) & (inside_x[:, None, None, :])
