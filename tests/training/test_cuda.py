"""Training on CUDA: the CPU's steps, no waits, captured graphs, restarts, and what the pretended device foretells."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import pytest
import torch

import dametric
from dametric.augment import ImageSpec, Keys, parse
from dametric.data import ImageSet
from dametric.training import Objective, Training
from dametric.training.trainer import _one_step, advance_together
from tests.gpu_pretended.counts import BATCH, EVERY, image_set, network, of_step, training
from tests.gpu_pretended.deterministic import Runs
from tests.loops import each
from tests.pretended_device import pretended_cuda

pytestmark = pytest.mark.gpu


@pytest.fixture(scope="module")
def data() -> ImageSet:
    return image_set()


@each(
    ("aug", "recipe"),
    [
        *((aug, {}) for aug in EVERY),
        *(("cutmix", {"objective": Objective.of(views)}) for views in ("augmented", "raw")),
        ("mixup", {"objective": Objective(ce=1.0, raw=0.0, aug=0.0), "label_smoothing": 0.1}),
        ("cutmix", {"joint_batch": True, "per": "batch", "nesterov": True}),
    ],
)
def test_steps_in_float64_are_those_of_the_cpu(aug: str, recipe: dict[str, Any], data: ImageSet) -> None:
    here, there = (training(device, data, aug, **recipe) for device in ("cpu", "cuda"))
    here.run_epoch()
    there.run_epoch()
    assert there.losses() == pytest.approx(here.losses(), rel=1e-6)
    for ours, theirs in zip(there.model.parameters(), here.model.parameters(), strict=True):
        torch.testing.assert_close(ours.cpu(), theirs, rtol=1e-6, atol=1e-8)


@pytest.mark.filterwarnings("ignore:Synchronization debug mode")
@each("aug", EVERY)
def test_a_step_waits_for_nothing(aug: str, data: ImageSet) -> None:
    trained = training("cuda", data, aug)
    advance_together([trained], 3)
    (index,) = trained.batches(4)
    labels = trained.data.labels_of(index, trained.device)
    (pixels,) = trained.view.stream([(index, [trained.base_keys(BATCH, 3)])], trained.device)
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        _one_step([trained], pixels, labels)
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.filterwarnings("ignore:Warning. Profiler clears events")
def test_the_pretended_device_foretells_the_kernels_of_a_step(data: ImageSet) -> None:
    """Within a third: batch norm, sorts and sums are several kernels each, a fused optimizer's step one."""
    trained = training("cuda", data)
    advance_together([trained], 3)
    (index,) = trained.batches(4)
    labels = trained.data.labels_of(index, trained.device)
    (pixels,) = trained.view.stream([(index, [trained.base_keys(BATCH, 3)])], trained.device)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        _one_step([trained], pixels, labels)
        torch.cuda.synchronize()
    real = sum(event.device_type == torch.autograd.DeviceType.CUDA for event in profile.events())
    with pretended_cuda() as device:
        foretold = of_step(device, data, "cutmix").launches
    print(f"kernels of a step: {real}, foretold {foretold}")
    assert 0.67 < real / foretold < 1.5


@each("dtype", ["float32", "bfloat16"])
def test_a_deterministic_run_goes_on_to_the_same_bits(dtype: str, data: ImageSet, tmp_path: Path) -> None:
    """The same process; `dametric distill --deterministic`, killed and begun again, is the test by hand."""
    folder = tmp_path / dtype
    folder.mkdir()
    runs = Runs(data, folder, dtype=dtype)
    whole, parts = runs.whole(True), runs.interrupted(True, True)
    assert runs.equal()
    for record in (whole, parts):
        assert record.versions is not None
        assert record.versions["deterministic"] is True, "torch has no deterministic algorithm: see stderr"
        assert record.timing is not None
        assert record.timing.same_bits is None
    assert not torch.are_deterministic_algorithms_enabled()


