"""`dametric demo`: everything from nothing, on the bundled digits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from dametric.cli.options import Quiet, Seed

if TYPE_CHECKING:
    import pandas as pd

TEACHER, STUDENT = "resnet14", "resnet8"
SIZE = 16  # pixels: enough for digits, and four times as fast as 32
TEACHER_EPOCHS, STUDENT_EPOCHS = 15, 4
MEANT_EPOCHS, BUDGET = 20, "45s"  # of the students that an augmentation is chosen for
SEEDS = 2
RATE = 0.1
FILES = ("teacher.pth", "scores.json", "scores.png", "students.csv", "students.png", "choice.html")


def demo(
    output: Annotated[str, typer.Option("--output", "-o", metavar="DIR", help="Folder for what is made.")] = "demo",
    seed: Seed = 0,
    quiet: Quiet = False,
) -> None:
    """Train a small teacher on the bundled digits, score the paper's nine augmentations, and choose one.

    \b
    Examples:
      dametric demo
      dametric demo -o /tmp/demo --seed 1
    """
    from pathlib import Path

    from dametric import choose, report
    from dametric.base.files import check_writable, write_atomic
    from dametric.base.progress import say
    from dametric.base.spreadsheet import csv_text
    from dametric.cli.choose import deliver
    from dametric.cli.score import print_table
    from dametric.errors import RunFailed
    from dametric.records.joining import join
    from dametric.reports.figures import render, score_figure, students_figure
    from dametric.scoring import score
    from dametric.training import distill_all, train

    folder = Path(output)
    for name in FILES:
        check_writable(folder / name)
    short: dict[str, Any] = {"schedule": "onecycle", "lr": RATE, "image_size": SIZE, "quiet": quiet}
    teacher = folder / "teacher.pth"
    train(TEACHER, "digits", output=teacher, epochs=TEACHER_EPOCHS, seed=seed, **short)
    seeds = range(seed, seed + SEEDS)
    students = distill_all(teacher, STUDENT, "digits", out=folder / "runs", epochs=STUDENT_EPOCHS, seeds=seeds, **short)
    if students.failed:
        raise RunFailed("; ".join(students.failed))
    student = students.runs[0].checkpoint  # distilled without augmentation: it picks, and has cross-entropies
    scores = score(teacher, student=student, batches=88, seed=seed, quiet=quiet)
    scores.write(folder / "scores.json")
    write_atomic(folder / "scores.png", render(score_figure(scores), "png"))
    print_table(scores)
    joined = join(scores, students.table)
    print_joined(joined, scores.metrics[0])
    write_atomic(folder / "students.csv", csv_text(joined))
    title = f"{STUDENT} distilled from {TEACHER} on digits, {STUDENT_EPOCHS} epochs, {SEEDS} seeds"
    write_atomic(folder / "students.png", render(students_figure(joined, scores.metrics[0], title), "png"))
    print()
    about: dict[str, Any] = {**short, "epochs": MEANT_EPOCHS, "budget": BUDGET, "output": folder / "choice"}
    *_, choice = choose(teacher, STUDENT, "digits", "paper", **about)
    deliver(choice, False)
    report(choice, folder / "choice.html", quiet=True)
    say(f"wrote {', '.join(FILES)}, runs/ and choice/ into {folder}; look at augmentations with: dametric show", quiet)


def print_joined(joined: pd.DataFrame, metric: str) -> None:
    """Scores beside students, on stdout."""
    from rich.table import Table

    from dametric.base.numbers import Number, aligned
    from dametric.cli.console import wide_console
    from dametric.records.joining import StudentRow
    from dametric.records.tables import records_of

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("augmentation", no_wrap=True)
    for heading in (metric, "test loss", "top-1 %"):
        table.add_column(heading, justify="right", no_wrap=True)
    rows = records_of(StudentRow, joined)
    cells = aligned([Number(row.score, row.score_se) for row in rows])
    for cell, row in zip(cells, rows, strict=True):
        loss = f"{row.test_loss:.3f} ± {row.test_loss_se:.3f}"
        top1 = f"{100 * row.test_top1:.2f} ± {100 * row.test_top1_se:.2f}"
        table.add_row(row.aug, cell, loss, top1)
    console = wide_console()
    console.print()
    console.print(table)
    seeds = min(row.seeds for row in rows)
    console.print(f"students: mean over {seeds} seeds ± standard error, last epoch, test split")
