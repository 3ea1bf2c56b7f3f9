"""CutMixPick: the pool is cutmix run after run; picking equals brute force."""

from __future__ import annotations

import numpy as np
import torch

from dametric.augment import CRITERIA, NEEDS_STUDENT, Keys, parse, pick
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
