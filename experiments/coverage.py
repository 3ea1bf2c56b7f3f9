"""Do the intervals of T. stddev hold the truth? `python -m experiments.coverage`.

Batches are drawn from simulated teachers whose T. stddev is known, since it is that of a finite list of rows drawn
with replacement. For each kind of teacher, number of classes and number of batches the table says how far the value is
off on average, how much it varies, what error is stated, and how often the 95 % interval holds the truth; for raw
rows alone, for raw and augmented rows together, and for the paired difference of the two.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import torch
import typer
from torch import Tensor

from dametric import __version__
from dametric.base.environment import machine
from dametric.base.files import write_atomic
from dametric.metrics import METRICS, Design
from dametric.scoring.jackknife import Blocks, Estimate, difference, measured

FOLDER = Path(__file__).parent / "results" / "statistics"
CLASSES, BATCHES, IMAGES = (10, 100, 200, 1000), (20, 40, 80, 160), 64
TEACHERS = (
    *("one-hot", "soft", "heavy-tailed", "one-hot, unbalanced", "soft, unbalanced", "unequal confidence"),
    "label-smoothed",
)
"""Unbalanced: the classes' shares of the images differ by up to a factor of 10. Unequal confidence: from hardly
better than chance to certain, class by class, which is far more than real classes differ. Label-smoothed: about 0.9
on its class and nearly the same on all others, as after training with label smoothing 0.1."""
CLAIM = (0.92, 0.98)
_ROWS = 40_000  # of a simulated teacher


def rows(teacher: str, classes: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Raw rows of a simulated teacher, and the mean of each with its augmented row.

    Parameters
    ----------
    teacher : str
        One of ``TEACHERS``.
    classes : int
    generator : torch.Generator

    Returns
    -------
    tuple of two Tensor of shape (images, classes), float32
        Probabilities.
    """
    label = torch.arange(_ROWS) % classes
    if teacher.endswith("unbalanced"):
        label = torch.multinomial(torch.logspace(0, 1, classes), _ROWS, replacement=True, generator=generator)
    if teacher.startswith("one-hot"):
        raw = torch.nn.functional.one_hot(label, classes).float()
        another = torch.rand(_ROWS, generator=generator) < 0.4
        augmented = raw.clone()
        augmented[another] = raw[torch.randperm(_ROWS, generator=generator)][another]
        return raw, (raw + augmented) / 2
    confidence = torch.full((classes,), math.log(classes) + 2)
    spread = 0.5 if teacher == "label-smoothed" else 1.0
    if teacher == "unequal confidence":
        confidence = torch.linspace(1, 9, classes)

    def seen(less: float) -> Tensor:
        logits = spread * torch.randn(_ROWS, classes, generator=generator)
        if teacher == "heavy-tailed":  # Student's t with two degrees of freedom
            logits /= torch.randn(_ROWS, classes, 2, generator=generator).square().mean(2).sqrt().clamp(min=0.05)
        logits[torch.arange(_ROWS), label] += (
            confidence[label] - less + spread * torch.randn(_ROWS, generator=generator)
        )
        return logits.softmax(1)

    raw = seen(0)
    return raw, (raw + seen(3)) / 2


def truth(rows: Tensor) -> float:
    """T. stddev of draws of one image from these rows."""
    return float(np.mean([np.std(column.double().numpy()) for column in rows.T]))


def blocks(rows: Tensor) -> Blocks:
    """Contributions of batches: ``rows`` have shape (batches, images, classes)."""
    square = torch.linalg.vector_norm(rows, dim=1).double().square() - rows.sum(1).double().square() / rows.shape[1]
    one = torch.ones(len(rows), dtype=torch.int64)
    return Blocks({"square": square, "dof": one.double() * (rows.shape[1] - 1)}, one, one * 0)


def scored(raw: Tensor, both: Tensor) -> Iterator[dict[str, tuple[float, float, float, float]]]:
    """Value, standard error and interval of both and of their difference, after each number of batches."""
    metric, design = METRICS["t_stddev"], Design(images=1)
    known = [blocks(rows) for rows in (raw, both)]
    for count in BATCHES:
        alone, together = (measured(whole.part(0, count), metric, design) for whole in known)
        gap = difference(together, alone)
        yield {"raw rows": _numbers(alone[0]), "both rows": _numbers(together[0]), "difference": gap}


