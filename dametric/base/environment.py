"""What a number was made with: versions of the libraries, and the chip."""

from __future__ import annotations

import platform
from typing import Any

import numpy as np
import torch
import torchvision

from dametric import __version__


def machine(device: torch.device) -> dict[str, Any]:
    """Versions of the libraries and the chip, as score files and benchmarks record them."""
    chip = torch.cuda.get_device_name(device) if device.type == "cuda" else _cpu_name()
    return {
        "dametric": __version__,
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "system": platform.system(),
        "machine": platform.machine(),
        "chip": chip,
        "threads": torch.get_num_threads(),
    }


def _cpu_name() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            names = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
    except OSError:
        names = []
    return f"{names[0]}, {torch.backends.cpu.get_cpu_capability()}" if names else platform.processor()
