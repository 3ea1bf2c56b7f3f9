"""The switch between mixup and CutMix, ResizeMix, FMix: pixels, exact lambdas, and laws."""

from __future__ import annotations

import math

import numpy as np
import torch
from scipy import stats
from torch import Tensor
from torchvision.transforms.v2 import functional as tvf

from dametric.augment import Keys, parse
from dametric.augment.mix import CutMix, Mixup
from dametric.augment.mixtures import FMix, ResizeMix, low_frequency_noise
from tests.loops import each

SHAPES = [(32, 3, 31, 33), (8, 1, 32, 32), (1, 3, 8, 9), (3, 2, 1, 1)]
ROWS = 8192


def noise(*shape: int) -> Tensor:
    return torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def numbered(rows: int, height: int, width: int) -> Tensor:
    """Images whose every pixel is the number of its row."""
    return torch.arange(rows, dtype=torch.uint8).view(-1, 1, 1, 1).expand(rows, 1, height, width).contiguous()


@each("shape", SHAPES)
def test_the_switch_makes_what_mixup_or_cutmix_makes_of_the_same_draw(shape: tuple[int, ...]) -> None:
    images = noise(*shape)
    for switch in (0.0, 0.5, 1.0):
        aug = parse(f"mixup-or-cutmix:switch={switch}")
        (draw,) = aug.draw(Keys(0, 1, shape[0]), images.shape)
        out = aug.apply(images, (draw,))
        blended, pasted = Mixup().apply(images, draw), CutMix().apply(images, draw)
        assert out.lam is not None
        assert blended.lam is not None
        assert pasted.lam is not None
        for row, cut in enumerate(draw["cut"].tolist()):
            expected = pasted if cut else blended
            assert torch.equal(out.images[row], expected.images[row].float())
            assert out.lam[row] == expected.lam[row]  # type: ignore[index]
    assert out.images.dtype == torch.float32


@each("per", ["sample", "batch"])
def test_lambda_is_exactly_the_share_of_own_pixels(per: str) -> None:
    for height, width in ((32, 32), (31, 33), (5, 17)):
        images = numbered(200, height, width)
        for spec in ("resizemix", "resizemix:scale=1", "fmix", "fmix:alpha=0.2", "mixup-or-cutmix:switch=1"):
            out = parse(f"{spec}:partner=derangement")(images, Keys(0, 8, 25, per=per))
            assert out.lam is not None
            assert out.partner is not None
            own = out.images[:, 0] == torch.arange(200)[:, None, None]
            assert ((out.images[:, 0] == out.partner[:, None, None]) | own).all()
            count = own.sum((1, 2)).double()
            assert torch.allclose(out.lam, count / (height * width), rtol=0, atol=1e-15), spec
            assert torch.equal(out.partner // 25, torch.arange(200) // 25)


@each("shape", SHAPES)
@each("scale", [0.8, 1.0, 0.05])
def test_resizemix_pastes_what_torchvision_makes_of_the_partner(shape: tuple[int, ...], scale: float) -> None:
    images, operation = noise(*shape), ResizeMix(scale)
    draw = operation.draw(Keys(1, 1, shape[0]), images.shape)
    out = operation.apply(images, draw).images
    assert out.dtype == torch.uint8
    names = ("top", "left", "height", "width", "partner")
    for row, (top, left, high, wide, partner) in enumerate(zip(*(draw[name].tolist() for name in names), strict=True)):
        expected = images[row].clone()
        if high and wide:
            pasted = tvf.resize(images[partner].float(), [high, wide], antialias=True).round()
            expected[:, top : top + high, left : left + wide] = pasted
            inside = (out[row].int() - expected.int())[:, top : top + high, left : left + wide]
            assert inside.abs().max() <= 1
        changed = out[row] != expected
        assert changed.double().mean() < 0.01
        changed[:, top : top + high, left : left + wide] = False
        assert not changed.any()


@each("shape", SHAPES)
def test_fmix_pastes_where_the_noise_is_lowest(shape: tuple[int, ...]) -> None:
    images, operation = noise(*shape), FMix()
    draw = operation.draw(Keys(1, 1, shape[0]), images.shape)
    out = operation.apply(images, draw)
    assert out.lam is not None
    fields = low_frequency_noise(draw["bits"], *shape[2:])
    for row, (field, lam) in enumerate(zip(fields, out.lam.tolist(), strict=True)):
        count = round(lam * field.numel())
        own = torch.zeros(field.numel(), dtype=torch.bool)
        own[field.flatten().argsort(descending=True)[:count]] = True
        mixed = torch.where(own.view(field.shape), images[row], images[int(draw["partner"][row])])
        assert torch.equal(out.images[row], mixed)


def test_fmix_noise_has_the_published_spectrum_and_is_independent_between_rows() -> None:
    field = low_frequency_noise(FMix().draw(Keys(0, 1, 4096), torch.Size((4096, 3, 16, 20)))["bits"], 16, 20).double()
    power = torch.fft.rfft2(field).abs().square().mean(0)
    for row, column in ((1, 2), (3, 3), (7, 9), (0, 4), (15, 5)):
        frequency = math.hypot(min(row, 16 - row) / 16, column / 20)
        assert abs(float(power[row, column]) * frequency**6 / 2 - 1) < 5 / 4096**0.5, (row, column)
    flat = field.flatten(1)
    flat = (flat - flat.mean(1, keepdim=True)) / flat.std(1, keepdim=True)
    assert abs(float((flat[1:] * flat[:-1]).mean())) < 0.03


def test_parameters_follow_their_laws() -> None:
    shape = torch.Size((ROWS, 3, 64, 48))
    lam = FMix(0.4).draw(Keys(0, 1, ROWS), shape)["lam"]
    assert stats.kstest(lam.numpy(), stats.beta(0.4, 0.4).cdf).pvalue > 1e-4
    draw = parse("mixup-or-cutmix:mixup=0.3:cutmix=2:switch=0.3").operations[0].draw(Keys(0, 1, ROWS), shape)
    assert stats.kstest(draw["lam"].numpy(), stats.beta(0.3, 0.3).cdf).pvalue > 1e-4
    assert abs(float(draw["cut"].double().mean()) - 0.3) < 5 * (0.21 / ROWS) ** 0.5
    same = CutMix(2.0).draw(Keys(0, 1, ROWS).sub("cutmix"), shape)  # whose law has tests of its own
    assert all(torch.equal(same[name], draw[name]) for name in same)
    draw = ResizeMix(0.7).draw(Keys(0, 1, ROWS), shape)
    shares = np.random.default_rng(0).uniform(0.1, 0.7, ROWS)
    for name, place, side in (("height", "top", 64), ("width", "left", 48)):
        sizes = (shares * side).astype(int)
        assert stats.ks_2samp(draw[name].numpy(), sizes).pvalue > 1e-4
        room = side - draw[name]
        assert (draw[place] >= 0).all()
        assert (draw[place] <= room).all()
        assert abs(float((draw[place] / room).mean()) - 0.5) < 0.02
    table = np.corrcoef([(draw["top"] / (64 - draw["height"])).numpy(), (draw["left"] / (48 - draw["width"])).numpy()])
    assert abs(table[0, 1]) < 4.5 / ROWS**0.5
