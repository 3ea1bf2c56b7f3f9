"""Device and dtype of networks, as users name them."""

from __future__ import annotations

import torch

from dametric.base.arguments import argument
from dametric.base.devices import own_gpu
from dametric.errors import UsageError, shortened, unknown
from dametric.models.inference import preferred_dtype

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16, "float64": torch.float64}


def chosen_device(requested: str | torch.device | None) -> torch.device:
    """The requested device, by default CUDA where there is one.

    Parameters
    ----------
    requested : str or torch.device or None
        "cpu", "cuda" or "cuda:1".

    Raises
    ------
    UsageError
        If there is no such device.
    """
    requested = requested or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(requested)
    except (RuntimeError, TypeError):
        raise UsageError(f"unknown device '{shortened(str(requested))}': cpu, cuda or cuda:0") from None
    if device.type not in ("cpu", "cuda"):
        raise UsageError(f"device {device} is not supported: cpu or cuda")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UsageError(
            f"there are {torch.cuda.device_count()} CUDA devices here, and no {device}"
            if torch.cuda.is_available()
            else f"there is no CUDA device here: use {argument('device', 'cpu')}"
        )
    return own_gpu(device)


def chosen_dtype(requested: str | torch.dtype | None, device: torch.device) -> torch.dtype:
    """The requested dtype, by default the fastest in hardware.

    Parameters
    ----------
    requested : str or torch.dtype or None
        One of :data:`DTYPES` or its name.
    device : torch.device

    Raises
    ------
    UsageError
        For any other.
    """
    if requested is None:
        return preferred_dtype(device)
    name = str(requested).removeprefix("torch.") if isinstance(requested, torch.dtype) else str(requested)
    if name not in DTYPES:
        raise unknown("dtype", shortened(name), DTYPES)
    return DTYPES[name]
