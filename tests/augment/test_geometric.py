"""Flip, shifted crop, random resized crop: pixels against loops, draws against their laws."""

from __future__ import annotations

import numpy as np
import torch
from scipy import stats
from torch import Tensor
from torchvision import transforms
from torchvision.transforms.v2 import functional

from dametric.augment import Keys, parse
from dametric.augment.geometric import Crop, Flip, RandomResizedCrop, resizing
from tests.loops import each
from tests.oracles import augment as oracle

SHAPES = [(6, 3, 32, 32), (5, 3, 31, 33), (4, 1, 33, 31), (1, 3, 8, 8), (3, 4, 1, 1)]


def noise(shape: tuple[int, ...], seed: int = 0) -> Tensor:
    return torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


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


SIZES = [(375, 500), (500, 375), (32, 32), (40, 900), (900, 40)]  # of the last two, none of ten parts may fit


@each(("height", "width"), SIZES)
@each(("scale", "ratio"), [(0.08, 4 / 3), (0.5, 2.0)])
def test_resized_crops_follow_torchvisions_law(height: int, width: int, scale: float, ratio: float) -> None:
    operation, count = RandomResizedCrop(scale, ratio), 4096
    draw = operation.draw(Keys(3, 64, 64), torch.Size((count, 3, height, width)))
    boxes = operation.boxes(draw, height, width)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        image, limits = torch.empty(3, height, width), ([scale, 1.0], [1 / ratio, ratio])
        theirs = np.array([transforms.RandomResizedCrop.get_params(image, *limits) for _ in range(count)])
    for what in (lambda b: b[:, 2] * b[:, 3], lambda b: b[:, 2] / b[:, 3], *(lambda b, n=n: b[:, n] for n in range(4))):
        assert stats.ks_2samp(what(boxes.numpy()), what(theirs)).pvalue > 1e-3
    crops = operation.crops(draw)  # the same parts, to the pixel, where the sizes are known later
    assert [list(crops.box(row, height, width)) for row in range(count)] == boxes.tolist()


def test_resized_crops_of_images_of_different_sizes_are_those_of_each_size() -> None:
    operation, sides = RandomResizedCrop(), torch.tensor([[375, 500], [64, 64], [9, 300], [1, 1]]).repeat(64, 1)
    draw = operation.draw(Keys(0, 1, 256), torch.Size((256, 3, 1, 1)))
    boxes = operation.boxes(draw, sides[:, 0], sides[:, 1])
    for n in range(4):
        assert torch.equal(boxes[n::4], operation.boxes(draw, *sides[n].tolist())[n::4])
    assert (boxes[:, :2] >= 0).all()
    assert (boxes[:, 2:] > 0).all()
    assert (boxes[:, :2] + boxes[:, 2:] <= sides).all()


@each("shape", [(64, 3, 31, 33), (16, 1, 64, 64), (4, 3, 224, 224)])
def test_resized_crops_are_torchvisions_pixels(shape: tuple[int, ...]) -> None:
    images, operation = noise(shape), RandomResizedCrop()
    draw = operation.draw(Keys(3, 1, shape[0]), images.shape)
    out, floats = operation.apply(images, draw).images, operation.apply(images.float(), draw).images
    assert out.dtype == torch.uint8
    boxes, size = operation.boxes(draw, *shape[2:]), list(shape[2:])
    down, across = (resizing(boxes[:, n], boxes[:, n + 2], size[n]) for n in (0, 1))
    by_matrices = down[:, None] @ images.float() @ across[:, None].mT  # as on a GPU
    for row, box in enumerate(boxes.tolist()):
        theirs = functional.resized_crop(images[row], *box, size, antialias=True)
        assert (out[row].int() - theirs.int()).abs().max() <= 1
        exact = functional.resized_crop(images[row].float(), *box, size, antialias=True)
        assert torch.allclose(floats[row], exact, atol=1e-3)
        assert torch.allclose(by_matrices[row], exact, atol=1e-2)


@each("shape", SHAPES)
def test_resized_crop_of_the_whole_image_is_the_identity(shape: tuple[int, ...]) -> None:
    images = noise(shape)
    operation = RandomResizedCrop(scale=1.0, ratio=1e9)
    draw = operation.draw(Keys(0, 1, shape[0]), images.shape)
    draw["ratio"] = torch.full_like(draw["ratio"], shape[3] / shape[2])
    assert torch.equal(operation.apply(images, draw).images, images)


@each("level", [0, 1, 127, 254, 255])
def test_resized_crop_keeps_constant_images(level: int) -> None:
    images = torch.full((64, 3, 31, 33), level, dtype=torch.uint8)
    assert torch.equal(parse("rrc")(images, Keys(0, 1, 64)).images, images)
