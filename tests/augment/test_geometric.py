"""Flip, shifted crop, random resized crop: pixels against loops, draws against their laws."""

from __future__ import annotations

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from dametric.augment import Keys, parse
from dametric.augment.geometric import Crop, Flip, RandomResizedCrop
from tests.loops import each
from tests.oracles import augment as oracle

SHAPES = [(6, 3, 32, 32), (5, 3, 31, 33), (4, 1, 33, 31), (1, 3, 8, 8), (3, 4, 1, 1)]


def noise(shape: tuple[int, ...], seed: int = 0) -> Tensor:
    return torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


def whole(rows: int) -> dict[str, Tensor]:
    ones, zeros = torch.ones(rows, dtype=torch.float64), torch.zeros(rows, dtype=torch.float64)
    return {"width": ones, "height": ones, "left": zeros, "top": zeros}


@each("shape", SHAPES)
def test_flip_equals_the_loop_over_pixels(shape: tuple[int, ...]) -> None:
    images = noise(shape)
    flipped = torch.arange(shape[0]) % 2 == 0
    out = Flip().apply(images, {"flip": flipped}).images
    assert out.dtype == torch.uint8
    assert np.array_equal(out.numpy(), oracle.flip(images.numpy(), flipped.tolist()))


@each("p", [0.1, 0.5, 0.9])
def test_flip_happens_with_probability_p(p: float) -> None:
    flipped = Flip(p=p).draw(Keys(0, 128, 64), torch.Size((8192, 3, 4, 4)))["flip"]
    assert abs(flipped.double().mean().item() - p) < 5 * (p * (1 - p) / 8192) ** 0.5


def test_flip_happens_never_at_0_and_always_at_1() -> None:
    shape = torch.Size((4096, 3, 4, 4))
    assert not Flip(p=0.0).draw(Keys(0, 64, 64), shape)["flip"].any()
    assert Flip(p=1.0).draw(Keys(0, 64, 64), shape)["flip"].all()


@each("shape", SHAPES)
@each("padding", [0, 1, 4])
def test_crop_equals_the_loop_with_black_around(shape: tuple[int, ...], padding: int) -> None:
    images = noise(shape).clamp(1)  # black only from outside
    generator = torch.Generator().manual_seed(1)
    top, left = (torch.randint(0, 2 * padding + 1, (shape[0],), generator=generator) for _ in range(2))
    out = Crop(padding).apply(images, {"top": top, "left": left}).images
    assert out.dtype == torch.uint8
    assert np.array_equal(out.numpy(), oracle.crop(images.numpy(), top.tolist(), left.tolist(), padding))


def test_crop_by_every_offset_equals_the_loop() -> None:
    offsets = torch.cartesian_prod(torch.arange(5), torch.arange(5))
    images = noise((25, 2, 6, 7)).clamp(1)
    out = Crop(2).apply(images, {"top": offsets[:, 0], "left": offsets[:, 1]}).images
    assert np.array_equal(out.numpy(), oracle.crop(images.numpy(), *offsets.T.tolist(), 2))


def test_crop_of_float_images_keeps_them_float() -> None:
    images = noise((4, 3, 8, 9)).float() + 0.25
    top = left = torch.tensor([0, 1, 2, 4])
    out = Crop(2).apply(images, {"top": top, "left": left}).images
    assert out.dtype == torch.float32
    assert np.array_equal(out.numpy(), oracle.crop(images.numpy(), top.tolist(), left.tolist(), 2))


def test_crop_offsets_are_uniform_and_independent() -> None:
    draw = Crop(4).draw(Keys(0, 256, 64), torch.Size((16384, 3, 32, 32)))
    cells = torch.bincount(draw["top"] * 9 + draw["left"], minlength=81)
    assert len(cells) == 81
    assert stats.chisquare(cells.numpy()).pvalue > 1e-4


