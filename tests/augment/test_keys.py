"""Random numbers by name: the hash, the laws of the numbers, partners, and independence of chunks."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import permutations
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch.utils._python_dispatch import TorchDispatchMode

from dametric.augment import Keys, parse
from dametric.augment.keys import Hashed, check_seed, splitmix64
from dametric.errors import UsageError
from tests.loops import each
from tests.oracles import augment as oracle

PUBLISHED = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431, 16408922859458223821]
ENOUGH = 1e-4  # smallest p-value that a test of a law accepts; seeds are fixed


def unsigned(values: torch.Tensor) -> list[int]:
    return [int(v) % 2**64 for v in values.tolist()]


def correlation(a: torch.Tensor, b: torch.Tensor) -> float:
    """Correlation in units of its standard error under independence."""
    return float(np.corrcoef(a.double().numpy(), b.double().numpy())[0, 1]) * len(a) ** 0.5


def test_oracle_and_splitmix64_give_the_published_outputs_for_seed_1234567() -> None:
    assert oracle.splitmix64(1234567, 5) == PUBLISHED
    assert unsigned(splitmix64(1234567, torch.arange(5))) == PUBLISHED


@each("seed", [0, 1, 2**32, 2**63 - 1, 2**63, 2**64 - 1, 0x9E3779B97F4A7C15])
def test_splitmix64_equals_python_integers_for_any_64_bit_seed(seed: int) -> None:
    assert unsigned(splitmix64(seed, torch.arange(300))) == oracle.splitmix64(seed, 300)


def test_splitmix64_takes_counters_in_any_order_and_shape() -> None:
    order = torch.tensor([[7, 0, 3], [3, 99, 50]])
    all_outputs = oracle.splitmix64(42, 100)
    outputs = splitmix64(42, order)
    assert outputs.shape == order.shape
    assert outputs.dtype == torch.int64
    assert unsigned(outputs.flatten()) == [all_outputs[i] for i in order.flatten().tolist()]


def test_uniform_is_uniform_on_0_to_1_in_float64() -> None:
    u = Keys(0, 1024, 64).uniform("u")
    assert u.dtype == torch.float64
    assert u.shape == (65536,)
    assert u.min() >= 0
    assert u.max() < 1
    assert stats.kstest(u.numpy(), "uniform").pvalue > ENOUGH
    assert len(set(u.tolist())) == 65536  # more than 32 bits of resolution


def test_uniform_is_the_upper_53_bits_as_a_fraction() -> None:
    keys = Keys(5, 1, 200).sub("part")
    bits = oracle.splitmix64(keys.start("u"), 200)
    assert keys.uniform("u").tolist() == [(one >> 11) / 2**53 for one in bits]


@each("seed", [0, 1, 17, -1, 2**40])
def test_uniform_is_uniform_in_joint_cells_of_neighbouring_rows(seed: int) -> None:
    u = Keys(seed, 512, 64).uniform("u").reshape(-1, 2)
    cells = (u[:, 0] * 8).long() * 8 + (u[:, 1] * 8).long()
    assert stats.chisquare(torch.bincount(cells, minlength=64).numpy()).pvalue > ENOUGH


@each("high", [1, 2, 7, 25, 33])
def test_integer_is_uniform_from_0_to_high_minus_1(high: int) -> None:
    values = Keys(3, 512, 64).integer("n", high)
    assert values.dtype == torch.int64
    counts = torch.bincount(values, minlength=high)
    assert len(counts) == high
    if high > 1:
        assert stats.chisquare(counts.numpy()).pvalue > ENOUGH


def test_rows_batches_names_seeds_and_parts_are_uncorrelated() -> None:
    keys = Keys(0, 256, 64)
    u = keys.uniform("u")
    by_batch = u.reshape(256, 64)
    pairs = {
        "next row": (u[:-1], u[1:]),
        "row at distance 2": (u[:-2], u[2:]),
        "same row of the next batch": (by_batch[:-1].flatten(), by_batch[1:].flatten()),
        "another name": (u, keys.uniform("v")),
        "another seed": (u, Keys(1, 256, 64).uniform("u")),
        "a part": (u, keys.sub("p").uniform("u")),
        "two parts": (keys.sub("p").uniform("u"), keys.sub("q").uniform("u")),
        "a part of a part": (keys.sub("p").uniform("u"), keys.sub("p").sub("p").uniform("u")),
    }
    for what, (a, b) in pairs.items():
        assert abs(correlation(a, b)) < 4.5, what


def test_seeds_paths_and_names_never_run_into_each_other() -> None:
    starts = [
        Keys(seed, 1, 1).sub(a).sub(b).start(c) if b else Keys(seed, 1, 1).sub(a).start(c)
        for seed in (0, 1, 11, 12, -1, 2**64)
        for a in ("", "1", "a", "a/", "a/b", "a.b", "a:b", "a\0b", "a b", "a,b")
        for b in ("", "b", "/b", "1", "b/c")
        for c in ("", "b", "c", "1", "b/c", "/c", "b.c", "b:c", "b\0c", "b c", "b,c")
    ]
    assert len(set(starts)) == len(starts)
    assert all(-(2**63) <= start < 2**64 for start in starts)


def test_equal_keys_give_equal_numbers() -> None:
    a, b = Keys(5, 4, 8).sub("x"), Keys(5, 4, 8).sub("x")
    assert torch.equal(a.uniform("u"), b.uniform("u"))
    assert torch.equal(a.beta("l", 0.7), b.beta("l", 0.7))
    assert torch.equal(a.partners("permutation"), b.partners("permutation"))


@each("per", ["sample", "batch"])
@each("first", [0, 1000, 2**30])
def test_chunks_of_batches_agree_with_all_batches_at_once(per: str, first: int) -> None:
    def numbers(keys: Keys) -> list[torch.Tensor]:
        shift = torch.arange(keys.batches).repeat_interleave(keys.batch_size) * keys.batch_size
        rules = [keys.partners(rule) - shift for rule in ("roll", "permutation", "derangement")]
        return [keys.uniform("u"), keys.uniform("u", by_row=True), keys.integer("i", 9), keys.beta("b", 0.3), *rules]

    whole = numbers(Keys(7, 12, 5, first=first, per=per))
    done = 0
    for batches in (1, 2, 4, 5):
        part = numbers(Keys(7, batches, 5, first=first + done, per=per))
        for one, other in zip(part, whole, strict=True):
            assert torch.equal(one, other[done * 5 : (done + batches) * 5])
        done += batches
    assert done == 12


@each("alpha", [0.1, 0.2, 0.5, 1, 2, 8])
def test_beta_follows_beta_alpha_alpha(alpha: float) -> None:
    values = Keys(1, 1024, 64).beta("lam", alpha)
    assert values.dtype == torch.float64
    assert values.isfinite().all()
    assert values.min() >= 0
    assert values.max() <= 1
    # Numbers closer to an end than float64 resolves there count as lying at the edge of that resolution.
    inside = values.clamp(1e-15, 1 - 1e-15).numpy()
    law = stats.beta(alpha, alpha)
    n, share = len(inside), law.cdf(1e-15)
    ends = [(inside <= 1e-15).sum(), (inside >= 1 - 1e-15).sum()]
    for count in ends:
        assert abs(count - n * share) <= 5 * (n * share * (1 - share)) ** 0.5 + 1
    middle = inside[(inside > 1e-15) & (inside < 1 - 1e-15)]
    conditional = (law.cdf(middle) - share) / (1 - 2 * share)
    assert stats.kstest(conditional, "uniform").pvalue > ENOUGH
    assert abs(correlation(values[:-1], values[1:])) < 4.5


def test_beta_keeps_the_small_end_for_extreme_alpha() -> None:
    for alpha in (1e-3, 1e-2, 100.0, 1e4):
        values = Keys(1, 64, 64).beta("lam", alpha)
        assert values.isfinite().all()
        assert values.min() >= 0
        assert values.max() <= 1
        assert abs(float(values.mean()) - 0.5) < 5 * (0.25 / (2 * alpha + 1)) ** 0.5 / 64


def test_per_batch_gives_one_number_a_batch_and_different_ones_across() -> None:
    keys = Keys(2, 50, 7, per="batch")
    for values in (keys.uniform("u"), keys.beta("b", 1.0), keys.integer("i", 2**31)):
        table = values.reshape(50, 7)
        assert (table == table[:, :1]).all()
        assert len(set(table[:, 0].tolist())) == 50
    assert len(set(keys.uniform("u", by_row=True).tolist())) == 350


def test_per_batch_numbers_are_uniform_and_uncorrelated_across_batches() -> None:
    u = Keys(2, 16384, 2, per="batch").uniform("u")[::2]
    assert stats.kstest(u.numpy(), "uniform").pvalue > ENOUGH
    assert abs(correlation(u[:-1], u[1:])) < 4.5


@each("rule", ["roll", "permutation", "derangement"])
@each("per", ["sample", "batch"])
@each("size", [1, 2, 3, 5, 16, 31, 64])
def test_partners_permute_the_rows_of_their_own_batch(rule: str, per: str, size: int) -> None:
    partner = Keys(4, 37, size, per=per).partners(rule)
    assert partner.dtype == torch.int64
    table = partner.reshape(37, size) - torch.arange(37)[:, None] * size
    assert torch.equal(table.sort(1).values, torch.arange(size).expand(37, size))


def test_roll_is_the_next_row_cyclically() -> None:
    assert Keys(4, 2, 4).partners("roll").tolist() == [1, 2, 3, 0, 5, 6, 7, 4]
    assert Keys(4, 2, 1).partners("roll").tolist() == [0, 1]


@each("size", [2, 3, 4, 5, 64, 127])
def test_derangements_have_no_fixed_point(size: int) -> None:
    batches = 4096 // size + 100
    partner = Keys(9, batches, size).partners("derangement")
    assert (partner != torch.arange(batches * size)).all()


def test_a_batch_of_one_row_is_its_own_partner() -> None:
    for rule in ("roll", "permutation", "derangement"):
        assert Keys(9, 3, 1).partners(rule).tolist() == [0, 1, 2]


@each("size", [3, 4])
def test_derangements_are_uniform_over_all_derangements(size: int) -> None:
    batches = 9000
    shift = torch.arange(batches)[:, None] * size
    table = Keys(9, batches, size).partners("derangement").reshape(batches, size) - shift
    counts = Counter(map(tuple, table.tolist()))
    assert set(counts) == set(oracle.derangements(size))
    assert stats.chisquare(list(counts.values())).pvalue > ENOUGH


@each("size", [2, 3, 4])
def test_permutations_are_uniform_over_all_permutations(size: int) -> None:
    batches = 12000
    shift = torch.arange(batches)[:, None] * size
    table = Keys(9, batches, size).partners("permutation").reshape(batches, size) - shift
    counts = Counter(map(tuple, table.tolist()))
    assert set(counts) == set(permutations(range(size)))
    assert stats.chisquare(list(counts.values())).pvalue > ENOUGH


def test_permutations_leave_one_row_a_batch_in_place_on_average() -> None:
    partner = Keys(9, 2000, 64).partners("permutation")
    fixed = (partner == torch.arange(128000)).sum().item()
    assert abs(fixed - 2000) < 5 * 2000**0.5  # the number of fixed points has mean 1 and variance 1


def test_permutations_of_neighbouring_batches_are_unrelated() -> None:
    table = Keys(9, 6000, 3).partners("permutation").reshape(6000, 3)[:, 0] % 3
    cells = torch.bincount(table[:-1][::2] * 3 + table[1:][::2], minlength=9)
    assert stats.chisquare(cells.numpy()).pvalue > ENOUGH


def test_numbers_do_not_touch_the_global_generator() -> None:
    before = torch.random.get_rng_state()
    keys = Keys(0, 2, 3)
    keys.uniform("u")
    keys.beta("b", 0.5)
    keys.partners("derangement")
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.parametrize("seed", [2**43 - 1, -(2**43) + 1])
def test_seeds_end_where_a_million_times_them_is_below_2_to_63(seed: int) -> None:
    assert check_seed(seed) == seed
    with pytest.raises(UsageError, match=str(2**43 - 1)):
        check_seed(seed + (1 if seed > 0 else -1))


@each("size", [1, 2, 3, 8, 64])
def test_a_derangement_is_the_first_of_32_permutations_that_moves_every_row(size: int) -> None:
    """The plain loop over the permutations one by one, as the first version had it."""
    keys = Keys(3, 40, size, first=5)
    identity = torch.arange(size)

    def permutation(name: str) -> torch.Tensor:
        return keys.uniform(name, by_row=True).view(40, size).argsort(1)

    expected = []
    for batch, cycle in enumerate(permutation("partner.cycle")):
        for attempt in range(32):
            candidate = permutation(f"partner.{attempt}")[batch]
            if (candidate != identity).all():
                break
        else:
            candidate = torch.empty_like(cycle).scatter_(0, cycle, cycle.roll(-1))
        expected.append(candidate + batch * size)
    assert torch.equal(keys.partners("derangement"), torch.cat(expected))


class Kernels(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += 1
        return func(*args, **(kwargs or {}))


@each("per", ["sample", "batch"])
def test_hashed_together_numbers_are_the_same_and_take_one_hash(per: str) -> None:
    def numbers(keys: Keys) -> list[torch.Tensor]:
        part = keys.sub("part")
        several = part.uniforms(["a", "b", "c"])
        return [
            *(keys.uniform("u"), keys.uniform("u", by_row=True), keys.integer("i", 9), keys.beta("beta", 0.3)),
            *(keys.bits("noise"), several, keys.partners("derangement"), keys.partners("permutation")),
            *(part.uniforms(["c", "a"]), keys.of_view(2).uniform("u")),
        ]

    hashed, counts = Hashed(), []
    for first in (0, 7, 8):
        keys = Keys(7, 6, 5, first=first, per=per)
        plain = numbers(keys)
        with Kernels() as mode:
            ours = numbers(hashed.of(keys))
        counts.append(mode.count)
        for one, other in zip(ours, plain, strict=True):
            assert torch.equal(one, other)
            assert one.dtype == other.dtype
            assert one.is_contiguous()
    assert counts[2] <= counts[1] < counts[0] / 2, counts


def test_keys_of_other_rows_take_no_number_from_a_table() -> None:
    hashed = Hashed()
    hashed.of(Keys(0, 4, 8)).uniform("u")
    keys = hashed.of(Keys(0, 4, 8))
    for other in (Keys(0, 4, 8, first=1), Keys(0, 1, 1), Keys(0, 2, 16), Keys(1, 4, 8), Keys(0, 4, 8, per="batch")):
        assert torch.equal(replace(other, table=keys.table).uniform("u"), other.uniform("u"))


def test_names_that_are_no_longer_asked_for_are_dropped() -> None:
    hashed = Hashed()
    keys = hashed.of(Keys(0, 1, 4))
    for name in range(500):
        keys.uniform(str(name))
    sizes = []
    for _ in range(3):
        keys = hashed.of(Keys(0, 1, 4))
        assert keys.table is not None
        keys.uniform("0")
        sizes.append(len(keys.table.uniform))
    assert sizes == [500, 1, 1]


def test_a_first_batch_that_only_the_device_knows_gives_the_same_numbers() -> None:
    here, there = Keys(3, 4, 8, first=11), Keys(3, 4, 8, first=torch.tensor(11))
    assert torch.equal(here.uniform("u"), there.uniform("u"))
    hashed = Hashed()
    for _ in range(2):
        keys = hashed.of(there)
        assert torch.equal(keys.uniform("u"), here.uniform("u"))
        assert torch.equal(replace(keys, first=torch.tensor(12)).uniform("u"), replace(here, first=12).uniform("u"))


@each("rule", ["roll", "permutation", "derangement"])
def test_another_draw_has_other_numbers_and_the_same_partners(rule: str) -> None:
    keys = Keys(3, 2, 64)
    again = keys.of_draw(2)
    aug = parse(f"mixup:partner={rule}")
    images = torch.zeros(128, 1, 2, 2, dtype=torch.uint8)
    first, second = aug(images, keys), aug(images, again)
    assert first.partner is not None
    assert second.partner is not None
    assert first.lam is not None
    assert second.lam is not None
    assert torch.equal(first.partner, second.partner)
    assert not (first.lam == second.lam).any()
    assert torch.equal(again.uniform("x"), keys.sub("redrawn2").uniform("x")), "as it always was"
    assert torch.equal(keys.of_draw(0).uniform("x"), keys.uniform("x"))
