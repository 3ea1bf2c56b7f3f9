"""RandAugment and TrivialAugment: torchvision's operations and magnitudes, drawn rates, and application row by row."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from torch import Tensor
from torchvision.transforms import v2

from dametric.augment import Keys, parse
from dametric.augment.chance import RandAugment, TrivialAugment
from dametric.augment.policy import OPERATIONS
from dametric.errors import UsageError
from tests.loops import each
from tests.oracles import augment as oracle

NAMES = ("Identity", *OPERATIONS)  # by drawn number + 1
SPACES = {RandAugment: v2.RandAugment._AUGMENTATION_SPACE, TrivialAugment: v2.TrivialAugmentWide._AUGMENTATION_SPACE}
CHOICES = tuple(SPACES[RandAugment])
NEARLY = ("Color", "Sharpness")  # float blends whose last bit may round either way
ROWS = 32768
EVERY = [RandAugment(), RandAugment(n=1, m=0), RandAugment(n=3, m=30), TrivialAugment()]
Chance = RandAugment | TrivialAugment


def noise(*shape: int) -> Tensor:
    return torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def drawn(operation: Chance, height: int = 32, width: int = 40, seed: int = 0) -> dict[str, Tensor]:
    return operation.draw(Keys(seed, ROWS // 64, 64), torch.Size((ROWS, 3, height, width)))


def names(draw: dict[str, Tensor], stage: int = 0) -> list[str]:
    return [NAMES[number + 1] for number in draw["operation"][:, stage].tolist()]


def published(operation: Chance, name: str, height: int, width: int) -> list[float]:
    """What torchvision's 31 magnitudes mean; solarize's threshold in grey levels."""
    values = SPACES[type(operation)][name][0](31, height, width)
    if values is None:
        return [0.0] * 31
    return [float(value) * (255.0 if name == "Solarize" else 1.0) for value in values]


def fair(count: float, p: float, rows: int = ROWS) -> bool:
    return abs(count - rows * p) <= 5 * (rows * p * (1 - p)) ** 0.5


def test_choices_and_signs_are_torchvisions() -> None:
    for operation in (RandAugment(), TrivialAugment()):
        space = SPACES[type(operation)]
        draw = drawn(operation, seed=1)
        assert set(names(draw)) == set(space)
        for name, strength in zip(names(draw), draw["strength"][:, 0].tolist(), strict=True):
            assert strength >= 0 or space[name][1], name


@each("size", [(32, 32), (31, 33), (64, 48), (224, 224)])
@each("m", range(31))
def test_a_magnitude_means_what_it_means_to_torchvision(m: int, size: tuple[int, int]) -> None:
    operation = RandAugment(n=1, m=m)
    draw = operation.draw(Keys(0, 16, 64), torch.Size((1024, 3, *size)))
    found = {name: abs(s) for name, s in zip(names(draw), draw["strength"][:, 0].tolist(), strict=True)}
    assert len(found) == 14
    for name, strength in found.items():
        assert strength == pytest.approx(published(operation, name, *size)[m], rel=1e-6, abs=1e-4), name


@each("size", [(32, 32), (31, 33), (224, 224)])
def test_wide_magnitudes_mean_what_they_mean_to_torchvision_and_are_equally_frequent(size: tuple[int, int]) -> None:
    operation = TrivialAugment()
    draw = drawn(operation, *size)
    counts: Counter[tuple[str, int]] = Counter()
    tables = {name: torch.tensor(published(operation, name, *size)) for name in CHOICES}
    for name, strength in zip(names(draw), draw["strength"][:, 0].tolist(), strict=True):
        distance = (tables[name] - abs(strength)).abs()
        assert distance.min() < 1e-4, (name, strength)
        counts[name, int(distance.argmin())] += 1
    for name, table in tables.items():
        for value in table.unique().tolist():
            same = int((table == value).sum())  # several magnitudes may mean the same
            first = int((table == value).nonzero()[0])
            assert fair(counts[name, first], same / 31 / 14), (name, value)


@each("operation", [RandAugment(n=2, m=9), RandAugment(n=3, m=17), TrivialAugment()])
def test_operations_are_equally_frequent_and_signs_fair_in_every_stage(operation: Chance) -> None:
    draw = drawn(operation)
    for stage in range(draw["operation"].shape[1]):
        counts = Counter(names(draw, stage))
        assert set(counts) == set(CHOICES)
        assert all(fair(count, 1 / 14) for count in counts.values()), counts
        moved = draw["strength"][:, stage] != 0
        for name in oracle.SIGNED:
            of = moved & (draw["operation"][:, stage] == NAMES.index(name) - 1)
            negative = (draw["strength"][of, stage] < 0).sum().item()
            assert fair(negative, 0.5, int(of.sum())), name


def test_pairs_of_operations_are_equally_frequent() -> None:
    draw = drawn(RandAugment())
    counts = Counter(zip(names(draw, 0), names(draw, 1), strict=True))
    assert len(counts) == 14**2
    assert all(fair(count, 1 / 14**2) for count in counts.values())


@each("operation", [RandAugment(n=2, m=9), TrivialAugment()])
def test_rows_stages_operations_and_signs_are_independent(operation: Chance) -> None:
    draw = drawn(operation)
    signed = torch.tensor([name in oracle.SIGNED for name in NAMES])
    columns = []
    for stage in range(draw["operation"].shape[1]):
        number = draw["operation"][:, stage]
        columns += [number.double(), draw["strength"][:, stage].sign() * signed[number + 1]]
    columns += [column.roll(-1) for column in columns]  # the neighbouring row
    table = torch.corrcoef(torch.stack(columns))
    assert (table - torch.eye(len(columns))).abs().max() < 4.8 / ROWS**0.5


@each("operation", EVERY)
@each("shape", [(250, 3, 32, 32), (245, 3, 31, 33), (125, 1, 31, 33)])
def test_apply_equals_torchvision_op_after_op_on_each_row_alone(operation: Chance, shape: tuple[int, ...]) -> None:
    images = noise(*shape)
    before = images.clone()
    draw = operation.draw(Keys(1, 5, shape[0] // 5), images.shape)
    out = operation.apply(images, draw).images
    assert torch.equal(images, before)
    assert out.dtype == torch.uint8
    exact = 0
    for r in range(shape[0]):
        steps = [NAMES[number + 1] for number in draw["operation"][r].tolist()]
        image = images[r]
        for name, strength in zip(steps, draw["strength"][r].tolist(), strict=True):
            image = image if name == "Identity" else oracle.policy_operation(image, name, strength)
        if not set(NEARLY) & set(steps):
            assert torch.equal(out[r], image), (r, steps)
            exact += 1
        elif set(steps) <= {*NEARLY, "Identity"} and len(set(steps) & set(NEARLY)) == 1:
            assert (out[r].int() - image.int()).abs().max() <= len(steps)
    assert exact > shape[0] // 2


@each("operation", EVERY)
@each("shape", [(250, 3, 32, 32), (125, 1, 31, 33)])
def test_apply_equals_the_loop_of_our_kernels_to_the_bit(operation: Chance, shape: tuple[int, ...]) -> None:
    images = noise(*shape)
    draw = operation.draw(Keys(2, 5, shape[0] // 5), images.shape)
    out = operation.apply(images, draw).images
    for r in range(shape[0]):
        alone = images[r : r + 1]
        for stage, number in enumerate(draw["operation"][r].tolist()):
            if number >= 0:
                strength = draw["strength"][r : r + 1, stage]
                alone = list(OPERATIONS.values())[number].kernel(alone, strength)
        assert torch.equal(out[r], alone[0]), r


@each("spec", ["randaugment", "randaugment:n=3:m=20", "trivialaugment"])
def test_rows_do_not_depend_on_chunks_or_neighbours(spec: str) -> None:
    augmentation, images = parse(spec), noise(7 * 5, 3, 32, 32)
    whole = augmentation(images, Keys(3, 7, 5)).images
    parts = [augmentation(images[5 * k : 5 * k + 5], Keys(3, 1, 5, first=k)).images for k in range(7)]
    assert torch.equal(whole, torch.cat(parts))
    others = images.clone()
    others[1::2] = 0
    assert torch.equal(augmentation(others, Keys(3, 7, 5)).images[::2], whole[::2])


def test_settings_of_randaugment_share_their_draws() -> None:
    few, strong, many = (drawn(RandAugment(n, m)) for n, m in ((2, 9), (2, 27), (3, 9)))
    assert torch.equal(few["operation"], strong["operation"])
    assert torch.equal(few["operation"], many["operation"][:, :2])
    assert torch.equal(few["strength"].sign(), strong["strength"].sign())


@each("spec", ["randaugment", "trivialaugment"])
def test_per_batch_shares_everything_within_a_batch(spec: str) -> None:
    draw = parse(spec).draw(Keys(0, 200, 8, per="batch"), torch.Size((1600, 3, 32, 32)))[0]
    for values in (draw["operation"], draw["strength"]):
        table = values.reshape(200, 8, -1)
        assert (table == table[:, :1]).all()
    assert len({tuple(row) for row in draw["operation"].reshape(200, 8, -1)[:, 0].tolist()}) >= 14


@each(
    ("spec", "says"),
    [
        ("randaugment:n=0", "n is a number of operations from 1 up, not 0"),
        ("randaugment:n=-2", "n is a number of operations from 1 up, not -2"),
        ("randaugment:m=31", "m is a magnitude from 0 to 30, not 31"),
        ("randaugment:m=-1", "m is a magnitude from 0 to 30, not -1"),
        ("randaugment:m=4.5", "randaugment:m is a whole number, not '4.5'"),
        ("randaugment:k=2", "known: m, n"),
        ("trivialaugment:m=9", "'trivialaugment' takes no parameters"),
        ("randaugmnt:n=2", "did you mean randaugment"),
        ("trivialaugmentwide", "did you mean trivialaugment"),
    ],
)
def test_bad_parameters_name_the_right_range(spec: str, says: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(spec)
    assert says in str(caught.value)


def test_images_of_other_channels_are_refused() -> None:
    for spec in ("randaugment", "trivialaugment"):
        with pytest.raises(UsageError, match=f"{spec} needs images of 1 or 3 channels, not 4"):
            parse(spec)(noise(4, 4, 8, 8), Keys(0, 1, 4))
