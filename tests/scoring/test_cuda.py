"""The pass on CUDA: the same numbers as on the CPU, in any chunk, without waiting for the host."""

from __future__ import annotations

import copy
import json
import warnings
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dametric import score
from dametric.models import build, save_checkpoint
from tests.scoring.test_ranks import launched

pytestmark = pytest.mark.gpu
AUGS = ["identity", "flip", "crop+flip", "cutout", "autoaugment", "mixup", "cutmix", "cutmixpick"]
CRITERIA = [f"cutmixpick:by={by}" for by in ("student_entropy", "kld", "dissimilarity")]


def run(teacher: nn.Module, data, augs=None, **options: Any):
    settings: dict[str, Any] = {
        "batch_size": 16,
        "batches": 40,
        "dtype": torch.float64,
        "device": "cuda",
        "quiet": True,
    }
    return score(teacher, data, augs or AUGS, **(settings | options))


def assert_close(ours, theirs, rel: float) -> None:
    a, b = ({row["aug"]: row["metrics"] for row in result.scores} for result in (ours, theirs))
    assert set(a) == set(b)
    for aug, metrics in a.items():
        for name, one in metrics.items():
            other = b[aug][name]
            assert one["blocks"] == other["blocks"]
            assert one["value"] == pytest.approx(other["value"], rel=rel, abs=rel * 1e-3), (aug, name)
            assert one["se"] == pytest.approx(other["se"], rel=100 * rel), (aug, name)


@pytest.mark.parametrize("per", ["sample", "batch"])
def test_cuda_gives_what_the_cpu_gives(per: str, teacher, student, data) -> None:
    options: dict[str, Any] = {"student": student, "per": per}
    augs = AUGS + CRITERIA
    assert_close(run(teacher, data, augs, **options), run(teacher, data, augs, device="cpu", **options), 1e-5)


def test_reference_protocol_on_cuda_gives_what_the_cpu_gives(teacher, student, data) -> None:
    options: dict[str, Any] = {"student": student, "protocol": "reference", "batches": 60}
    assert_close(run(teacher, data, **options), run(teacher, data, device="cpu", **options), 1e-5)


@pytest.mark.parametrize("per", ["sample", "batch"])
def test_result_on_cuda_does_not_depend_on_the_forward_chunk(per: str, teacher, student, data) -> None:
    augs = AUGS + CRITERIA
    results = [run(teacher, data, augs, student=student, per=per, chunk=chunk) for chunk in (5, 16, 4096)]
    for other in results[1:]:
        assert_close(results[0], other, 1e-6)


def test_stopping_point_on_cuda_is_that_of_the_cpu(teacher, data) -> None:
    options: dict[str, Any] = {"batches": None, "rel_se": 0.03}
    results = [run(teacher, data, device=device, **options) for device in ("cuda", "cpu")]
    stops = [{row["aug"]: row["batches"] for row in result.scores} for result in results]
    assert stops[0] == stops[1]


def test_networks_that_are_on_the_device_already_stay_there(teacher, data) -> None:
    there = copy.deepcopy(teacher).cuda()
    assert_close(run(there, data), run(teacher, data), 1e-12)
    assert all(parameter.is_cuda for parameter in there.parameters())


def test_a_set_too_large_for_the_device_is_streamed_from_the_host(
    teacher, data, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run(teacher, data)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (0, 0))
    assert not data.to("cuda").images.is_cuda
    assert_close(run(teacher, data), whole, 1e-12)


def test_a_rank_of_its_own_under_nccl_gives_what_one_process_gives(teacher, data, tmp_path) -> None:
    whole = run(teacher, data)
    torch.distributed.init_process_group("nccl", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        assert_close(run(teacher, data), whole, 1e-12)
    finally:
        torch.distributed.destroy_process_group()


RANK = """
import os, sys, torch, dametric
from dametric.models import load_checkpoint
torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
torch.distributed.init_process_group("nccl")
digits = dametric.load_data("digits", "train", quiet=True)
options = {"device": "cuda", "dtype": torch.float64, "batches": 40, "batch_size": 16, "quiet": True}
scores = dametric.score(load_checkpoint(sys.argv[1]).model, digits, ["flip", "cutmix", "cutmixpick"], **options)
scores.write(f"{torch.distributed.get_world_size()}-{torch.distributed.get_rank()}.json")
torch.distributed.destroy_process_group()
"""


def test_two_ranks_under_nccl_give_what_one_process_gives(tmp_path) -> None:
    if torch.cuda.device_count() < 2:
        pytest.skip(f"NCCL with two ranks needs two GPUs, and there is {torch.cuda.device_count()}")
    torch.manual_seed(0)
    save_checkpoint(tmp_path / "teacher.pth", build("resnet8", 10, 32), arch="resnet8", classes=[*map(str, range(10))])
    (tmp_path / "rank.py").write_text(RANK)
    for world in (1, 2):
        done = launched(world, "rank.py", tmp_path / "teacher.pth", folder=tmp_path)
        assert done.returncode == 0, done.stderr
    one, *two = (json.loads((tmp_path / name).read_text()) for name in ("1-0.json", "2-0.json", "2-1.json"))
    for scores in two:
        for ours, theirs in zip(scores["scores"], one["scores"], strict=True):
            assert ours["aug"] == theirs["aug"]
            for name, metric in theirs["metrics"].items():
                assert ours["metrics"][name]["value"] == pytest.approx(metric["value"], rel=1e-12), name


def test_a_compiled_teacher_scores_the_same(teacher, data) -> None:
    eager, compiled = (run(teacher, data, dtype=torch.float32, compile=compile) for compile in (False, True))
    assert_close(compiled, eager, 1e-3)


def test_nothing_waits_for_the_host_between_two_looks(teacher, data) -> None:
    """The number of synchronisations does not grow with the number of batches between two looks.

    The second group copies once what the first asked for; from the third on, nothing is.
    """
    augs = ["identity", "flip", "crop+flip", "cutout", "mixup", "cutmix", "cutmixpick"]

    def waits(batches: int) -> int:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            torch.cuda.set_sync_debug_mode("warn")
            try:
                run(teacher, data.to("cuda"), augs, batches=batches, chunk=16)
            finally:
                torch.cuda.set_sync_debug_mode("default")
        return sum("synchroniz" in str(warning.message) for warning in caught)

    waits(4)  # whatever is set up at the first use
    assert waits(96) == waits(72) > 0


def test_real_exhaustion_halves_the_chunk_and_gives_the_same(teacher, data) -> None:
    class Hungry(nn.Module):
        """Takes more memory than there is for more than 100 rows."""

        def __init__(self, inner: nn.Module) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, images: Tensor) -> Tensor:
            if len(images) > 100:
                torch.empty(1 << 42, dtype=torch.uint8, device=images.device)
            return self.inner(images)

    found = run(Hungry(teacher), data, batches=40, chunk=512)
    assert found.config["chunk"] <= 100
    assert_close(found, run(teacher, data, batches=40, chunk=512), 1e-6)
