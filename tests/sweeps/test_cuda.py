"""Sweeps on CUDA: in this process, in processes that share a GPU, and what they leave in its memory."""

from __future__ import annotations

import gc
from pathlib import Path

import pytest
import torch

from tests.gpu_pretended.sweeping import check_sweep

pytestmark = pytest.mark.gpu


def test_a_sweep_leaves_no_memory_in_use(tmp_path: Path) -> None:
    held = []
    for name in ("first", "second", "third"):
        check_sweep(tmp_path / name, jobs=1)
        gc.collect()
        held.append(torch.cuda.memory_allocated())
    print(f"bytes in use after each of three sweeps: {held}")
    assert held[2] <= held[1] + (1 << 20), held


def test_processes_share_the_gpus(tmp_path: Path) -> None:
    """Each with its share of the memory; dealt out where there are several."""
    check_sweep(tmp_path, jobs=2)
