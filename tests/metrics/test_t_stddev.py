"""The laws of T. stddev: closed forms, exact identities, and simulation where there is no closed form."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from dametric.augment import Keys, parse
from dametric.metrics import METRICS, Design, Observation
from dametric.scoring.jackknife import Blocks, Estimate, estimate, leave_one_out
from tests.loops import each
from tests.oracles import estimator as oracle

MEAN, RMS, AUG = (METRICS[name] for name in ("t_stddev", "t_stddev_rms", "t_stddev_aug"))


def blocks(metric, raw: Tensor, aug: Tensor, design: Design, epochs: list[int] | None = None) -> Blocks:
    units = len(aug)
    epoch = torch.zeros(units).long() if epochs is None else torch.tensor(epochs)
    return Blocks(metric.observe(Observation(aug, raw, design)), torch.ones(units).long(), epoch)


def value(metric, raw: Tensor, aug: Tensor, design: Design, epochs: list[int] | None = None) -> float:
    return float(leave_one_out(blocks(metric, raw, aug, design, epochs), metric, design)[0])


def full(metric, raw: Tensor, aug: Tensor, design: Design) -> Estimate:
    return estimate(blocks(metric, raw, aug, design), metric, design)


def dirichlet(*shape: int, classes: int = 6, seed: int = 0, concentration: float = 0.5) -> Tensor:
    return torch.tensor(np.random.default_rng(seed).dirichlet(np.full(classes, concentration), shape))


@each(("classes", "b"), [(2, 4), (2, 9), (3, 5), (4, 5)])
def test_one_hot_balanced_teacher_has_the_closed_form(classes: int, b: int) -> None:
    """Over all equally likely batches the estimators are exact, not just nearly."""
    rows = torch.eye(classes, dtype=torch.float64)[torch.tensor(list(itertools.product(range(classes), repeat=b)))]
    for n in (b, 320):
        closed = math.sqrt((1 / classes) * (1 - 1 / classes) / n)
        images, units = Design("images", images=n), Design("units", images=n, unit=b)
        for metric in (MEAN, RMS, AUG):
            assert value(metric, rows, rows, images) == pytest.approx(closed, rel=1e-12)
            share = (len(rows) - 1) / len(rows)  # all batches there are, not a sample of them
            assert value(metric, rows, rows, units) * math.sqrt(share) == pytest.approx(closed, rel=1e-12)


@each("estimator", ["images", "units"])
def test_identity_does_not_depend_on_the_raw_weight(estimator: str) -> None:
    rows = dirichlet(12, 16)
    values = [
        value(metric, rows, rows, Design(estimator, images=80, unit=16, raw_weight=w))
        for w in (0.0, 0.1, 0.3, 0.5, 0.9)
        for metric in (MEAN, AUG)
    ]
    assert values == pytest.approx([values[0]] * len(values), rel=1e-13)


def test_linear_teacher_under_batch_shared_roll_mixup_is_the_identity() -> None:
    """Every image is once base and once partner with one weight: batch means do not move."""
    batches, b = 40, 64
    raw = dirichlet(batches, b)
    keys = Keys(3, batches, b, per="batch")
    draw = parse("mixup").draw(keys, torch.Size((batches * b, 3, 8, 8)))[0]
    flat, lam = raw.flatten(0, 1), draw["lam"][:, None]
    mixed = (lam * flat + (1 - lam) * flat[draw["partner"]]).view_as(raw)
    assert float((mixed - raw).abs().max()) > 0.1
    assert float((mixed.mean(1) - raw.mean(1)).abs().max()) < 1e-15
    design = Design("units", images=320, unit=b)
    for metric in (MEAN, RMS, AUG):
        assert value(metric, raw, mixed, design) == pytest.approx(value(metric, raw, raw, design), rel=1e-12)


@each("b", [4, 5, 6, 8, 64])
def test_mean_sum_of_squares_of_mixed_rows_is_b_minus_3_times_their_long_run_variance(b: int) -> None:
    """``a_i = l_i x_i + (1 - l_i) x_(i+1) + c x_i x_(i+1)``, l ~ U(0, 1): Q = 2/3 + c^2 + 2/4."""
    rng, c = np.random.default_rng(b), 0.5
    units = 1_600_000 // b
    x, lam = rng.standard_normal((units, b)), rng.random((units, b))
    partner = np.roll(x, -1, 1)
    a = torch.tensor(lam * x + (1 - lam) * partner + c * x * partner)[..., None]
    total = AUG.observe(Observation(a, None, Design("images", lag=1)))
    assert torch.equal(total["dof"], torch.full((units,), b - 3.0, dtype=torch.float64))
    square = total["square"][:, 0]
    expected = (b - 3) * (2 / 3 + c**2 + 2 / 4)
    error = float(square.std()) / math.sqrt(units)
    assert error < 0.011 * expected
    assert float(square.mean()) == pytest.approx(expected, abs=3 * error)


@each("b", [4, 5, 64])
def test_mean_sum_of_squares_of_independent_rows_is_b_minus_1_times_their_variance(b: int) -> None:
    units = 800_000 // b
    rows = torch.tensor(np.random.default_rng(b).exponential(1.5, (units, b)))[..., None]
    total = AUG.observe(Observation(rows, None, Design("images", lag=0)))
    assert torch.equal(total["dof"], torch.full((units,), b - 1.0, dtype=torch.float64))
    square = total["square"][:, 0]
    error = float(square.std()) / math.sqrt(units)
    assert float(square.mean()) == pytest.approx((b - 1) * 1.5**2, abs=3 * error)


def test_own_mixup_of_a_linear_teacher_multiplies_the_variance_by_25_24ths() -> None:
    """Weights that differ between rows: with w = 1/2 and l ~ U(0, 1), Q = (1 + 1/24) Var(r)."""
    rng = np.random.default_rng(0)
    raw = dirichlet(8000, 32, classes=4)
    lam = torch.tensor(rng.random((8000, 32, 1)))
    mixed = lam * raw + (1 - lam) * raw.roll(-1, 1)
    found = full(RMS, raw, mixed, Design("images", images=320, lag=1))
    truth = math.sqrt(25 / 24 * (1 / 4) * (3 / 4) / (2 + 1) / 320)  # Dirichlet: p (1 - p) / (sum + 1)
    assert found.value == pytest.approx(truth, abs=3 * found.se)
    assert found.relative_se < 0.004


@each("n_units", [2, 7, 40])
def test_batch_means_equal_components_at_the_draw_exactly(n_units: int) -> None:
    """E1 = E3 at n = G b whatever the rows are: the image part cancels."""
    b, draw = 16, 5
    raw, aug = dirichlet(n_units, b, seed=1), dirichlet(n_units, b, seed=2)
    mixed = 0.5 * raw + 0.5 * aug
    q = oracle.long_run_variance(list(mixed.numpy()), 0)
    expected = oracle.t_squared_by_components(mixed.mean(1).numpy(), q, b, draw)
    design = Design("units", images=b * draw, unit=b)
    assert value(RMS, raw, aug, design) ** 2 == pytest.approx(expected.mean(), rel=1e-12)
    assert value(MEAN, raw, aug, design) == pytest.approx(np.sqrt(expected).mean(), rel=1e-12)


def world(batches: int, b: int, *, mixing: bool) -> tuple[Tensor, Tensor]:
    """Softmax teacher, augmentation with parameters of its own for every row."""
    draw = torch.Generator().manual_seed(11)
    weight = 2 * torch.randn(4, 6, dtype=torch.float64, generator=draw)
    x = torch.randn(batches, b, 4, dtype=torch.float64, generator=draw)
    theta = torch.rand(batches, b, 1, dtype=torch.float64, generator=draw)
    moved = theta * x + (1 - theta) * x.roll(-1, 1) if mixing else x + (theta - 0.3) * x.roll(1, 2)
    return (x @ weight).softmax(-1), (moved @ weight).softmax(-1)


@each("mixing", [False, True])
@each("metric", [MEAN, RMS, AUG])
def test_draws_batch_means_and_images_agree_where_rows_have_their_own_parameters(metric, mixing: bool) -> None:
    b, draw, batches = 64, 5, 1000
    raw, aug = world(batches, b, mixing=mixing)
    images = full(metric, raw, aug, Design("images", images=b * draw, lag=int(mixing)))
    means = full(metric, raw, aug, Design("units", images=b * draw, unit=b))
    joined = [rows.reshape(batches // draw, b * draw, -1) for rows in (raw, aug)]
    draws = full(metric, *joined, Design("units", images=b * draw, unit=b * draw, pooled=True))
    assert images.relative_se < means.relative_se < draws.relative_se < 0.05
    for coarse, fine in ((means, images), (draws, images), (draws, means)):
        assert coarse.value == pytest.approx(fine.value, abs=3 * math.hypot(coarse.se, fine.se))


def test_rows_of_mixing_augmentations_taken_as_independent_would_be_wrong() -> None:
    raw, aug = world(1000, 64, mixing=True)
    right = full(RMS, raw, aug, Design("images", images=320, lag=1))
    wrong = full(RMS, raw, aug, Design("images", images=320, lag=0))
    assert wrong.value < 0.95 * right.value
    assert right.value - wrong.value > 5 * math.hypot(right.se, wrong.se)


def epochs_of(rng: np.random.Generator, population: Tensor, epochs: int, group: int) -> Tensor:
    """Groups drawn without replacement, epoch after epoch: shape (epochs * N / group, group, classes)."""
    order = np.concatenate([rng.permutation(len(population)) for _ in range(epochs)])
    return population[torch.tensor(order)].view(-1, group, population.shape[1])


def test_draws_over_epochs_of_a_small_set_follow_the_finite_population_formula() -> None:
    size, n, epochs, repeats = 1600, 320, 10, 600
    rng = np.random.default_rng(0)
    population = dirichlet(size, classes=3)
    target = population.var(0).mean() / n
    design = Design("units", images=n, unit=n, pooled=True)
    squares = []
    for _ in range(repeats):
        rows = epochs_of(rng, population, epochs, n)
        squares.append(value(RMS, rows, rows, design) ** 2)
    predicted = oracle.finite_population(n / size, epochs * size // n, size / n)
    assert predicted == pytest.approx(0.816, abs=0.001)
    error = np.std(squares) / math.sqrt(repeats) / float(target)
    assert error < 0.01
    assert np.mean(squares) / float(target) == pytest.approx(predicted, abs=3 * error)
    assert predicted < 1 - 10 * error  # and not the infinite population's value


def test_batch_means_centred_within_epochs_have_no_finite_population_bias() -> None:
    size, b, epochs, repeats = 1600, 64, 10, 300
    rng = np.random.default_rng(1)
    population = dirichlet(size, classes=3)
    target = float(population.var(0).mean() / 320)
    design = Design("units", images=320, unit=b)
    number = [epoch for epoch in range(epochs) for _ in range(size // b)]
    squares, naive = [], []
    for _ in range(repeats):
        rows = epochs_of(rng, population, epochs, b)
        squares.append(value(RMS, rows, rows, design, number) ** 2)
        naive.append(value(RMS, rows, rows, design) ** 2)
    error = np.std(squares) / math.sqrt(repeats) / target
    assert error < 0.006
    assert np.mean(squares) / target == pytest.approx(1, abs=3 * error)
    predicted = oracle.finite_population(b / size, epochs * size // b, size / b)
    assert np.mean(naive) / target == pytest.approx(predicted, abs=3 * error)


def test_images_over_epochs_have_no_finite_population_bias() -> None:
    size, b, epochs, repeats = 200, 10, 10, 300
    rng = np.random.default_rng(2)
    population = dirichlet(size, classes=3)
    target = float(population.var(0).mean() / 320)
    squares = []
    for _ in range(repeats):
        rows = epochs_of(rng, population, epochs, b)
        squares.append(value(RMS, rows, rows, Design("images", images=320)) ** 2)
    error = np.std(squares) / math.sqrt(repeats) / target
    assert np.mean(squares) / target == pytest.approx(1, abs=3 * error)


def test_the_published_covariance_over_classes_is_zero_and_over_rows_measures_the_same_as_t_stddev() -> None:
    """The classes' probabilities add up to one, so their covariances add up to nothing."""
    rows = dirichlet(64, classes=20).numpy()
    assert abs(oracle.cov2_mean(rows)) < 1e-17
    assert np.abs(np.cov(rows.T)).mean() > 1e-4
    mean = rows.mean(0)
    assert oracle.cov1_mean(rows) == pytest.approx(((mean - 1 / 20) ** 2).sum() / 19, rel=1e-10)


