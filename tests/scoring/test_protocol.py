"""Which images are shown in what groups."""

from __future__ import annotations

import itertools

import pytest
import torch

from dametric import UsageError
from dametric.augment import ImageSpec, parse
from dametric.scoring.protocol import Protocol, units
from tests.loops import each


def first(protocol: Protocol, images: int, count: int):
    return list(itertools.islice(units(protocol, images), count))


def test_default_units_are_full_batches_without_replacement_and_epochs_are_told_apart() -> None:
    found = first(Protocol(batch=64), 500, 21)
    assert [unit.epoch for unit in found] == [0] * 7 + [1] * 7 + [2] * 7
    assert [unit.first for unit in found] == list(range(21))
    orders = []
    for epoch in range(3):
        rows = torch.cat([index for unit in found[7 * epoch : 7 * epoch + 7] for index in unit.batches])
        assert [len(unit.batches) for unit in found] == [1] * 21
        assert len(rows) == 448
        assert len(rows.unique()) == 448
        assert 0 <= int(rows.min()) <= int(rows.max()) < 500
        orders.append(rows)
    assert not torch.equal(orders[0], orders[1])
    assert set(orders[0].tolist()) != set(orders[1].tolist())  # what is left out changes from epoch to epoch


def test_reference_draws_are_five_loader_batches_with_the_short_last_one_straddling_epochs() -> None:
    """1000 = 15 * 64 + 40: epochs of 16 batches, draws of 5."""
    found = first(Protocol(reference=True, per="batch"), 1000, 16)
    batches = [index for unit in found for index in unit.batches]
    assert [len(unit.batches) for unit in found] == [5] * 16
    assert [len(index) for index in batches] == ([64] * 15 + [40]) * 5
    assert [unit.first for unit in found] == list(range(0, 80, 5))
    assert len({unit.epoch for unit in found}) == 1  # a plain standard deviation over all draws
    for epoch in range(5):
        rows = torch.cat(batches[16 * epoch : 16 * epoch + 16])
        assert torch.equal(rows.sort().values, torch.arange(1000))


def test_published_setting_has_1564_draws_ten_of_them_short() -> None:
    """CIFAR-100: 782 batches an epoch, the last of 16 images, ten epochs."""
    found = first(Protocol(reference=True, per="batch"), 50_000, 1564)
    sizes = [sum(len(index) for index in unit.batches) for unit in found]
    assert sum(sizes) == 500_000
    assert sorted(set(sizes)) == [272, 320]
    assert sizes.count(272) == 10


def test_units_of_an_epoch_are_counted_as_they_are_drawn() -> None:
    """500 = 7 * 64 + 52 images are 7 full batches; 1000 are 16 loader batches, of which 5 make a draw."""
    assert Protocol(batch=64).units_per_epoch(500) == 7
    assert Protocol(batch=64).units_per_epoch(512) == 8
    assert Protocol(reference=True, per="batch").units_per_epoch(1000) == 16 / 5
    assert Protocol(reference=True, per="batch").units_per_epoch(640) == 2


def test_order_is_a_function_of_the_seed() -> None:
    def rows(seed: int) -> list[int]:
        return first(Protocol(seed=seed), 200, 1)[0].batches[0].tolist()

    assert rows(0) == rows(0)
    assert rows(0) != rows(1)


def test_order_does_not_touch_the_global_generator() -> None:
    before = torch.get_rng_state()
    first(Protocol(), 200, 5)
    assert torch.equal(before, torch.get_rng_state())


def test_every_image_is_equally_likely_in_every_place() -> None:
    """64 of 256 images in the first batch: each with probability 1/4, over seeds."""
    count = torch.zeros(256)
    for seed in range(400):
        count[first(Protocol(seed=seed), 256, 1)[0].batches[0]] += 1
    z = (count - 100) / (400 * 0.25 * 0.75) ** 0.5
    assert float(z.abs().max()) < 4.5
    assert float(z.square().mean()) == pytest.approx(1, abs=0.4)


@each("images", [1, 63])
@each("reference", [False, True])
def test_a_set_smaller_than_a_batch_is_refused(images: int, reference: bool) -> None:
    protocol = Protocol(reference=reference, per="batch" if reference else "sample")
    with pytest.raises(UsageError, match=f"{images} images are fewer than one batch of 64"):
        first(protocol, images, 1)


def test_exactly_one_batch_is_enough() -> None:
    assert [unit.epoch for unit in first(Protocol(), 64, 3)] == [0, 1, 2]


@each(
    ("spec", "per", "estimator", "lag"),
    [
        ("identity", "sample", "images", 0),
        ("identity", "batch", "images", 0),  # nothing is drawn, so nothing is shared
        ("crop+flip", "sample", "images", 0),
        ("crop+flip", "batch", "units", 0),
        ("autoaugment", "sample", "images", 0),
        ("cutmix", "sample", "images", 1),
        ("mixup+flip", "sample", "images", 1),
        ("mixup", "batch", "units", 1),
        ("cutmix:partner=derangement", "sample", "units", 1),
        ("mixup:partner=permutation", "sample", "units", 1),
        ("cutmixpick", "sample", "units", 1),
        ("cutmixpick:by=kld", "batch", "units", 1),
    ],
)
def test_images_are_the_replicates_only_where_rows_are_independent_enough(
    spec: str, per: str, estimator: str, lag: int
) -> None:
    design = Protocol(per=per, batch=32, draw=4, raw_weight=0.3).design(parse(spec))
    assert (design.estimator, design.lag, design.images, design.unit) == (estimator, lag, 128, 32)
    assert (design.raw_weight, design.pooled, design.controlled) == (0.3, False, True)


@each("spec", ["identity", "flip", "cutmix", "cutmixpick"])
def test_in_the_reference_protocol_the_replicate_is_always_the_draw(spec: str) -> None:
    design = Protocol(reference=True, per="batch").design(parse(spec, ImageSpec(partner="reference")))
    assert (design.estimator, design.images, design.unit, design.pooled) == ("units", 320, 320, True)
    assert not design.controlled


@each(
    ("options", "message"),
    [
        ({"batch": 3}, "batch size must be at least 4"),
        ({"draw": 0}, "draw must be at least 1"),
        ({"raw_weight": 1.0}, "raw weight"),
        ({"raw_weight": -0.1}, "raw weight"),
        ({"raw_weight": float("nan")}, "raw weight"),
        ({"temperature": 0.0}, "temperature"),
        ({"temperature": float("nan")}, "temperature"),
        ({"per": "image"}, "per"),
        ({"reference": True, "raw_weight": 0.3}, "raw weight is 0.5"),
    ],
)
def test_impossible_settings_are_refused_in_one_line(options, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        Protocol(**options)
    assert "\n" not in str(caught.value)
