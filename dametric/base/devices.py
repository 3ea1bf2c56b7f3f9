"""Copies to and from devices that the host does not wait for."""

from __future__ import annotations

import torch
from torch import Tensor


def queued(tensor: Tensor, device: torch.device | str) -> Tensor:
    """Copy to a device without making the host wait: only from pinned memory is a CUDA copy asynchronous."""
    if torch.device(device).type == "cuda" and tensor.device.type == "cpu":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


def drain(device: torch.device) -> None:
    """Wait until a device has done all that it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
