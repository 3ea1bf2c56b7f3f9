"""What a GPU says of itself, and who computes on which: on one that is pretended."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
import torchvision

from dametric.base import devices
from dametric.base.environment import machine
from dametric.models.computing import chosen_device
from tests.pretended_device import pretended_cuda

SETTINGS = """
import torch, dametric
from dametric.base.devices import tf32, exact_products
modern = hasattr(torch.backends.cudnn, "conv")
if modern:
    torch.backends.cudnn.conv.fp32_precision = "ieee"  # after which the former names cannot be read
    assert tf32() == {"matmul": False, "conv": False}, tf32()
torch.set_float32_matmul_precision("high")
assert tf32()["matmul"], tf32()
with exact_products():
    assert not tf32()["matmul"], tf32()
assert tf32()["matmul"] and torch.get_float32_matmul_precision() == "high"
"""


def test_settings_are_read_by_whatever_names_they_were_set() -> None:
    done = subprocess.run([sys.executable, "-W", "error", "-c", SETTINGS], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_seeds_are_torchs_own_and_nothing_is_kept_of_them() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2**40 + 7)
        numbers = torch.rand(5)
        kept = len(torch.cuda._queued_calls)
        devices.seed_generators(2**40 + 7, torch.device("cpu"))
        assert torch.equal(torch.rand(5), numbers)
    assert len(torch.cuda._queued_calls) == kept


def test_a_record_names_what_numbers_on_a_gpu_depend_on() -> None:
    with pretended_cuda():
        record = machine(torch.device("cuda"))
    assert record["chip"] == "Pretended H100"
    assert record["tf32"] == {"matmul": False, "conv": True}
    assert {"cuda", "cudnn", "driver", "deterministic"} <= set(record)
    assert "tf32" not in machine(torch.device("cpu"))
    assert record["torchvision"] == torchvision.__version__


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("CUDA out of memory. Tried to allocate 2.00 GiB.", True),
        ("CUDA error: out of memory", True),
        ("cuDNN error: CUDNN_STATUS_ALLOC_FAILED", True),
        ("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`", True),
        ("mat1 and mat2 shapes cannot be multiplied", False),
    ],
)
def test_memory_that_ran_out_is_known_in_every_library_s_words(words: str, expected: bool) -> None:
    assert devices.out_of_memory(RuntimeError(words)) == expected
    assert devices.out_of_memory(torch.cuda.OutOfMemoryError(words))
    assert not devices.out_of_memory(ValueError(words))


def shared(requested: str | None, place: int, processes: int, gpus: int) -> tuple[str, list[tuple[float, int]]]:
    limits: list[tuple[float, int]] = []
    devices._limit_memory.cache_clear()
    with pretended_cuda(devices=gpus), pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.cuda, "set_per_process_memory_fraction", lambda *given: limits.append(given))
        devices.share_gpus(place, processes)
        try:
            return str(chosen_device(requested)), limits
        finally:
            devices.share_gpus(0, 1)


def test_gpus_are_dealt_out_and_memory_is_shared() -> None:
    assert [shared(None, place, 3, 4) for place in range(3)] == [(f"cuda:{place}", []) for place in range(3)]
    half, whole = pytest.approx(0.475), []
    assert [shared("cuda", place, 3, 2) for place in range(3)] == [
        ("cuda:0", [(half, 0)]),
        ("cuda:1", whole),
        ("cuda:0", [(half, 0)]),
    ]
    assert shared("cuda:1", 0, 4, 2) == ("cuda:1", [(pytest.approx(0.2375), 1)])
    assert shared("cpu", 1, 4, 2) == ("cpu", [])
    assert shared(None, 0, 1, 4) == ("cuda", [])