def test_published_covariance_over_rows_is_t_stddev_squared_times_c_over_c_minus_1() -> None:
    classes, b, batches = 5, 32, 4000
    rows = dirichlet(batches, b, classes=classes, seed=4)
    published = np.array([oracle.cov1_mean(batch) for batch in rows.numpy()])
    squared = value(RMS, rows, rows, Design("images", images=b)) ** 2
    error = published.std() / math.sqrt(batches)
    assert published.mean() == pytest.approx(classes / (classes - 1) * squared, abs=3 * error)


def test_sum_over_classes_is_a_confidence_measure_where_rows_are_independent() -> None:
    """``C n T_rms^2 = E|u|^2 - |E u|^2``."""
    raw, aug = dirichlet(1, 4000, seed=5), dirichlet(1, 4000, seed=6)
    u = 0.5 * (raw + aug)[0]
    expected = float(u.square().sum(1).mean() - u.mean(0).square().sum())
    found = 6 * 320 * value(RMS, raw, aug, Design("images", images=320)) ** 2
    assert found == pytest.approx(expected * 4000 / 3999, rel=1e-10)


@each("case", ["identity", "own mixup", "batch means", "draws"])
def test_intervals_cover_the_known_truth_and_the_estimate_is_unbiased(case: str) -> None:
    classes, b, batches, runs, n = 10, 32, 30, 100, 160
    variance = (1 / classes) * (1 - 1 / classes) / (0.3 * classes + 1)  # of a Dirichlet's entry
    truth = math.sqrt(variance / n * (25 / 24 if case == "own mixup" else 1))
    rng = np.random.default_rng({"identity": 1, "own mixup": 2, "batch means": 3, "draws": 4}[case])
    design = {
        "identity": Design("images", images=n),
        "own mixup": Design("images", images=n, lag=1),
        "batch means": Design("units", images=n, unit=b),
        "draws": Design("units", images=n, unit=n),
    }[case]
    found: dict[str, list[Estimate]] = {"t_stddev": [], "t_stddev_rms": []}
    for _ in range(runs):
        raw = torch.tensor(rng.dirichlet(np.full(classes, 0.3), (batches, n if case == "draws" else b)))
        lam = torch.tensor(rng.random((*raw.shape[:2], 1)))
        aug = lam * raw + (1 - lam) * raw.roll(-1, 1) if case == "own mixup" else raw
        for metric in (MEAN, RMS):
            found[metric.name].append(full(metric, raw, aug, design))
    for name, estimates in found.items():
        covered = np.mean([one.low <= truth <= one.high for one in estimates])
        assert 0.88 <= covered <= 0.99, (name, covered)
        values = np.array([one.value for one in estimates]) / truth
        assert values.mean() == pytest.approx(1, abs=3 * values.std() / math.sqrt(runs)), name
        assert abs(values.mean() - 1) < 0.01