def test_students_in_lockstep_are_those_that_learn_alone(data: ImageSet) -> None:
    augs = ["cutmix", "cutout", "cutmixpick"]
    alone, together = ([training("cuda", data, aug) for aug in augs] for _ in range(2))
    for each_ in alone:
        each_.run_epoch()
    advance_together(together, 4)
    for a, b in zip(alone, together, strict=True):
        for ours, theirs in zip(a.model.parameters(), b.model.parameters(), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-8)


def test_images_that_do_not_fit_are_streamed(data: ImageSet, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = training("cuda", data)
    whole.run_epoch()
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device=None: (0, 0))
    streamed = training("cuda", data)
    assert not streamed.data.images.is_cuda
    streamed.run_epoch()
    assert streamed.losses() == pytest.approx(whole.losses(), rel=1e-6)


@each("aug", ["rrc", "blur", "affine", "rotate", "perspective", "resizemix", "autoaugment", "shear"])
def test_pixels_do_not_depend_on_the_precision_of_products(aug: str, data: ImageSet) -> None:
    if aug not in dametric.augment.AUGS:
        return
    images = data.images[:64].cuda()
    chosen, keys = parse(aug, ImageSpec(16, data.mean)), Keys(0, 4, BATCH, 0, device=torch.device("cuda"))
    before = chosen(images, keys).images
    torch.set_float32_matmul_precision("high")
    try:
        assert torch.equal(chosen(images, keys).images, before)
    finally:
        torch.set_float32_matmul_precision("highest")


@pytest.mark.filterwarnings("ignore:.torch.jit.script_method. is deprecated:DeprecationWarning")
def test_compiled_students_learn_the_same_and_leave_their_memory(data: ImageSet) -> None:
    from dametric.training import Recipe
    from tests.gpu_pretended.counts import prepared

    def student(compile: bool) -> Training:
        recipe = Recipe(steps=3, batch_size=BATCH, dtype="float32", aug="cutmix", lr=0.05)
        teacher = prepared("cuda", data, torch.float32)
        trained = Training(network(4, 2), data, recipe, torch.device("cuda"), teacher=teacher, compile=compile)
        trained.run_epoch()
        return trained

    eager, held = student(False).losses(), []
    for _ in range(3):
        assert student(True).losses() == pytest.approx(eager, rel=1e-3)
        gc.collect()
        torch.cuda.empty_cache()
        held.append(torch.cuda.memory_allocated())
    assert held[2] <= held[1] * 1.1 + (1 << 20), held


@pytest.mark.filterwarnings("ignore:.torch.jit.script_method. is deprecated:DeprecationWarning")
def test_compiled_steps_are_replayed_as_cuda_graphs(data: ImageSet) -> None:
    from torch._dynamo.utils import counters

    from dametric.training import Recipe
    from tests.gpu_pretended.counts import prepared

    counters.clear()
    recipe = Recipe(steps=8, batch_size=BATCH, dtype="float32", aug="cutmix", lr=0.05)
    teacher = prepared("cuda", data, torch.float32)
    trained = Training(network(4, 2), data, recipe, torch.device("cuda"), teacher=teacher, compile=True)
    trained.run_epoch()
    print(dict(counters["inductor"]))
    assert not counters["graph_break"]
    assert counters["inductor"]["cudagraph_skips"] == 0, "TORCH_LOGS=cudagraphs says why"


def test_a_run_of_the_ledger_names_chip_driver_and_tf32(data: ImageSet, tmp_path: Path) -> None:
    small = data.subset(range(128))
    trained = dametric.distill(
        *(network(8, 1), network(4, 2), (small, small), "cutmix"),
        out=tmp_path / "runs",
        steps=3,
        batch_size=BATCH,
        quiet=True,
        dtype="float32",
    )
    versions = trained.record["versions"]
    print(versions)
    assert trained.record["about"]["device"] == "cuda"
    assert versions["chip"] == torch.cuda.get_device_name()
    assert set(versions["tf32"]) == {"matmul", "conv"}
