"""The mean of roots over classes: closed forms with about one image a class, and what must not move it."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from dametric.metrics import METRICS, Design
from dametric.scoring.jackknife import Blocks, difference, estimate, measured
from dametric.scoring.strata import CURVATURE, GAMMA, LOGNORMAL, cut
from tests.loops import each

METRIC = METRICS["t_stddev"]
DESIGN = Design(images=1)


def one_hot(rng: np.random.Generator, shares: np.ndarray, batches: int, b: int = 64) -> Blocks:
    """Batches of a teacher that is certain of one class: what counts are the images of each class in each batch."""
    counts = torch.tensor(rng.multinomial(b, shares, batches)).double()
    one = torch.ones(batches, dtype=torch.int64)
    return Blocks({"square": counts - counts.square() / b, "dof": one.double() * (b - 1)}, one, one * 0)


@each(("batches", "unequal"), [(20, False), (20, True), (80, False)])
def test_thousand_classes_at_the_default_settings_give_the_closed_form(batches: int, unequal: bool) -> None:
    """``T = mean_c sqrt(p_c (1 - p_c) / n)``: the plain value is 16 to 20 % lower, its jackknife 4 to 5 % higher."""
    rng = np.random.default_rng(batches + unequal)
    shares = rng.permutation(np.logspace(0, 1, 1000) if unequal else np.ones(1000))
    shares = shares / shares.sum()
    truth = np.sqrt(shares * (1 - shares)).mean()
    found = [estimate(one_hot(rng, shares, batches), METRIC, DESIGN) for _ in range(60)]
    ratio = np.array([one.value for one in found]) / truth
    assert abs(ratio.mean() - 1) < 0.004
    assert ratio.std() == pytest.approx(np.mean([one.se for one in found]) / truth, rel=0.35)
    assert np.mean([one.low <= truth <= one.high for one in found]) >= 0.88
    if batches == 20:
        assert np.mean([one.plugin for one in found]) / truth < 0.85


def test_a_paired_difference_of_teachers_of_a_thousand_classes_is_right_too() -> None:
    """The same images, a quarter of which the augmentation turns into a class of their own choice."""
    rng = np.random.default_rng(3)
    shares, mixed = np.full(1000, 0.001), np.logspace(0, 0.7, 1000)
    mixed = 0.75 * shares + 0.25 * mixed / mixed.sum()
    truth = float(np.sqrt(mixed * (1 - mixed)).mean() - np.sqrt(shares * (1 - shares)).mean())
    gaps = []
    for _ in range(40):
        kept = rng.multinomial(48, shares, 20)
        sides = []
        for rest in (rng.multinomial(16, mixed * 4 - shares * 3, 20), rng.multinomial(16, shares, 20)):
            counts = torch.tensor(kept + rest).double()
            one = torch.ones(20, dtype=torch.int64)
            made = Blocks({"square": counts - counts.square() / 64, "dof": one * 63.0}, one, one * 0)
            sides.append(measured(made, METRIC, DESIGN))
        gaps.append(difference(*sides))
    value, _, low, high = np.array(gaps).T
    assert abs(value.mean() - truth) < 3 * value.std() / math.sqrt(40) + 1e-5
    assert np.mean((low <= truth) & (truth <= high)) >= 0.85


def test_rounding_order_of_classes_and_size_of_blocks_do_not_move_the_value() -> None:
    rng = np.random.default_rng(5)
    made = one_hot(rng, np.full(300, 1 / 300), 20)
    value = estimate(made, METRIC, DESIGN).value
    square = made.contribution["square"]
    rounded = square * (1 + 1e-15 * torch.tensor(rng.standard_normal(square.shape)))
    other = Blocks({**made.contribution, "square": rounded}, made.units, made.epoch)
    assert estimate(other, METRIC, DESIGN).value == pytest.approx(value, rel=1e-9)
    scaled = Blocks({**made.contribution, "square": square * 1e-8}, made.units, made.epoch)
    assert estimate(scaled, METRIC, DESIGN).value == pytest.approx(1e-4 * value, rel=1e-12)


def test_classes_that_are_known_are_strata_of_their_own_and_unknown_ones_share() -> None:
    mean = torch.tensor([3.0, 1.0, 2.0, 4.0], dtype=torch.float64).repeat(16)
    order_by = torch.arange(64).flip(0).double()
    order, sizes = cut(order_by, mean, torch.zeros(64))
    assert (order.tolist(), len(sizes)) == ([*range(64)][::-1], 64)
    assert cut(order_by, torch.ones(64), torch.full((64,), 0.02 * 16))[1].tolist() == [16] * 4
    assert cut(order_by, torch.ones(64), torch.full((64,), 0.02 * 17))[1].tolist() == [32, 32]
    assert cut(order_by, torch.ones(64), torch.full((64,), 100.0))[1].tolist() == [64]
    assert cut(torch.zeros(5), torch.zeros(5), torch.zeros(5))[1].tolist() == [5]


@each("batches", [2, 8, 12])
def test_classes_that_were_hardly_seen_are_not_known(batches: int) -> None:
    """Fewer batches than strata take: the jackknife would be 51 to 5 % too low, and sure of it."""
    rng = np.random.default_rng(batches)
    found, influence = measured(one_hot(rng, np.full(1000, 0.001), batches), METRIC, DESIGN)
    assert all(math.isnan(x) for x in (found.value, found.se, found.low, found.high))
    assert math.isnan(difference((found, influence), (found, influence))[1])
    rms = estimate(one_hot(rng, np.full(1000, 0.001), batches), METRICS["t_stddev_rms"], DESIGN)
    assert rms.value == pytest.approx(math.sqrt(0.001 * 0.999), rel=0.05)
    seen = estimate(one_hot(rng, np.full(40, 1 / 40), 12), METRIC, DESIGN)
    assert seen.value == pytest.approx(math.sqrt(1 / 40 * 39 / 40), rel=0.03), "19 images of each class"


def test_the_curvature_lies_in_the_middle_of_two_distributions_of_the_spread() -> None:
    """For the mean of a root, E sqrt(v) = sqrt(m) (1 - x/8 + c x^2/8 - ...) with x the squared relative spread."""
    x = 0.01
    gamma = math.exp(math.lgamma(1 / x + 1 / 2) - math.lgamma(1 / x)) * math.sqrt(x)
    lognormal = (1 + x) ** (-1 / 8)
    for root, constant in ((gamma, GAMMA), (lognormal, LOGNORMAL)):
        assert (root - 1 + x / 8) / (x * x / 8) == pytest.approx(constant, abs=0.01)
    assert pytest.approx((gamma + lognormal) / 2, abs=1e-7) == 1 - x / 8 + CURVATURE * x * x / 8
