"""Do the errors of grad_align and ridge_student hold what they promise? Simulated batches and held-out images.

    python -m experiments.student_score_errors > experiments/results/student_score_errors.csv

Every row: of so many repeats with new batches and new held-out images, the share in which the 95 % interval of a paired
difference between two augmentations holds the value of infinitely many of both, and the mean stated standard error over
the standard deviation of the differences.
"""

from __future__ import annotations

import argparse
import csv
import math
import sys
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import torch
from scipy import special
from torch import Tensor

from dametric.choosing.grad_align import aligned
from dametric.choosing.result import ErrorPart, StatedDifference, StudentScore
from dametric.choosing.ridge_student import centred, refitted

Simulation = tuple[float, Callable[[], StatedDifference]]
_WEIGHTS, _FEATURES, _CLASSES = 30, 8, 5
_PENALTY, _MANY = 0.01, 500_000
_VIEWS = ((0.3, 0.5), (0.6, 1.0))  # how far an augmentation moves features, and the noise of the answers


def gradients(batches: int, noise: float, held_out_noise: float, rng: np.random.Generator) -> Simulation:
    """Gradients about two means, half of whose noise the augmentations share; 16 parts of held-out images."""
    direction = rng.standard_normal(_WEIGHTS) / math.sqrt(_WEIGHTS)
    other = 0.3 * direction + 0.1 * rng.standard_normal(_WEIGHTS) / math.sqrt(_WEIGHTS)
    means, spread = np.stack([0.5 * direction, other]), noise * np.array([1.0, 1.5])
    lengths = direction @ direction * ((means**2).sum(1) + _WEIGHTS * spread**2)
    truth = means @ direction / np.sqrt(lengths)

    def repeat() -> StatedDifference:
        shared, own = rng.standard_normal((batches, _WEIGHTS)), rng.standard_normal((2, batches, _WEIGHTS))
        drawn = torch.from_numpy(means[:, None] + spread[:, None, None] * (shared + own) / math.sqrt(2))
        parts = torch.from_numpy(direction + held_out_noise * rng.standard_normal((16, _WEIGHTS)))
        values, errors, _ = aligned(drawn @ parts.T, drawn.square().sum(2), parts @ parts.T, torch.full((16,), 10))
        return StudentScore("grad_align", "higher", ("a", "b"), values, errors, 0).difference("a", "b")

    return float(truth[0] - truth[1]), repeat


def regressions(batches: int, images: int, rng: np.random.Generator) -> Simulation:
    """Features and answers of a linear teacher with noise; the second augmentation moves features and adds noise."""
    line = 2 * rng.standard_normal((_FEATURES, _CLASSES))

    def rows(count: int, moved: float, noise: float) -> tuple[Tensor, Tensor]:
        features = rng.standard_normal((count, _FEATURES))
        answers = features @ line + noise * rng.standard_normal((count, _CLASSES))
        return torch.from_numpy(features + moved * rng.standard_normal(features.shape)), torch.from_numpy(answers)

    def score(batches: int, images: int) -> StudentScore:
        base, held_out = rows(32 * batches, 0.0, 0.5), rows(images, 0.0, 0.5)
        results = []
        for moved, noise in _VIEWS:
            views = rows(32 * batches, moved, noise)
            pairs = [(x.unflatten(0, (batches, -1)), centred(z).unflatten(0, (batches, -1))) for x, z in (base, views)]
            results.append(refitted(pairs[0], pairs[1], _PENALTY, held_out[0], held_out[1], 4.0))
        own = torch.stack([row for row, _ in results])
        others = (own.sum(1, keepdim=True) - own) / (images - 1)
        parts = torch.stack([without for _, without in results])
        errors = (ErrorPart.jackknife("batches", parts), ErrorPart.jackknife("held-out images", others))
        return StudentScore("ridge_student", "lower", ("a", "b"), own.mean(1), errors, 0)

    held_out = rows(_MANY, 0.0, 0.5)
    many = [_in_the_limit([rows(_MANY, 0.0, 0.5), rows(_MANY, *view)], held_out) for view in _VIEWS]
    return many[0] - many[1], lambda: score(batches, images).difference("a", "b")


def _in_the_limit(shown: list[tuple[Tensor, Tensor]], held_out: tuple[Tensor, Tensor]) -> float:
    """Value of a fit to very many rows, by plain normal equations."""
    features, answers = (np.concatenate([part[place].numpy() for part in shown]) for place in (0, 1))
    answers = answers - answers.mean(1, keepdims=True)
    design = features - features.mean(0)
    square = design.T @ design / len(design) + _PENALTY * np.eye(_FEATURES)
    fit = np.linalg.solve(square, design.T @ answers / len(design))
    told = (held_out[0].numpy() - features.mean(0)) @ fit + answers.mean(0)
    teacher, student = (special.log_softmax(each / 4, 1) for each in (held_out[1].numpy(), told))
    return float((np.exp(teacher) * (teacher - student)).sum(1).mean())


SIMULATIONS: dict[tuple[str, str], Callable[[np.random.Generator], Simulation]] = {
    ("grad_align", "64 batches, little noise"): partial(gradients, 64, 0.1, 0.1),
    ("grad_align", "64 batches, much noise"): partial(gradients, 64, 0.4, 0.3),
    ("grad_align", "16 batches, much noise"): partial(gradients, 16, 0.4, 0.3),
    ("ridge_student", "64 batches, 1,000 held-out images"): partial(regressions, 64, 1_000),
    ("ridge_student", "64 batches, 100 held-out images"): partial(regressions, 64, 100),
    ("ridge_student", "16 batches, 1,000 held-out images"): partial(regressions, 16, 1_000),
}


def coverage(repeats: int, seed: int = 0) -> Iterator[dict[str, str | int | float]]:
    """A row for each simulation."""
    for (metric, what), simulate in SIMULATIONS.items():
        truth, repeat = simulate(np.random.default_rng(seed))
        stated = [repeat() for _ in range(repeats)]
        values = np.array([each.value for each in stated])
        yield {
            "metric": metric,
            "simulated": what,
            "repeats": repeats,
            "covered": sum(each.low <= truth <= each.high for each in stated) / repeats,
            "stated_over_true_se": round(float(np.mean([each.se for each in stated]) / values.std(ddof=1)), 3),
            "bias_over_se": round(float((values.mean() - truth) / values.std(ddof=1)), 3),
        }


def main() -> None:
    """Print the table as CSV."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=400)
    torch.set_num_threads(1)
    rows = list(coverage(parser.parse_args().repeats))
    writer = csv.DictWriter(sys.stdout, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)


if __name__ == "__main__":
    main()
