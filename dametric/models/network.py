"""Forward passes of a trained network: pixels to logits, in chunks that fit into memory."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dametric.base.arguments import argument
from dametric.base.devices import RowsAtOnce, out_of_memory
from dametric.errors import UsageError
from dametric.models.interface import forward_pass
from dametric.models.staging import Staging

LARGEST = 1.5
"""Upper bound of means and standard deviations of pixels from 0 to 1."""


class Network:
    """Normalise images, forward them chunk by chunk, return logits in float64.

    Parameters
    ----------
    module : nn.Module
        Prepared by :func:`dametric.models.inference_copy`; takes normalised images, returns logits.
    mean, std : sequence of float
        Normalisation of every channel, in units of 0..1.
    chunk : int
        Rows in a forward pass. Halved when the device runs out of memory, and for a while after.
    dtype : torch.dtype
        Number format of the module's weights and input.
    device : torch.device
        Where the module is.
    """

    def __init__(
        self,
        module: nn.Module,
        *,
        mean: Sequence[float],
        std: Sequence[float],
        chunk: int,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        self.module = module
        self._at_once = RowsAtOnce(chunk)
        self._limited = False
        self.dtype = dtype
        self.rows = 0  # forwarded so far
        self._staging = Staging(dtype)
        self._working = torch.promote_types(dtype, torch.float32)  # half precision is too coarse to normalise in
        exact = torch.float64
        self._scale = (1 / (255 * torch.tensor(std, dtype=exact))).view(1, -1, 1, 1).to(device, self._working)
        shift = torch.tensor(mean, dtype=exact) / torch.tensor(std, dtype=exact)
        self._offset = -shift.view(1, -1, 1, 1).to(device, self._working)

    @torch.inference_mode()
    def __call__(self, images: Tensor) -> Tensor:
        """Logits of images.

        Parameters
        ----------
        images : Tensor of shape (rows, channels, height, width)
            uint8, or floating point in pixel units (0..255).

        Returns
        -------
        Tensor of shape (rows, classes), float64
        """
        while True:
            try:
                parts = [self._forward(part) for part in images.split(self.chunk)]
                logits = parts[0] if len(parts) == 1 else torch.cat(parts)
            except Exception as error:
                if not out_of_memory(error) or self._limited or self.chunk == 1:
                    raise
            else:
                if not self._limited:
                    self._at_once.went_well()
                self.rows += len(images)
                return logits
            # after the except block, which still holds the failed forward's memory
            self._at_once.fewer(self.chunk)

    @property
    def chunk(self) -> int:
        """Rows in a forward pass, at present."""
        return self._at_once.now

    def limit(self, rows: int) -> None:
        """Show no more rows at a time than these, nor than were asked for; the caller sees to it if memory runs out."""
        self._at_once.now, self._limited = min(rows, self._at_once.most), True

    def _forward(self, images: Tensor) -> Tensor:
        with forward_pass():
            logits = self.module(self._staging(images, lambda part: (part * self._scale).add_(self._offset)))
        if not isinstance(logits, Tensor) or logits.ndim != 2:
            got = f"shape {tuple(logits.shape)}" if isinstance(logits, Tensor) else type(logits).__name__
            raise UsageError(f"the network must return logits of shape (rows, classes), not {got}")
        if len(logits) != len(images):
            raise UsageError(f"the network returns {len(logits)} rows for {len(images)} images: one an image is needed")
        if not logits.shape[1]:
            raise UsageError("the network returns logits of 0 classes: it must have one class at least")
        return logits.to(torch.float64, copy=True)  # they may be the images themselves, whose memory is used again


def normalisation(
    mean: Sequence[float], std: Sequence[float], channels: int
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Check that mean and standard deviation fit the channels, and return them as tuples."""
    for name, values in (("mean", mean), ("std", std)):
        if len(values) != channels or not all(math.isfinite(value) for value in values):
            grey = ": these images are grey, so that one number is meant" if channels == 1 and len(values) == 3 else ""
            raise UsageError(
                f"{argument(name)} takes one finite number for each of {channels} channels, not {list(values)}{grey}"
            )
        if max(values) > LARGEST:
            raise UsageError(
                f"{argument(name)} is in units of 0..1, divide by 255 what is in 0..255: not {list(values)}"
            )
    if min(std) <= 0:
        raise UsageError(f"{argument('std')} takes positive numbers, not {list(std)}")
    return tuple(mean), tuple(std)
