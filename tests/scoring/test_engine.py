"""What must not change a score: chunks, company, order, memory; and what must: the seed."""

from __future__ import annotations

import itertools
import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from dametric import ImageSet, UsageError, score
from dametric.augment.erase import Cutout
from dametric.base import devices
from dametric.base.terminal import note_once
from dametric.metrics import METRICS
from dametric.scoring import engine as engine_module
from dametric.scoring.engine import Engine, Segment
from dametric.scoring.protocol import Protocol, units
from tests.oracles import estimator as oracle

AUGS = ["identity", "flip", "crop+flip", "cutout", "mixup", "cutmix", "cutmixpick"]
CRITERIA = [f"cutmixpick:by={by}" for by in ("student_entropy", "kld", "dissimilarity")]


def run(teacher: nn.Module, data, augs=None, **options: Any):
    settings: dict[str, Any] = {"batch_size": 16, "batches": 33, "dtype": torch.float32, "device": "cpu", "quiet": True}
    return score(teacher, data, AUGS if augs is None else augs, **(settings | options))


def by_aug(result) -> dict[str, dict[str, dict[str, Any]]]:
    return {row["aug"]: row["metrics"] for row in result.scores}


def assert_same(ours, theirs, rel: float = 0.0) -> None:
    """Every number of every metric, to a relative tolerance (errors to ten of it); 0 means the same bits."""
    a, b = by_aug(ours), by_aug(theirs)
    assert set(a) == set(b)
    for aug, metric in [(aug, metric) for aug, metrics in a.items() for metric in metrics]:
        for key, value in a[aug][metric].items():
            other = b[aug][metric][key]
            if rel == 0 or not isinstance(value, float):
                assert value == other, (aug, metric, key)
            else:
                tolerance = rel * (10 if key == "se" else 1)
                assert value == pytest.approx(other, rel=tolerance, abs=rel * 1e-3), (aug, metric, key)


LOOK = 16  # images that every network is looked at with before the pass: eight, twice


class Counting(nn.Module):
    """Keeps the number of rows of every forward pass, also of copies of itself."""

    def __init__(self, inner: nn.Module, seen: list[int]) -> None:
        super().__init__()
        self.inner = inner
        self.forget = lambda: seen.clear()
        self.note = seen.append

    def forward(self, images: Tensor) -> Tensor:
        self.note(int(images.shape[0]))
        return self.inner(images)


class Counted:
    def __init__(self, inner: nn.Module) -> None:
        self.seen: list[int] = []
        self.module = Counting(inner, self.seen)

    def rows(self, data, augs, batches: int = 20, **options: Any) -> int:
        self.seen.clear()
        run(self.module, data, augs, batches=batches, **options)
        return sum(self.seen) - LOOK


@pytest.mark.parametrize("per", ["sample", "batch"])
def test_result_does_not_depend_on_the_forward_chunk(per: str, teacher, student, data) -> None:
    augs = [*AUGS, "cutmixpick:by=kld"]
    results = [run(teacher, data, augs, student=student, per=per, batches=21, chunk=chunk) for chunk in (7, 50, 4096)]
    for other in results[1:]:
        assert_same(results[0], other, rel=2e-5)


def test_reference_protocol_does_not_depend_on_the_forward_chunk(teacher, student, data) -> None:
    options: dict[str, Any] = {"student": student, "protocol": "reference", "batches": 40}
    results = [run(teacher, data, [*AUGS, "cutmixpick:by=kld"], chunk=chunk, **options) for chunk in (7, 4096)]
    assert_same(*results, rel=2e-5)


def test_stopping_point_does_not_depend_on_the_forward_chunk(teacher, data) -> None:
    augs = ["flip", "mixup", "cutmixpick"]
    results = [run(teacher, data, augs, batches=None, rel_se=0.04, chunk=chunk) for chunk in (16, 160, 4096)]
    assert len({row["batches"] for row in results[0].scores}) > 1
    for other in results[1:]:
        assert_same(results[0], other, rel=2e-5)
        assert other.config["batches"] == results[0].config["batches"]


