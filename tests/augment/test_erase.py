"""Cutout: pixels against a loop, draws against their law."""

from __future__ import annotations

import numpy as np
import torch
from scipy import stats
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional

from dametric.augment import ImageSpec, Keys, parse
from dametric.augment.erase import Cutout, GridMask, Mask
from dametric.errors import UsageError
from tests.loops import each
from tests.oracles import augment as oracle

BOX = ("top", "left", "height", "width")
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


@each("shape", [(64, 3, 31, 33), (16, 1, 64, 48), (3, 3, 2, 2), (1, 3, 1, 1)])
def test_erasing_is_torchvisions_erase_of_the_rectangle_drawn(shape: tuple[int, ...]) -> None:
    images, of = noise(*shape), ImageSpec(32, (0.5, 0.25, 0.75)[: shape[1]])
    for mode in ("const", "rand", "pixel"):
        aug = parse(f"erasing:area=0.6:mode={mode}:p=1", of)
        (draw,) = aug.draw(Keys(0, 1, shape[0]), images.shape)
        out = aug.apply(images, (draw,)).images
        for row, (top, left, high, wide) in enumerate(zip(*(draw[name].tolist() for name in BOX), strict=True)):
            value = out[row, :, top : top + high, left : left + wide]
            if mode == "const":
                value = 255 * torch.tensor(of.mean).view(-1, 1, 1)
            elif mode == "rand" and high and wide:
                value = value[:, :1, :1]
            assert torch.equal(out[row], functional.erase(images[row].float(), top, left, high, wide, value))


def test_erased_rectangles_follow_torchvisions_law() -> None:
    count, image = 4096, torch.zeros(3, 40, 31)
    for area in (0.33, 0.9):
        draw = parse(f"erasing:area={area}:p=1").operations[0].draw(Keys(0, 64, 64), torch.Size((count, 3, 40, 31)))
        law = v2.RandomErasing(p=1, scale=(0.02, area), ratio=(0.3, 3.3))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            drawn = [law.make_params([image]) for _ in range(count)]
        for mine, theirs in zip(BOX, ("i", "j", "h", "w"), strict=True):
            values = [int(params[theirs]) if params["v"] is not None else 0 for params in drawn]
            here = torch.where(draw["height"] > 0, draw[mine], 0)
            assert stats.ks_2samp(here.numpy(), values).pvalue > 1e-4, (area, mine)


def test_random_colours_of_erasing_are_normal_about_the_mean() -> None:
    images, of = torch.zeros(512, 3, 32, 32, dtype=torch.uint8), ImageSpec(32, (0.5, 0.4, 0.6))
    for mode in ("rand", "pixel"):
        aug = parse(f"erasing:mode={mode}:p=1", of)
        (draw,) = aug.draw(Keys(0, 1, 512), images.shape)
        out = aug.apply(images, (draw,)).images
        top, left = draw["top"], draw["left"]
        colours = out[torch.arange(512), :, top, left] / 255
        inside = (colours > 0.01) & (colours < 0.99)  # what is clipped is left out
        for channel, mean in enumerate(of.mean):
            law = stats.truncnorm((0.01 - mean) / 0.25, (0.99 - mean) / 0.25, mean, 0.25)
            values = colours[inside[:, channel], channel]
            assert stats.kstest(values.numpy(), law.cdf).pvalue > 1e-4, (mode, channel)
        assert abs(np.corrcoef(colours.T.numpy())[0, 1]) < 4.5 / 512**0.5


@each("drop", [0.25, 0.4, 1.0])
def test_gridmask_equals_the_loop_over_its_squares(drop: float) -> None:
    images, operation = noise(32, 3, 31, 33), GridMask(drop, FILL)
    draw = operation.draw(Keys(0, 1, 32), images.shape)
    out = operation.apply(images, draw).images
    for row, (period, top, left) in enumerate(torch.stack([draw[n] for n in ("period", "top", "left")], 1).tolist()):
        side = round(period * drop)
        expected = images[row].float()
        for y in range(-top, 31, period):
            for x in range(-left, 33, period):
                lines, columns = slice(max(y, 0), max(y + side, 0)), slice(max(x, 0), max(x + side, 0))
                expected[:, lines, columns] = torch.tensor(FILL).view(3, 1, 1)
        assert torch.equal(out[row], expected)


def test_gridmask_periods_and_places_are_uniform() -> None:
    draw = GridMask().draw(Keys(0, 128, 64), torch.Size((8192, 3, 32, 40)))
    counts = torch.bincount(draw["period"])
    assert len(counts) == 33
    assert not counts[:14].any()  # 96 of 224
    assert stats.chisquare(counts[14:].numpy()).pvalue > 1e-4
    for name in ("top", "left"):
        chosen = draw[name][draw["period"] == 20]
        assert stats.chisquare(torch.bincount(chosen, minlength=20).numpy()).pvalue > 1e-4
    assert abs(np.corrcoef(draw["period"][1:], draw["period"][:-1])[0, 1]) < 4.5 / 8192**0.5


@each(("share", "patch"), [(0.5, 4), (0.3, 5), (1.0, 8), (0.75, 40)])
def test_mask_blanks_a_share_of_whole_patches_each_as_often(share: float, patch: int) -> None:
    images, operation = noise(2048, 1, 13, 17), Mask(share, patch, (300.0,))
    out = operation.apply(images, operation.draw(Keys(0, 32, 64), images.shape)).images[:, 0]
    blank, down, across = out == 300, -(-13 // patch), -(-17 // patch)
    kept = images[:, 0].float()[~blank]
    assert torch.equal(out[~blank], kept)
    corners = blank[:, ::patch, ::patch]
    assert torch.equal(corners.repeat_interleave(patch, 1).repeat_interleave(patch, 2)[:, :13, :17], blank)
    count = round(share * down * across)
    assert (corners.sum((1, 2)) == count).all()
    rate = count / (down * across)
    assert ((corners.double().mean(0) - rate).abs() <= 4.5 * (rate * (1 - rate) / 2048) ** 0.5).all()
