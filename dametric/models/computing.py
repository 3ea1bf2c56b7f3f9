"""Where and in which numbers networks compute: a device and a dtype as users name them."""

from __future__ import annotations

import torch

from dametric.base.arguments import argument
from dametric.errors import UsageError, shortened, unknown
from dametric.models.inference import preferred_dtype

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16, "float64": torch.float64}


def chosen_device(asked: str | torch.device | None) -> torch.device:
    """The device asked for, CUDA by default where there is one.

    Parameters
    ----------
    asked : str or torch.device or None
        "cpu", "cuda" or "cuda:1".

    Raises
    ------
    UsageError
        If there is no such device, here or anywhere.
    """
    asked = asked or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(asked)
    except (RuntimeError, TypeError):
        raise UsageError(f"unknown device '{shortened(str(asked))}': cpu, cuda or cuda:0") from None
    if device.type not in ("cpu", "cuda"):
        raise UsageError(f"device {device} is not supported: cpu or cuda")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UsageError(
            f"there are {torch.cuda.device_count()} CUDA devices here, and no {device}"
            if torch.cuda.is_available()
            else f"there is no CUDA device here: use {argument('device', 'cpu')}"
        )
    return device


def chosen_dtype(asked: str | torch.dtype | None, device: torch.device) -> torch.dtype:
    """The dtype asked for, the fastest in hardware by default.

    Parameters
    ----------
    asked : str or torch.dtype or None
        One of :data:`DTYPES` or its name.
    device : torch.device

    Raises
    ------
    UsageError
        For any other.
    """
    if asked is None:
        return preferred_dtype(device)
    name = str(asked).removeprefix("torch.") if isinstance(asked, torch.dtype) else str(asked)
    if name not in DTYPES:
        raise unknown("dtype", shortened(name), DTYPES)
    return DTYPES[name]
