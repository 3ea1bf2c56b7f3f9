"""Do the intervals of the metrics hold the truth? `python -m experiments.metric_coverage`.

Batches of 64 images are drawn from simulated teachers and students: an image has a label, a base view, augmented views
and, where it is mixed, a partner and a share. The truth of a metric is its value on 400,000 images. For each metric,
without and with mixing, the table says how far the value is off on average, in units of its deviation, and how often
the 95 % interval holds the truth. Of div_aff it is the part of the training images, log D; what is zero whatever the
images (t_cov_classes, and t_var_shared where every image has parameters of its own) is left out.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import torch
import typer

from dametric import __version__
from dametric.base.environment import machine
from dametric.base.files import write_atomic
from dametric.metrics import METRICS, Design, Metric, Observation
from dametric.scoring.jackknife import Blocks, leave_one_out, measured
from dametric.scoring.teacher_confidence import kappa

FILE = Path(__file__).parent / "results" / "statistics" / "metric_coverage.csv"
CLAIM, CLASSES, BATCH, WHOLE, PARTS = (0.92, 0.98), 10, 64, 6_250, 25
ZERO = ("t_cov_classes", "t_var_shared")


def simulated(batches: int, mixed: bool, generator: torch.Generator) -> Observation:
    """Answers of a teacher and a student to some batches of images with labels of unequal frequency.

    Parameters
    ----------
    batches : int
    mixed : bool
        Every image is mixed with the next of its batch, in the second view with the next but one.
    generator : torch.Generator
    """
    shape = (batches, BATCH)
    labels = torch.multinomial(torch.linspace(1, 3, CLASSES), batches * BATCH, True, generator=generator).view(shape)

    def normal(*size: int) -> torch.Tensor:
        return torch.randn(*shape, *size, generator=generator, dtype=torch.float64)

    target = torch.nn.functional.one_hot(labels, CLASSES).double()
    image = (2.5 + normal(1)) * target + 0.7 * normal(CLASSES)  # logits, without what a view adds
    raw = (image + 0.3 * normal(CLASSES)).softmax(-1)
    views = []
    for number in range(4):
        lam = torch.rand(shape, generator=generator, dtype=torch.float64) if mixed else torch.ones(shape).double()
        other = image.roll(-number - 1, 1)
        logits = lam[..., None] * image + (1 - lam[..., None]) * other + 0.8 * normal(CLASSES)
        student = (0.6 * logits + 0.8 * normal(CLASSES)).log_softmax(-1)
        design = Design(images=320, unit=BATCH, lag=(number + 1) * int(mixed))
        rows = logits.softmax(-1)
        view = Observation(rows, raw, design, -(rows * student).sum(-1), aug_student=student, labels=labels)
        if mixed:
            partners, beside = labels.roll(-number - 1, 1), raw.roll(-number - 1, 1)
            view = replace(view, partner_labels=partners, lam=lam, partner_raw=beside)
        views.append(view)
    raw_student = (0.6 * raw.log() + 0.8 * normal(CLASSES)).log_softmax(-1)
    raw_ce = -(raw * raw_student).sum(-1)
    return replace(views[0], raw_ce=raw_ce, raw_student=raw_student, views=tuple(views))


def contribution(metric: Metric, observation: Observation) -> Blocks:
    """What some batches contribute."""
    wanted = observation.views[: metric.views] if metric.views > 1 else ()
    ones = torch.ones(len(observation.aug), dtype=torch.int64)
    return Blocks(metric.observe(replace(observation, views=wanted)), ones, 0 * ones)


def truth(metrics: list[Metric], mixed: bool, generator: torch.Generator) -> dict[str, float]:
    """Values on 400,000 images, drawn in parts."""
    sums: dict[str, Blocks] = {}
    for _ in range(PARTS):
        observation = simulated(WHOLE // PARTS, mixed, generator)
        for metric in metrics:
            part = contribution(metric, observation).contribution
            one = Blocks({name: values.sum(0)[None] for name, values in part.items()}, *torch.ones(2, 1).long())
            sums[metric.name] = sums[metric.name] + one if metric.name in sums else one
    design = Design(images=320, unit=BATCH, lag=int(mixed))
    return {metric.name: float(leave_one_out(sums[metric.name], metric, design)[0]) for metric in metrics}


def lines(
    mixed: bool, batches: int, repeats: int, seed: int, names: Sequence[str] = tuple(METRICS)
) -> list[dict[str, Any]]:
    """Lines of the table for all metrics, or some, without or with mixing.

    Returns
    -------
    list of dict
        ``metric, mixed, batches, repeats, truth``; ``bias`` in units of the ``deviation`` of the values; ``stated``,
        the mean standard error; ``covered`` with its standard error ``se``; ``kept``: whether that is from 0.92 to
        0.98.
    """
    generator = torch.Generator().manual_seed(seed * 1_000_003 + int(mixed))
    design = Design(images=320, unit=BATCH, lag=int(mixed))
    shown = [each for each in METRICS.values() if each.name not in ZERO and each.name in names]
    metrics = [each for each in shown if mixed or "mixing" not in each.needs]
    true = truth(metrics, mixed, generator)
    found: dict[str, list[tuple[float, float, float, float]]] = {metric.name: [] for metric in metrics}
    for _ in range(repeats):
        observation = simulated(batches, mixed, generator)
        for metric in metrics:
            blocks = contribution(metric, observation)
            if metric.of_teacher:
                number = kappa(blocks, batches * BATCH)
                found[metric.name].append((number.value, number.se, number.low, number.high))
                continue
            value, _ = measured(blocks, metric, design)
            found[metric.name].append((value.value, value.se, value.low, value.high))
    table = []
    for name, numbers in found.items():
        value, se, low, high = np.array(numbers).T
        covered = float(np.mean((low <= true[name]) & (true[name] <= high)))
        deviation = float(value.std(ddof=1))
        line = {"metric": name, "mixed": mixed, "batches": batches, "repeats": repeats, "truth": true[name]}
        line |= {"bias": float(value.mean() - true[name]) / deviation if deviation > 0 else 0.0}
        line |= {"deviation": deviation, "stated": float(se.mean()), "covered": covered}
        line |= {"se": math.sqrt(covered * (1 - covered) / repeats)}
        table.append({**line, "kept": "yes" if CLAIM[0] <= covered <= CLAIM[1] else "no"})
    return table


def main(
    repeats: Annotated[int, typer.Option(min=2, help="Simulated passes.")] = 400,
    batches: Annotated[int, typer.Option(min=4, help="Batches of 64 images of each.")] = 40,
    seed: Annotated[int, typer.Option(help="Random seed.")] = 0,
    metric: Annotated[list[str] | None, typer.Option(help="Only these metrics; repeat for several.")] = None,
    out: Annotated[Path, typer.Option(help="The table.")] = FILE,
) -> None:
    """Write the table anew."""
    torch.set_num_threads(1)
    table = [line for mixed in (False, True) for line in lines(mixed, batches, repeats, seed, metric or list(METRICS))]
    write_atomic(out, pd.DataFrame(table).to_csv(index=False, float_format="%.6g").encode())
    words = ["python -m experiments.metric_coverage", *sys.argv[1:]]
    about: dict[str, Any] = {"command": " ".join(words), "repeats": repeats, "batches": batches, "seed": seed}
    about |= {"dametric": __version__, **machine(torch.device("cpu"))}
    write_atomic(out.with_suffix(".json"), json.dumps(about, indent=1).encode())


if __name__ == "__main__":
    typer.run(main)
