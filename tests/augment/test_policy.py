"""AutoAugment: published tables, drawn rates, and application op after op to each row alone."""

from __future__ import annotations

import itertools
from collections import defaultdict

import torch
from torch import Tensor

from dametric.augment import Keys, parse
from dametric.augment.policy import OPERATIONS, AutoAugment, sub_policies
from tests.loops import each
from tests.oracles import augment as oracle

POLICIES = ("cifar10", "imagenet", "svhn")
NAMES = tuple(OPERATIONS)
PLAIN = ("AutoContrast", "Equalize", "Invert")  # without a strength
ROWS = 32768


def noise(*shape: int) -> Tensor:
    return torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def drawn(policy: str, height: int = 32, width: int = 32) -> list[tuple[tuple[str, float], tuple[str, float]]]:
    """For each row two of (name, strength); name "" where nothing is done."""
    draw = AutoAugment(policy).draw(Keys(0, ROWS // 64, 64), torch.Size((ROWS, 3, height, width)))
    stages = zip(draw["operation"].tolist(), draw["strength"].tolist(), strict=True)
    return [
        tuple((NAMES[op], s) if op >= 0 else ("", 0.0) for op, s in zip(*row, strict=True))  # type: ignore[misc]
        for row in stages
    ]


@each("policy", POLICIES)
def test_table_is_the_published_one(policy: str) -> None:
    mine = [[(name, round(p, 10), level) for name, p, level in pair] for pair in sub_policies(policy)]
    theirs = [[(name, round(p, 10), level) for name, p, level in pair] for pair in oracle.published_policy(policy)]
    assert mine == theirs
    assert len(mine) == 25


@each("policy", POLICIES)
def test_every_drawn_pair_has_its_published_rate(policy: str) -> None:
    expected: dict[tuple, float] = defaultdict(float)
    for pair in oracle.published_policy(policy):
        stages = []
        for name, p, level in pair:
            strength = oracle.published_strength(name, level, 32, 40)
            signs = (1, -1) if name in oracle.SIGNED and strength else (1,)
            applied = [((name, round(sign * strength, 3)), p / len(signs)) for sign in signs]
            stages.append([*applied, (("", 0.0), 1 - p)])
        for (first, p1), (second, p2) in itertools.product(*stages):
            expected[first, second] += p1 * p2 / 25
    assert abs(sum(expected.values()) - 1) < 1e-9
    counts: dict[tuple, int] = defaultdict(int)
    for row in drawn(policy, 32, 40):
        counts[
            tuple(
                (name, round(s, 3) + 0.0 if name not in ("AutoContrast", "Equalize", "Invert") else 0.0)
                for name, s in row
            )
        ] += 1
    assert set(counts) <= {cell for cell, p in expected.items() if p > 0}
    for cell, p in expected.items():
        bound = 5 * (ROWS * p * (1 - p)) ** 0.5 + 1e-6
        assert abs(counts[cell] - ROWS * p) <= max(bound, 5.0 * (p > 0)), (cell, p)


def test_sub_policies_are_drawn_with_rate_1_in_25() -> None:
    pairs = [tuple(name for name, _, _ in pair) for pair in oracle.published_policy("cifar10")]
    counts: dict[tuple, int] = defaultdict(int)
    for row in drawn("cifar10"):
        counts[tuple(name for name, _ in row)] += 1
    checked = 0
    for pair, ((_, p1, _), (_, p2, _)) in zip(pairs, oracle.published_policy("cifar10"), strict=True):
        p = p1 * p2 / 25
        if pairs.count(pair) == 1 and p > 0:  # both applied: the pair of names says which sub-policy it was
            assert abs(counts[pair] - ROWS * p) <= 5 * (ROWS * p * (1 - p)) ** 0.5, pair
            checked += 1
    assert checked >= 15


def test_signs_are_fair_and_independent_of_each_other_and_of_the_neighbouring_row() -> None:
    draw = AutoAugment("cifar10").draw(Keys(0, ROWS // 64, 64), torch.Size((ROWS, 3, 32, 32)))
    signed = torch.tensor([name in oracle.SIGNED for name in NAMES])
    on = (draw["operation"] >= 0) & signed[draw["operation"]] & (draw["strength"] != 0)
    sign = draw["strength"].sign() * on
    products = {
        "first": sign[:, 0],
        "second": sign[:, 1],
        "both": sign[:, 0] * sign[:, 1],
        "neighbours": sign[:-1, 0] * sign[1:, 0],
        "neighbours, second": sign[:-1, 1] * sign[1:, 1],
    }
    for what, values in products.items():
        assert values.abs().sum() > 1000
        assert abs(values.sum().item()) < 5 * values.abs().sum().item() ** 0.5, what
    assert (draw["strength"][on].sign() != 0).all()


def test_rows_draw_independently() -> None:
    draw = AutoAugment("cifar10").draw(Keys(0, ROWS // 64, 64), torch.Size((ROWS, 3, 32, 32)))
    applied = (draw["operation"] >= 0).double()
    for stage in (0, 1):
        values = applied[:, stage] - applied[:, stage].mean()
        correlation = (values[:-1] * values[1:]).mean() / values.var()
        assert abs(correlation.item()) < 4.5 / ROWS**0.5


@each("policy", POLICIES)
def test_strengths_mean_what_torchvision_says_at_any_image_size(policy: str) -> None:
    for height, width in ((32, 32), (31, 33), (64, 48)):
        allowed = {
            (name, round(oracle.published_strength(name, level, height, width), 3))
            for pair in oracle.published_policy(policy)
            for name, _, level in pair
        }
        for name, strength in itertools.chain.from_iterable(drawn(policy, height, width)):
            if name and name not in PLAIN:
                assert (name, round(abs(strength), 3)) in allowed


@each("policy", POLICIES)
@each("shape", [(250, 3, 32, 32), (250, 3, 31, 33), (125, 1, 31, 33)])
def test_apply_equals_the_loop_that_applies_op_after_op_to_each_row_alone(policy: str, shape: tuple[int, ...]) -> None:
    images = noise(*shape)
    operation = AutoAugment(policy)
    draw = operation.draw(Keys(1, 5, shape[0] // 5), images.shape)
    out = operation.apply(images, draw).images
    assert out.dtype == torch.uint8
    for r in range(shape[0]):
        alone = images[r : r + 1]
        for stage in (0, 1):
            number = int(draw["operation"][r, stage])
            if number >= 0:
                alone = OPERATIONS[NAMES[number]].kernel(alone, draw["strength"][r : r + 1, stage])
        assert torch.equal(out[r], alone[0]), r


def test_apply_equals_torchvision_row_by_row_where_every_step_is_exact() -> None:
    images = noise(500, 3, 31, 33)
    operation = AutoAugment("cifar10")
    draw = operation.draw(Keys(2, 5, 100), images.shape)
    out = operation.apply(images, draw).images
    checked = 0
    for r in range(500):
        names = [NAMES[n] if n >= 0 else "" for n in draw["operation"][r].tolist()]
        if not {"Color", "Sharpness"} & set(names):
            image = images[r]
            for name, strength in zip(names, draw["strength"][r].tolist(), strict=True):
                image = oracle.policy_operation(image, name, strength) if name else image
            assert torch.equal(out[r], image), (r, names)
            checked += 1
    assert checked > 300


@each("policy", POLICIES)
def test_forced_pairs_of_all_operations_equal_one_after_the_other(policy: str) -> None:
    pairs = list(itertools.product(range(-1, len(NAMES)), repeat=2))
    images = noise(len(pairs), 3, 16, 16)
    strength = torch.tensor(
        [[oracle.published_strength(NAMES[n], 6, 16, 16) if n >= 0 else 3.0 for n in pair] for pair in pairs],
        dtype=torch.float64,
    )
    out = AutoAugment(policy).apply(images, {"operation": torch.tensor(pairs), "strength": strength}).images
    for r, pair in enumerate(pairs):
        alone = images[r : r + 1]
        for stage, number in enumerate(pair):
            if number >= 0:
                alone = OPERATIONS[NAMES[number]].kernel(alone, strength[r : r + 1, stage])
        assert torch.equal(out[r], alone[0]), pair


def test_nothing_drawn_leaves_the_images_as_they_are() -> None:
    images = noise(6, 3, 16, 16)
    nothing = {"operation": torch.full((6, 2), -1), "strength": torch.ones(6, 2, dtype=torch.float64)}
    assert torch.equal(AutoAugment("cifar10").apply(images, nothing).images, images)


def test_per_batch_shares_the_sub_policy_strengths_and_signs_within_a_batch() -> None:
    draw = parse("autoaugment").draw(Keys(0, 200, 8, per="batch"), torch.Size((1600, 3, 32, 32)))[0]
    for values in (draw["operation"], draw["strength"]):
        table = values.reshape(200, 8, 2)
        assert (table == table[:, :1]).all()
    assert len({tuple(row) for row in draw["operation"].reshape(200, 8, 2)[:, 0].tolist()}) > 15
