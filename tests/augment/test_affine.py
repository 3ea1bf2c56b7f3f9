"""Warps: torchvision's pixels for the parameters drawn, and torchvision's law of these parameters."""

from __future__ import annotations

from typing import Any

import torch
from scipy import stats
from torch import Tensor
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as tvf

from dametric.augment import Keys, parse
from dametric.augment.base import Draw
from tests.augment.test_colour import pictures
from tests.loops import each

SHAPES = [(20, 3, 31, 33), (10, 3, 32, 32), (5, 1, 9, 40), (1, 3, 7, 5), (2, 3, 1, 1)]
STILL: dict[str, Any] = {"angle": 0.0, "translate": [0, 0], "scale": 1.0, "shear": [0.0, 0.0]}
ROWS = 8192


def theirs(image: Tensor, name: str, of: dict[str, Any]) -> Tensor:
    """What torchvision makes of an image, by its own defaults of interpolation."""
    if name == "rotate":
        return tvf.rotate(image, of["angle"])
    if name == "translate":
        return tvf.affine(image, **{**STILL, "translate": [int(of["right"]), int(of["down"])]})
    if name == "shear":
        return tvf.affine(image, **{**STILL, "shear": [of["x"], of["y"]]})
    if name == "scale":
        return tvf.affine(image, **{**STILL, "scale": of["factor"]})
    height, width = image.shape[1:]
    start = [[0, 0], [width - 1, 0], [width - 1, height - 1], [0, height - 1]]
    signs = [(1, 1), (-1, 1), (-1, -1), (1, -1)]
    end = [
        [x + sx * dx, y + sy * dy]
        for (x, y), (sx, sy), dx, dy in zip(start, signs, of["across"], of["down"], strict=True)
    ]
    return tvf.perspective(image, start, end, interpolation=v2.InterpolationMode.BILINEAR)


@each("shape", SHAPES)
@each("spec", ["rotate:degrees=180", "translate:share=0.5", "shear:degrees=40", "scale:change=0.9", "perspective:p=1"])
def test_pixels_are_torchvisions(shape: tuple[int, ...], spec: str) -> None:
    images, aug = pictures(*shape), parse(spec)
    (draw,) = aug.draw(Keys(1, 1, shape[0]), images.shape)
    out = aug.apply(images, (draw,)).images
    assert out.dtype == torch.uint8
    if spec.startswith("perspective") and min(shape[2:]) == 1:
        assert torch.equal(out, images)  # no corners to be moved
        return
    for row, image in enumerate(images):
        of = {name: values[row].tolist() for name, values in draw.items()}
        different = (out[row].int() - theirs(image, spec.partition(":")[0], of).int()).abs() > 1
        # a pixel halfway between two may be either, by the last bit of a coordinate
        assert different.sum() <= max(0.01 * different.numel(), 3 * spec.startswith("scale")), (row, of)


def test_parameters_follow_torchvisions_law() -> None:
    shape = torch.Size((ROWS, 3, 40, 31))

    def drawn(spec: str) -> Draw:
        return parse(spec).operations[0].draw(Keys(0, 1, ROWS), shape)

    uniform = {
        "rotate:degrees=30": {"angle": 30.0},
        "shear:degrees=20": {"x": 20.0, "y": 20.0},
    }
    for spec, limits in uniform.items():
        for name, limit in limits.items():
            values = drawn(spec)[name]
            assert stats.kstest(values.numpy(), stats.uniform(-limit, 2 * limit).cdf).pvalue > 1e-4, (spec, name)
            assert abs(float(torch.corrcoef(torch.stack([values[1:], values[:-1]]))[0, 1])) < 4.5 / ROWS**0.5
    assert stats.kstest(drawn("scale:change=0.3")["factor"].numpy(), stats.uniform(0.7, 0.6).cdf).pvalue > 1e-4
    moves = drawn("translate:share=0.25")
    for name, side in (("right", 31), ("down", 40)):
        limit = 0.25 * side
        cells = torch.arange(-round(limit), round(limit) + 1)
        shares = stats.uniform(-limit, 2 * limit).cdf(cells + 0.5) - stats.uniform(-limit, 2 * limit).cdf(cells - 0.5)
        counts = torch.stack([(moves[name] == cell).sum() for cell in cells])
        assert stats.chisquare(counts.numpy(), ROWS * shares).pvalue > 1e-4, name
    corners = drawn("perspective:distortion=0.5:p=1")
    for name, side in (("across", 31), ("down", 40)):
        for corner in range(4):
            counts = torch.bincount(corners[name][:, corner])
            assert len(counts) == int(0.5 * (side // 2)) + 1
            assert stats.chisquare(counts.numpy()).pvalue > 1e-4, (name, corner)
    table = torch.corrcoef(torch.cat([corners["across"], corners["down"]], 1).double().T)
    assert float((table - torch.eye(8)).abs().max()) < 4.5 / ROWS**0.5


def test_corners_that_coincide_leave_an_image_as_it_is() -> None:
    images = pictures(64, 3, 2, 2)
    out = parse("perspective:distortion=1:p=1")(images, Keys(0, 1, 64)).images
    assert out.shape == images.shape
