"""What is found out about a user's callable, and what is then made with it: against plain arithmetic."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torchvision import transforms as v1
from torchvision.transforms import v2

from dametric.augment import Augmentation, Keys, parse
from dametric.augment.examine import check_base, examined, remarks, sample
from dametric.augment.external import Findings
from dametric.augment.units import PIXELS, decide
from dametric.data import ImageSet
from dametric.data.known import Statistics
from dametric.errors import UsageError

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
OWN = ((0.3, 0.4, 0.5), (0.31, 0.33, 0.37))


@pytest.fixture(scope="module")
def images() -> Tensor:
    """12 images that are neither dark nor symmetrical."""
    draw = torch.Generator().manual_seed(0)
    coarse = nn.functional.interpolate(torch.randn(12, 3, 4, 4, generator=draw), size=8, mode="bilinear")
    return (128 + 60 * coarse + 20 * torch.randn(12, 3, 8, 8, generator=draw)).clamp(0, 255).to(torch.uint8)


def seen(function: Callable[..., Any], images: Tensor) -> tuple[Augmentation, Findings]:
    aug = examined(parse(function), images)
    (operation,) = aug.operations
    return aug, operation.findings  # type: ignore[attr-defined]


def made(function: Callable[..., Any], images: Tensor, seed: int = 0) -> Tensor:
    """Three batches of four."""
    return seen(function, images)[0](images, Keys(seed, 3, 4)).images


def test_an_ordinary_function_is_found_ordinary_and_makes_what_it_made(images: Tensor) -> None:
    def invert(batch: Tensor) -> Tensor:
        return 255 - batch

    flips = v2.RandomHorizontalFlip(0.5)
    for function in (invert, flips, lambda batch: batch.float() + 20 * torch.randn(batch.shape), nn.Identity()):
        aug, found = seen(function, images)
        assert found == Findings()
        assert found.line == ""
        keys = Keys(3, 3, 4)
        assert torch.equal(aug(images, keys).images, parse(function)(images, keys).images)
        for per in ("sample", "batch"):
            assert aug.balanced
            assert torch.equal(
                aug(images, Keys(3, 3, 4, per=per)).images, parse(function)(images, Keys(3, 3, 4, per=per)).images
            )


# Units


@pytest.mark.parametrize("constants", [IMAGENET, OWN, ((0.5,), (0.5,))])
@pytest.mark.parametrize("step", [v2.Identity(), v2.RandomHorizontalFlip(1), v2.ColorJitter(0.4, 0.4)])
def test_a_pipeline_that_ends_in_normalize_is_taken_back(images: Tensor, step: nn.Module, constants: Any) -> None:
    begins = v2.Compose([step, v2.ToDtype(torch.float32, scale=True)])
    whole = v2.Compose([begins, v2.Normalize(*constants)])
    wanted = torch.cat([part * 255 for part in parts_of(begins, images, whole)])
    assert (made(whole, images) - wanted).abs().max() < 1e-3
    assert "normalised by its own constants" in seen(whole, images)[1].line


def parts_of(function: nn.Module, images: Tensor, named: nn.Module) -> list[Tensor]:
    """What a pipeline gives when it is called with the seeds that another one of the same draws is called with."""
    (operation,) = parse(named).operations
    seeds = operation.draw(Keys(0, 3, 4).sub(operation.stream), images.shape)["seed"].tolist()
    results = []
    with torch.random.fork_rng():
        for seed, image in zip(seeds, images.split(1), strict=True):
            torch.manual_seed(seed)
            results.append(function(image))
    return results


def test_constants_in_circulation_are_known_where_a_function_hides_its_own(images: Tensor) -> None:
    for mean, std in (IMAGENET, ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616))):
        m, s = (torch.tensor(values).view(1, 3, 1, 1).tolist() for values in (mean, std))

        def normalised(batch: Tensor, m: Any = m, s: Any = s) -> Tensor:
            return (batch / 255 - torch.tensor(m)) / torch.tensor(s)

        assert (made(normalised, images) - images.float()).abs().max() < 1e-3
    assert (made(lambda batch: batch.float() / 127.5 - 1, images) - images.float()).abs().max() < 1e-3


def test_values_from_0_to_1_are_pixels_over_255(images: Tensor) -> None:
    out = made(lambda batch: batch.float() / 255, images)
    assert torch.allclose(out, images.float(), atol=1e-3)


def test_floats_of_which_only_black_is_left_are_pixels_and_what_ends_at_0_from_below_is_not() -> None:
    black = torch.zeros(4, 3, 8, 8)
    assert decide([black], [black], []) == PIXELS
    below = -torch.linspace(0, 200, 3 * 64).reshape(1, 3, 8, 8)
    assert decide([below], [below], []) is None


@pytest.mark.parametrize(("ends", "known"), [((0.0, 0.8), True), ((0.2, 1.0), True), ((0.2, 0.8), False)])
def test_constants_fit_only_what_reaches_normalised_black_or_white(ends: tuple[float, float], known: bool) -> None:
    own = Statistics(*IMAGENET)
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in IMAGENET)
    flat = [(torch.full((1, 3, 8, 8), level) - mean) / std for level in ends]
    found = decide(flat, [], [own])
    assert (found is not None and found.mean == IMAGENET[0]) == known


def test_images_normalised_as_clip_s_are_known() -> None:
    """Constants as published with the model (github.com/openai/CLIP)."""
    mean, std = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
    flat = [((level - torch.tensor(mean)) / torch.tensor(std)).view(1, 3, 1, 1).expand(1, 3, 8, 8) for level in (0, 1)]
    found = decide(flat, [], [])
    assert found is not None
    assert (found.mean, found.std) == (mean, std)


def test_a_function_that_darkens_is_in_pixels_however_dark_an_image_comes_out(images: Tensor) -> None:
    """Every other image comes out so dark that alone it would look like one from 0 to 1."""

    def darker(batch: Tensor) -> Tensor:
        return batch.float() * (torch.rand(1) ** 2).where(torch.rand(1) > 0.5, torch.tensor(0.003))

    aug, found = seen(darker, images)
    assert found == Findings()
    (operation,) = aug.operations
    seeds, wanted = list(range(12)), []
    with torch.random.fork_rng():
        for seed, image in zip(seeds, images.split(1), strict=True):
            torch.manual_seed(seed)
            wanted.append(darker(image))
    out = operation.apply(images, {"seed": torch.tensor(seeds)}).images
    assert torch.equal(out, torch.cat(wanted))
    assert 2 < sum(float(image.max()) <= 1 for image in wanted) < 10


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (lambda x: x.float() - torch.tensor([123.0, 117, 104]).view(1, 3, 1, 1), "-123 to 151"),
        (lambda x: (x.float() - x.float().mean()) / x.float().std(), "neither pixels"),
        (lambda x: x.float() * 16, "to 4080"),
        (lambda x: x.float() / 64, "0 to 3.9"),
    ],
)
def test_other_ranges_are_refused_in_one_true_sentence(images: Tensor, function: Any, says: str) -> None:
    with pytest.raises(UsageError) as caught:
        seen(function, images)
    assert says in str(caught.value)
    assert "uint8" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_function_that_changes_its_units_is_refused_when_it_does(images: Tensor) -> None:
    bad = [False]
    aug, _ = seen(lambda batch: batch.float() / (1 if bad[0] else 255), images)
    bad[0] = True
    with pytest.raises(UsageError, match="one range"):
        aug(images, Keys(0, 3, 4))


# What it is given


class Named:
    """As albumentations has it: arrays by name, a generator of its own, a method to seed it."""

    def __init__(self) -> None:
        self.generator = np.random.default_rng()

    def set_random_seed(self, seed: int) -> None:
        self.generator = np.random.default_rng(seed)

    def __call__(self, *, image: np.ndarray) -> dict[str, np.ndarray]:
        assert image.dtype == np.uint8
        assert image.shape == (8, 8, 3)
        return {"image": image[:, ::-1] if self.generator.random() < 0.5 else image}


class Floats(nn.Module):
    """As kornia has it: floating-point batches from 0 to 1 only."""

    def forward(self, batch: Tensor) -> Tensor:
        if not batch.is_floating_point():
            raise TypeError(f"Expected input of type torch.float32, got {batch.dtype}")
        assert float(batch.max()) <= 1
        return batch.flip(-2)


def test_arrays_pictures_and_floats_are_handed_over_where_tensors_of_bytes_are_not_taken(images: Tensor) -> None:
    out = made(Named(), images)
    kept = (out == images).flatten(1).all(1)
    turned = (out == images.flip(-1)).flatten(1).all(1)
    assert bool((kept ^ turned).all())
    assert 0 < int(kept.sum()) < len(images)
    assert torch.equal(made(Named(), images), out)
    assert (made(Floats(), images) - images.flip(-2)).abs().max() < 1e-3
    pictures = v1.Compose([v1.RandomVerticalFlip(1), v1.ToTensor(), v1.Normalize(*IMAGENET)])
    assert (made(pictures, images) - images.flip(-2)).abs().max() < 1e-3
    assert made(v1.Compose([v1.ToPILImage(), v1.RandomVerticalFlip(1)]), images[:, :1]).tolist() == (
        images[:, :1].flip(-2).tolist()
    )
    assert [seen(f, images)[1].form for f in (Named(), Floats(), pictures)] == ["array", "shares", "picture"]
    assert "PIL" in seen(pictures, images)[1].line


def test_the_error_of_a_function_that_takes_nothing_is_the_first_one(images: Tensor) -> None:
    def broken(batch: Any) -> Tensor:
        raise RuntimeError(f"no {type(batch).__name__} please")

    with pytest.raises(UsageError, match="failed: RuntimeError: no Tensor please"):
        seen(broken, images)


# Mixing


def rolled(batch: Tensor) -> Tensor:
    return 0.75 * batch.float() + 0.25 * batch.roll(1, 0).float()


def mirrored_and_rolled(batch: Tensor) -> Tensor:
    return rolled(batch.flip(-1))


def pasted(batch: Tensor) -> Tensor:
    """By chance, and a small box only."""
    result = batch.clone()
    if torch.rand(1) < 0.5:
        result[:, :, 2:5, 1:4] = batch.roll(1, 0)[:, :, 2:5, 1:4]
    return result


@pytest.mark.parametrize("before", [rolled, mirrored_and_rolled])
def test_a_hand_written_mixing_function_is_given_batches(images: Tensor, before: Any) -> None:
    aug, found = seen(before, images)
    assert found.mixes
    assert aug.mixes
    assert not aug.balanced
    assert "whole batches" in found.line
    given = images.flip(-1) if before is mirrored_and_rolled else images
    x = given.numpy().astype(float).reshape(3, 4, 3, 8, 8)
    wanted = (0.75 * x + 0.25 * np.roll(x, 1, axis=1)).reshape(images.shape)
    for per in ("sample", "batch"):
        out = aug(images, Keys(0, 3, 4, per=per)).images
        assert np.abs(out.numpy() - wanted).max() < 1e-3


def test_mixing_by_chance_and_mixing_that_fails_on_one_image_are_found(images: Tensor) -> None:
    def pairs(batch: Tensor) -> Tensor:
        assert len(batch) % 2 == 0, "Batch size should be even when using this"
        return batch.flip(0)

    assert seen(pasted, images)[1].mixes
    assert torch.equal(made(pairs, images), images.view(3, 4, 3, 8, 8).flip(1).view(images.shape))


def test_mixing_of_floats_from_0_to_1_is_found_where_its_draws_cannot_be_repeated(images: Tensor) -> None:
    def stirred(batch: Tensor) -> Tensor:
        if not batch.is_floating_point() or float(batch.max()) > 1:
            raise TypeError("Expected floats from 0 to 1")
        share = 0.5 + os.urandom(1)[0] / 1000
        return share * batch + (1 - share) * batch.roll(1, 0)

    found = seen(stirred, images)[1]
    assert found.mixes
    assert found.form == "shares"
    assert not found.repeats


@pytest.mark.parametrize("classes", [None, 10])
def test_torchvision_s_mixing_is_given_batches_and_labels(images: Tensor, classes: int | None) -> None:
    aug, found = seen(v2.MixUp(num_classes=classes), images)
    assert found.mixes
    out, x = aug(images, Keys(0, 3, 4)).images.view(3, 4, -1).double(), images.view(3, 4, -1).double()
    for mixed, plain in zip(out, x, strict=True):
        gap = plain.roll(1, 0) - plain
        share = ((mixed - plain) * gap).sum() / gap.square().sum()  # the weight of the others, by least squares
        assert 0 < share < 1
        assert (plain + share * gap - mixed).abs().max() < 1e-2
    aug, found = seen(v2.CutMix(num_classes=classes), images)
    out = aug(images, Keys(0, 3, 4)).images.view(3, 4, 3, 8, 8)
    batches = images.view(3, 4, 3, 8, 8)
    assert bool(((out == batches) | (out == batches.roll(1, 1))).all())
    assert not torch.equal(out, batches)


class Mixup:
    """As timm has it: in place, by pairs, with targets."""

    def __call__(self, x: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        assert len(x) % 2 == 0, "Batch size should be even when using this"
        x.mul_(0.75).add_(x.flip(0).mul(1 / 3))  # of what is 0.75 times as bright already
        return x, target


class RandomMixUpV2(nn.Module):
    """As kornia has it: floating-point batches from 0 to 1 only, images alone."""

    def forward(self, x: Tensor) -> Tensor:
        if not x.is_floating_point():
            raise TypeError(f"Expected input of type torch.float32, got {x.dtype}")
        return 0.75 * x + 0.25 * x.roll(1, 0)


def test_mixing_of_timm_s_and_kornia_s_kind_is_given_batches(images: Tensor) -> None:
    x = images.numpy().astype(float).reshape(3, 4, 3, 8, 8)
    for mixer, partners, module in (
        (Mixup(), x[:, ::-1], "timm.data.mixup"),
        (RandomMixUpV2(), np.roll(x, 1, 1), "kornia.augmentation"),
    ):
        wanted = (0.75 * x + 0.25 * partners).reshape(images.shape)
        known = type(type(mixer).__name__, (type(mixer),), {"__module__": module})()
        for function in (mixer, known):
            assert seen(function, images)[1].mixes
            assert np.abs(made(function, images).numpy() - wanted).max() < 1e-3


@pytest.mark.parametrize(("module", "mixes"), [("kornia.augmentation._2d.mix.base", True), ("own.kornia", False)])
def test_a_library_s_mixer_is_known_even_if_it_mixes_too_seldom_to_be_seen(
    images: Tensor, module: str, mixes: bool
) -> None:
    def forward(self: nn.Module, batch: Tensor) -> Tensor:
        return batch

    seldom = type("MixAugmentationBaseV2", (nn.Module,), {"__module__": module, "forward": forward})()
    assert seen(seldom, images)[1].mixes == mixes


def test_a_mixer_wrapped_in_a_function_is_known_by_its_class(images: Tensor) -> None:
    mixer = v2.CutMix(num_classes=3)

    def wrapped(batch: Tensor) -> Tensor:
        return mixer(batch, torch.zeros(len(batch), dtype=torch.int64))[0]

    assert seen(wrapped, images)[1].mixes


def test_brightness_of_a_batch_is_not_mixing_and_an_attribute_has_the_last_word(images: Tensor) -> None:
    def balanced(batch: Tensor) -> Tensor:
        return (batch.float() - batch.float().mean() + 128).clamp(0, 255)

    def alone(batch: Tensor) -> Tensor:
        return rolled(batch)

    def together(batch: Tensor) -> Tensor:
        return batch

    alone.mixes, together.mixes = False, True  # type: ignore[attr-defined]
    assert [seen(f, images)[1].mixes for f in (balanced, alone, together)] == [False, False, True]


def test_two_mixers_and_a_mixer_of_the_loader_are_refused(images: Tensor) -> None:
    (own,) = parse(rolled).operations
    with pytest.raises(UsageError, match="only one operation may mix"):
        examined(Augmentation("both", (own, *parse("cutmix").operations)), images)
    with pytest.raises(UsageError, match="cannot mix"):
        check_base(examined(parse(rolled), images))
    check_base(examined(parse("mixup"), images))


# Randomness

_RNG, _STATE, _PYTHON, _TORCH = (
    np.random.default_rng(),
    np.random.RandomState(),
    random.Random(),
    torch.Generator(),
)


def by_numpy(batch: Tensor) -> Tensor:
    return batch // (1 + int(_RNG.integers(9)))


def by_state(batch: Tensor) -> Tensor:
    return batch // (1 + int(_STATE.randint(9)))


def by_python(batch: Tensor) -> Tensor:
    return batch // (1 + helper())


def helper() -> int:
    return _PYTHON.randrange(9)


def by_torch(batch: Tensor) -> Tensor:
    return batch // (1 + int(torch.randint(9, (), generator=_TORCH)))


def by_seed(batch: Tensor, seed: int) -> Tensor:
    return batch // (1 + random.Random(seed).randrange(9))


def by_generator(batch: Tensor, generator: torch.Generator | None = None) -> Tensor:
    return batch // (1 + int(torch.randint(9, (), generator=generator or torch.Generator().manual_seed(torch.seed()))))


def by_rng(batch: Tensor, *, rng: np.random.Generator | None = None) -> Tensor:
    return batch // (1 + int((rng or np.random.default_rng()).integers(9)))


class Holder:
    """A generator as an attribute."""

    def __init__(self) -> None:
        self.rng = np.random.default_rng()

    def __call__(self, batch: Tensor) -> Tensor:
        return batch // (1 + int(self.rng.integers(9)))


def by_nobody(batch: Tensor) -> Tensor:
    return batch // (1 + int(np.random.default_rng().integers(9)))


def test_generators_of_its_own_are_seeded_by_name_wherever_they_are(images: Tensor) -> None:
    captured = np.random.default_rng()
    functions = [by_numpy, by_state, by_python, by_torch, by_seed, by_generator, by_rng, Holder(), Holder().__call__]
    functions += [lambda batch: batch // (1 + int(captured.integers(9)))]
    for function in functions:
        aug, found = seen(function, images)
        assert found.repeats, function
        one = aug(images, Keys(0, 3, 4)).images
        assert torch.equal(aug(images, Keys(0, 3, 4)).images, one), function
        assert torch.equal(aug(images[4:], Keys(0, 2, 4, first=1)).images, one[4:]), function
        assert not torch.equal(aug(images, Keys(1, 3, 4)).images, one), function
        assert len({int(a.sum()) * 1000 // max(1, int(b.sum())) for a, b in zip(one, images, strict=True)}) > 3


def test_seeds_given_to_a_method_have_32_bits(images: Tensor) -> None:
    class Seeded:
        level = 0

        def set_random_seed(self, seed: int) -> None:
            assert 0 <= seed < 2**32
            self.level = seed % 7

        def __call__(self, batch: Tensor) -> Tensor:
            return batch // (1 + self.level)

    function = Seeded()
    assert torch.equal(made(function, images), made(function, images))
    assert seen(function, images)[1].repeats


def test_a_seed_with_a_value_of_its_own_is_left_alone(images: Tensor) -> None:
    def fixed(batch: Tensor, seed: int = 4) -> Tensor:
        return batch // (1 + random.Random(seed).randrange(9))

    assert torch.equal(made(fixed, images), images // (1 + random.Random(4).randrange(9)))


def test_what_cannot_be_seeded_is_found_said_and_kept(images: Tensor) -> None:
    count = iter(range(10**6))
    for function in (by_nobody, lambda batch: batch // (1 + next(count) % 9)):
        aug, found = seen(function, images)
        assert not found.repeats
        assert found.plain["repeats"] is False
        assert "cannot be seeded" in remarks(aug, images)[0]


# Remarks


def test_what_changes_nothing_or_leaves_nothing_is_said(images: Tensor) -> None:
    def said(aug: Any) -> list[str]:
        return remarks(examined(parse(aug), images), images)

    for nothing in (v2.ColorJitter(), lambda batch: batch.float() / 255, "flip:p=0", "crop:padding=0"):
        assert "changed none of 12 images" in said(nothing)[0]
    for everything in ("cutout:length=99", "crop:padding=900", lambda batch: batch * 0):
        assert "one colour of" in said(everything)[0]
    for usual in ("identity", "flip", "cutout", "crop", "cutmix", "mixup", "cutmixpick", "autoaugment", rolled):
        assert said(usual) == []


@pytest.mark.parametrize(("blank", "words"), [(1, []), (2, ["one colour of 17 % of images"])])
def test_up_to_a_tenth_of_images_may_come_out_blank(images: Tensor, blank: int, words: list[str]) -> None:
    def hides(batch: Tensor) -> Tensor:
        hidden = (batch[:, None] == images[:blank]).flatten(2).all(2).any(1)
        return (255 - batch) * ~hidden[:, None, None, None]

    lines = remarks(examined(parse(hides), images), images)
    assert len(lines) == len(words)
    assert all(word in line for word, line in zip(words, lines, strict=True))


def test_a_sample_is_spread_over_the_set() -> None:
    images = torch.arange(100, dtype=torch.uint8).view(100, 1, 1, 1).expand(100, 1, 4, 4).contiguous()
    data = ImageSet.from_tensors(images, mean=(0.5,), std=(0.5,))
    levels = sample(data, torch.device("cpu"))[:, 0, 0, 0].tolist()
    assert levels == [100 * place // 32 for place in range(32)]
    assert len(sample(data.subset(torch.arange(3)), torch.device("cpu"))) == 3


def test_what_a_function_prints_and_how_it_exits(images: Tensor, capsys: pytest.CaptureFixture[str]) -> None:
    def loud(batch: Tensor) -> Tensor:
        print("hello")
        return batch

    def leaves(batch: Tensor) -> Tensor:
        raise SystemExit(3)

    made(loud, images)
    out, err = capsys.readouterr()
    assert out == ""
    assert "hello" in err
    with pytest.raises(UsageError, match="leaves failed: SystemExit: 3"):
        made(leaves, images)
