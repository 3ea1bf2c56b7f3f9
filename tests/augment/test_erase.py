"""Cutout: pixels against a loop, draws against their law."""

from __future__ import annotations

import numpy as np
import torch
from scipy import stats

from dametric.augment import ImageSpec, Keys, parse
from dametric.augment.erase import Cutout
from dametric.errors import UsageError
from tests.loops import each
from tests.oracles import augment as oracle

FILL = (127.5, 10.25, 200.0)


def noise(*shape: int) -> torch.Tensor:
    return torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


@each("length", [1, 2, 3, 4, 7, 40])
def test_cutout_at_every_centre_equals_the_loop(length: int) -> None:
    centres = torch.cartesian_prod(torch.arange(7), torch.arange(9))
    images = noise(63, 3, 7, 9)
    draw = {"y": centres[:, 0], "x": centres[:, 1]}
    out = Cutout(length=length, fill=FILL).apply(images, draw).images
    assert out.dtype == torch.float32
    assert np.array_equal(out.numpy(), oracle.cutout(images.numpy(), *centres.T.tolist(), length, FILL))


def test_cutout_of_one_channel_equals_the_loop() -> None:
    images = noise(4, 1, 31, 33)
    draw = {"y": torch.tensor([0, 30, 15, 3]), "x": torch.tensor([0, 32, 15, 30])}
    out = Cutout(length=9, fill=(99.5,)).apply(images, draw).images
    assert out.shape == images.shape
    expected = oracle.cutout(images.numpy(), draw["y"].tolist(), draw["x"].tolist(), 9, (99.5,))
    assert np.array_equal(out.numpy(), expected)


@each("length", [1, 5, 8])
def test_cutout_away_from_the_edges_blanks_length_times_length_pixels(length: int) -> None:
    out = Cutout(length=length, fill=(0.0,)).apply(
        torch.full((1, 1, 31, 33), 7, dtype=torch.uint8), {"y": torch.tensor([15]), "x": torch.tensor([16])}
    )
    assert (out.images == 0).sum() == length**2


def test_cutout_with_a_whole_fill_equals_the_loop() -> None:
    images = noise(3, 3, 8, 8)
    draw = {"y": torch.tensor([1, 4, 7]), "x": torch.tensor([0, 4, 7])}
    out = Cutout(length=3, fill=(0.0, 255.0, 3.0)).apply(images, draw).images
    expected = oracle.cutout(images.numpy(), draw["y"].tolist(), draw["x"].tolist(), 3, (0, 255, 3))
    assert np.array_equal(out.double().numpy(), expected)


def test_cutout_fills_with_the_mean_of_the_data_so_that_normalisation_gives_zero() -> None:
    mean = (0.5071, 0.4867, 0.4408)
    images = noise(8, 3, 32, 32)
    augmentation = parse("cutout", ImageSpec(32, mean))
    draws = augmentation.draw(Keys(0, 1, 8), images.shape)
    out = augmentation.apply(images, draws).images
    normalised = out / 255 - torch.tensor(mean).reshape(1, 3, 1, 1)
    for r in range(8):
        assert normalised[r, :, int(draws[0]["y"][r]), int(draws[0]["x"][r])].abs().max() < 1e-6


def test_cutout_centres_are_uniform_over_the_whole_image() -> None:
    draw = Cutout(length=8, fill=FILL).draw(Keys(0, 512, 64), torch.Size((32768, 3, 9, 11)))
    counts = torch.bincount(draw["y"] * 11 + draw["x"], minlength=99)
    assert len(counts) == 99
    assert stats.chisquare(counts.numpy()).pvalue > 1e-4


def test_cutout_with_a_mean_of_three_channels_never_changes_the_channels_of_grey_images() -> None:
    images = noise(4, 1, 8, 8)
    augmentation = parse("cutout", ImageSpec(8, (0.5, 0.5, 0.5)))
    try:
        shape = augmentation(images, Keys(0, 1, 4)).images.shape
    except UsageError:
        shape = images.shape  # refusing is as good
    assert shape == images.shape
