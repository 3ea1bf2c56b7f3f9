"""Several passes over few images: the error is that for other images, shown on new sets."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from dametric.metrics import METRICS, Design, Observation
from dametric.scoring.jackknife import Blocks, difference, measured
from dametric.scoring.population import Passes, of_population
from tests.loops import each

METRIC, DESIGN, B = METRICS["t_gini"], Design(images=1), 16


def scored(rng: np.random.Generator, images: int, passes: int, noise: float):
    """A mean over rows of a new set of images, each shown in every pass; ``noise``: what the augmentation draws."""
    own, blocks, epochs = rng.random(images), [], []
    for epoch in range(passes):
        for index in rng.permutation(images).reshape(-1, B):
            p = (own[index] + noise * rng.random(B)) / (1 + noise) / 2
            blocks.append(np.stack([p, 1 - p], 1))
            epochs.append(epoch)
    rows, epoch = torch.tensor(np.array(blocks)), torch.tensor(epochs)
    made = Blocks(METRIC.observe(Observation(rows, rows, DESIGN)), torch.ones_like(epoch), epoch)
    return made, Passes(epoch, made.units, images // B)


@each("noise", [0.0, 1.0, 20.0])
def test_intervals_hold_the_truth_on_new_sets(noise: float) -> None:
    """Shares of the image's own part from all to nearly nothing; without it 20 passes claim a fourth of the error.

    Where nearly all is drawn anew the scatter of passes does not tell it well, and the error is on the safe side.
    """
    rng = np.random.default_rng(int(noise))
    moment = 1 / 4 + 1 / 12 * (1 + noise**2) / (1 + noise) ** 2  # of twice p: mean 1/2 and its variance
    truth = 1 - (1 - 1 / 2 + moment / 4) - moment / 4
    found = [
        measured(made, METRIC, DESIGN, passes=passes)[0]
        for made, passes in (scored(rng, 96, 20, noise) for _ in range(150))
    ]
    values = np.array([one.value for one in found])
    assert values.mean() == pytest.approx(truth, abs=4 * values.std() / math.sqrt(150))
    stated = np.mean([one.se for one in found]) / values.std()
    assert 0.85 <= stated <= (1.2 if noise <= 1 else 1.8)
    assert np.mean([one.low <= truth <= one.high for one in found]) >= 0.9


def test_one_pass_or_batches_of_all_images_change_nothing_and_an_image_s_part_is_a_floor() -> None:
    rng = np.random.default_rng(3)
    made, passes = scored(rng, 160, 1, 1.0)
    assert measured(made, METRIC, DESIGN, passes=passes)[0] == measured(made, METRIC, DESIGN)[0]
    influence = torch.tensor(rng.standard_normal(20), dtype=torch.float64)
    assert of_population(influence, Passes(torch.zeros(20).long(), torch.ones(20).long(), 1)) == (1, 0)
    epoch = torch.arange(20) // 4
    alike = torch.tensor([1.0, -1.0, 2.0, -2.0], dtype=torch.float64).repeat(
        5
    )  # every pass says the same: all is the images' own
    factor, floor = of_population(alike, Passes(epoch, torch.ones(20).long(), 4))
    assert factor == pytest.approx(math.sqrt(5 * 20 / 15))  # 20 blocks have 15 degrees of freedom within 5 passes
    assert floor == pytest.approx(5 * 20 / 15)


@pytest.mark.parametrize("passes", [5, 6])
def test_the_floor_of_several_passes_by_its_formula(passes: int) -> None:
    influence = np.random.default_rng(passes).standard_normal((passes, 4))
    influence += 0.05 * np.arange(passes)[:, None] - influence.mean(1, keepdims=True)  # passes hardly differ
    epoch = torch.arange(4 * passes) // 4
    found = of_population(torch.tensor(influence.ravel()), Passes(epoch, torch.ones(4 * passes).long(), 4))
    square, within = (influence**2).sum(), ((influence - influence.mean(1, keepdims=True)) ** 2).sum()
    within *= 4 / 3
    drawn = (passes * influence.sum(1)).var(ddof=1) / within
    at_most = drawn * (1 + 2 * math.sqrt(2 / (passes - 1)))
    assert 0 < at_most < passes
    assert found.floor == pytest.approx((passes - at_most) * within / square)


def test_paired_differences_know_the_passes() -> None:
    rng = np.random.default_rng(4)
    made, passes = scored(rng, 96, 10, 0.0)
    side = measured(made, METRIC, DESIGN, passes=passes)
    other = Blocks({**made.contribution, "sum": made.contribution["sum"] ** 2}, made.units, made.epoch)
    gap = difference(side, measured(other, METRIC, DESIGN, passes=passes), passes)
    plain = difference(side, measured(other, METRIC, DESIGN, passes=passes))
    assert gap[1] == pytest.approx(math.sqrt(10 * 60 / 50) * plain[1], rel=0.05)
