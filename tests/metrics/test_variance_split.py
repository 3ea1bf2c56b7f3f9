"""Shares of a draw's variance, and the teacher's kappa: slow loops, known truths, and what they must add up to."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from scipy import special, stats

import dametric
from dametric.metrics import METRICS, Design, Observation
from dametric.metrics.teacher_confidence import T_CONFIDENCE
from dametric.metrics.variance_split import NAMES, split
from dametric.scoring.jackknife import Blocks, leave_one_out
from dametric.scoring.teacher_confidence import kappa

B, W = 16, 0.4
KINDS = [("images", 0), ("images", 1), ("units", 0), ("units", 1)]


def shown(raw: np.ndarray, views: list[np.ndarray], labels: np.ndarray, kind: str, lag: int) -> Observation:
    several = tuple(
        Observation(
            torch.tensor(a),
            torch.tensor(raw),
            Design(kind, images=80, unit=B, lag=lag * (j + 1), raw_weight=W),  # type: ignore[arg-type]
        )
        for j, a in enumerate(views)
    )
    return Observation(several[0].aug, several[0].raw, several[0].design, labels=torch.tensor(labels), views=several)


def parts(observation: Observation) -> np.ndarray:
    blocks = Blocks(METRICS[NAMES[0]].observe(observation), *torch.ones(2, len(observation.aug)).long())
    return leave_one_out(blocks, METRICS[NAMES[0]], observation.design, split)[0].numpy()


def slow(raw: np.ndarray, views: list[np.ndarray], labels: np.ndarray, kind: str, lag: int) -> list[float]:
    """Row by row, pair by pair."""
    units, b, classes = raw.shape
    z = [np.empty_like(raw) for _ in views]
    for (j, a), g, i in itertools.product(enumerate(views), range(units), range(b)):
        second = a[g, (i - j - 1) % b] if lag else 0
        z[j][g, i] = W * raw[g, i] + (1 - W) * (a[g, i] + second)
    counts = np.bincount(labels.ravel(), minlength=classes)
    same_image, means, drawn, dof, shared = [], [], 0.0, 0, []
    weighted, weights = 0.0, 0.0
    for j, k in itertools.combinations(range(len(views)), 2):
        for g in range(units):
            gap = (1 - W) * (views[j][g] - views[k][g])
            about = gap - gap.mean(0)
            shift = (k - j) if lag else 0
            drawn += (about**2).sum() + 2 * sum(
                about[i] @ about[(i + s) % b] for s in range(1, shift + 1) for i in range(b)
            )
            dof += b - 1 - 2 * shift
            shared.append(gap.mean(0) @ gap.mean(0))
            for i in range(b):
                same_image.append(z[j][g, i] @ z[k][g, i])
                means.append((z[j][g, i] + z[k][g, i]) / 2)
                for i2 in range(b):
                    near = min(abs(i - i2), b - abs(i - i2)) <= (j + k + 2 if lag else 0)
                    if labels[g, i] == labels[g, i2] and not near:
                        weighted += z[j][g, i] @ z[k][g, i2] / counts[labels[g, i]]
                        weights += 1 / counts[labels[g, i]]
    mean, of_class, of_image = np.mean(means, 0), weighted / weights, np.mean(same_image)
    aug = drawn / dof / 2
    v = B * np.mean(shared) / 2 - aug if kind == "units" else 0.0
    return [of_class - mean @ mean, of_image - of_class, aug, v]


def test_the_split_equals_a_slow_loop() -> None:
    rng = np.random.default_rng(0)
    for kind, lag in KINDS:
        for count in (2, 3):
            labels = rng.integers(3, size=(3, B))
            raw, *views = rng.dirichlet(np.ones(3), (1 + count, 3, B))
            assert parts(shown(raw, views, labels, kind, lag)) == pytest.approx(
                slow(raw, views, labels, kind, lag), rel=1e-9
            ), (kind, lag)
    contribution = METRICS[NAMES[0]].observe(shown(raw, views, labels, "units", 1))
    total = {key: values.sum(0) for key, values in contribution.items()}
    shares = [float(METRICS[name].reduce(total, Design("units", unit=B))) for name in NAMES]
    assert math.fsum(shares) == pytest.approx(1, rel=1e-12)


def test_the_parts_are_the_known_ones_and_add_up_to_the_variance_of_a_draw() -> None:
    """Answers made of known effects: of unequally frequent labels, images as either part of a mixture, and draws."""
    rng, units, classes = np.random.default_rng(1), 6000, 4
    frequency = np.array([0.4, 0.3, 0.2, 0.1])
    effect = rng.standard_normal((classes, classes))
    for kind, lag in KINDS:
        labels = rng.choice(classes, (units, B), p=frequency)
        own = 0.5 * rng.standard_normal((units, B, classes))
        rho = effect[labels] + own
        first, second = (0.7 * rho, 0.3 * rho) if lag else (rho, 0 * rho)
        views = []
        for j in range(2):
            shared = 0.2 * rng.standard_normal((units, 1, classes)) if kind == "units" else 0.0
            drawn = 0.6 * rng.standard_normal((units, B, classes))
            views.append(first + np.roll(second, -j - 1, 1) + drawn + shared)
        found = parts(shown(rho, views, labels, kind, lag))
        mean = frequency @ effect
        label = float(frequency @ ((effect - mean) ** 2).sum(1))
        truth = [label, classes * 0.25, (1 - W) ** 2 * classes * 0.36, 0.0]
        truth[3] = B * (1 - W) ** 2 * classes * 0.04 if kind == "units" else 0.0
        assert found == pytest.approx(truth, rel=0.03), (kind, lag)
        observation = shown(rho, views, labels, kind, lag)
        blocks = Blocks(METRICS["t_stddev_rms"].observe(observation), *torch.ones(2, units).long())
        whole = float(leave_one_out(blocks, METRICS["t_stddev_rms"], observation.design)[0])
        assert classes * 80 * whole**2 == pytest.approx(found.sum(), rel=0.03), (kind, lag)


def test_nothing_is_said_of_the_reference_protocol_or_without_two_images_of_a_class() -> None:
    rng = np.random.default_rng(0)
    raw, *views = rng.dirichlet(np.ones(16), (3, 2, B))
    alone = np.arange(B)[None].repeat(2, 0)
    assert np.isnan(parts(shown(raw, views, alone, "images", 0))[:2]).all()
    total = {k: v.sum(0) for k, v in METRICS[NAMES[0]].observe(shown(raw, views, alone % 2, "units", 0)).items()}
    assert math.isnan(float(METRICS[NAMES[0]].reduce(total, Design("units", pooled=True))))


# kappa


def of_rows(rows: np.ndarray) -> Blocks:
    observation = Observation(torch.tensor(rows), torch.tensor(rows), Design())
    return Blocks(T_CONFIDENCE.observe(observation), *torch.ones(2, len(rows)).long())


def test_kappa_equals_its_formula_with_a_jackknife_on_the_logit_of_its_square() -> None:
    rows = special.softmax(2 * np.random.default_rng(0).standard_normal((20, 8, 5)), -1)

    def square(batches: np.ndarray) -> float:
        flat = batches.reshape(-1, 5)
        mean = flat.mean(0)
        return float(((flat**2).sum(1).mean() - mean @ mean) / (1 - mean @ mean))

    whole, without = special.logit(square(rows)), [special.logit(square(np.delete(rows, j, 0))) for j in range(20)]
    value = 20 * whole - 19 * np.mean(without)
    half = stats.t.ppf(0.975, 19) * math.sqrt(19 / 20 * ((without - np.mean(without)) ** 2).sum())
    found = kappa(of_rows(rows), 160)
    expected = np.sqrt(special.expit([value - half, value, value + half]))
    assert (found.low, found.value, found.high) == pytest.approx(tuple(expected), rel=1e-9)
    assert found.plugin == pytest.approx(math.sqrt(square(rows)), rel=1e-12)
    assert found.se == pytest.approx((found.high - found.low) / 2 / stats.t.ppf(0.975, 19), rel=0.05)


def test_kappa_of_one_hot_and_of_ignorant_teachers() -> None:
    rng = np.random.default_rng(0)
    unbalanced = np.eye(4)[rng.choice(4, (10, 8), p=[0.7, 0.1, 0.1, 0.1])]
    found = kappa(of_rows(unbalanced), 80)
    assert found.plugin == pytest.approx(1, abs=1e-12)
    assert found.value == pytest.approx(math.sqrt(1 - 1 / 160), rel=1e-9)
    nothing = kappa(of_rows(np.full((10, 8, 4), 0.25)), 80)
    assert nothing.value == 0
    assert math.isnan(nothing.se)


def test_kappa_is_one_number_under_the_table_and_costs_no_row() -> None:
    rng = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (160, 3, 8, 8), generator=rng, dtype=torch.uint8)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        teacher = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 5))
    options = {"batches": 10, "batch_size": 16, "base_aug": "none", "quiet": True, "device": "cpu", "dtype": "float64"}
    both, alone, few = (
        dametric.score(teacher, images, augs, metrics=metrics, **options)
        for augs, metrics in (
            (["flip", "mixup"], "t_stddev"),
            ("mixup", ["t_stddev", "t_confidence"]),
            ("flip", "t_conf"),
        )
    )
    mean, std = (torch.tensor(both.config[name]).view(3, 1, 1) for name in ("mean", "std"))
    logits = teacher(((images / 255 - mean) / std).float()).detach().double()
    rows = special.softmax(logits.numpy(), 1)
    square = rows.mean(0) @ rows.mean(0)
    expected = math.sqrt(((rows**2).sum(1).mean() - square) / (1 - square))
    assert both.config["t_confidence"]["plugin"] == pytest.approx(expected, rel=1e-5)
    assert both.config["t_confidence"] == alone.config["t_confidence"]
    assert few.config["t_confidence"]["blocks"] == 4
    assert "t_confidence" not in both.scores[0]["metrics"]
    assert both.config["rows_forwarded"]["teacher"] == 3 * 160
    with pytest.raises(dametric.UsageError, match="t_confidence: one number of the teacher"):
        dametric.score(teacher, images, "flip", metrics="t_confidence", **options)
