"""What a number was made with: versions of the libraries, and the chip."""

from __future__ import annotations

import platform
import re
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dametric import __version__
from dametric.base.devices import tf32


def machine(device: torch.device) -> dict[str, Any]:
    """Versions of the libraries and the chip, as score files and benchmarks record them."""
    cuda = device.type == "cuda"
    chip = torch.cuda.get_device_name(device) if cuda else _cpu_name()
    return {
        "dametric": __version__,
        "torch": torch.__version__,
        "torchvision": _torchvision(),
        "numpy": np.__version__,
        "python": platform.python_version(),
        "system": platform.system(),
        "machine": platform.machine(),
        "chip": chip,
        "threads": torch.get_num_threads(),
        **(_of_cuda() if cuda else {}),
    }


def _torchvision() -> str:
    """Version of torchvision, which takes seconds to load, from the file that it has it from."""
    package = find_spec("torchvision")
    text = (
        Path(package.origin).with_name("version.py").read_text(encoding="utf-8") if package and package.origin else ""
    )
    written = re.search(r"^__version__ = ['\"](.+)['\"]", text, re.MULTILINE)
    return written[1] if written else version("torchvision")


def _of_cuda() -> dict[str, Any]:
    """Versions and settings that numbers and speed on a GPU depend on."""
    return {
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
        "driver": _driver(),
        "tf32": tf32(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
    }


def _driver() -> str | None:
    try:
        return Path("/sys/module/nvidia/version").read_text(encoding="utf-8").strip()
    except OSError:
        return None


def _cpu_name() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            names = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
    except OSError:
        names = []
    return f"{names[0]}, {torch.backends.cpu.get_cpu_capability()}" if names else platform.processor()
