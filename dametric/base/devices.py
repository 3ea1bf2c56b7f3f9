"""Devices: copies that the host does not wait for, memory that runs out, GPUs that are shared, exact and equal bits."""

from __future__ import annotations

import functools
import os
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from dametric.base.terminal import note_once

_EXHAUSTED = (
    *("CUDA out of memory", "CUDA error: out of memory"),
    *("CUDNN_STATUS_ALLOC_FAILED", "CUBLAS_STATUS_ALLOC_FAILED"),
)
_USABLE = 0.95  # of a GPU's memory, by those who share it: each also needs some that is not torch's
_PATIENCE = 64  # times that it has to go well before more is tried again


def queued(tensor: Tensor, device: torch.device | str) -> Tensor:
    """Copy to a device without making the host wait: only from pinned memory is a CUDA copy asynchronous."""
    if torch.device(device).type == "cuda" and tensor.device.type == "cpu":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


def seed_generators(value: int, device: torch.device) -> None:
    """Seed the global generators of torch that a device draws from.

    For the CPU these are the numbers of :func:`torch.manual_seed`, which also keeps stack traces for every kind of
    device that is not initialised: milliseconds, and memory that is never let go of.
    """
    if device.type == "cpu":
        torch.default_generator.manual_seed(value)
    else:
        torch.manual_seed(value)


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


def free_memory() -> None:
    """Give back what no tensor uses any more, so that the next run, or another process, can have it."""
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.empty_cache()


class _Share:
    """Which of several processes this one is; they share the GPUs of a machine."""

    place, processes = 0, 1


def share_gpus(place: int, processes: int) -> None:
    """Say which of some processes of this machine this is, from 0: :func:`own_gpu` deals the GPUs out."""
    _Share.place, _Share.processes = place, processes


def own_gpu(device: torch.device) -> torch.device:
    """The GPU of this process where "cuda" leaves that open; where others share it, with a share of its memory."""
    if device.type != "cuda" or _Share.processes == 1:
        return device
    count = torch.cuda.device_count()
    own = _Share.place % count if device.index is None else device.index
    sharers = len(range(own, _Share.processes, count)) if device.index is None else _Share.processes
    if sharers > 1:
        _limit_memory(_USABLE / sharers, own)
    return torch.device("cuda", own)


@functools.cache
def _limit_memory(fraction: float, index: int) -> None:
    torch.cuda.set_per_process_memory_fraction(fraction, index)


def tf32() -> dict[str, bool]:
    """Whether float32 products and convolutions may be computed in TF32 on a GPU; never an error.

    torch >= 2.9 has settings of other names, and raises where the former are read after those were set.
    """
    return {"matmul": _tf32("cuda.matmul", "cuda"), "conv": _tf32("cudnn.conv", "cudnn")}


def _tf32(*names: str) -> bool:
    for name in (*names, ""):
        setting = getattr(_backend(name), "fp32_precision", None)
        if setting not in (None, "none"):
            return bool(setting == "tf32")
    try:
        return bool(_backend("cuda.matmul" if names[-1] == "cuda" else "cudnn").allow_tf32)
    except RuntimeError:
        return False


def _backend(name: str) -> Any:
    """A part of ``torch.backends``; None where this torch has no such part."""
    part: Any = torch.backends
    for inner in name.split(".") if name else ():
        part = getattr(part, inner, None)
    return part


@contextmanager
def exact_products() -> Iterator[None]:
    """Products of float32 matrices in float32, whatever ``torch.set_float32_matmul_precision`` allows to networks."""
    settings: list[tuple[Any, str, Any]] = [(torch.backends.cuda.matmul, "allow_tf32", False)]
    if hasattr(torch.backends.cuda.matmul, "fp32_precision"):  # torch >= 2.9
        settings = [(_backend(name), "fp32_precision", "ieee") for name in ("cuda.matmul", "mkldnn.matmul")]
    before = [getattr(backend, name) for backend, name, _ in settings]
    try:
        for backend, name, value in settings:
            setattr(backend, name, value)
        yield
    finally:
        for (backend, name, _), value in zip(settings, before, strict=True):
            setattr(backend, name, value)


_WITHOUT_FORM = r"(.*?),? (?:does not have a deterministic implementation|defaults to a non-deterministic algorithm)"


@contextmanager
def deterministic_algorithms() -> Iterator[list[str]]:
    """Let torch compute the same bits each time on a GPU, where it can; everything is put back at the end.

    Yields
    ------
    list of str
        Names of operations for which torch cannot, as they are met; a line says each.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without which torch says so of every product
    cudnn: Any = torch.backends.cudnn
    filling: Any = torch.utils.deterministic
    before = cudnn.deterministic, cudnn.benchmark, filling.fill_uninitialized_memory
    enabled = torch.are_deterministic_algorithms_enabled()
    warned = torch.is_deterministic_algorithms_warn_only_enabled()
    others: list[str] = []
    with warnings.catch_warnings():
        warnings.filterwarnings("always", message=_WITHOUT_FORM)
        warnings.showwarning = functools.partial(_show_warning, warnings.showwarning, others)
        try:
            cudnn.deterministic, cudnn.benchmark, filling.fill_uninitialized_memory = True, False, False
            torch.use_deterministic_algorithms(True, warn_only=warned or not enabled)  # errors that were asked for stay
            yield others
        finally:
            torch.use_deterministic_algorithms(enabled, warn_only=warned)
            cudnn.deterministic, cudnn.benchmark, filling.fill_uninitialized_memory = before


def _show_warning(show: Any, others: list[str], message: Warning | str, *where: Any) -> None:
    known = re.match(_WITHOUT_FORM, str(message), re.DOTALL)
    if known is None:
        show(message, *where)
    elif known[1] not in others:
        others.append(known[1])
        note_once(f"torch has no deterministic algorithm for {known[1]}: a run with it cannot go on to the same bits")