def shared(rng: np.random.Generator, batches: int, b: int, strength: float) -> tuple[Tensor, Tensor]:
    """Dirichlet rows, and the same moved by a parameter that all rows of a batch share."""
    raw = torch.tensor(rng.dirichlet(np.full(4, 0.5), (batches, b)))
    along = torch.tensor([1.0, -1.0, 0.5, -0.5], dtype=torch.float64)
    return raw, 0.8 * raw + strength * torch.tensor(rng.standard_normal((batches, 1, 1))) * along


def shared_truth(strength: float, b: int, draw: int) -> np.ndarray:
    """Formula (A): ``V / G + Q / n`` with u = 0.9 r + strength theta along / 2."""
    q = 0.9**2 * (1 / 4) * (3 / 4) / (0.5 * 4 + 1)
    v = (strength * np.array([1.0, -1.0, 0.5, -0.5]) / 2) ** 2
    return v / draw + q / (draw * b)


@each("strength", [0.0, 0.01, 0.05])
@each("metric", [MEAN, RMS])
def test_batch_means_cover_the_truth_with_and_without_control_by_the_raw_rows(metric, strength: float) -> None:
    b, draw, batches, runs = 32, 5, 30, 100
    rng = np.random.default_rng(6)
    square = shared_truth(strength, b, draw)
    truth = math.sqrt(square.mean()) if metric is RMS else float(np.sqrt(square).mean())
    plain = Design("units", images=b * draw, unit=b)
    controlled = replace(plain, controlled=True)
    found: dict[bool, list[Estimate]] = {False: [], True: []}
    for _ in range(runs):
        raw, aug = shared(rng, batches, b, strength)
        for design in (plain, controlled):
            found[design.controlled].append(full(metric, raw, aug, design))
    for estimates in found.values():
        covered = np.mean([one.low <= truth <= one.high for one in estimates])
        assert 0.88 <= covered <= 0.99
        values = np.array([one.value for one in estimates]) / truth
        assert values.mean() == pytest.approx(1, abs=3 * values.std() / math.sqrt(runs))
    spread = {control: np.std([one.value for one in estimates]) for control, estimates in found.items()}
    assert spread[True] < {0.0: 0.5, 0.01: 0.8, 0.05: 1.1}[strength] * spread[False]


