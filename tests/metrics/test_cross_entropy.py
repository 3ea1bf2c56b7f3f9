"""The covariance of Proposition 3.1: what it adds up to over the rows of a draw, by brute force."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from dametric.metrics import METRICS, Design, Observation
from dametric.scoring.jackknife import Blocks, estimate
from tests.loops import each
from tests.oracles import estimator as oracle

SHARED, SPREAD = 0.7, 0.8  # standard deviation that the batch's parameters add to q, and each row's own


def draws(count: int, batches: int, b: int, shared: float) -> tuple[np.ndarray, np.ndarray]:
    """Cross-entropies of raw and augmented rows: shape (draws, batches, b); Cov(raw, aug) = 0.6."""
    rng = np.random.default_rng(5)
    raw = 3 + rng.standard_normal((count, batches, b))
    own = SPREAD * rng.standard_normal((count, batches, b))
    return raw, 2 + 0.6 * raw + shared * rng.standard_normal((count, batches, 1)) + own


def found(raw: np.ndarray, aug: np.ndarray, design: Design):
    rows = torch.full((*aug.shape, 2), 0.5, dtype=torch.float64)
    observation = Observation(rows, rows, design, torch.tensor(aug), torch.tensor(raw))
    metric = METRICS["ce_cov"]
    units = len(aug)
    return estimate(
        Blocks(metric.observe(observation), torch.ones(units).long(), torch.zeros(units).long()), metric, design
    )


@each("shared", [0.0, SHARED])
def test_covariance_of_all_pairs_of_a_draw_is_n_times_the_metric(shared: float) -> None:
    """Over the 2 n positions ``n Cov(q, q') + G b (b - 1) / 2 V``: from repeated draws, and from one pass."""
    count, batches, b = 60_000, 2, 4
    n = batches * b
    raw, aug = draws(count, batches, b, shared)
    positions = np.concatenate([raw.reshape(count, n), aug.reshape(count, n)], 1)
    summed = [oracle.pair_covariances(part) for part in np.array_split(positions, 20)]
    error = np.std(summed, ddof=1) / math.sqrt(len(summed))
    truth = n * 0.6 + batches * b * (b - 1) / 2 * shared**2
    assert np.mean(summed) == pytest.approx(truth, abs=3 * error)
    design = Design("units", images=n, unit=b)
    metric = found(raw.reshape(-1, b), aug.reshape(-1, b), design)
    assert n * metric.value == pytest.approx(truth, abs=3 * n * metric.se)
    assert n * metric.value == pytest.approx(np.mean(summed), abs=3 * math.hypot(error, n * metric.se))
    assert n * metric.se < 0.02 * truth


def test_a_unit_of_several_batches_gives_the_same_as_the_batches() -> None:
    """In the published protocol a unit is a draw; parameters are still shared by its batches only."""
    raw, aug = draws(20_000, 2, 4, SHARED)
    by_batch = found(raw.reshape(-1, 4), aug.reshape(-1, 4), Design("units", images=8, unit=4))
    by_draw = found(raw.reshape(-1, 8), aug.reshape(-1, 8), Design("units", images=8, unit=8))
    assert by_draw.value == pytest.approx(by_batch.value, abs=3 * math.hypot(by_draw.se, by_batch.se))


def test_rows_with_parameters_of_their_own_leave_the_plain_covariance() -> None:
    raw, aug = draws(2_000, 5, 8, 0.0)
    raw, aug = raw.reshape(-1, 8), aug.reshape(-1, 8)
    images = found(raw, aug, Design("images", images=40))
    assert images.plugin == pytest.approx(np.cov(raw.ravel(), aug.ravel())[0, 1], rel=1e-12)
    units = found(raw, aug, Design("units", images=40, unit=8))
    assert images.value == pytest.approx(units.value, abs=3 * math.hypot(images.se, units.se))
    assert images.se < units.se


def test_batch_means_of_cross_entropies_over_epochs_have_no_finite_population_bias() -> None:
    """Images come back in every epoch; the part that sharing adds must not turn negative for it."""
    size, b, epochs, repeats = 160, 32, 20, 200
    rng = np.random.default_rng(3)
    raw = 3 + rng.standard_normal(size)
    aug = 2 + 0.6 * raw + SPREAD * rng.standard_normal(size)
    truth = np.cov(raw, aug)[0, 1]
    metric, design = METRICS["ce_cov"], Design("units", images=160, unit=b)
    values = []
    for _ in range(repeats):
        order = np.concatenate([rng.permutation(size) for _ in range(epochs)]).reshape(-1, b)
        rows = torch.full((*order.shape, 2), 0.5, dtype=torch.float64)
        seen = Observation(rows, rows, design, torch.tensor(aug[order]), torch.tensor(raw[order]))
        epoch = torch.arange(epochs).repeat_interleave(size // b)
        values.append(
            estimate(Blocks(metric.observe(seen), torch.ones(len(epoch)).long(), epoch), metric, design).plugin
        )
    error = np.std(values) / math.sqrt(repeats)
    assert np.mean(values) == pytest.approx(truth, abs=max(3 * error, 0.01 * truth))


def test_constant_cross_entropy_has_no_spread() -> None:
    rows = torch.full((3, 4, 2), 0.5, dtype=torch.float64)
    q = torch.ones(3, 4, dtype=torch.float64)
    for name in ("ce_std", "ce_cov"):
        for design in (Design("images"), Design("units")):
            metric = METRICS[name]
            total = {key: v.sum(0) for key, v in metric.observe(Observation(rows, rows, design, q, q)).items()}
            total = metric.centre(total, design) if metric.centre else total
            assert float(metric.reduce(total, design)) == 0
