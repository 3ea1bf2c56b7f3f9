"""The package on a pretended GPU: the CPU's numbers, no waits, no mixed devices, and no more kernels than budgeted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist

import dametric
from dametric import score
from dametric.augment import parse
from dametric.data import ImageSet
from dametric.errors import UsageError
from dametric.records.scores import Scores
from dametric.training import Objective, Training
from dametric.training.trainer import advance_together
from tests.gpu_pretended.counts import BATCH, EVERY, GROUP, budgets, image_set, network, of_pass, rows, training
from tests.gpu_pretended.sweeping import check_sweep
from tests.loops import each
from tests.pretended_device import PretendedDevice, pretended_cuda, with_tensors

pytestmark = with_tensors

# operations of their own on a GPU, the same but for roundings of pixels: a level of 255 here and there
OTHERWISE = {"rrc", "rrc+flip"}


@pytest.fixture(scope="module")
def data() -> ImageSet:
    return image_set()


@pytest.fixture
def device() -> Iterator[PretendedDevice]:
    with pretended_cuda() as device:
        yield device


def numbers(scores: Any) -> dict[tuple[str, str, str], float]:
    return {
        (row["aug"], name, key): metric[key]
        for row in scores.scores
        for name, metric in row["metrics"].items()
        for key in ("value", "se", "plugin")
    }


@each("per", ["sample", "batch"])
def test_scores_are_those_of_the_cpu_to_the_last_printed_digit(per: str, data: ImageSet) -> None:
    options: dict[str, Any] = {"batch_size": BATCH, "batches": 8, "dtype": torch.float64, "quiet": True, "per": per}
    options |= {"student": network(4, 2)}
    here = numbers(score(network(8, 1), data, EVERY, device="cpu", **options))
    with pretended_cuda():
        there = numbers(score(network(8, 1), data, EVERY, device="cuda", **options))
    assert here.keys() == there.keys()
    assert len({name for _, name, _ in here}) >= 10
    for key, value in here.items():
        if key[0] not in OTHERWISE:
            assert there[key] == pytest.approx(value, rel=1e-9, abs=1e-12, nan_ok=True), key


class BrokenByOne(torch.nn.Module):
    """A network of which one image, all white, makes NaN."""

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        white = images.flatten(1).amin(1) > 1.5
        logits: torch.Tensor = self.network(images)
        return torch.where(white[:, None], torch.nan, logits)


@each("who", ["teacher", "student"])
def test_logits_that_are_not_finite_are_found_in_the_batch_where_they_are(who: str, data: ImageSet) -> None:
    images = data.images.clone()  # type: ignore[union-attr]
    images[len(images) // 2] = 255
    broken = replace(data, images=images)
    networks = {"teacher": network(8, 1), "student": network(4, 2)}
    networks[who] = BrokenByOne(networks[who])
    options: dict[str, Any] = {"batch_size": BATCH, "batches": len(data) // BATCH, "base_aug": "none", "quiet": True}
    said = []
    for device in ("cpu", "cuda"):
        with pretended_cuda(), pytest.raises(UsageError, match=rf"the {who} gave NaN or Inf on batch \d+ ") as error:
            score(
                networks["teacher"], broken, ["identity", "flip"], student=networks["student"], device=device, **options
            )
        said.append(str(error.value))
    assert said[0].partition(" under ")[0] == said[1].partition(" under ")[0]


@each(
    ("aug", "recipe"),
    [
        *((aug, {}) for aug in EVERY if aug not in OTHERWISE),
        *(("cutmix", {"objective": Objective.of(views)}) for views in ("augmented", "raw")),
        ("mixup", {"objective": Objective(ce=1.0, raw=0.0, aug=0.0), "label_smoothing": 0.1}),
        ("cutmix", {"joint_batch": True, "per": "batch", "nesterov": True}),
    ],
)
def test_steps_are_those_of_the_cpu_and_wait_for_nothing(aug: str, recipe: dict[str, Any], data: ImageSet) -> None:
    here = training("cpu", data, aug, **recipe)
    here.run_epoch()
    with pretended_cuda() as device:
        there = training("cuda", data, aug, **recipe)
        advance_together([there], 2)  # what is made at the first steps is copied once
        with device.counting() as counts:
            there.run_epoch()
        assert there.losses() == pytest.approx(here.losses(), rel=1e-12)
        weights = {name: weight.cpu() for name, weight in there.model.state_dict().items()}
    for name, weight in here.model.state_dict().items():
        torch.testing.assert_close(weights[name], weight, rtol=1e-12, atol=1e-14)
    assert [what for what, _ in counts.waits] == ["nonzero"], counts.table()  # a look at the losses, at the end


def test_a_run_goes_on_to_the_same_bits(data: ImageSet, device: PretendedDevice) -> None:
    whole, first = training("cuda", data), training("cuda", data)
    advance_together([whole], 4)
    advance_together([first], 2)
    second = training("cuda", data)
    second.model.load_state_dict({name: value.cpu() for name, value in first.model.state_dict().items()})
    second.restore(first.state())
    advance_together([second], 4)
    assert all(torch.equal(a, b) for a, b in zip(whole.model.parameters(), second.model.parameters(), strict=True))


def test_students_in_lockstep_are_those_that_learn_alone(data: ImageSet, device: PretendedDevice) -> None:
    augs = ["cutmix", "cutout", "cutmixpick"]
    alone, together = ([training("cuda", data, aug) for aug in augs] for _ in range(2))
    for each_ in alone:
        each_.run_epoch()
    advance_together(together, 2)
    with device.counting() as counts:
        advance_together(together, 4)
    assert counts.waits.total() == len(augs)
    for a, b in zip(alone, together, strict=True):
        assert all(torch.equal(x, y) for x, y in zip(a.model.parameters(), b.model.parameters(), strict=True))


def test_images_that_do_not_fit_are_streamed_without_waiting(data: ImageSet) -> None:
    with pretended_cuda(free=0) as device:
        there: Training = training("cuda", data)
        assert not there.data.images.is_cuda
        advance_together([there], 2)  # what is made at the first steps is copied once
        with device.counting() as counts:
            there.run_epoch()
        assert counts.waits.total() == 1
    here = training("cpu", data)
    here.run_epoch()
    assert here.number == there.number


def test_a_group_of_a_rank_copies_nothing_to_the_host(data: ImageSet, device: PretendedDevice, tmp_path: Path) -> None:
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        waits = [of_pass(device, data, ["cutmix", "flip"], groups).waits.total() for groups in (3, 3, 2)]
    finally:
        dist.destroy_process_group()
    assert waits[1] == waits[2]


@each("aug", [*dametric.augment.AUGS])
def test_no_built_in_augmentation_waits(aug: str, data: ImageSet, device: PretendedDevice) -> None:
    from dametric.augment import ImageSpec, Keys

    images = data.images[:32].to("cuda")
    chosen = parse(aug, ImageSpec(16, data.mean))
    keys: Callable[[int], Any] = lambda number: Keys(0, 2, BATCH, number, device=torch.device("cuda"))  # noqa: E731
    chosen(images, keys(0))
    with device.counting() as counts:
        chosen(images, keys(2))
    assert not counts.waits or aug == "jpeg", counts.table()  # which no GPU codes


def test_kernels_are_within_the_budgets_and_nothing_waits(data: ImageSet) -> None:
    """After a change that launches fewer: ``python -m tests.gpu_pretended.counts --write``."""
    allowed = budgets()
    for row in rows(["crop+flip", "cutmix", "cutmixpick:by=kld"], data):
        assert row.launches <= allowed[row.what, row.aug], row
        assert row.waits == 0, row


def test_a_sweep_of_teacher_students_and_scores(device: PretendedDevice, tmp_path: Path) -> None:
    check_sweep(tmp_path, jobs=1)


def test_a_run_and_a_score_file_name_the_device(data: ImageSet, device: PretendedDevice, tmp_path: Path) -> None:
    small = data.subset(range(GROUP // 4))
    trained = dametric.distill(
        *(network(8, 1), network(4, 2), (small, small), "cutmix"),
        out=tmp_path / "runs",
        steps=3,
        batch_size=BATCH,
        quiet=True,
        dtype="float32",
    )
    assert trained.record["about"]["device"] == "cuda"
    assert trained.record["versions"]["chip"] == "Pretended H100"
    path = tmp_path / "scores.json"
    score(network(8, 1), small, ["cutmix"], batches=4, batch_size=BATCH, quiet=True).write(path)
    assert Scores.read(path).settings.device == "cuda"
