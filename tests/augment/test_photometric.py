"""Operations of colour: torchvision's result for the parameters drawn, and torchvision's law of these parameters."""

from __future__ import annotations

import math

import torch
from scipy import stats
from torch import Tensor
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as tvf

from dametric.augment import Keys, parse
from dametric.augment.base import Draw
from tests.augment.test_colour import pictures
from tests.loops import each

ROWS = 8192
SHAPES = [(40, 3, 31, 33), (10, 1, 31, 33), (1, 3, 7, 5), (2, 3, 1, 1)]
FACTORS = ("brightness", "contrast", "saturation")


def drawn(spec: str, shape: tuple[int, ...], seed: int = 0) -> Draw:
    return parse(spec).operations[0].draw(Keys(seed, 1, shape[0]), torch.Size(shape))


def adjusted(image: Tensor, name: str, draw: Draw, row: int) -> Tensor:
    """What torchvision makes of an image."""
    if name == "hue":
        return tvf.adjust_hue(image, float(draw["hue"][row]))
    adjust = {"brightness": tvf.adjust_brightness, "contrast": tvf.adjust_contrast, "saturation": tvf.adjust_saturation}
    return adjust[name](image, 1 + float(draw[name][row]))


@each("shape", SHAPES)
def test_pixels_are_torchvisions_for_the_parameters_drawn(shape: tuple[int, ...]) -> None:
    images = pictures(*shape)
    for name in (*FACTORS, "hue"):
        aug = parse(f"{name}:strength={0.5 if name == 'hue' else 1.5}")
        (draw,) = aug.draw(Keys(1, 1, len(images)), images.shape)
        out = aug.apply(images, (draw,)).images
        assert out.dtype == torch.uint8
        (values,) = draw.values()
        theirs = torch.stack([adjusted(image, name, {name: values}, row) for row, image in enumerate(images)])
        difference = (out.int() - theirs.int()).abs()
        assert difference.max() <= 1, name
        assert (difference > 0).double().mean() < 0.02, name
    fixed = {
        "grayscale": lambda image: tvf.rgb_to_grayscale(image, num_output_channels=image.shape[0]),
        "solarize:threshold=100": lambda image: tvf.solarize(image, 100.0),
        "posterize:bits=3": lambda image: tvf.posterize(image, 3),
        "equalize": tvf.equalize,
        "autocontrast": tvf.autocontrast,
        "sharpness:factor=3": lambda image: tvf.adjust_sharpness(image, 3.0),
        "invert": tvf.invert,
    }
    for spec, function in fixed.items():
        out = parse(f"{spec}:p=1")(images, Keys(0, 1, len(images))).images
        difference = (out.int() - torch.stack([function(image) for image in images]).int()).abs()
        assert difference.max() <= (spec.startswith(("sharp", "gray"))), spec
        assert (difference > 0).double().mean() < 0.02, spec


@each("shape", SHAPES)
def test_jitter_is_torchvisions_in_the_order_drawn(shape: tuple[int, ...]) -> None:
    images = pictures(*shape)
    for spec in ("jitter", "jitter:brightness=0.8:hue=0", "jitter:brightness=0:contrast=0:saturation=0:hue=0.5"):
        aug = parse(spec)
        (draw,) = aug.draw(Keys(2, 1, len(images)), images.shape)
        out = aug.apply(images, (draw,)).images
        for row, image in enumerate(images):
            for kind in draw["order"][row].tolist():
                image = adjusted(image, (*FACTORS, "hue")[kind], draw, row)
            difference = (out[row].int() - image.int()).abs()
            # a rounding in one stage is enlarged by the next
            assert difference.max() <= 4, (spec, row)
            assert (difference > 1).double().mean() < 0.02, (spec, row)


def test_parameters_follow_torchvisions_law() -> None:
    shape = (ROWS, 3, 4, 4)
    wanted: dict[str, tuple[str, float, float]] = {
        "brightness:strength=0.7": ("change", -0.7, 0.7),
        "contrast:strength=0.2": ("change", -0.2, 0.2),
        "saturation:strength=2": ("change", -1, 2),
        "hue:strength=0.3": ("turn", -0.3, 0.3),
    }
    for spec, (name, low, high) in wanted.items():
        values = drawn(spec, shape)[name]
        assert stats.kstest(values.numpy(), stats.uniform(low, high - low).cdf).pvalue > 1e-4, spec
        assert abs(float(torch.corrcoef(torch.stack([values[1:], values[:-1]]))[0, 1])) < 4.5 / ROWS**0.5, spec
    jitter, limits = drawn("jitter:brightness=1.5", shape), v2.ColorJitter(1.5, 0.4, 0.4, 0.1)
    for name in FACTORS:
        low, high = getattr(limits, name)
        values = 1 + jitter[name]
        assert stats.kstest(values.numpy(), stats.uniform(low, high - low).cdf).pvalue > 1e-4, name
    low, high = limits.hue
    assert stats.kstest(jitter["hue"].numpy(), stats.uniform(low, high - low).cdf).pvalue > 1e-4
    orders = (jitter["order"] * torch.tensor([64, 16, 4, 1])).sum(1).unique(return_counts=True)[1]
    assert len(orders) == math.factorial(4)
    assert stats.chisquare(orders.numpy()).pvalue > 1e-4
    table = torch.corrcoef(torch.stack([*(jitter[name] for name in (*FACTORS, "hue")), jitter["order"][:, 0].double()]))
    assert float((table - torch.eye(5)).abs().max()) < 4.5 / ROWS**0.5
