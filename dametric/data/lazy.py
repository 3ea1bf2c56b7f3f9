"""Image sets that are not one tensor: images are decoded, cropped and resized when drawn, a few batches ahead."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from dametric.base.devices import queued
from dametric.data.decode import Pixels, fitted, size_of, workers
from dametric.data.listing import Listing
from dametric.data.originals import Originals
from dametric.data.pixels import Box, grey, resized_part

AHEAD = 4  # batches decoded in advance; bounds the memory


class Crops(Protocol):
    """Parts to cut from the images of a batch."""

    def box(self, row: int, height: int, width: int) -> Box | None:
        """Part of the image in this row of the batch, whose size is given; None for the centre, as without crops."""


class Drawn(NamedTuple):
    """Rows to draw, int64 of shape (b,), and the parts to cut from their original images."""

    rows: Tensor
    crops: Crops


class LazyImages:
    """A stand-in for the tensor of all images, which makes rows when they are indexed.

    Parameters
    ----------
    listing : Listing or Originals
        The encoded images, or decoded ones of any size.
    image_size : int, optional
        Size in pixels to which every image is resized; without it all must have the size of the first.
    rows : Tensor of shape (M,), int64, optional
        Images of the listing, all by default.
    grey : bool
        Convert to one channel.

    Attributes
    ----------
    shape : torch.Size
        (M, 3, H, W) or (M, 1, H, W), as the tensor would have.
    dtype : torch.dtype
        ``torch.uint8``.
    """

    dtype = torch.uint8
    device = torch.device("cpu")

    def __init__(
        self,
        listing: Listing | Originals,
        image_size: int | None = None,
        rows: Tensor | None = None,
        grey: bool = False,
    ) -> None:
        self._listing = listing
        self._image_size = image_size
        self._rows = np.arange(len(listing)) if rows is None else rows.numpy()
        if image_size is not None:
            size = (image_size, image_size)
        elif isinstance(listing, Listing):
            size = listing.use(0, size_of)
        else:
            size = listing.size(0)
        self._grey = grey
        self._decoded = (3, *size)
        self.shape = torch.Size((len(self._rows), 1 if grey else 3, *size))

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def in_memory(self) -> bool:
        """Whether the original images are held in memory."""
        return isinstance(self._listing, Originals)

    @property
    def resized(self) -> bool:
        """Whether images may be stored in other sizes than they have here."""
        return self._image_size is not None

    def __getitem__(self, index: int | slice | Tensor) -> Tensor:
        """Decode the images at an index: (C, H, W) for an int, (b, C, H, W) otherwise."""
        if isinstance(index, int):
            return self[torch.tensor([range(len(self))[index]])][0]
        chosen = torch.arange(len(self))[index.cpu() if isinstance(index, Tensor) else index]
        return next(self.stream([chosen], torch.device("cpu")))

    def subset(self, index: Tensor) -> LazyImages:
        """The images at ``index`` (int64, shape (M,)), still lazy."""
        return LazyImages(self._listing, self._image_size, torch.from_numpy(self._rows)[index.cpu()], self._grey)

    def grey(self) -> LazyImages:
        """The same images in one channel, still lazy."""
        return LazyImages(self._listing, self._image_size, torch.from_numpy(self._rows), grey=True)

    def stream(self, batches: Iterable[Tensor | Drawn], device: torch.device) -> Iterator[Tensor]:
        """Yield the images of each index tensor, in order, as uint8 (b, C, H, W) on ``device``.

        Of rows `Drawn` with their crops, those parts of the original images, resized. Worker threads are at most
        `AHEAD` batches in advance.
        """
        waiting: deque[tuple[Tensor, list[Future[None]]]] = deque()

        def collect() -> Tensor:
            out, tasks = waiting[0]
            for task in tasks:
                task.result()
            waiting.popleft()
            return queued(grey(out) if self._grey else out, device)

        with ThreadPoolExecutor(workers(), thread_name_prefix="decode") as pool:
            try:
                for batch in batches:
                    waiting.append(self._start(pool, batch, pinned=device.type == "cuda"))
                    if len(waiting) > AHEAD:
                        yield collect()
                while waiting:
                    yield collect()
            finally:  # after an error, or where the consumer stops early, the rest need not be decoded
                pool.shutdown(wait=False, cancel_futures=True)

    def _start(
        self, pool: ThreadPoolExecutor, batch: Tensor | Drawn, pinned: bool
    ) -> tuple[Tensor, list[Future[None]]]:
        index, crops = (batch.rows, batch.crops) if isinstance(batch, Drawn) else (batch, None)
        out = torch.empty((len(index), *self._decoded), dtype=torch.uint8, pin_memory=pinned)
        pixels = out.numpy()
        rows = self._rows[index.cpu().numpy()].tolist()
        if crops is None:
            return out, [pool.submit(self._decode, row, pixels[at]) for at, row in enumerate(rows)]
        return out, [pool.submit(self._cut, row, crops, at, pixels[at]) for at, row in enumerate(rows)]

    def _decode(self, row: int, out: Pixels) -> None:
        out[...] = self._listing.decode(row, self._image_size, self._decoded)

    def _cut(self, row: int, crops: Crops, at: int, out: Pixels) -> None:
        original = self._listing.original(row)
        height, width = original.shape[1:]
        box = crops.box(at, height, width)
        if box is None:
            part = fitted(original, self._image_size, self._listing.resize)
        else:
            part = resized_part(original, box, (self._decoded[1], self._decoded[2]))
        out[...] = part.numpy()  # NumPy copies, since torch would begin threads of its own in each of these
