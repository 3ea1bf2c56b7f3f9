"""Mixup and CutMix: pixels against loops, exact areas, the box of Yun et al., the laws of the draws."""

from __future__ import annotations

import numpy as np
import torch
from scipy import stats

from dametric.augment import Keys, parse
from dametric.augment.mix import CutMix, Mixup
from tests.loops import each
from tests.oracles import augment as oracle

SHAPES = [(7, 3, 31, 33), (5, 1, 32, 32), (2, 3, 5, 4), (1, 3, 6, 6)]
BOX = ("top", "bottom", "left", "right", "partner")


def noise(*shape: int) -> torch.Tensor:
    return torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def row_numbers(rows: int, height: int, width: int) -> torch.Tensor:
    return torch.arange(rows, dtype=torch.uint8).reshape(rows, 1, 1, 1).expand(rows, 1, height, width).contiguous()


@each("shape", SHAPES)
@each("partner", ["roll", "permutation", "derangement"])
def test_mixup_equals_the_loop_to_float32_rounding(shape: tuple[int, ...], partner: str) -> None:
    images = noise(*shape)
    operation = Mixup(partner=partner)
    draw = operation.draw(Keys(0, 1, shape[0]), images.shape)
    out = operation.apply(images, draw)
    assert out.images.dtype == torch.float32
    exact = oracle.mixup(images.numpy(), draw["lam"].tolist(), draw["partner"].tolist())
    assert np.abs(out.images.double().numpy() - exact).max() < 4e-5  # 2 units in the last place of 255


@each("lam", [0.0, 1.0])
def test_mixup_at_the_ends_of_lambda_is_one_image_exactly(lam: float) -> None:
    images = noise(6, 3, 8, 8)
    partner = torch.tensor([1, 2, 3, 4, 5, 0])
    out = Mixup().apply(images, {"lam": torch.full((6,), lam, dtype=torch.float64), "partner": partner})
    assert torch.equal(out.images, (images if lam else images[partner]).float())


