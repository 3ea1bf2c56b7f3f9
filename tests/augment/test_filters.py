"""Blur, noise, JPEG: torchvision's result for the parameters drawn, and the law of these parameters."""

from __future__ import annotations

import pytest
import torch
from scipy import stats
from torchvision.transforms.v2 import functional as tvf

from dametric.augment import Keys, parse
from dametric.augment.filters import Blur, normal
from tests.augment.test_colour import pictures
from tests.loops import each

SHAPES = [(10, 3, 31, 33), (5, 1, 33, 9), (1, 3, 7, 5), (2, 3, 1, 4)]


@each("shape", SHAPES)
@each("sigma", [0.05, 0.4, 2.0, 8.0])
def test_blur_is_torchvisions(shape: tuple[int, ...], sigma: float) -> None:
    images, operation = pictures(*shape), Blur(sigma)
    draw = operation.draw(Keys(0, 1, shape[0]), images.shape)
    out = operation.apply(images, draw).images
    size = 2 * operation.radius(*shape[2:]) + 1
    for row, (image, each_sigma) in enumerate(zip(images, draw["sigma"].tolist(), strict=True)):
        theirs = tvf.gaussian_blur(image, [size, size], [each_sigma] * 2)
        difference = (out[row].int() - theirs.int()).abs()
        assert difference.max() <= 1
        assert (difference > 0).double().mean() < 0.03


def test_blur_and_quality_follow_their_laws() -> None:
    shape = torch.Size((8192, 3, 4, 4))
    for sigma, low in ((2.0, 0.1), (0.5, 0.1), (0.05, 0.05)):
        values = Blur(sigma).draw(Keys(0, 1, 8192), shape)["sigma"]
        assert values.min() >= low
        assert values.max() <= sigma
        if sigma > low:
            assert stats.kstest(values.numpy(), stats.uniform(low, sigma - low).cdf).pvalue > 1e-4
            assert abs(float(torch.corrcoef(torch.stack([values[1:], values[:-1]]))[0, 1])) < 0.05
    qualities = parse("jpeg:quality=81").operations[0].draw(Keys(0, 1, 8192), shape)["quality"]
    counts = torch.bincount(qualities)
    assert len(counts) == 101
    assert stats.chisquare(counts[81:].numpy()).pvalue > 1e-4
    assert not counts[:81].any()


@each("shape", SHAPES)
@pytest.mark.filterwarnings("ignore:The image decoding and encoding:DeprecationWarning")
def test_jpeg_is_what_torchvisions_own_codec_makes(shape: tuple[int, ...]) -> None:
    images, aug = pictures(*shape), parse("jpeg:quality=5")
    draws = aug.draw(Keys(0, 1, shape[0]), images.shape)
    out = aug.apply(images, draws).images
    for image, new, quality in zip(images, out, draws[0]["quality"].tolist(), strict=True):
        assert (new.int() - tvf.jpeg(image, quality).int()).abs().max() <= 1


def test_noise_is_normal_and_independent_between_pixels_channels_and_rows() -> None:
    images = torch.full((32, 3, 32, 32), 128, dtype=torch.uint8)
    noise = normal(parse("noise").draw(Keys(0, 1, 32), images.shape)[0]["bits"], 3 * 32 * 32).double()
    assert stats.kstest(noise.flatten().numpy(), stats.norm.cdf).pvalue > 1e-4
    out = parse("noise:std=0.2")(images, Keys(0, 1, 32)).images
    exact = (128 + 255 * 0.2 * noise).round().clamp(0, 255).view(images.shape)
    assert (out - exact).abs().max() <= 1
    assert ((out - exact) != 0).double().mean() < 1e-3
    field, count = noise.view(32, 3, 32, 32), noise.numel()
    pairs = [(field[..., 1:], field[..., :-1]), (field[..., 1:, :], field[..., :-1, :]), (field[:, 1:], field[:, :-1])]
    for one, other in [*pairs, (field[1:], field[:-1])]:
        assert abs(float((one * other).mean())) < 5 / (count / 2) ** 0.5
    shared = parse("noise")(images, Keys(0, 4, 8, per="batch")).images.view(4, 8, -1)
    assert (shared == shared[:, :1]).all()
    assert not torch.equal(shared[0], shared[1])
