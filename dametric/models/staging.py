"""Memory in which batches are normalised, used again from batch to batch."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

_PIECE = 1 << 20  # values that are worked on at a time, which stay in the cache


class Staging:
    """Memory for one batch of normalised images in channels-last layout.

    A batch of large images takes tens of megabytes. The system hands these out anew for every temporary, page by page,
    and takes them back, which can cost more than the arithmetic. What is made here is valid until the next call.

    Attributes
    ----------
    dtype : torch.dtype
        Of what is made.
    """

    def __init__(self, dtype: torch.dtype) -> None:
        self.dtype = dtype
        self._memory = torch.empty(0, dtype=dtype)

    def __call__(self, images: Tensor, normalise: Callable[[Tensor], Tensor]) -> Tensor:
        """Normalised images, to the bit as they are without pieces.

        Parameters
        ----------
        images : Tensor of shape (rows, channels, height, width)
        normalise : callable
            Of some of the rows, each by itself.
        """
        rows, channels, height, width = images.shape
        # with one channel two layouts are the same, and strides decide how a network computes; devices keep memory
        if images.device.type != "cpu" or channels == 1:
            return normalise(images).to(self.dtype).contiguous(memory_format=torch.channels_last)
        if len(self._memory) < images.numel():
            self._memory = torch.empty(images.numel(), dtype=self.dtype)
        out = self._memory[: images.numel()].view(rows, height, width, channels).permute(0, 3, 1, 2)
        count = max(1, _PIECE // images[0].numel())
        for part, place in zip(images.split(count), out.split(count), strict=True):
            place.copy_(normalise(part).to(self.dtype))  # converting layout and dtype in one step is slower
        return out
