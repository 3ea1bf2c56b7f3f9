"""Divergence and cross-entropy against double loops, torch's own forms and closed-form gradients."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from dametric.augment import Augmented
from dametric.training.loss import divergence, label_loss
from tests.loops import each

TEMPERATURES = [0.5, 1.0, 4.0, 20.0]
NO_MIX = Augmented(torch.zeros(6, 3, 2, 2, dtype=torch.uint8))


def logits(seed: int, rows: int = 6, classes: int = 7, spread: float = 3.0) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    return spread * torch.randn(rows, classes, generator=draw, dtype=torch.float64)


def softmax(row: list[float]) -> list[float]:
    weights = [math.exp(value - max(row)) for value in row]
    return [weight / sum(weights) for weight in weights]


def looped_divergence(student: Tensor, teacher: Tensor, temperature: float) -> float:
    total = 0.0
    for ours, theirs in zip(student.tolist(), teacher.tolist(), strict=True):
        s, t = (softmax([value / temperature for value in row]) for row in (ours, theirs))
        for s_c, t_c in zip(s, t, strict=True):
            total += t_c * (math.log(t_c) - math.log(s_c))
    return temperature**2 * total / len(student)


@each("temperature", TEMPERATURES)
@each(("rows", "classes"), [(6, 7), (1, 3), (9, 2), (3, 100)])
def test_divergence_is_the_double_loop_and_torch_s_batchmean(rows: int, classes: int, temperature: float) -> None:
    student, teacher = (logits(seed, rows, classes) for seed in (0, 1))
    found = float(divergence(student, teacher, temperature))
    assert found == pytest.approx(looped_divergence(student, teacher, temperature), rel=1e-10)
    s, t = F.log_softmax(student / temperature, 1), F.softmax(teacher / temperature, 1)
    assert found == pytest.approx(float(F.kl_div(s, t, reduction="batchmean")) * temperature**2, rel=1e-12)


@each("temperature", TEMPERATURES)
def test_gradient_of_the_divergence_is_the_difference_of_softmaxes(temperature: float) -> None:
    student, teacher = logits(2).requires_grad_(), logits(3)
    divergence(student, teacher, temperature).backward()
    s, t = (
        np.array([softmax([value / temperature for value in row]) for row in both.tolist()])
        for both in (student, teacher)
    )
    assert student.grad is not None
    assert np.abs(student.grad.numpy() - temperature * (s - t) / len(student)).max() < 1e-12


def test_divergence_does_not_see_a_shift_of_all_logits_of_a_row() -> None:
    student, teacher = logits(4), logits(5)
    usual = float(divergence(student, teacher, 4.0))
    shift = torch.linspace(-50, 50, 6, dtype=torch.float64)[:, None]
    assert float(divergence(student + shift, teacher, 4.0)) == pytest.approx(usual, rel=1e-11)
    assert float(divergence(student, teacher - shift, 4.0)) == pytest.approx(usual, rel=1e-11)


@each("temperature", TEMPERATURES)
def test_divergence_is_zero_where_both_agree_and_positive_elsewhere(temperature: float) -> None:
    one, other = logits(6), logits(7)
    assert float(divergence(one, one.clone(), temperature)) == 0
    assert float(divergence(one + 3, one, temperature)) == pytest.approx(0, abs=1e-13)
    assert float(divergence(one, other, temperature)) > 0
    assert float(divergence(one, other, temperature)) != float(divergence(other, one, temperature))


def test_divergence_is_the_teacher_s_from_the_student_s_point_of_view() -> None:
    student, teacher = torch.tensor([[0.0, 0.0]]), torch.tensor([[math.log(3), 0.0]])
    expected = 0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.5)
    assert float(divergence(student, teacher, 1.0)) == pytest.approx(expected, rel=1e-6)


def test_divergence_and_gradient_stay_finite_where_softmaxes_vanish() -> None:
    student, teacher = logits(8, spread=1e4).float().requires_grad_(), logits(9, spread=1e4).float()
    value = divergence(student, teacher, 1.0)
    value.backward()
    assert value.isfinite()
    assert student.grad is not None
    assert student.grad.isfinite().all()


def looped_label_loss(
    rows: Tensor, labels: list[int], partner: list[int] | None, lam: list[float] | None, smoothing: float
) -> float:
    total = 0.0
    for i, row in enumerate(rows.tolist()):
        p, classes = softmax(row), len(row)
        for c in range(classes):
            target = float(c == labels[i])
            if partner is not None and lam is not None:
                target = lam[i] * (c == labels[i]) + (1 - lam[i]) * (c == labels[partner[i]])
            total -= ((1 - smoothing) * target + smoothing / classes) * math.log(p[c])
    return total / len(rows)


@each("smoothing", [0.0, 0.1, 0.9])
def test_label_loss_is_the_loop(smoothing: float) -> None:
    rows, labels = logits(10), torch.tensor([0, 6, 3, 3, 1, 2])
    expected = looped_label_loss(rows, labels.tolist(), None, None, smoothing)
    assert float(label_loss(rows, labels, NO_MIX, smoothing)) == pytest.approx(expected, rel=1e-12)


@each("smoothing", [0.0, 0.1, 0.9])
def test_label_loss_of_mixed_images_is_the_loop_over_both_labels(smoothing: float) -> None:
    rows, labels = logits(11), torch.tensor([0, 6, 3, 3, 1, 2])
    partner, lam = [2, 0, 3, 1, 5, 4], [0.0, 1.0, 0.3, 0.9, 0.5, 1 / 3]
    view = NO_MIX._replace(partner=torch.tensor(partner), lam=torch.tensor(lam, dtype=torch.float64))
    expected = looped_label_loss(rows, labels.tolist(), partner, lam, smoothing)
    assert float(label_loss(rows, labels, view, smoothing)) == pytest.approx(expected, rel=1e-12)


def test_label_loss_at_the_ends_of_lambda_is_that_of_one_label() -> None:
    rows, labels, partner = logits(12), torch.tensor([0, 6, 3, 3, 1, 2]), torch.tensor([1, 2, 3, 4, 5, 0])
    for lam, named in ((1.0, labels), (0.0, labels[partner])):
        view = NO_MIX._replace(partner=partner, lam=torch.full((6,), lam, dtype=torch.float64))
        assert float(label_loss(rows, labels, view, 0.1)) == pytest.approx(
            float(label_loss(rows, named, NO_MIX, 0.1)), rel=1e-12
        )


def test_label_loss_keeps_the_precision_of_the_logits() -> None:
    view = NO_MIX._replace(partner=torch.arange(6), lam=torch.rand(6, dtype=torch.float64))
    labels = torch.arange(6)
    assert label_loss(logits(13).float(), labels, view, 0.0).dtype == torch.float32
    assert label_loss(logits(13), labels, view, 0.0).dtype == torch.float64
