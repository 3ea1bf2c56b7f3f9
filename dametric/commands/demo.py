"""`dametric demo`: everything from nothing, on the bundled digits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
from rich.table import Table

from dametric.base.files import check_writable, write_atomic
from dametric.base.spreadsheet import csv_text
from dametric.cli.console import wide_console
from dametric.commands.inputs import DataOptions, say
from dametric.commands.score import ScoreOptions, aligned
from dametric.commands.score import run as score
from dametric.commands.training import DistillOptions, TrainingOptions, augmentations, distill, train
from dametric.errors import RunFailed
from dametric.records.joining import join
from dametric.records.runs import load_runs
from dametric.reports.figures import render, students_figure
from dametric.training import LABELS, Objective

ARCH = "resnet8"  # of teacher and students
SIZE = 16  # pixels: enough for digits, and four times as fast as 32
TEACHER_EPOCHS, STUDENT_EPOCHS = 20, 6
SEEDS = 2
RATE = 0.1
FILES = ("teacher.pth", "scores.json", "scores.png", "students.csv", "students.png")


def run(folder: Path, seed: int, quiet: bool) -> None:
    """Train a teacher, distil students under each of the paper's nine augmentations, score them, join the two."""
    for name in FILES:
        check_writable(folder / name)
    data = DataOptions("digits", image_size=SIZE, quiet=quiet)
    teacher = str(folder / "teacher.pth")
    train(ARCH, teacher, _options(data, TEACHER_EPOCHS, objective=LABELS, seed=seed))
    seeds = tuple(range(seed, seed + SEEDS))
    common = _options(data, STUDENT_EPOCHS, objective=Objective())
    runs, troubles = distill(
        DistillOptions(common, teacher, ARCH, augmentations(["paper"]), seeds, str(folder / "runs"))
    )
    if troubles:
        raise RunFailed("; ".join(troubles))
    scores = score(
        ScoreOptions(
            augs=["paper"],
            teacher=teacher,
            student=str(runs[0].checkpoint),  # distilled without augmentation: it picks, and has cross-entropies
            data=DataOptions(None, quiet=quiet),
            output=str(folder / "scores.json"),
            picture=str(folder / "scores.png"),
            passed_on={"seed": seed, "batches": 88},
        )
    )
    joined = join(scores, load_runs(runs))
    print_joined(joined, scores.metrics[0])
    write_atomic(folder / "students.csv", csv_text(joined))
    title = f"{ARCH} distilled from {ARCH} on digits, {STUDENT_EPOCHS} epochs, {SEEDS} seeds"
    write_atomic(folder / "students.png", render(students_figure(joined, scores.metrics[0], title), "png"))
    say(f"wrote {', '.join(FILES)} and runs/ into {folder}; look at augmentations with: dametric show", quiet)


def print_joined(joined: pd.DataFrame, metric: str) -> None:
    """Scores beside students, on stdout."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("augmentation", no_wrap=True)
    for heading in (metric, "test loss", "top-1 %"):
        table.add_column(heading, justify="right", no_wrap=True)
    rows = joined.to_dict("records")
    cells = aligned([{"value": row["score"], "se": row["score_se"]} for row in rows])
    for cell, row in zip(cells, rows, strict=True):
        loss = f"{row['test_loss']:.3f} ± {row['test_loss_se']:.3f}"
        top1 = f"{100 * row['test_top1']:.2f} ± {100 * row['test_top1_se']:.2f}"
        table.add_row(row["aug"], cell, loss, top1)
    console = wide_console()
    console.print()
    console.print(table)
    console.print(f"students: mean over {joined['seeds'].min()} seeds ± standard error, last epoch, test split")


def _options(data: DataOptions, epochs: int, **recipe: Any) -> TrainingOptions:
    return TrainingOptions(data, {"epochs": epochs, "schedule": "onecycle", **recipe}, lr=RATE)