@each("shape", SHAPES)
def test_resized_crop_of_the_whole_image_is_the_identity(shape: tuple[int, ...]) -> None:
    images = noise(shape)
    out = RandomResizedCrop().apply(images, whole(shape[0])).images
    assert out.dtype == torch.uint8
    assert torch.equal(out, images)


@each("level", [0, 1, 127, 254, 255])
def test_resized_crop_keeps_constant_images(level: int) -> None:
    images = torch.full((64, 3, 31, 33), level, dtype=torch.uint8)
    assert torch.equal(parse("rrc")(images, Keys(0, 1, 64)).images, images)


def test_resized_crop_of_the_mirrored_image_is_the_mirrored_crop() -> None:
    images = noise((64, 3, 31, 33))
    operation = RandomResizedCrop()
    draw = operation.draw(Keys(0, 1, 64), images.shape)
    mirrored = {**draw, "left": 1 - draw["left"] - draw["width"]}
    one = operation.apply(images, draw).images.int()
    other = operation.apply(images.flip(-1), mirrored).images.flip(-1).int()
    assert (one - other).abs().max() <= 1  # rounding of halves
    assert (one != other).double().mean() < 1e-3


def test_resized_crop_of_the_transposed_image_is_the_transposed_crop() -> None:
    images = noise((64, 3, 32, 32))
    operation = RandomResizedCrop()
    draw = operation.draw(Keys(0, 1, 64), images.shape)
    turned = {"width": draw["height"], "height": draw["width"], "left": draw["top"], "top": draw["left"]}
    one = operation.apply(images, draw).images.int()
    other = operation.apply(images.mT.contiguous(), turned).images.mT.int()
    assert (one - other).abs().max() <= 1
    assert (one != other).double().mean() < 1e-3


@each("shape", [(16, 3, 31, 33), (8, 1, 32, 32)])
def test_resized_crop_is_bilinear_sampling_of_the_part_rounded_to_the_nearest(shape: tuple[int, ...]) -> None:
    images = noise(shape)
    operation = RandomResizedCrop()
    draw = operation.draw(Keys(3, 1, shape[0]), images.shape)
    out = operation.apply(images, draw).images
    for r in range(shape[0]):
        part = [draw[name][r].item() for name in ("top", "left", "height", "width")]
        exact = oracle.resized_crop(images[r].numpy(), *part)
        assert np.abs(out[r].numpy() - exact).max() < 0.51


def test_resized_crop_area_is_uniform_from_scale_to_1() -> None:
    operation = RandomResizedCrop(scale=0.2, ratio=1.0)
    draw = operation.draw(Keys(0, 128, 64), torch.Size((8192, 3, 32, 32)))
    assert torch.allclose(draw["width"], draw["height"])
    area = (draw["width"] * draw["height"]).numpy()
    assert stats.kstest(area, stats.uniform(0.2, 0.8).cdf).pvalue > 1e-4


@each(("height", "width"), [(32, 32), (32, 64)])
def test_resized_crop_ratio_is_uniform_in_logarithm(height: int, width: int) -> None:
    draw = RandomResizedCrop().draw(Keys(0, 128, 64), torch.Size((8192, 3, height, width)))
    small = draw["width"] * draw["height"] < 0.25  # never clipped
    ratio = (draw["width"] * width / (draw["height"] * height))[small].log().numpy()
    end = float(np.log(4 / 3))
    assert stats.kstest(ratio, stats.uniform(-end, 2 * end).cdf).pvalue > 1e-4


def test_resized_crop_parts_lie_inside_the_image_anywhere() -> None:
    draw = RandomResizedCrop().draw(Keys(0, 128, 64), torch.Size((8192, 3, 32, 32)))
    for side, corner in (("width", "left"), ("height", "top")):
        assert (draw[side] > 0).all()
        assert (draw[side] <= 1).all()
        assert (draw[corner] >= 0).all()
        assert (draw[corner] + draw[side] <= 1 + 1e-12).all()
        room = draw[side] < 1
        assert stats.kstest((draw[corner][room] / (1 - draw[side][room])).numpy(), "uniform").pvalue > 1e-4
