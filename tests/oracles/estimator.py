"""Slow, plain re-implementations of the metrics, their errors and the pass: one unit, one row, one pair at a time.

Written from the derivation of the estimator, in numpy and float64. A unit is a batch, or a draw of the published
protocol; its rows are distributions over classes.
"""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy import stats
from torch import nn

from dametric.augment import Augmentation, Keys
from dametric.scoring.protocol import Protocol, units


@dataclass(frozen=True)
class Unit:
    """Rows of one unit: probabilities, and cross-entropies with a student where there is one."""

    raw: np.ndarray
    aug: np.ndarray
    epoch: int = 0
    raw_ce: np.ndarray | None = None
    aug_ce: np.ndarray | None = None
    views_ce: tuple[np.ndarray, ...] = ()  # of several augmented views of the same images


@dataclass(frozen=True)
class Plan:
    """How rows are summarised; see the derivation for the letters."""

    estimator: str = "images"
    n: int = 320
    b: int = 64
    lag: int = 0
    w: float = 0.5
    pooled: bool = False
    controlled: bool = False


def softmax(logits: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """Distributions over the last dimension."""
    scaled = np.asarray(logits, np.float64) / temperature
    exponential = np.exp(scaled - scaled.max(-1, keepdims=True))
    return exponential / exponential.sum(-1, keepdims=True)


def entropy(row: np.ndarray) -> float:
    """In nats."""
    return -sum(p * math.log(p) for p in row.tolist() if p > 0)


def information(batches: Sequence[np.ndarray]) -> float:
    """Mutual information of image and answer: the mean divergence of an answer from the mean answer."""
    rows = np.concatenate(batches)
    mean = rows.mean(0)
    return float(np.mean([sum(p * math.log(p / q) for p, q in zip(row, mean, strict=True) if p > 0) for row in rows]))


def component(rows: np.ndarray, lag: int) -> np.ndarray:
    """``A_c``: squares about the unit's mean, and twice the products with the row whose image is shared."""
    deviation = rows - rows.mean(0)
    total = (deviation**2).sum(0)
    for i in range(len(rows) if lag else 0):
        total += 2 * deviation[i] * deviation[(i + 1) % len(rows)]
    return total


def long_run_variance(batches: Sequence[np.ndarray], lag: int) -> np.ndarray:
    """``Q_c`` of rows with parameters of their own (E2)."""
    dof = sum(len(rows) - (3 if lag else 1) for rows in batches)
    return sum(component(rows, lag) for rows in batches) / dof


def unit_means(given: Sequence[Unit], w: float) -> np.ndarray:
    """Weighted mean over all rows of each unit."""
    means = []
    for unit in given:
        weight = [w] * len(unit.raw) + [1 - w] * len(unit.aug)
        means.append(np.average(np.concatenate([unit.raw, unit.aug]), axis=0, weights=weight))
    return np.array(means)


def within_epochs(values: np.ndarray, epochs: Sequence[int]) -> np.ndarray:
    """Variance about each epoch's own mean, pooled over epochs."""
    square, dof = 0.0, 0
    for epoch in sorted(set(epochs)):
        part = values[[e == epoch for e in epochs]]
        square, dof = square + ((part - part.mean(0)) ** 2).sum(0), dof + len(part) - 1
    return square / dof if dof else np.full(values.shape[1:], np.nan)


def t_squared(given: Sequence[Unit], plan: Plan, *, augmented_only: bool = False) -> np.ndarray:
    """``T_c^2`` for every class."""
    w = 0.0 if augmented_only else plan.w
    if plan.estimator == "images":
        return long_run_variance([w * unit.raw + (1 - w) * unit.aug for unit in given], plan.lag) / plan.n
    means, epochs = unit_means(given, w), [unit.epoch for unit in given]
    if plan.controlled and not augmented_only:
        raw_means = np.array([unit.raw.mean(0) for unit in given])
        raw = long_run_variance([unit.raw for unit in given], 0)
        return regressed(means, raw_means, raw / plan.b, epochs) * plan.b / plan.n
    return within_epochs(means, epochs) * plan.b / plan.n


def regressed(means: np.ndarray, raw_means: np.ndarray, known: np.ndarray, epochs: Sequence[int]) -> np.ndarray:
    """Variance of unit means: what the raw rows' means explain, at their known variance, and the rest as found.

    The slope of every class is that of least squares with a constant of its own for each epoch.
    """
    found = np.empty(means.shape[1])
    for c in range(means.shape[1]):
        m, r = means[:, c].copy(), raw_means[:, c].copy()
        for epoch in set(epochs):
            here = np.array([e == epoch for e in epochs])
            m[here] -= m[here].mean()
            r[here] -= r[here].mean()
        slope = float(np.linalg.lstsq(r[:, None], m, rcond=None)[0][0])
        dof = len(m) - len(set(epochs))
        found[c] = slope**2 * known[c] + ((m - slope * r) ** 2).sum() / dof if dof else np.nan
    return found


def t_squared_by_components(means: np.ndarray, q: np.ndarray, b: int, draw: int) -> np.ndarray:
    """E3: the share of batch-shared parameters and that of the images, each on its own."""
    v = means.var(0, ddof=1) - q / b
    return v / draw + q / (draw * b)


def _root(square: np.ndarray) -> np.ndarray:
    return np.sqrt(np.maximum(square, 0))


def _rows(given: Sequence[Unit], plan: Plan) -> np.ndarray:
    parts = [unit.aug for unit in given] + ([unit.raw for unit in given] if plan.pooled else [])
    return np.concatenate(parts)


def _ce(given: Sequence[Unit]) -> np.ndarray:
    return np.concatenate([unit.aug_ce for unit in given])


def ce_cov(given: Sequence[Unit], plan: Plan) -> float:
    """Covariance of raw and augmented cross-entropy, and half of what sharing adds to the variance of a mean."""
    q = _ce(given)
    covariance = np.cov(np.concatenate([unit.raw_ce for unit in given]), q)[0, 1]
    if plan.estimator == "images" and not plan.lag:
        return float(covariance)
    if plan.estimator == "images":
        long_run = long_run_variance([unit.aug_ce[:, None] for unit in given], plan.lag)[0]
        return float(covariance + (long_run - q.var(ddof=1)) / 2)
    means = np.array([unit.aug_ce.mean() for unit in given])
    rows = len(q) / len(given)
    of_means = within_epochs(means[:, None], [unit.epoch for unit in given])[0]
    return float(covariance + (rows * of_means - q.var(ddof=1)) / 2)


def mean_squares(given: Sequence[Unit]) -> tuple[float, float, int]:
    """Mean squares within and between images of a one-way layout, image by image, and the number of views."""
    images = [[float(q[row]) for q in unit.views_ce] for unit in given for row in range(len(unit.views_ce[0]))]
    views, means = len(images[0]), [math.fsum(values) / len(values) for values in images]
    grand = math.fsum(means) / len(means)
    within = math.fsum((q - mean) ** 2 for values, mean in zip(images, means, strict=True) for q in values)
    between = views * math.fsum((mean - grand) ** 2 for mean in means)
    return within / (len(images) * (views - 1)), between / (len(images) - 1), views


def ce_std_between(given: Sequence[Unit], plan: Plan) -> float:
    """Root of the between-image component of variance."""
    within, between, views = mean_squares(given)
    return math.sqrt(max((between - within) / views, 0.0))


METRICS: dict[str, Callable[[Sequence[Unit], Plan], float]] = {
    "t_stddev": lambda given, plan: float(_root(t_squared(given, plan)).mean()),
    "t_stddev_rms": lambda given, plan: math.sqrt(max(t_squared(given, plan).mean(), 0)),
    "t_stddev_aug": lambda given, plan: float(_root(t_squared(given, plan, augmented_only=True)).mean()),
    "t_entropy": lambda given, plan: float(stats.entropy(_rows(given, plan), axis=1).mean()),
    "t_gini": lambda given, plan: float(np.mean(1 - (_rows(given, plan) ** 2).sum(1))),
    "t_conf": lambda given, plan: float(_rows(given, plan).max(1).mean()),
    "information_kept": lambda given, plan: (
        information([unit.aug for unit in given]) / information([unit.raw for unit in given])
    ),
    "ce_mean": lambda given, plan: float(_ce(given).mean()),
    "ce_std": lambda given, plan: float(_ce(given).std(ddof=1)),
    "ce_cov": ce_cov,
    "ce_std_within": lambda given, plan: math.sqrt(mean_squares(given)[0]),
    "ce_std_between": ce_std_between,
}
MEAN_OF_ROOTS: dict[str, Callable[[Sequence[Unit], Plan], np.ndarray]] = {
    "t_stddev": lambda given, plan: t_squared(given, plan),
    "t_stddev_aug": lambda given, plan: t_squared(given, plan, augmented_only=True),
}
ON_LOGARITHM = ("t_stddev", "t_stddev_rms", "t_stddev_aug", "ce_std", "ce_std_within", "ce_std_between")


def delete_one(blocks: Sequence[Sequence[Unit]], value: Callable[[list[Unit]], float]) -> tuple[float, list[float]]:
    """A statistic of all blocks of units, and of all but each block, every one computed from scratch."""

    def flat(chosen: Sequence[Sequence[Unit]]) -> list[Unit]:
        return [unit for block in chosen for unit in block]

    return value(flat(blocks)), [value(flat([*blocks[:j], *blocks[j + 1 :]])) for j in range(len(blocks))]


def busing(theta: float, deleted: Sequence[float], sizes: Sequence[int]) -> tuple[float, float]:
    """Delete-m_j jackknife (Busing, Meijer & van der Leeden 1999): corrected value and standard error."""
    g, n = len(deleted), sum(sizes)
    value = g * theta - sum((1 - m / n) * d for m, d in zip(sizes, deleted, strict=True))
    variance = 0.0
    for m, d in zip(sizes, deleted, strict=True):
        h = n / m
        pseudo = h * theta - (h - 1) * d
        variance += (pseudo - value) ** 2 / (h - 1) / g
    return value, math.sqrt(variance)


def classic(theta: float, deleted: Sequence[float]) -> tuple[float, float]:
    """Quenouille's correction and Tukey's standard error."""
    n, mean = len(deleted), float(np.mean(deleted))
    return n * theta - (n - 1) * mean, math.sqrt((n - 1) / n * sum((d - mean) ** 2 for d in deleted))


def interval(theta: float, deleted: Sequence[float], sizes: Sequence[int], log: bool) -> tuple[float, ...]:
    """Value, standard error and ends of the 95 % interval."""
    t = float(stats.t.ppf(0.975, len(deleted) - 1))
    if not log:
        value, se = busing(theta, deleted, sizes)
        return value, se, value - t * se, value + t * se
    value, se = busing(math.log(theta), [math.log(d) for d in deleted], sizes)
    return math.exp(value), math.exp(value) * se, math.exp(value - t * se), math.exp(value + t * se)


def strata(order_by: Sequence[float], mean: Sequence[float], noise: Sequence[float]) -> list[list[int]]:
    """Neighbours, in one half's order, in as many strata as the other half knows with a squared relative error of 0.02.

    Sixteen neighbours are looked at together; where they are not known as a whole, the next sixteen join them.
    """
    ranked = sorted(range(len(mean)), key=lambda c: order_by[c])
    made: list[list[int]] = []
    current: list[int] = []
    for start in range(0, len(ranked), 16):
        current += ranked[start : start + 16]
        total, error = sum(mean[c] for c in current), sum(noise[c] for c in current)
        if total > 0 and error <= 0.02 * total**2:
            parts = int(min(len(current), 0.02 * total**2 / error))
            ends = [len(current) * k // parts for k in range(parts + 1)]
            made += [current[a:b] for a, b in itertools.pairwise(ends)]
            current = []
    if current:
        made = [*made[:-1], made[-1] + current] if made else [current]
    return made


def root_in_strata(mean: Sequence[float], noise: Sequence[float], cut: Sequence[Sequence[int]]) -> tuple[float, float]:
    """Mean of the square roots of the classes' variances, stratum by stratum, and its error by shape."""
    total = off = 0.0
    for stratum in cut:
        m = max(sum(mean[c] for c in stratum) / len(stratum), 0.0)
        if m == 0:
            continue
        spreads = [((mean[c] - m) ** 2 - noise[c]) / m**2 for c in stratum]
        x = float(np.mean(spreads))
        fall = x / 8
        if len(stratum) >= 8:
            slower = 1 + 5 / 16 * max(x, 0)
            fall = x / 8 / slower + 5 / 128 * float(np.var(spreads, ddof=1)) / len(stratum) / slower**3
        total += len(stratum) * math.sqrt(m) * (1 - fall)
        apart = float(np.var(spreads, ddof=1)) / len(stratum) if len(stratum) > 1 else 0.0
        y = math.sqrt(max(x**2 - apart, 0))
        off += len(stratum) * math.sqrt(m) * (y / (8 + y / 2) - y / (8 + 9 / 2 * y)) / 2 / math.sqrt(3)
    return total / len(mean), off / len(mean)


def mean_of_roots(
    blocks: Sequence[Sequence[Unit]], squared: Callable[[list[Unit]], np.ndarray], units_are_compared: bool
) -> tuple[float, list[float], list[float], float]:
    """Value, each block's influence on it, the part of that which is linear in the variances, and the error by shape.

    The blocks are dealt into two halves, alternate ones, or alternate epochs where units are compared within them;
    each half's classes are cut into strata by the other half.
    """
    halves, epochs = [], sorted({block[0].epoch for block in blocks})
    by_epoch = units_are_compared and len(epochs) >= 4
    places: list[list[int]] = [[], []]
    for j, block in enumerate(blocks):
        places[(epochs.index(block[0].epoch) if by_epoch else j) % 2].append(j)
    for place in places:
        half = [blocks[j] for j in place]
        theta, deleted = delete_one(half, squared)
        sizes = [len(block) for block in half]
        shares = [size / sum(sizes) for size in sizes]
        pseudo = [(theta - (1 - p) * d) / p for p, d in zip(shares, deleted, strict=True)]
        halves.append((shares, pseudo))
    value, shape, influence, straight = 0.0, 0.0, [0.0] * len(blocks), [0.0] * len(blocks)
    for place, (shares, pseudo) in enumerate(halves):
        mean, noise = _mean_and_noise(shares, pseudo)
        cut = strata(_mean_and_noise(*halves[1 - place])[0], mean, noise)
        (theta, off), g = root_in_strata(mean, noise, cut), len(shares)
        value, shape = value + theta / 2, shape + off / 2
        pseudos = []
        for j in range(g):
            left, _ = root_in_strata(*_mean_and_noise(shares, pseudo, without=j), cut)
            pseudos.append((theta - (1 - shares[j]) * left) / shares[j])
        middle = sum(p * x for p, x in zip(shares, pseudos, strict=True))
        if any(sum(mean[k] for k in s) < 0 for s in cut):
            return math.nan, [], [], 0.0
        slopes = {c: 1 / (2 * math.sqrt(np.mean([mean[k] for k in s]))) for s in cut for c in s}
        for j in range(g):
            scale = math.sqrt(shares[j] / (1 - shares[j]) / g) / 2
            influence[places[place][j]] = (pseudos[j] - middle) * scale
            linear = np.mean([slopes[c] * (pseudo[j][c] - mean[c]) for c in slopes])
            straight[places[place][j]] = float(linear) * scale
    return value, influence, straight, shape


def _mean_and_noise(
    shares: Sequence[float], pseudo: Sequence[np.ndarray], without: int | None = None
) -> tuple[list[float], list[float]]:
    kept = [j for j in range(len(shares)) if j != without]
    g, total = len(shares), sum(shares[j] for j in kept)
    mean = sum(shares[j] * pseudo[j] for j in kept) / total
    noise = sum(shares[j] / (1 - shares[j]) / g * (pseudo[j] - mean) ** 2 for j in kept)
    return mean.tolist(), (noise * (1 if without is None else g / (g - 2))).tolist()


def roots_interval(
    influence: Sequence[float], straight: Sequence[float], shape: float, value: float
) -> tuple[float, ...]:
    """Value, standard error and ends of the 95 % interval: what only pairs of blocks make is counted half."""
    total = sum(x**2 for x in influence)
    pairs = sum((x - y) ** 2 for x, y in zip(influence, straight, strict=True))
    se = math.sqrt(max(total - pairs / 2, total / 2) + shape**2)
    width = math.exp(float(stats.t.ppf(0.975, len(influence) - 2)) * se / value)
    return value, se, value / width, value * width


def finite_population(per_draw: float, draws: int, draws_per_epoch: float) -> float:
    """Formula (B) without an augmentation's part: ``E[s^2] / (S^2 / n)`` of draws over several epochs."""
    share = (draws_per_epoch - 1) / (draws - 1)
    return 1 - per_draw * (1 - share)


def cov1_mean(rows: np.ndarray) -> float:
    """Mean entry of the rows' covariance matrix over classes, a variant in the published code."""
    return float(np.cov(rows).mean())


def cov2_mean(rows: np.ndarray) -> float:
    """Mean entry of the classes' covariance matrix over rows, a variant in the published code."""
    return float(np.cov(rows.T).mean())


def pair_covariances(positions: np.ndarray) -> float:
    """Sum over pairs of positions of their covariance over draws; ``positions`` has shape (draws, positions)."""
    total = 0.0
    centred = positions - positions.mean(0)
    for i, j in itertools.combinations(range(positions.shape[1]), 2):
        total += float(centred[:, i] @ centred[:, j]) / (len(positions) - 1)
    return total


class Plain:
    """A network as it was given, in float64, on normalised images."""

    def __init__(self, module: nn.Module, mean: Sequence[float], std: Sequence[float]) -> None:
        self.module = copy.deepcopy(module).double().eval()
        self.mean, self.std = (torch.tensor(v, dtype=torch.float64).view(1, -1, 1, 1) for v in (mean, std))

    def __call__(self, images: torch.Tensor, temperature: float) -> np.ndarray:
        with torch.no_grad():
            logits = self.module((images.double() / 255 - self.mean) / self.std)
        return softmax(logits.numpy(), temperature)


def criterion(by: str, teacher: np.ndarray, student: np.ndarray | None, raw: np.ndarray) -> float:
    """What one candidate of a pick is ranked by."""
    if by == "teacher_entropy":
        return entropy(teacher)
    if by == "dissimilarity":
        return float(np.abs(teacher - raw).sum())
    assert student is not None
    if by == "student_entropy":
        return entropy(student)
    return sum(t * math.log(t / s) for t, s in zip(teacher, student, strict=True))


def walk(
    images: torch.Tensor,
    teacher: Plain,
    student: Plain | None,
    augmentation: Augmentation,
    base: Augmentation,
    protocol: Protocol,
    count: int,
    views: int = 1,
) -> list[Unit]:
    """Batch after batch: draw, augment, ask the networks, pick; no two batches are ever handled together."""
    found = []
    for unit in itertools.islice(units(protocol, len(images)), count):
        parts = []
        for offset, index in enumerate(unit.batches):
            keys = Keys(protocol.seed, 1, len(index), unit.first + offset, protocol.per)
            view = base(images[index], replace(keys, per="sample").sub("base")).images
            made = augmentation(view, keys).images
            raw, aug = (teacher(x, protocol.temperature) for x in (view, made))
            raw_student, aug_student = (
                (None, None) if student is None else (student(x, protocol.temperature) for x in (view, made))
            )
            source = [row % len(view) for row in range(len(made))]
            if augmentation.pick:
                values = [
                    criterion(
                        augmentation.pick, aug[row], None if aug_student is None else aug_student[row], raw[source[row]]
                    )
                    for row in range(len(made))
                ]
                kept = sorted(range(len(made)), key=lambda row: -values[row])[: protocol.batch]
                aug, source = aug[kept], [source[row] for row in kept]
                aug_student = None if aug_student is None else aug_student[kept]
            raw_ce = aug_ce = None
            if raw_student is not None and aug_student is not None:
                raw_ce = -(raw * np.log(raw_student)).sum(1)[source]
                aug_ce = -(aug * np.log(aug_student)).sum(1)
            several = []
            for number in range(views if views > 1 else 0):
                again = augmentation(view, keys.of_view(number)).images
                t, s = (network(again, protocol.temperature) for network in (teacher, student))
                several.append(-(t * np.log(s)).sum(1))
            parts.append(Unit(raw, aug, unit.epoch, raw_ce, aug_ce, tuple(several)))
        found.append(
            Unit(
                np.concatenate([part.raw for part in parts]),
                np.concatenate([part.aug for part in parts]),
                unit.epoch,
                None if student is None else np.concatenate([part.raw_ce for part in parts]),
                None if student is None else np.concatenate([part.aug_ce for part in parts]),
                tuple(np.concatenate(view) for view in zip(*(part.views_ce for part in parts), strict=True)),
            )
        )
    return found
