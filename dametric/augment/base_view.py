"""The base view: what the loader makes of the stored images, by the base augmentation."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dametric.augment.base import Augmentation, Augmented
from dametric.augment.geometric import Crops, RandomResizedCrop
from dametric.augment.keys import Keys
from dametric.data import ImageSet
from dametric.data.lazy import Drawn
from dametric.data.originals import Zoom


@dataclass(frozen=True, eq=False)
class BaseView:
    """A base augmentation of the images of a set.

    Where it begins with a random resized crop, and images are stored larger than they are shown, the crop is drawn
    before decoding and cut from the stored image.

    Attributes
    ----------
    base : Augmentation
    data : ImageSet
        The images, with the stored ones at hand where crops are cut from these.
    cut : RandomResizedCrop or None
        The operation that is carried out while images are read.
    """

    base: Augmentation
    data: ImageSet
    cut: RandomResizedCrop | None = None

    @classmethod
    def of(cls, base: Augmentation, data: ImageSet) -> BaseView:
        """The base view of a set; reads the stored images where they are needed."""
        first = base.operations[0] if base.operations else None
        if not isinstance(first, RandomResizedCrop):
            return cls(base, data)
        data = data.with_originals(Zoom(first.scale, first.ratio))
        return cls(base, data, first if data.crops_originals else None)

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

    @staticmethod
    def _crops(cut: RandomResizedCrop, keys: Keys) -> Crops:
        return cut.crops(cut.draw(keys.sub(cut.stream), torch.Size((keys.rows, 3, 1, 1))))

    def __call__(self, images: Tensor, keys: Keys) -> Augmented:
        """Augment a batch of images that :meth:`stream` yielded.

        Parameters
        ----------
        images : Tensor of shape (rows, channels, height, width), uint8
        keys : Keys
            As they were given there.
        """
        return self.base(images, keys) if self.cut is None else self.base.rest(images, keys)
