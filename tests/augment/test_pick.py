"""CutMixPick, and picks of any base: the pool is the base run after run; picking equals brute force."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch

from dametric.augment import CRITERIA, NEEDS_STUDENT, Keys, expand, parse, pick
from dametric.errors import UsageError
from dametric.stats import family
from tests.loops import each
from tests.oracles import augment as oracle

BOX = ("top", "bottom", "left", "right", "partner")


def noise(*shape: int) -> torch.Tensor:
    return torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def test_all_four_criteria_are_listed_with_the_two_that_need_a_student() -> None:
    assert set(CRITERIA) == {"teacher_entropy", "student_entropy", "kld", "dissimilarity"}
    assert set(NEEDS_STUDENT) == {"student_entropy", "kld"}
    for by in CRITERIA:
        assert parse(f"cutmixpick:by={by}").pick == by
    assert parse("cutmixpick").pick == "teacher_entropy"
    assert parse("cutmix").pick is None


@each("runs", [2, 3])
@each("per", ["sample", "batch"])
@each("partner", ["roll", "derangement", "permutation"])
def test_pool_equals_the_loop_run_after_run(runs: int, per: str, partner: str) -> None:
    images = noise(10, 3, 31, 33)
    augmentation = parse(f"cutmixpick:runs={runs}:partner={partner}")
    assert augmentation.runs == runs
    draws = augmentation.draw(Keys(0, 2, 5, per=per), images.shape)
    out = augmentation.apply(images, draws)
    assert out.images.shape == (runs * 10, 3, 31, 33)
    assert out.lam is not None
    assert out.partner is not None
    for run in range(runs):
        part = slice(run * 10, run * 10 + 10)
        expected, lam = oracle.cutmix(images.numpy(), *(draws[0][name][part].tolist() for name in BOX))
        assert np.array_equal(out.images[part].numpy(), expected)
        assert out.lam[part].tolist() == lam
        assert torch.equal(out.partner[part], draws[0]["partner"][part])


@each("per", ["sample", "batch"])
@each("parameters", ["", ":alpha=0.3", ":partner=derangement"])
def test_first_run_of_the_pool_is_what_cutmix_makes(per: str, parameters: str) -> None:
    images = noise(15, 3, 32, 32)
    keys = Keys(7, 3, 5, first=11, per=per)
    plain = parse("cutmix" + parameters)(images, keys)
    for by in CRITERIA:
        pool = parse(f"cutmixpick:by={by}:runs=3{parameters}")(images, keys)
        assert torch.equal(pool.images[:15], plain.images)
        assert pool.lam is not None
        assert pool.partner is not None
        assert plain.lam is not None
        assert plain.partner is not None
        assert torch.equal(pool.lam[:15], plain.lam)
        assert torch.equal(pool.partner[:15], plain.partner)


def test_runs_of_a_pool_are_independent() -> None:
    draw = parse("cutmixpick:runs=3").draw(Keys(0, 64, 64), torch.Size((4096, 3, 32, 32)))[0]
    area = ((draw["bottom"] - draw["top"]) * (draw["right"] - draw["left"])).reshape(3, 4096).numpy()
    correlation = np.corrcoef(area)[np.triu_indices(3, 1)]
    assert np.abs(correlation).max() < 4.5 / 64


def test_random_partners_differ_between_runs() -> None:
    draw = parse("cutmixpick:partner=derangement").draw(Keys(0, 4, 64), torch.Size((256, 3, 8, 8)))[0]
    first, second = draw["partner"].reshape(2, 256)
    assert (first == second).double().mean() < 0.1


@each(("runs", "batches", "size", "keep"), [(2, 1, 1, 1), (2, 3, 5, 5), (3, 4, 7, 7), (2, 16, 64, 64)])
def test_pick_equals_brute_force_for_every_batch(runs: int, batches: int, size: int, keep: int) -> None:
    values = torch.rand(runs * batches * size, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    chosen = pick(values, runs=runs, batches=batches, keep=keep)
    assert chosen.dtype == torch.int64
    assert chosen.shape == (batches * keep,)
    expected = oracle.pick(values.tolist(), runs, batches, keep)
    assert [set(part) for part in chosen.reshape(batches, keep).tolist()] == expected


@each("dtype", [torch.float32, torch.bfloat16])
def test_pick_keeps_the_highest_values_even_with_ties(dtype: torch.dtype) -> None:
    values = (torch.rand(2 * 3 * 16, generator=torch.Generator().manual_seed(0)) * 8).floor().to(dtype)
    chosen = pick(values, runs=2, batches=3, keep=16)
    assert len(set(chosen.tolist())) == 48
    table = values.float().reshape(2, 3, 16).transpose(0, 1).reshape(3, 32)
    kept = values.float()[chosen].reshape(3, 16).sort(1).values
    assert torch.equal(kept, table.sort(1).values[:, 16:])
    batch = chosen % 48 // 16
    assert torch.equal(batch, torch.arange(3).repeat_interleave(16))


def test_pick_keeps_all_of_a_pool_smaller_than_what_is_kept() -> None:
    values = torch.rand(32, generator=torch.Generator().manual_seed(0))
    assert sorted(pick(values, runs=2, batches=1, keep=64).tolist()) == list(range(32))
    two = pick(values, runs=2, batches=2, keep=64).reshape(2, 16)
    assert [set(part) for part in two.tolist()] == oracle.pick(values.tolist(), 2, 2, 64)


def test_pick_with_a_smaller_keep_takes_the_top_ones() -> None:
    values = torch.rand(60, generator=torch.Generator().manual_seed(0))
    chosen = pick(values, runs=2, batches=3, keep=4).reshape(3, 4)
    assert [set(part) for part in chosen.tolist()] == oracle.pick(values.tolist(), 2, 3, 4)


def test_pick_of_many_batches_equals_pick_of_each() -> None:
    values = torch.rand(2, 6, 8, generator=torch.Generator().manual_seed(0))
    together = pick(values.flatten(), runs=2, batches=6, keep=8).reshape(6, 8)
    for batch in range(6):
        alone = pick(values[:, batch].flatten(), runs=2, batches=1, keep=8)
        run, row = alone // 8, alone % 8
        assert torch.equal(run * 48 + batch * 8 + row, together[batch])


@each("base", ["mixup:alpha=0.4", "rrc", "blur:p=0.9", "mixup-or-cutmix", "oneof(mixup,invert:p=1)", "autoaugment"])
@each("per", ["sample", "batch"])
def test_a_pool_of_any_base_is_the_base_run_after_run(base: str, per: str) -> None:
    images, keys = noise(10, 3, 31, 33), Keys(3, 2, 5, per=per)
    aug, plain = parse(f"pick({base}):runs=3"), parse(base)
    assert (aug.runs, aug.pick, aug.mixes, aug.run) == (3, "teacher_entropy", plain.mixes, plain.operations)
    pool, first = aug(images, keys), plain(images, keys)
    assert len(pool.images) == 30
    assert torch.equal(pool.images[:10], first.images)
    if first.partner is None or first.lam is None:
        assert pool.partner is None
        assert pool.lam is None
    else:
        assert pool.partner is not None
        assert pool.lam is not None
        assert torch.equal(pool.partner[:10], first.partner)
        assert torch.equal(pool.lam[:10], first.lam)
    (draw,) = aug.draw(keys, images.shape)
    for run in range(3):
        part = {name: values[10 * run : 10 * run + 10] for name, values in draw.items()}
        assert torch.equal(pool.images[10 * run : 10 * run + 10], plain.operations[0].apply(images, part).images)
    assert not torch.equal(pool.images[:10], pool.images[10:20])


def test_a_pick_of_a_composition_draws_all_of_it_anew_in_every_run() -> None:
    images = torch.full((64, 1, 16, 16), 200, dtype=torch.uint8)
    pool = parse("pick(cutout:length=3+flip):runs=2")(images, Keys(0, 1, 64)).images
    holes = (pool != 200).flatten(1)
    assert (holes.sum(1) > 0).all()
    assert (holes[:64] == holes[64:]).all(1).double().mean() < 0.1


def test_both_ways_to_write_a_pick_are_one_and_that_of_cutmix_is_cutmixpick() -> None:
    for spec, canonical in {
        "pick:base=mixup,by=teacher_entropy,runs=2": "pick(mixup)",
        "pick:base=mixup:alpha=2,by=kld": "pick(mixup:alpha=2.0):by=kld",
        "pick:runs=3:base=mixup:alpha=1": "pick(mixup):runs=3",
        "pick:base=cutmix,alpha=0.3,by=kld": "cutmixpick:by=kld:alpha=0.3",
        "flip+pick( cutmix ):runs=4": "flip+cutmixpick:runs=4",
        "pick(cutout+mixup)": "pick(cutout+mixup)",
    }.items():
        assert parse(spec).canonical == canonical
        assert parse(canonical).canonical == canonical
    assert parse("pick(cutmix)").operations == parse("cutmixpick").operations
    assert family("pick:base=mixup,alpha=2") == family("pick(mixup)") == "mixup"
    assert expand(["pick:base=mixup,alpha=0.25..4/3,by=kld"])[1] == "pick:base=mixup,alpha=1,by=kld"


@each(
    ("spec", "message"),
    [
        ("pick", "write pick(mixup"),
        ("pick:by=kld", "write pick(mixup"),
        ("pick(mixup,cutmix)", "write pick(mixup"),
        ("pick(identity)", "draws nothing at random"),
        ("pick(invert:p=1)", "draws nothing at random"),
        ("pick(cutmixpick)", "picks itself"),
        ("pick(torchvision.transforms.v2:RandomInvert)", "calls your own function"),
        ("pick(mixup):p=0.5", "unknown parameter of pick 'p'"),
        ("pick(mixup):by=chance", "unknown criterion of pick 'chance'"),
        ("pick(mixup):runs=1", "pick: runs is a whole number from 2 up"),
        ("pick(mixup)+flip", "pick comes last"),
        ("pick:base=mixup:depth=3", "unknown parameter of mixup 'depth'"),
    ],
)
def test_what_cannot_be_picked_is_refused(spec: str, message: str) -> None:
    with pytest.raises(UsageError, match=re.escape(message)):
        parse(spec)