def test_control_by_the_raw_rows_agrees_with_plain_batch_means_where_images_are_picked() -> None:
    """The 32 of 64 mixed rows that are least certain: no closed form, and nothing known of the rows of a batch."""
    rng = np.random.default_rng(7)
    raw = torch.tensor(rng.dirichlet(np.full(4, 0.5), (3000, 32)))
    lam = torch.tensor(rng.random((3000, 64, 1)))
    pool = lam * raw.repeat(1, 2, 1) + (1 - lam) * torch.cat([raw.roll(-1, 1), raw.roll(-3, 1)], 1)
    kept = pool.square().sum(-1).topk(32, 1, largest=False).indices
    picked = pool.gather(1, kept[..., None].expand(-1, -1, 4))
    plain = Design("units", images=160, unit=32)
    for metric in (MEAN, RMS):
        without, controlled = (full(metric, raw, picked, replace(plain, controlled=c)) for c in (False, True))
        assert controlled.se < 0.8 * without.se
        assert controlled.value == pytest.approx(without.value, abs=3 * without.se)


def test_identity_in_controlled_batch_means_is_the_images_own_variance() -> None:
    """The raw rows explain all: what is left is their per-image estimate, to the last digit."""
    rows = dirichlet(12, 16)
    controlled = Design("units", images=80, unit=16, controlled=True)
    for metric in (MEAN, RMS):
        assert value(metric, rows, rows, controlled) == pytest.approx(
            value(metric, rows, rows, Design("images", images=80)), rel=1e-12
        )


