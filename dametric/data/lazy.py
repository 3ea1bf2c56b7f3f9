"""Image sets too large for memory: images are decoded when drawn, a few batches ahead."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from dametric.data.decode import Pixels, size_of, workers
from dametric.data.listing import Listing
from dametric.data.pixels import grey

AHEAD = 4  # batches decoded in advance; bounds the memory


class LazyImages:
    """A stand-in for the tensor of all images, which decodes rows when they are indexed.

    Parameters
    ----------
    listing : Listing
        The encoded images.
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
        self, listing: Listing, image_size: int | None = None, rows: Tensor | None = None, grey: bool = False
    ) -> None:
        self._listing = listing
        self._image_size = image_size
        self._rows = np.arange(len(listing)) if rows is None else rows.numpy()
        size = (image_size, image_size) if image_size else size_of(listing.read(0), listing.where(0))
        self._grey = grey
        self._decoded = (3, *size)
        self.shape = torch.Size((len(self._rows), 1 if grey else 3, *size))

    def __len__(self) -> int:
        return len(self._rows)

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

    def stream(self, batches: Iterable[Tensor], device: torch.device) -> Iterator[Tensor]:
        """Yield the images of each index tensor, in order, as uint8 (b, C, H, W) on ``device``.

        Worker threads decode at most `AHEAD` batches in advance.
        """
        waiting: deque[tuple[Tensor, list[Future[None]]]] = deque()

        def collect() -> Tensor:
            out, tasks = waiting[0]
            for task in tasks:
                task.result()
            waiting.popleft()
            return (grey(out) if self._grey else out).to(device, non_blocking=True)

        with ThreadPoolExecutor(workers(), thread_name_prefix="decode") as pool:
            try:
                for index in batches:
                    waiting.append(self._start(pool, index, pinned=device.type == "cuda"))
                    if len(waiting) > AHEAD:
                        yield collect()
                while waiting:
                    yield collect()
            finally:  # after an error, or where the consumer stops early, the rest need not be decoded
                pool.shutdown(wait=False, cancel_futures=True)

    def _start(self, pool: ThreadPoolExecutor, index: Tensor, pinned: bool) -> tuple[Tensor, list[Future[None]]]:
        out = torch.empty((len(index), *self._decoded), dtype=torch.uint8, pin_memory=pinned)
        pixels = out.numpy()
        rows = self._rows[index.cpu().numpy()].tolist()
        return out, [pool.submit(self._decode, row, pixels[at]) for at, row in enumerate(rows)]

    def _decode(self, row: int, out: Pixels) -> None:
        out[...] = self._listing.decode(row, self._image_size, self._decoded)
