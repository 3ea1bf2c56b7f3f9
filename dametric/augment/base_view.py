"""The base view: what the loader makes of the stored images, by the base augmentation."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import torch
from torch import Tensor

from dametric.augment.base import Augmentation, Augmented, Operation
from dametric.augment.branches import OneOf, Sometimes
from dametric.augment.geometric import Crops, Flip, RandomResizedCrop
from dametric.augment.keys import Keys
from dametric.augment.spec import versions
from dametric.base.arguments import argument
from dametric.base.terminal import note_once
from dametric.data import ImageSet
from dametric.data.lazy import Drawn
from dametric.data.originals import Zoom

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class BaseView:
    """A base augmentation of the images of a set.

    Where images are stored larger than they are shown, its random resized crop is drawn before decoding and cut from
    the stored image. Flips may come before it: the part is mirrored, and the flip follows. After any other operation
    the crop is cut from what that made of the images at the size of the set.

    Attributes
    ----------
    base : Augmentation
    data : ImageSet
        The images, with the stored ones at hand where crops are cut from these.
    cut : int or None
        Place of the operation that is carried out while images are read.
    """

    base: Augmentation
    data: ImageSet
    cut: int | None = None

    @classmethod
    def of(cls, base: Augmentation, data: ImageSet, augs: Sequence[Augmentation] = ()) -> BaseView:
        """The base view of a set; reads the stored images where they are needed.

        Parameters
        ----------
        base : Augmentation
        data : ImageSet
        augs : sequence of Augmentation
            What the view will be augmented by: random resized crops among these are cut from the view, which a line on
            stderr says where the images are stored larger.
        """
        cut = place_of_crop(base)
        if cut is None:
            _note_crops_of_views(base, data, augs)
            return cls(base, data)
        crop = _certain(base.operations[cut])
        assert isinstance(crop, RandomResizedCrop)
        data = data.with_originals(Zoom(crop.scale, crop.ratio))
        return cls(base, data, cut if data.crops_originals else None)

    def stream(self, batches: Iterable[tuple[Tensor, Sequence[Keys]]], device: torch.device | str) -> Iterator[Tensor]:
        """Yield the images of each index tensor, in order, for :meth:`__call__`.

        Parameters
        ----------
        batches : iterable of (Tensor of shape (b,), sequence of Keys)
            Rows to draw, and the keys of their random numbers, one after the other.
        device : torch.device or str
            Device of the images yielded.
        """
        return self.data.stream(map(self._drawn, batches), device)

    def _drawn(self, batch: tuple[Tensor, Sequence[Keys]]) -> Tensor | Drawn:
        index, parts = batch
        if self.cut is None:
            return index
        # drawn on the CPU, where images are cut; the numbers do not depend on it
        crops = [self._crops(self.cut, keys.on("cpu")) for keys in parts]
        return Drawn(index, crops[0] if len(crops) == 1 else sum(crops[1:], crops[0]))

    def _crops(self, cut: int, keys: Keys) -> Crops:
        """Parts of the stored images, mirrored where a flip before the crop happens."""
        operations = self.base.operations[: cut + 1]
        draws = replace(self.base, operations=operations).draw(keys, torch.Size((keys.rows, 3, 1, 1)))
        crop, mirrored = _certain(operations[cut]), torch.zeros(keys.rows, dtype=torch.bool)
        assert isinstance(crop, RandomResizedCrop)
        for draw in draws[:cut]:
            mirrored ^= draw["flip"]
        return crop.crops(draws[cut], mirrored)

    def __call__(self, images: Tensor, keys: Keys) -> Augmented:
        """Augment a batch of images that :meth:`stream` yielded.

        Parameters
        ----------
        images : Tensor of shape (rows, channels, height, width), uint8
        keys : Keys
            As they were given there.
        """
        draws = self.base.draw(keys, images.shape)
        if self.cut is None:
            return self.base.apply(images, draws)
        rest = replace(self.base, operations=_without(self.base.operations, self.cut))
        return rest.apply(images, _without(draws, self.cut))


def place_of_crop(base: Augmentation) -> int | None:
    """Place of the random resized crop that can be cut from stored images: nothing but flips comes before it."""
    for place, operation in enumerate(base.operations):
        if isinstance(_certain(operation), RandomResizedCrop):
            return place
        if not isinstance(operation, Flip):
            return None
    return None


def versions_of_base(base: Augmentation) -> dict[str, int]:
    """Versions of a base augmentation's operations that are above the first.

    In the first version crops after flips, and those that only happen sometimes, were cut from images at the size of
    the set.
    """
    place = place_of_crop(base)
    former = place is None or (place == 0 and isinstance(base.operations[0], RandomResizedCrop))
    return versions(base) if former else {**versions(base), "rrc of stored images": 2}


def _certain(operation: Operation) -> Operation:
    """The operation that is done, without the probability by which it is."""
    return operation.operation if isinstance(operation, Sometimes) else operation


def _without(items: tuple[T, ...], place: int) -> tuple[T, ...]:
    return (*items[:place], *items[place + 1 :])


def _crops(aug: Augmentation) -> bool:
    """Whether a random resized crop is among the operations, or those within groups."""
    plain = [_certain(operation) for operation in aug.operations]
    groups = (branch for operation in plain if isinstance(operation, OneOf) for branch in operation.branches)
    return any(isinstance(operation, RandomResizedCrop) for operation in plain) or any(map(_crops, groups))


def _note_crops_of_views(base: Augmentation, data: ImageSet, augs: Sequence[Augmentation]) -> None:
    """Tell that crops are cut from images at the size of the set, where these are stored larger."""
    name = next((aug.name for aug in (base, *augs) if _crops(aug)), None)
    if name is None or not data.resized:
        return
    size, better = data.image_size, argument("base_aug", "rrc+flip")
    note_once(
        f"augmentation '{name}' cuts its crops from images of {size}x{size} pixels, since something comes before them; "
        f"{better} cuts them from the images as they are stored"
    )