def test_classes_that_never_vary_explain_nothing_and_break_nothing() -> None:
    raw, aug = dirichlet(10, 16, classes=3, seed=1), dirichlet(10, 16, classes=3, seed=2)
    zero = torch.zeros(10, 16, 1, dtype=torch.float64)
    design = Design("units", images=80, unit=16, controlled=True)
    with_zero = value(RMS, torch.cat([raw, zero], 2), torch.cat([aug, zero], 2), design)
    assert with_zero == pytest.approx(value(RMS, raw, aug, design) * math.sqrt(3 / 4), rel=1e-12)
    moving = torch.cat([aug[..., :1] / 2, aug[..., :1] / 2, aug[..., 1:]], 2)  # a class only the augmentation reaches
    still = torch.cat([zero, raw], 2)
    alone = value(RMS, zero, moving[..., :1], replace(design, controlled=False)) ** 2
    rest = value(RMS, raw, moving[..., 1:], design) ** 2
    assert value(RMS, still, moving, design) ** 2 == pytest.approx((alone + 3 * rest) / 4, rel=1e-10)


def test_controlled_batch_means_over_epochs_have_no_finite_population_bias() -> None:
    size, b, epochs, repeats = 320, 32, 10, 300
    rng = np.random.default_rng(9)
    population = dirichlet(size, classes=3)
    other = 0.5 * population + 0.5 * dirichlet(size, classes=3, seed=10)
    target = float((0.5 * (population + other)).var(0).mean() / 320)
    design = Design("units", images=320, unit=b, controlled=True)
    number = [epoch for epoch in range(epochs) for _ in range(size // b)]
    squares = []
    for _ in range(repeats):
        rows = epochs_of(rng, torch.cat([population, other], 1), epochs, b)
        squares.append(value(RMS, rows[..., :3], rows[..., 3:], design, number) ** 2)
    error = np.std(squares) / math.sqrt(repeats) / target
    assert error < 0.01
    assert np.mean(squares) / target == pytest.approx(1, abs=3 * error)


def test_the_error_stated_is_the_error_made() -> None:
    rng = np.random.default_rng(8)
    found = []
    for _ in range(150):
        raw = torch.tensor(rng.dirichlet(np.full(10, 0.3), (30, 32)))
        found.append(full(MEAN, raw, raw, Design("images", images=160)))
    stated = np.sqrt(np.mean([one.se**2 for one in found]))
    assert stated == pytest.approx(np.std([one.value for one in found]), rel=0.2)


def test_the_scale_is_that_of_a_draw_of_n_images() -> None:
    rows = dirichlet(10, 16)
    for estimator in ("images", "units"):
        one = Design(estimator, images=80, unit=16)
        assert value(MEAN, rows, rows, replace(one, images=320)) == pytest.approx(
            value(MEAN, rows, rows, one) / 2, rel=1e-13
        )