def test_mixup_says_the_lambda_and_partner_it_used() -> None:
    images = row_numbers(200, 4, 5) + 20
    out = parse("mixup:partner=derangement")(images, Keys(0, 8, 25))
    assert out.lam is not None
    assert out.partner is not None
    own, other = images.double()[:, 0, 0, 0], images.double()[out.partner, 0, 0, 0]
    assert out.lam.dtype == torch.float64
    assert torch.allclose((out.images[:, 0, 2, 3].double() - other) / (own - other), out.lam, atol=2e-5)
    assert torch.equal(out.partner // 25, torch.arange(200) // 25)


@each("alpha", [0.2, 1.0, 4.0])
def test_mixup_lambda_follows_beta_and_is_independent_between_rows(alpha: float) -> None:
    lam = Mixup(alpha=alpha).draw(Keys(0, 128, 64), torch.Size((8192, 3, 4, 4)))["lam"].numpy()
    assert stats.kstest(lam, stats.beta(alpha, alpha).cdf).pvalue > 1e-4
    assert abs(np.corrcoef(lam[:-1], lam[1:])[0, 1]) < 4.5 / 8192**0.5


@each("shape", SHAPES)
@each("partner", ["roll", "permutation", "derangement"])
def test_cutmix_equals_the_loop_over_pixels(shape: tuple[int, ...], partner: str) -> None:
    images = noise(*shape)
    operation = CutMix(partner=partner)
    draw = operation.draw(Keys(1, 1, shape[0]), images.shape)
    out = operation.apply(images, draw)
    expected, lam = oracle.cutmix(images.numpy(), *(draw[name].tolist() for name in BOX))
    assert out.images.dtype == torch.uint8
    assert np.array_equal(out.images.numpy(), expected)
    assert out.lam is not None
    assert out.lam.tolist() == lam


def test_cutmix_with_boxes_at_corners_and_empty_ones_equals_the_loop() -> None:
    images = noise(6, 2, 5, 7)
    draw = {
        "top": torch.tensor([0, 0, 3, 3, 2, 0]),
        "bottom": torch.tensor([2, 2, 5, 5, 2, 5]),
        "left": torch.tensor([0, 4, 0, 6, 3, 0]),
        "right": torch.tensor([3, 7, 1, 7, 3, 7]),
        "partner": torch.tensor([1, 2, 3, 4, 5, 0]),
    }
    out = CutMix().apply(images, draw)
    expected, lam = oracle.cutmix(images.numpy(), *(draw[name].tolist() for name in BOX))
    assert np.array_equal(out.images.numpy(), expected)
    assert out.lam is not None
    assert out.lam.tolist() == lam
    assert out.lam[4:].tolist() == [1.0, 0.0]


@each(("height", "width"), [(32, 32), (31, 33), (64, 64), (7, 50)])
@each("batch", [16, 25])
@each("per", ["sample", "batch"])
def test_cutmix_lambda_is_exactly_the_area_of_own_pixels(height: int, width: int, batch: int, per: str) -> None:
    rows = 200 // batch * batch
    images = row_numbers(rows, height, width)
    out = parse("cutmix:partner=derangement")(images, Keys(0, rows // batch, batch, per=per))
    own = out.images[:, 0] == torch.arange(rows)[:, None, None]
    assert out.lam is not None
    assert out.partner is not None
    assert out.lam.tolist() == [1 - count / (height * width) for count in (~own).sum((1, 2)).tolist()]
    assert ((out.images[:, 0] == out.partner[:, None, None]) | own).all()


@each(("height", "width"), [(32, 32), (31, 33), (5, 12)])
def test_cutmix_draws_only_boxes_that_yun_can_draw(height: int, width: int) -> None:
    draw = CutMix().draw(Keys(0, 64, 64), torch.Size((4096, 3, height, width)))
    drawn = set(zip(*(draw[name].tolist() for name in BOX[:4]), strict=True))
    assert drawn <= oracle.yun_boxes(height, width)


@each("alpha", [0.5, 1.0, 3.0])
def test_cutmix_boxes_follow_the_law_of_yun(alpha: float) -> None:
    height, width, rows = 31, 33, 16384
    draw = CutMix(alpha=alpha).draw(Keys(0, 256, 64), torch.Size((rows, 3, height, width)))
    generator = np.random.default_rng(0)
    lam = generator.beta(alpha, alpha, rows)
    centre_y, centre_x = generator.integers(0, height, rows), generator.integers(0, width, rows)
    top, bottom, left, right = np.array(
        [oracle.yun_box(height, width, *one) for one in zip(lam, centre_y, centre_x, strict=True)]
    ).T
    mine = {name: draw[name].numpy() for name in BOX[:4]}
    pairs = {
        "area": ((mine["bottom"] - mine["top"]) * (mine["right"] - mine["left"]), (bottom - top) * (right - left)),
        "top": (mine["top"], top),
        "right": (mine["right"], right),
        "middle": (mine["top"] + mine["bottom"], top + bottom),
        "column": (mine["left"] + mine["right"], left + right),
    }
    for what, (a, b) in pairs.items():
        assert stats.ks_2samp(a, b).pvalue > 1e-4, what
    area = pairs["area"][0]
    assert abs(np.corrcoef(area[:-1], area[1:])[0, 1]) < 4.5 / rows**0.5


def test_cutmix_centres_are_uniform_over_every_pixel() -> None:
    draw = CutMix(alpha=50.0).draw(Keys(0, 512, 64), torch.Size((32768, 3, 40, 40)))
    inside = (draw["top"] > 0) & (draw["bottom"] < 40)  # boxes of about 28 px: whole ones are centred on 14..26
    centre = ((draw["top"] + draw["bottom"]) // 2)[inside]
    half = (draw["bottom"] - draw["top"])[inside] // 2
    typical = centre[half == 14]
    assert stats.chisquare(torch.bincount(typical)[typical.min() :].numpy()).pvalue > 1e-4
    assert typical.min() == 15
    assert typical.max() == 25


def test_mixup_and_cutmix_draw_independent_lambdas() -> None:
    shape = torch.Size((8192, 3, 32, 32))
    lam = parse("mixup").draw(Keys(0, 128, 64), shape)[0]["lam"]
    draw = parse("cutmix").draw(Keys(0, 128, 64), shape)[0]
    area = (draw["bottom"] - draw["top"]) * (draw["right"] - draw["left"])
    assert abs(np.corrcoef(lam.numpy(), area.numpy())[0, 1]) < 4.5 / 8192**0.5
