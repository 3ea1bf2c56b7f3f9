"""The whole pass equals a plain loop over batches, images and pairs, in float64 from the same draws."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from dametric import ImageSet, score
from dametric.augment import ImageSpec, parse
from dametric.metrics import METRICS
from dametric.scoring.protocol import Protocol
from tests.loops import each
from tests.oracles import estimator as oracle

AUGS = (
    "identity",
    "flip",
    "crop+flip",
    "cutout",
    "mixup",
    "cutmix",
    "cutmix:partner=derangement",
    "cutmixpick:by=teacher_entropy",
    "cutmixpick:by=student_entropy",
    "cutmixpick:by=kld:runs=3",
    "cutmixpick:by=dissimilarity",
)
N, B, G = 140, 12, 5  # 140 = 11 * 12 + 8: the last batch of an epoch is short


@pytest.fixture(scope="module")
def few(images: Tensor) -> ImageSet:
    """So many images: the loop leaves out every unit once, for which it takes the square of their number."""
    return ImageSet.from_tensors(images[:N], mean=(0.5, 0.45, 0.4), std=(0.25, 0.3, 0.2))


def both(teacher, student, data, spec: str, *, per: str, reference: bool, batches: int, **options):
    """Scores by the package, and units by the loop with the plan that the protocol asks for."""
    result = score(
        teacher,
        data,
        spec,
        student=student,
        protocol="reference" if reference else "default",
        per=per,
        batches=batches,
        batch_size=B,
        draw_batches=G,
        dtype=torch.float64,
        device="cpu",
        quiet=True,
        **options,
    )
    protocol = Protocol(
        reference, per, B, G, options.get("raw_weight", 0.5), options.get("temperature", 1.0), options.get("seed", 0)
    )
    of = ImageSpec(16, data.mean, "reference" if reference else "roll")
    augmentation, base = parse(spec, of), parse(options.get("base_aug", "crop+flip"), of)
    networks = [oracle.Plain(module, data.mean, data.std) for module in (teacher, student)]
    count = batches // G if reference else batches
    units = oracle.walk(data.images, *networks, augmentation, base, protocol, count, options.get("views", 1))
    own = per == "sample" or spec == "identity"
    rolled = "pick" not in spec and "derangement" not in spec
    images = own and rolled and not reference
    plan = oracle.Plan(
        estimator="images" if images else "units",
        n=B * G,
        b=B * G if reference else B,
        lag=int("mix" in spec),
        w=protocol.raw_weight,
        pooled=reference,
        controlled=not images and not reference,
    )
    return result, units, plan


def compare(result, units, plan, *, reference: bool) -> None:
    (row,) = result.scores
    several = len(units[0].views_ce) > 1
    names = {name for name in oracle.METRICS if (METRICS[name].views > 1) == several}
    assert set(row["metrics"]) == names | {"information_kept"}
    assert row["rows"] == sum(len(unit.aug) * max(len(unit.views_ce), 1) for unit in units)
    for name in names:
        found = row["metrics"][name]
        metric = oracle.METRICS[name]
        theta, deleted = oracle.delete_one([[unit] for unit in units], lambda some, of=metric: of(some, plan))
        assert found["estimator"] == plan.estimator
        assert found["blocks"] == len(units)
        assert found["plugin"] == pytest.approx(theta, rel=1e-6), name
        log = name in oracle.ON_LOGARITHM
        value, se, low, high = oracle.interval(theta, deleted, [1] * len(units), log)
        if reference:
            se *= theta / value if log else 1
            assert found["value"] == pytest.approx(found["plugin"], rel=1e-12)
            assert found["se"] == pytest.approx(se, rel=1e-5), name
        else:
            passes = max(len(units) / (N // B), 1)  # the error, and the bias, are those of so many images once
            if log:
                relative, half = math.sqrt(passes) * se / value, math.sqrt(passes) * math.log(high / value)
                value = theta * (value / theta) ** passes
                se, low, high = relative * value, value * math.exp(-half), value * math.exp(half)
            else:
                half = math.sqrt(passes) * (high - value)
                value, se = theta + passes * (value - theta), math.sqrt(passes) * se
                low, high = value - half, value + half
            assert [found[key] for key in ("value", "se", "low", "high")] == pytest.approx(
                [value, se, low, high], rel=1e-5, abs=1e-12
            ), name


@pytest.mark.parametrize("per", ["sample", "batch"])
@each("spec", AUGS)
def test_scores_equal_the_plain_loop(spec: str, per: str, teacher, student, few) -> None:
    """14 batches: one epoch and the beginning of the next."""
    result, units, plan = both(teacher, student, few, spec, per=per, reference=False, batches=14)
    assert {unit.epoch for unit in units} == {0, 1}
    compare(result, units, plan, reference=False)


@each("spec", AUGS)
def test_reference_protocol_equals_the_plain_loop(spec: str, teacher, student, few) -> None:
    """Draws of five loader batches, of which one straddles an epoch's end with its short last one; rows pooled."""
    result, units, plan = both(teacher, student, few, spec, per="batch", reference=True, batches=20)
    assert [len(unit.raw) for unit in units] == [60, 60, 56, 60]
    if "pick" in spec:  # a short batch of 8 makes a pool of 16 or 24, of which a whole batch is kept
        assert len(units[2].aug) == 60
    compare(result, units, plan, reference=True)


@each("spec", ["flip", "mixup", "cutmixpick:by=kld"])
@each(
    "options", [{"raw_weight": 0.0}, {"raw_weight": 0.3}, {"temperature": 4.0}, {"seed": 7}, {"base_aug": "identity"}]
)
def test_every_setting_means_in_the_pass_what_it_means_in_the_loop(spec: str, options, teacher, student, few) -> None:
    result, units, plan = both(teacher, student, few, spec, per="sample", reference=False, batches=10, **options)
    compare(result, units, plan, reference=False)


def test_reference_pick_from_a_pool_smaller_than_a_batch_keeps_all_of_it(teacher, student, images) -> None:
    """N = 28, b = 12: the last batch of 4 makes a pool of 8, as in the published code."""
    data = ImageSet.from_tensors(images[:28], mean=(0.5, 0.45, 0.4), std=(0.25, 0.3, 0.2))
    result, units, plan = both(teacher, student, data, "cutmixpick", per="batch", reference=True, batches=30)
    assert {(len(unit.raw), len(unit.aug)) for unit in units} == {(52, 56), (44, 52)}
    compare(result, units, plan, reference=True)


@each("spec", ["flip", "cutout", "mixup", "cutmix", "cutmix:partner=derangement"])
def test_several_views_are_those_of_the_loop(spec: str, teacher, student, few) -> None:
    options = {"metrics": ["ce_std_within", "ce_std_between"], "views": 3}
    for per, reference, batches in (("sample", False, 14), ("batch", False, 7), ("batch", True, 20)):
        result, units, plan = both(
            teacher, student, few, spec, per=per, reference=reference, batches=batches, **options
        )
        compare(result, units, plan, reference=reference)
        first = score(
            teacher,
            few,
            spec,
            student=student,
            protocol="reference" if reference else "default",
            per=per,
            batches=batches,
            batch_size=B,
            draw_batches=G,
            dtype=torch.float64,
            device="cpu",
            quiet=True,
            metrics=["ce_std"],
        )
        own = np.concatenate([unit.views_ce[0] for unit in units])  # view 0 is what metrics of one view are shown
        assert first[spec]["metrics"]["ce_std"]["plugin"] == pytest.approx(own.std(ddof=1), rel=1e-6)
