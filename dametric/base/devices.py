"""Devices: copies that the host does not wait for, and memory that runs out."""

from __future__ import annotations

import torch
from torch import Tensor

_EXHAUSTED = (
    *("CUDA out of memory", "CUDA error: out of memory"),
    *("CUDNN_STATUS_ALLOC_FAILED", "CUBLAS_STATUS_ALLOC_FAILED"),
)
_PATIENCE = 64  # times that it has to go well before more is tried again


def queued(tensor: Tensor, device: torch.device | str) -> Tensor:
    """Copy to a device without making the host wait: only from pinned memory is a CUDA copy asynchronous."""
    if torch.device(device).type == "cuda" and tensor.device.type == "cpu":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


def drain(device: torch.device) -> None:
    """Wait until a device has done all that it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that a device has too little memory; cuDNN and cuBLAS say so in words of their own."""
    if isinstance(error, torch.cuda.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _EXHAUSTED)


class RowsAtOnce:
    """How many rows are worked on at a time: fewer where memory runs out, more again when that has gone well for long.

    Attributes
    ----------
    most, now : int
        What was asked for, and what is done at present.
    """

    def __init__(self, most: int) -> None:
        self.most = self.now = most
        self._well, self._patience = 0, _PATIENCE

    def fewer(self, than: int) -> bool:
        """Halve what so many rows were too many for; whether that is possible. Gives unused memory back."""
        failed = min(self.now, than)
        if failed <= 1:
            return False
        self.now, self._well, self._patience = (failed + 1) // 2, 0, 2 * self._patience
        torch.cuda.empty_cache()
        return True

    def went_well(self) -> None:
        """Count a success, and try twice as many rows after some."""
        self._well += 1
        if self.now < self.most and self._well >= self._patience:
            self.now, self._well = min(self.most, 2 * self.now), 0