@pytest.mark.parametrize(("limit", "batches"), [(4, 40), (8, 50)])
def test_forward_chunk_does_not_show_when_blocks_are_merged_either(
    limit: int, batches: int, teacher, data, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More units than are kept singly: what is merged with what is a matter of units alone."""
    monkeypatch.setattr(engine_module, "MAX_BLOCKS", limit)
    augs = ["flip", "mixup", "cutmixpick"]
    results = [run(teacher, data, augs, batches=batches, chunk=chunk, dtype=torch.float64) for chunk in (16, 48, 4096)]
    assert 0 < by_aug(results[0])["flip"]["t_stddev"]["blocks"] <= 2 * limit
    for other in results[1:]:
        assert_same(results[0], other, rel=1e-6)


@pytest.mark.parametrize("per", ["sample", "batch"])
def test_merging_blocks_keeps_the_value_exactly_and_bounds_their_number(
    per: str, teacher, student, data, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = by_aug(run(teacher, data, student=student, per=per, batches=100))
    monkeypatch.setattr(engine_module, "MAX_BLOCKS", 8)
    merged = by_aug(run(teacher, data, student=student, per=per, batches=100))
    for aug, metrics in whole.items():
        for name, one in metrics.items():
            other = merged[aug][name]
            assert one["blocks"] == 100
            assert 8 <= other["blocks"] <= 16
            assert other["plugin"] == pytest.approx(one["plugin"], rel=1e-9), (aug, name)
            if (aug, name) == ("identity", "information_kept"):  # one, but for rounding
                assert other["value"] == pytest.approx(1, rel=1e-12)
                continue
            assert abs(other["value"] - one["value"]) < 0.5 * one["se"], (aug, name)
            assert one["se"] / 3 < other["se"] < 3 * one["se"], (aug, name)


def test_order_of_augmentations_does_not_matter(teacher, student, data) -> None:
    augs = AUGS + CRITERIA
    assert_same(run(teacher, data, augs, student=student), run(teacher, data, augs[::-1], student=student))


@pytest.mark.parametrize("stop", [{"batches": 9}, {"batches": None, "rel_se": 0.05}], ids=["fixed", "rel_se"])
def test_other_augmentations_scored_along_do_not_matter(stop: dict[str, Any], teacher, student, data) -> None:
    augs = AUGS + CRITERIA
    together = by_aug(run(teacher, data, augs, student=student, **stop))
    for aug in ("flip", "mixup", *augs[6:]):
        alone = run(teacher, data, aug, student=student, **stop)
        assert by_aug(alone)[aug] == together[aug]


def test_other_metrics_measured_along_do_not_matter(teacher, student, data) -> None:
    together = by_aug(run(teacher, data, student=student))
    for metric in together["flip"]:
        alone = by_aug(run(teacher, data, ["flip", "cutmixpick"], student=student, metrics=[metric]))
        for aug in ("flip", "cutmixpick"):
            raw = "raw" in METRICS[metric].needs  # else the guard is of the first batches
            assert alone[aug] == {name: together[aug][name] for name in alone[aug] if raw or name == metric} | (
                {} if raw else {"information_kept": alone[aug]["information_kept"]}
            )
            assert set(alone[aug]) - {"information_kept"} == {metric} - {"information_kept"}


def test_a_student_that_nothing_asks_does_not_matter(teacher, student, data) -> None:
    metrics = ["t_stddev", "t_entropy", "t_gini"]
    assert_same(run(teacher, data, metrics=metrics), run(teacher, data, metrics=metrics, student=student))


def test_the_same_seed_gives_the_same_bits_and_another_seed_another_value(teacher, data) -> None:
    first, again, other = (run(teacher, data, seed=seed) for seed in (3, 3, 4))
    assert_same(first, again)
    for aug in AUGS:
        assert by_aug(first)[aug]["t_stddev"]["value"] != by_aug(other)[aug]["t_stddev"]["value"]


def test_seeds_differ_by_about_the_error_that_is_stated(teacher, images) -> None:
    """Fewer batches than an epoch has, so that seeds show different images; the finite set makes them more alike."""
    results = [by_aug(run(teacher, images, ["flip", "mixup"], batches=10, seed=seed)) for seed in range(16)]
    for aug in ("flip", "mixup"):
        values = [result[aug]["t_stddev_rms"]["value"] for result in results]
        stated = np.sqrt(np.mean([result[aug]["t_stddev_rms"]["se"] ** 2 for result in results]))
        assert 0.4 * stated < np.std(values, ddof=1) < 1.6 * stated


def test_global_random_state_is_neither_used_nor_changed(teacher, data) -> None:
    def own(images: Tensor) -> Tensor:
        return torch.where(torch.rand(1) < 0.5, images.flip(-1), images)

    results = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        before = torch.get_rng_state()
        results.append(run(teacher, data, [*AUGS, own], batches=4))
        assert torch.equal(before, torch.get_rng_state())
    assert_same(*results)


@pytest.mark.parametrize("batches", [2, 7, 33])
def test_as_many_blocks_as_batches(batches: int, teacher, data) -> None:
    result = run(teacher, data, batches=batches)
    assert result.config["batches"] == batches
    assert result.config["epochs"] == pytest.approx(batches / 31)
    for row in result.scores:
        assert (row["batches"], row["rows"]) == (batches, 16 * batches)
        assert {metric["blocks"] for metric in row["metrics"].values()} == {batches}


def test_reference_protocol_has_as_many_blocks_as_draws(teacher, data) -> None:
    result = run(teacher, data, ["identity", "cutmix"], protocol="reference", batches=43)
    assert result.config["batches"] == 40
    for row in result.scores:
        assert {metric["blocks"] for metric in row["metrics"].values()} == {8}


def test_stops_at_the_first_look_that_shows_the_wanted_error(teacher, data) -> None:
    """Looks at 20, 30, 45, ... batches (times 3/2, rounded down), at each augmentation on its own."""
    augs, only, rel_se = ["flip", "mixup"], ["t_stddev"], 0.035
    result = run(teacher, data, augs, metrics=only, batches=None, rel_se=rel_se)
    assert result.config["rel_se_reached"] is True
    assert result.config["rel_se"] == rel_se
    assert result.config["batches"] == max(row["batches"] for row in result.scores)
    looks = [look for look in (20, 30, 45, 67, 101, 151, 227) if look <= result.config["batches"]]
    assert {row["batches"] for row in result.scores} == {20, 30}
    fixed = {look: by_aug(run(teacher, data, augs, metrics=only, batches=look)) for look in looks}
    for row in result.scores:
        at = {look: fixed[look][row["aug"]]["t_stddev"] for look in looks}
        assert row["batches"] == next(look for look in looks if at[look]["se"] <= rel_se * at[look]["value"])
        for key in ("value", "se", "low", "high"):
            assert row["metrics"]["t_stddev"][key] == pytest.approx(at[row["batches"]][key], rel=1e-4)


def test_gives_up_at_the_largest_number_of_batches_and_says_so(teacher, data) -> None:
    result = run(teacher, data, ["cutmixpick"], batches=None, rel_se=1e-4, max_batches=37)
    assert result.config["batches"] == 37
    assert result.config["rel_se_reached"] is False


def test_augmentations_that_are_known_well_enough_are_shown_no_more(teacher, data) -> None:
    counted = Counted(teacher)
    counted.seen.clear()
    result = run(counted.module, data, ["flip", "cutmixpick"], metrics=["t_stddev"], batches=None, rel_se=0.02)
    shown = {row["aug"]: row["batches"] for row in result.scores}
    assert shown["flip"] < shown["cutmixpick"]
    assert sum(counted.seen) == LOOK + 16 * (shown["flip"] + 3 * shown["cutmixpick"])


@pytest.mark.parametrize("per", ["sample", "batch"])
def test_paired_differences_have_smaller_errors_than_unpaired_ones(per: str, teacher, data) -> None:
    """On the average of pairs and seeds; a single error of 40 batches is itself known to some 10 % only."""
    ratios = []
    for seed in range(3):
        best, *others = run(teacher, data, per=per, batches=40, seed=seed, metrics=["t_stddev"]).scores
        for row in others:
            gap, ours, theirs = row["difference"], row["metrics"]["t_stddev"], best["metrics"]["t_stddev"]
            assert gap["to"] == best["aug"]
            assert gap["value"] == pytest.approx(ours["value"] - theirs["value"], rel=1e-12)
            assert row["tied_with_best"] == (gap["low"] <= 0 <= gap["high"])
            ratios.append(gap["se"] / math.hypot(ours["se"], theirs["se"]))
    assert 0 < min(ratios) < max(ratios) < 1.2
    assert np.mean(ratios) < {"sample": 0.9, "batch": 0.95}[per]


def test_the_best_row_is_tied_with_itself_and_rows_are_ordered_by_direction(teacher, data) -> None:
    for metric, descending in (("t_stddev", False), ("t_conf", False), ("t_entropy", True), ("t_gini", True)):
        result = run(teacher, data, metrics=[metric], batches=5)
        values = [row["metrics"][metric]["value"] for row in result.scores]
        assert values == sorted(values, reverse=descending)
        assert result.scores[0]["difference"] == {
            "to": result.scores[0]["aug"],
            "value": 0,
            "se": 0,
            "low": 0,
            "high": 0,
        }
        assert result.scores[0]["tied_with_best"] is True


def test_a_metric_that_needs_no_raw_rows_pays_for_those_of_the_guard_alone(teacher, student, data) -> None:
    counted, rows, guard = Counted(teacher), 20 * 16, 4 * 16
    for metric in ("t_stddev_aug", "t_entropy", "t_gini", "t_conf"):
        assert counted.rows(data, "flip", metrics=[metric]) == rows + guard
        assert counted.rows(data, "cutmixpick", metrics=[metric]) == 2 * rows + guard
    for metric in ("ce_mean", "ce_std"):
        asked = Counted(student)
        assert counted.rows(data, "flip", metrics=[metric], student=asked.module) == rows + guard
        assert sum(asked.seen) == LOOK + rows
    for metric in ("t_stddev", "t_stddev_rms"):
        assert counted.rows(data, "flip", metrics=[metric]) == 2 * rows
        assert counted.rows(data, "cutmixpick", metrics=[metric]) == 3 * rows
    assert counted.rows(data, "cutmixpick:by=dissimilarity", metrics=["t_entropy"]) == 3 * rows


def test_identity_alone_forwards_each_image_once(teacher, data) -> None:
    counted, rows = Counted(teacher), 20 * 16
    for metric in ("t_stddev", "t_stddev_aug", "t_entropy"):
        assert counted.rows(data, "identity", metrics=[metric]) == rows
    assert counted.rows(data, "identity") == rows


def test_raw_rows_are_forwarded_once_for_all_augmentations(teacher, data) -> None:
    counted, rows = Counted(teacher), 20 * 16
    assert counted.rows(data, ["identity", "flip", "cutout", "mixup"]) == 4 * rows
    assert counted.rows(data, ["identity", "flip"], protocol="reference") == 2 * rows


def test_augmentations_that_show_the_same_images_share_what_the_networks_say(teacher, student, data) -> None:
    """CutMix is the first run of a pool, and both picks share the pool; other parameters make other images."""
    rows, guard, only = 20 * 16, 4 * 16, {"metrics": ["t_entropy"]}
    shared = ["cutmix", "cutmixpick:by=student_entropy", "cutmixpick", "cutmixpick:by=kld:runs=3"]
    theirs = ["cutmix:alpha=0.5", "flip+cutmix", "cutmixpick:alpha=0.5", "flip+cutmixpick"]
    counted, asked = Counted(teacher), Counted(student)
    assert counted.rows(data, shared, student=asked.module, **only) == 3 * rows + guard
    assert sum(asked.seen) == LOOK + 3 * rows
    assert counted.rows(data, [*shared, *theirs], student=student, **only) == 7 * rows + guard
    alone = {aug: by_aug(run(teacher, data, aug, student=student))[aug] for aug in shared + theirs}
    together = by_aug(run(teacher, data, [*shared, *theirs], student=student))
    for aug, metrics in alone.items():
        for name, metric in metrics.items():
            assert together[aug][name]["value"] == pytest.approx(metric["value"], rel=1e-5), (aug, name)


def test_a_student_is_asked_only_where_something_needs_it(teacher, student, data) -> None:
    counted, rows = Counted(student), 20 * 16

    def asked(augs, **options: Any) -> int:
        counted.seen.clear()
        run(teacher, data, augs, batches=20, student=counted.module, **options)
        return sum(counted.seen) - LOOK

    assert asked(["identity", "flip"], metrics=["t_stddev"]) == 0
    assert asked(["identity", "flip"], metrics=["ce_cov"]) == 2 * rows
    assert asked(["flip", "cutmixpick:by=student_entropy"], metrics=["t_entropy"]) == 2 * rows


class Limited(nn.Module):
    """Runs out of memory above a number of rows."""

    def __init__(self, inner: nn.Module, limit: int, seen: list[int]) -> None:
        super().__init__()
        self.inner, self.limit, self.note = inner, limit, seen.append

    def forward(self, images: Tensor) -> Tensor:
        rows = int(images.shape[0])
        self.note(rows)
        if rows > self.limit:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return self.inner(images)


@pytest.mark.parametrize("limit", [1, 7, 50])
def test_running_out_of_memory_halves_the_chunk_and_goes_on(limit: int, teacher, data) -> None:
    seen: list[int] = []
    result = run(Limited(teacher, limit, seen), data, batches=12, chunk=256)
    assert_same(run(teacher, data, batches=12, chunk=256), result, rel=2e-5)
    assert result.config["chunk"] <= limit
    assert result.config["chunk"] > limit / 2 or limit == 1
    assert sum(rows > limit for rows in seen) <= 9  # 256, 128, ..., 2, once each


def test_memory_that_runs_out_in_augmentation_is_met_by_fewer_rows_and_the_same_numbers(
    teacher, student, data, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """In the words of cuBLAS, after some of a group was observed; afterwards more is tried again."""
    whole, sizes, apply = run(teacher, data, student=student), [], Cutout.apply

    def hungry(self: Cutout, images: Tensor, draw: Any) -> Any:
        sizes.append(len(images))
        if len(images) > 100 and sizes.count(512) == 1:
            raise RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`")
        return apply(self, images, draw)

    monkeypatch.setattr(Cutout, "apply", hungry)
    monkeypatch.setattr(devices, "_PATIENCE", 1)
    note_once.cache_clear()
    result = run(teacher, data, student=student)
    assert sizes[1:] == [512, 256, 128, 64, 64, 64, 64, 64, 64, 64, 64, 16]
    assert_same(whole, result, rel=2e-5)
    assert result.rows == whole.rows
    for key in ("rows_forwarded", "batches"):
        assert result.config[key] == whole.config[key]
    assert "too little memory: 256 images at a time from here on, as with chunk=256" in capfd.readouterr().err


def test_rows_at_once_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "_PATIENCE", 2)
    rows, seen = devices.RowsAtOnce(100), []
    assert rows.fewer(80)
    for _ in range(9):
        seen.append(rows.now)
        rows.went_well()
    assert seen == [40] * 4 + [80] * 4 + [100]
    rows.now = 1
    assert not rows.fewer(5)


def test_a_device_without_memory_for_one_image_says_so(teacher, data) -> None:
    with pytest.raises(UsageError, match="too little memory for the network: use a smaller batch_size") as error:
        run(Limited(teacher, 0, []), data, batches=2)
    assert isinstance(error.value.__cause__, torch.cuda.OutOfMemoryError)


class Marked(nn.Module):
    """Not a number for images that hold a pixel far brighter than any other."""

    def __init__(self, inner: nn.Module, bad: float) -> None:
        super().__init__()
        self.inner, self.bad = inner, bad

    def forward(self, images: Tensor) -> Tensor:
        marked = (images.amax((1, 2, 3)) > 3.5)[:, None]  # 255 at mean 0.4, std 0.17; others stop at 200
        return torch.where(marked, self.bad, self.inner(images))


@pytest.fixture
def dim(images: Tensor) -> ImageSet:
    return ImageSet.from_tensors(images.clamp(max=150), mean=(0.4,) * 3, std=(0.17,) * 3)


def mark(images: Tensor) -> Tensor:
    images = images.clone()
    images[..., 0, 0] = 255
    return images


@pytest.mark.parametrize(("bad", "chunk"), [(math.nan, 8), (math.inf, 16), (-math.inf, 4096)])
def test_nan_from_the_teacher_stops_with_the_batch_and_the_augmentation(bad: float, chunk: int, teacher, dim) -> None:
    where = 13
    index = next(itertools.islice(units(Protocol(batch=16), 500), where, None)).batches[0]
    images = dim.images.clone()
    images[index[5], :, 0, 0] = 255
    data = ImageSet.from_tensors(images, mean=dim.mean, std=dim.std)
    options: dict[str, Any] = {"chunk": chunk, "base_aug": "identity"}
    with pytest.raises(UsageError, match=rf"NaN or Inf on batch {where} under the raw images") as caught:
        run(Marked(teacher, bad), data, ["identity", "flip"], **options)
    assert "\n" not in str(caught.value)
    with pytest.raises(UsageError, match=rf"NaN or Inf on batch {where} under cutmix"):
        run(Marked(teacher, bad), data, ["cutmixpick"], metrics=["t_entropy"], **options)
    with pytest.raises(UsageError, match=rf"NaN or Inf on batch {where} "):
        run(Marked(teacher, bad), data, ["flip"], protocol="reference", **options)
    with pytest.raises(UsageError, match="NaN or Inf on batch 0 under mark"):
        run(Marked(teacher, bad), dim, ["flip", mark], **options)
    run(Marked(teacher, bad), dim, ["flip"], **options)


def test_nan_from_the_student_is_not_passed_on_in_silence(teacher, student, dim) -> None:
    with pytest.raises(UsageError, match="student"):
        run(teacher, dim, [mark], student=Marked(student, math.nan))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_images_that_are_not_finite_stop_with_the_batch_and_the_augmentation(dtype: torch.dtype, teacher, dim) -> None:
    """Fused kernels would make 0 of them, and the score would be better than the identity's."""

    def some(images: Tensor) -> Tensor:
        return images.float() * (math.nan if torch.rand(()) < 0.125 else 1)

    def all_(images: Tensor) -> Tensor:
        return images.float() + math.inf

    options: dict[str, Any] = {"dtype": dtype, "base_aug": "identity", "batches": 4, "chunk": 64}
    with pytest.raises(UsageError, match=r"augmentation .*all_ gave NaN or Inf on batch 0$"):
        run(teacher, dim, ["identity", all_], **options)
    with pytest.raises(UsageError, match=r"augmentation .*some gave NaN or Inf on batch \d$"):
        run(teacher, dim, ["identity", some], **options)


class Label(nn.Module):
    """A teacher that is certain of the class painted into the image."""

    def forward(self, images: Tensor) -> Tensor:
        level = images.mean((1, 2, 3)).mul(4).round().long()
        return 1000 * nn.functional.one_hot(level.clamp(0, 4), 5).to(images.dtype)


@pytest.fixture(scope="module")
def painted() -> ImageSet:
    """400 images of even brightness, 80 of each of five levels."""
    level = torch.arange(400) % 5
    images = (level * 63.75).round().to(torch.uint8)[:, None, None, None].expand(400, 3, 8, 8)
    return ImageSet.from_tensors(images.contiguous(), level, mean=(0.0,) * 3, std=(1.0,) * 3)


def test_one_hot_balanced_teacher_scores_its_closed_form(painted) -> None:
    """T = sqrt((1/C)(1 - 1/C)/n) with the finite set's N / (N - 1): both estimators, many epochs."""
    closed = math.sqrt(0.2 * 0.8 * 400 / 399 / 80)
    for per, blocks in (("sample", 500), ("batch", 500)):
        result = run(Label(), painted, ["identity", "flip"], per=per, batches=blocks, base_aug="identity")
        for aug in ("identity", "flip"):
            for name in ("t_stddev", "t_stddev_rms", "t_stddev_aug"):
                found = by_aug(result)[aug][name]
                assert found["value"] == pytest.approx(closed, abs=3 * found["se"])
                assert found["se"] < 0.03 * closed
    assert found["estimator"] == "units"


def test_over_epochs_batch_means_are_unbiased_and_the_published_draws_are_not(painted) -> None:
    """Formula (B) in the whole pass: N = 400, draws of 80, 20 epochs, averaged over seeds."""
    target = 0.2 * 0.8 * 400 / 399 / 80
    default, reference = [], []
    for seed in range(16):
        options: dict[str, Any] = {
            "batches": 500,
            "base_aug": "identity",
            "seed": seed,
            "chunk": 8000,
            "metrics": ["t_stddev_rms"],
        }
        for found, more in ((default, {"per": "batch"}), (reference, {"protocol": "reference"})):
            found.append(
                by_aug(run(Label(), painted, "flip", **options, **more))["flip"]["t_stddev_rms"]["plugin"] ** 2
            )
    biased = oracle.finite_population(80 / 400, 100, 5)
    assert biased == pytest.approx(0.81, abs=0.01)
    for found, expected in ((default, 1), (reference, biased)):
        error = np.std(found, ddof=1) / math.sqrt(len(found)) / target
        assert error < 0.03
        assert np.mean(found) / target == pytest.approx(expected, abs=3 * error)


def test_the_batch_of_what_is_not_finite_is_known_in_pools_and_among_picked_rows() -> None:
    segment = Segment(batches=2, size=3, first=4)
    for rows, broken, expected in ((12, 4, [True, False]), (12, 7, [False, True]), (8, 3, [False, True])):
        logits, notes = torch.zeros(rows, 5), SimpleNamespace(_finite=[], _logits=[], device=torch.device("cpu"))
        logits[broken, 2] = torch.nan
        Engine._note_finite(notes, "teacher", logits, "cutmix", segment)  # type: ignore[arg-type]
        ((who, what, first, finite),) = notes._finite
        assert (who, what, first, finite.tolist()) == ("teacher", "cutmix", 4, expected), (rows, broken)
