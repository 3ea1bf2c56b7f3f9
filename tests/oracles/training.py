"""Slow, plain re-implementation of distillation: one step, one row, one weight at a time, all in float64.

Written from the published objective, from the textbook forms of momentum and from the definitions of the measures.
Augmented images are asked of the package, whose own tests prove them; nothing else is.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
import torch
from torch import Tensor, nn

from dametric.augment import Augmentation, ImageSpec, Keys, parse
from dametric.data import ImageSet
from dametric.training import Recipe

EXACT = torch.float64


@dataclass(frozen=True)
class Teacher:
    """A network in float64 and evaluation mode, and what it is normalised by."""

    module: nn.Module
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def logits(self, images: Tensor) -> Tensor:
        """What it says of pixels from 0 to 255."""
        with torch.no_grad():
            return self.module(normalised(images, self.mean, self.std))


def normalised(images: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """Pixels from 0 to 255, brought to mean 0 and standard deviation 1, channel by channel."""
    channels = [(images[:, c].to(EXACT) / 255 - mean[c]) / std[c] for c in range(images.shape[1])]
    return torch.stack(channels, 1)


def log_softmax(row: Tensor) -> Tensor:
    """Of one row of logits."""
    shifted = row - row.detach().max()
    return shifted - shifted.exp().sum().log()


def divergence(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """T^2 times the mean over rows of the sum over classes of t (log t - log s)."""
    total = torch.zeros((), dtype=EXACT)
    for ours, theirs in zip(student, teacher, strict=True):
        log_s, log_t = log_softmax(ours / temperature), log_softmax(theirs / temperature)
        total = total + (log_t.exp() * (log_t - log_s)).sum()
    return temperature**2 * total / len(student)


def one_label(row: Tensor, label: int, smoothing: float) -> Tensor:
    """Cross-entropy of one row: the label has all of the probability but what is spread over every class."""
    target = torch.full((len(row),), smoothing / len(row), dtype=EXACT)
    target[label] += 1 - smoothing
    return -(target * log_softmax(row)).sum()


def label_loss(
    logits: Tensor, labels: list[int], partner: list[int] | None, lam: list[float] | None, smoothing: float
) -> Tensor:
    """Mean over rows of the cross-entropy with the row's label, or of both labels' as the images are mixed."""
    total = torch.zeros((), dtype=EXACT)
    for i, row in enumerate(logits):
        if partner is None or lam is None:
            total = total + one_label(row, labels[i], smoothing)
        else:
            own, other = (one_label(row, labels[j], smoothing) for j in (i, partner[i]))
            total = total + lam[i] * own + (1 - lam[i]) * other
    return total / len(logits)


def rate(recipe: Recipe, step: int, per_epoch: int) -> float:
    """Learning rate of a step, counted from 0."""
    total = recipe.epochs * per_epoch
    if recipe.schedule == "step":
        done = Fraction(step // per_epoch, recipe.epochs)
        return recipe.lr * 0.1 ** sum(done >= Fraction(epoch, 240) for epoch in (150, 180, 210))
    if recipe.schedule == "cosine":
        return recipe.lr * math.cos(math.pi * step / total / 2) ** 2
    turn, peak = 0.3 * total - 1, recipe.lr
    low, last = peak / 25, peak / 25 / 1e4
    if step <= turn:
        return low + (peak - low) * math.sin(math.pi * step / turn / 2) ** 2
    return peak + (last - peak) * math.sin(math.pi * (step - turn) / (total - 1 - turn) / 2) ** 2


def picked(by: str, keep: int, teacher: Tensor, student: Tensor, raw: Tensor) -> list[int]:
    """Positions in a pool of the rows that rank highest; all arguments are logits."""
    values = []
    for i in range(len(teacher)):
        log_t, log_s, log_r = (log_softmax(row).numpy() for row in (teacher[i], student[i], raw[i % len(raw)]))
        t, s, r = np.exp(log_t), np.exp(log_s), np.exp(log_r)
        values.append(
            {
                "teacher_entropy": -(t * log_t).sum(),
                "student_entropy": -(s * log_s).sum(),
                "kld": (t * (log_t - log_s)).sum(),
                "dissimilarity": np.abs(t - r).sum(),
            }[by]
        )
    return sorted(range(len(values)), key=lambda i: -values[i])[:keep]


def training(
    model: nn.Module,
    data: ImageSet,
    recipe: Recipe,
    teacher: Teacher | None = None,
    *,
    fill: tuple[float, ...] | None = None,
    aug: Augmentation | None = None,
) -> Iterator[list[float]]:
    """Train a network in float64 step by step, to the end of the recipe.

    Yields
    ------
    list of float
        Of the step that was just made, the total loss and its terms: cross-entropy, divergence on raw and on
        augmented images, each 0 where its weight is.
    """
    of, objective, size = ImageSpec(data.image_size, fill or data.mean), recipe.objective, recipe.batch_size
    base = parse("identity" if recipe.base_aug == "none" else recipe.base_aug, of)
    under_test = aug or parse(recipe.aug, of)
    per_epoch = len(data) // size
    velocity: dict[str, Tensor] = {}
    for step in range(recipe.epochs * per_epoch):
        epoch, batch = divmod(step, per_epoch)
        order = torch.randperm(len(data), generator=torch.Generator().manual_seed(recipe.seed * 1_000_003 + epoch))
        index = order[batch * size : (batch + 1) * size]
        labels = [int(data.labels[i]) for i in index]
        keys = Keys(recipe.seed, 1, size, step, recipe.per)
        raw = base(torch.stack([data.images[i] for i in index]), replace(keys, per="sample").sub("base"))

        def look(images: Tensor) -> Tensor:
            return normalised(images, data.mean, data.std)

        shown = None
        if objective.aug:
            assert teacher is not None
            shown = under_test(raw.images, keys).images
            if under_test.pick is not None:
                with torch.no_grad():
                    now = copy.deepcopy(model).eval()(look(shown))
                kept = picked(under_test.pick, size, teacher.logits(shown), now, teacher.logits(raw.images))
                shown = torch.stack([shown[i] for i in kept])

        model.train()
        needs_raw = objective.ce > 0 or objective.raw > 0
        of_raw = of_shown = None
        if recipe.joint_batch and needs_raw and shown is not None:
            both = model(torch.cat([look(raw.images), look(shown)]))
            of_raw, of_shown = both[:size], both[size:]
        else:
            of_raw = model(look(raw.images)) if needs_raw else None
            of_shown = model(look(shown)) if shown is not None else None

        ce = kd_raw = kd_aug = torch.zeros((), dtype=EXACT)
        if objective.ce:
            partner, lam = (None if both is None else both.tolist() for both in (raw.partner, raw.lam))
            ce = label_loss(of_raw, labels, partner, lam, recipe.label_smoothing)
        if objective.raw:
            kd_raw = divergence(of_raw, teacher.logits(raw.images), objective.temperature)
        if objective.aug:
            kd_aug = divergence(of_shown, teacher.logits(shown), objective.temperature)
        total = objective.ce * ce + objective.raw * kd_raw + objective.aug * kd_aug

        weights = dict(model.named_parameters())
        gradients = torch.autograd.grad(total, list(weights.values()))
        with torch.no_grad():
            for (name, weight), gradient in zip(weights.items(), gradients, strict=True):
                push = gradient + recipe.weight_decay * weight
                velocity[name] = recipe.momentum * velocity[name] + push if name in velocity else push.clone()
                way = push + recipe.momentum * velocity[name] if recipe.nesterov else velocity[name]
                weight -= rate(recipe, step, per_epoch) * way
        yield [float(term.detach()) for term in (total, ce, kd_raw, kd_aug)]


def calibration_error(probabilities: np.ndarray, labels: np.ndarray, bins: int = 15) -> float:
    """Sum over bins of their share of images times |accuracy - mean confidence|; a bin holds its upper edge."""
    confidence, named = probabilities.max(1), probabilities.argmax(1)
    error = 0.0
    for k in range(bins):
        inside = [i for i, c in enumerate(confidence) if k / bins < c <= (k + 1) / bins]
        if inside:
            accuracy = sum(named[i] == labels[i] for i in inside) / len(inside)
            error += len(inside) / len(labels) * abs(accuracy - sum(confidence[i] for i in inside) / len(inside))
    return float(error)


def evaluate(logits: np.ndarray, labels: np.ndarray, teacher: np.ndarray | None = None) -> dict[str, float]:
    """Loss, accuracy, calibration, agreement, image by image; no two logits of a row are alike."""
    images = len(labels)
    best = [sorted(range(len(row)), key=lambda c: -row[c]) for row in logits]
    soft = np.array([np.exp(row - row.max()) / np.exp(row - row.max()).sum() for row in logits])
    found = {
        "loss": -sum(math.log(soft[i, labels[i]]) for i in range(images)) / images,
        "top1": sum(best[i][0] == labels[i] for i in range(images)) / images,
        "top5": sum(int(labels[i]) in best[i][:5] for i in range(images)) / images,
        "ece": calibration_error(soft, labels),
    }
    if teacher is not None:
        found["agreement"] = sum(best[i][0] == int(np.argmax(teacher[i])) for i in range(images)) / images
    return found
