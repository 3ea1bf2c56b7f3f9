"""Policy kernels against torchvision's functions, called image by image."""

from __future__ import annotations

import torch
from torch import Tensor

from dametric.augment.policy import OPERATIONS
from tests.loops import each
from tests.oracles import augment as oracle

NEARLY = ("Color", "Sharpness")  # float blends whose last bit may round either way
SHAPES = [(3, 32, 32), (3, 31, 33), (1, 31, 33), (3, 64, 64), (3, 9, 40)]


def pictures(rows: int, channels: int, height: int, width: int) -> Tensor:
    """Noise, smooth ramps, low contrast, few levels, two levels, in turn."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randint(0, 256, (rows, channels, height, width), generator=generator)
    ramp = torch.linspace(0, 255, height)[:, None] * 0.6 + torch.linspace(0, 255, width) * 0.4
    kinds = [
        noise,
        ramp.long().expand_as(noise) + noise // 64,
        100 + noise // 8,
        noise // 86 * 100,
        noise // 128 * 255,
    ]
    return torch.stack([kinds[r % len(kinds)][r] for r in range(rows)]).clamp(0, 255).to(torch.uint8)


def flat(rows: int, channels: int) -> Tensor:
    """One colour an image; the first black, the second white."""
    level = torch.randint(0, 256, (rows, channels, 1, 1), generator=torch.Generator().manual_seed(0))
    level[0], level[1] = 0, 255
    return level.expand(-1, -1, 31, 33).to(torch.uint8)


def strengths(name: str, rows: int, height: int, width: int) -> Tensor:
    """All ten published levels, both signs where there are two."""
    levels = [oracle.published_strength(name, level, height, width) for level in range(10)]
    if name in oracle.SIGNED:
        levels += [-value for value in levels]
    return torch.tensor([levels[r // 5 % len(levels)] for r in range(rows)], dtype=torch.float64)


def check(name: str, images: Tensor, strength: Tensor) -> None:
    before = images.clone()
    out = OPERATIONS[name].kernel(images, strength)
    assert torch.equal(images, before), "input changed"
    assert out.dtype == torch.uint8
    assert out.shape == images.shape
    expected = torch.stack(
        [oracle.policy_operation(image, name, value) for image, value in zip(images, strength.tolist(), strict=True)]
    )
    difference = (out.int() - expected.int()).abs()
    if name in NEARLY:
        assert difference.max() <= 1
        assert (difference > 0).double().mean() < 0.02
    else:
        rows = (difference.flatten(1).max(1).values > 0).nonzero().flatten().tolist()
        assert not rows, f"strengths {sorted({strength[r].item() for r in rows})}, {int((difference > 0).sum())} pixels"


@each("shape", SHAPES)
@each("name", list(OPERATIONS))
def test_kernel_equals_torchvision_at_all_ten_levels(name: str, shape: tuple[int, int, int]) -> None:
    rows = 5 * (20 if name in oracle.SIGNED else 10)
    check(name, pictures(rows, *shape), strengths(name, rows, *shape[1:]))


@each("name", [name for name in OPERATIONS if name in oracle.SIGNED])
def test_kernel_equals_torchvision_at_odd_strengths(name: str) -> None:
    generator = torch.Generator().manual_seed(1)
    top = oracle.published_strength(name, 9, 31, 33)
    strength = (torch.rand(64, generator=generator, dtype=torch.float64) * 2 - 1) * top
    check(name, pictures(64, 3, 31, 33), strength)


@each("channels", [1, 3])
@each("name", [name for name in OPERATIONS if name not in ("Contrast", "Color", "Sharpness")])
def test_kernel_equals_torchvision_on_images_of_one_colour(name: str, channels: int) -> None:
    check(name, flat(200, channels), strengths(name, 200, 31, 33))


@each("channels", [1, 3])
@each("name", ["Contrast", "Color"])
def test_blends_of_one_colour_equal_torchvision_within_a_grey_level(name: str, channels: int) -> None:
    images, strength = flat(200, channels), strengths(name, 200, 31, 33)
    out = OPERATIONS[name].kernel(images, strength)
    for r, value in enumerate(strength.tolist()):
        expected = oracle.policy_operation(images[r], name, value)
        assert (out[r].int() - expected.int()).abs().max() <= 1


@each("channels", [1, 3])
def test_sharpness_leaves_images_of_one_colour_as_they_are(channels: int) -> None:
    images, strength = flat(200, channels), strengths("Sharpness", 200, 31, 33)
    for image, value in zip(images, strength.tolist(), strict=True):
        assert torch.equal(oracle.policy_operation(image, "Sharpness", value), image)
    assert torch.equal(OPERATIONS["Sharpness"].kernel(images, strength), images)


@each("threshold", [0.0, 1.0, 127.5, 128.0, 200.0, 254.0, 255.0])
def test_solarize_equals_torchvision_on_every_pixel_value(threshold: float) -> None:
    images = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16)
    check("Solarize", images, torch.tensor([threshold], dtype=torch.float64))


@each("bits", range(1, 9))
def test_posterize_equals_torchvision_on_every_pixel_value(bits: int) -> None:
    images = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16)
    check("Posterize", images, torch.tensor([bits], dtype=torch.float64))


@each("name", ["Color", "Brightness", "Contrast", "Sharpness", "Rotate", "ShearX", "TranslateY"])
def test_strength_zero_changes_nothing(name: str) -> None:
    images = pictures(16, 3, 31, 33)
    assert torch.equal(OPERATIONS[name].kernel(images, torch.zeros(16, dtype=torch.float64)), images)


@each("name", list(OPERATIONS))
def test_a_row_does_not_depend_on_the_other_rows(name: str) -> None:
    images = pictures(40, 3, 31, 33)
    strength = strengths(name, 40, 31, 33)
    together = OPERATIONS[name].kernel(images, strength)
    for r in range(40):
        assert torch.equal(OPERATIONS[name].kernel(images[r : r + 1], strength[r : r + 1])[0], together[r])


@each("name", list(OPERATIONS))
def test_memory_layout_changes_nothing(name: str) -> None:
    images = pictures(16, 3, 31, 33)
    strength = strengths(name, 16, 31, 33)
    kernel = OPERATIONS[name].kernel
    assert torch.equal(kernel(images.to(memory_format=torch.channels_last), strength), kernel(images, strength))