def _numbers(found: Estimate) -> tuple[float, float, float, float]:
    return found.value, found.se, found.low, found.high


def cell(teacher: str, classes: int, repeats: int, seed: int) -> list[dict[str, Any]]:
    """Lines of the table for one teacher.

    Returns
    -------
    list of dict
        ``teacher, classes, batches, what, truth, repeats``; in per cent of the truth ``bias, deviation, stated``
        (mean stated error), for the difference in per cent of the raw rows' T. stddev; ``covered`` with its standard
        error ``se``; ``kept``: whether that is from 0.92 to 0.98.
    """
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(seed * 1_000_003 + TEACHERS.index(teacher) * 10_007 + classes)
    raw, both = rows(teacher, classes, generator)
    true = {"raw rows": truth(raw), "both rows": truth(both)}
    true["difference"] = true["both rows"] - true["raw rows"]
    values: dict[tuple[int, str], list[tuple[float, float, float, float]]] = {}
    for _ in range(repeats):
        index = torch.randint(_ROWS, (BATCHES[-1], IMAGES), generator=generator)
        for count, found in zip(BATCHES, scored(raw[index], both[index]), strict=True):
            for what, numbers in found.items():
                values.setdefault((count, what), []).append(numbers)
    lines = []
    for (count, what), several in values.items():
        value, se, low, high = np.array(several).T
        scale = 100 / true["raw rows" if what == "difference" else what]
        covered = float(np.mean((low <= true[what]) & (true[what] <= high)))
        line = {"teacher": teacher, "classes": classes, "batches": count, "what": what, "truth": true[what]}
        line |= {"repeats": repeats, "bias": scale * float(value.mean() - true[what])}
        line |= {"deviation": scale * float(value.std(ddof=1)), "stated": scale * float(se.mean())}
        line |= {"covered": covered, "se": math.sqrt(covered * (1 - covered) / repeats)}
        lines.append({**line, "kept": "yes" if CLAIM[0] <= covered <= CLAIM[1] else "no"})
    return lines


def main(
    repeats: Annotated[int, typer.Option(min=2, help="Passes of 160 batches for each teacher.")] = 2000,
    seed: Annotated[int, typer.Option(help="Random seed.")] = 0,
    teachers: Annotated[list[str] | None, typer.Option("--teacher", help="Only these.")] = None,
    classes: Annotated[list[int] | None, typer.Option(help="Only these numbers of classes.")] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Processes.")] = 1,
    out: Annotated[Path, typer.Option("-o", "--out", help="Table, with a .json of the machine beside it.")] = FOLDER
    / "coverage.csv",
) -> None:
    """Make the table, cell by cell, or go on with it: cells that it has with as many repeats are not made again."""
    lines = pd.read_csv(out).to_dict("records") if out.exists() else []
    known = {(line["teacher"], line["classes"]) for line in lines if line["repeats"] >= repeats}
    wanted = [(teacher, count) for count in classes or CLASSES for teacher in teachers or TEACHERS]
    asked = [pair for pair in wanted if pair not in known]
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        futures = [pool.submit(cell, teacher, count, repeats, seed) for teacher, count in asked]
        for (teacher, count), future in zip(asked, futures, strict=True):
            lines = [line for line in lines if (line["teacher"], line["classes"]) != (teacher, count)]
            lines += [{str(name): value for name, value in line.items()} for line in future.result()]
            print(f"{teacher}, {count} classes", file=sys.stderr)
            write_atomic(out, pd.DataFrame(lines).to_csv(index=False, float_format="%.6g").encode())
    about = {
        "command": "python -m experiments.coverage",
        "repeats": sorted({int(line["repeats"]) for line in lines}),
        "seed": seed,
        "dametric": __version__,
    }
    write_atomic(out.with_suffix(".json"), json.dumps({**about, **machine(torch.device("cpu"))}, indent=1).encode())


if __name__ == "__main__":
    typer.run(main)
