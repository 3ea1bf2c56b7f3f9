"""`dametric demo`: everything from nothing, on the bundled digits."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dametric.cli.options import Quiet, Seed

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

    from dametric.base.progress import Advance
    from dametric.records.choices import Choice
    from dametric.records.ledger import Ledger

TEACHER, STUDENT = "resnet14", "resnet8"
SIZE = 16  # pixels: enough for digits, and four times as fast as 32
TEACHER_EPOCHS, STUDENT_EPOCHS = 15, 4
MEANT_EPOCHS, BUDGET = 20, "45s"  # of the students that an augmentation is chosen for
SEEDS = 2
RATE = 0.1
SECONDS, STUDENTS = (12, 85, 8, 50), 2  # of the steps, roughly, on two cores; which of them trains the students
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
    from dametric.augment import PAPER
    from dametric.base.files import check_writable, write_atomic
    from dametric.base.progress import progress, say
    from dametric.base.spreadsheet import csv_text
    from dametric.cli.choose import deliver
    from dametric.cli.score import print_table
    from dametric.records.joining import join
    from dametric.reports.figures import render, score_figure, students_figure
    from dametric.scoring import score
    from dametric.training import train

    folder = Path(output)
    for name in FILES:
        check_writable(folder / name)
    short: dict[str, Any] = {"schedule": "onecycle", "lr": RATE, "image_size": SIZE, "quiet": True}
    about: dict[str, Any] = {**short, "epochs": MEANT_EPOCHS, "budget": BUDGET, "output": folder / "choice"}
    teacher = folder / "teacher.pth"
    with progress("demo", sum(SECONDS), quiet=quiet) as advance:
        step = _Steps(advance, quiet)
        step("training a teacher")
        train(TEACHER, "digits", output=teacher, epochs=TEACHER_EPOCHS, seed=seed, **short)
        step(f"distilling {SEEDS * len(PAPER)} students")
        students = _students(folder, range(seed, seed + SEEDS), short, advance)
        student = students.runs[0].checkpoint  # distilled without augmentation: it picks, and has cross-entropies
        step("scoring augmentations")
        scores = score(teacher, student=student, batches=88, seed=seed, quiet=True)
        step(f"choosing one, {BUDGET}")
        *_, choice = choose(teacher, STUDENT, "digits", "paper", **about)
        step.done()
    scores.write(folder / "scores.json")
    write_atomic(folder / "scores.png", render(score_figure(scores), "png"))
    print_table(scores)
    joined = join(scores, students.table)
    print_joined(joined, scores.metrics[0])
    write_atomic(folder / "students.csv", csv_text(joined))
    title = f"{STUDENT} distilled from {TEACHER} on digits, {STUDENT_EPOCHS} epochs, {SEEDS} seeds"
    write_atomic(folder / "students.png", render(students_figure(joined, scores.metrics[0], title), "png"))
    print()
    deliver(choice, False)
    report(choice, folder / "choice.html", quiet=True)
    print()
    for sentence in ending(joined, choice, TEACHER, STUDENT):
        print(sentence)
    print(f"Open {folder / 'choice.html'}: what was chosen, how sure that is, and why, in pictures.")
    say(f"wrote {', '.join(FILES)}, runs/ and choice/ into {folder}; look at augmentations with: dametric show", quiet)


class _Steps:
    """One line for the whole: which step of how many this is, and what it does."""

    def __init__(self, advance: Advance, quiet: bool) -> None:
        from rich.console import Console

        self._advance, self._quiet, self._at, self._start = advance, quiet, 0, time.monotonic()
        console = Console(stderr=True)
        self._lines = not console.is_terminal or console.is_dumb_terminal  # where a bar shows nothing

    def __call__(self, what: str) -> None:
        from dametric.base.progress import say

        self.done()
        self._at += 1
        note = f"step {self._at} of {len(SECONDS)}: {what}"
        self._advance(0, note=note)
        if self._lines:
            over, left = sum(SECONDS[: self._at - 1]), sum(SECONDS[self._at - 1 :])
            pace = (time.monotonic() - self._start) / over if over else 1.0
            say(f"{note}, about {_minutes(pace * left)} left", self._quiet)

    def done(self) -> None:
        """The step is over, what of it was counted already aside."""
        if self._at and self._at != STUDENTS:
            self._advance(SECONDS[self._at - 1])


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds > 90 else f"{seconds:.0f} s"


def _students(folder: Path, seeds: range, short: dict[str, Any], advance: Advance) -> Ledger:
    """The students of every augmentation in turn, so that the line moves; none is trained twice."""
    from dametric.augment import PAPER
    from dametric.errors import RunFailed
    from dametric.training import distill_all

    options: dict[str, Any] = {"out": folder / "runs", "epochs": STUDENT_EPOCHS, "seeds": seeds, **short}
    for aug in PAPER:
        if failed := distill_all(folder / "teacher.pth", STUDENT, "digits", aug, **options).failed:
            raise RunFailed("; ".join(failed))
        advance(SECONDS[STUDENTS - 1] / len(PAPER))
    return distill_all(folder / "teacher.pth", STUDENT, "digits", **options)


def ending(joined: pd.DataFrame, choice: Choice, teacher: str, student: str) -> list[str]:
    """What the demo did and found, in three sentences for who meets it for the first time.

    Parameters
    ----------
    joined : pandas.DataFrame
        Scores beside students, best score first.
    choice : Choice
    teacher, student : str
    """
    from dametric.records.joining import StudentRow
    from dametric.records.tables import records_of

    rows = records_of(StudentRow, joined)
    first, count, best = rows[0], len(rows), min(rows, key=lambda row: row.test_loss)
    place = 1 + sum(row.test_loss < first.test_loss for row in rows)
    rank = "the best" if place == 1 else f"number {place}"
    others = "" if place == 1 else f" (the best were those of {best.aug})"
    if choice.best == "identity":
        taken = f"keeps the loader's own augmentation, since {BUDGET} showed nothing that beats it"
    else:
        taken = f"would take {choice.best}, the best of {count} with probability {choice.p_best:.2f}"
    return [
        f"1. Asked without training any student, the teacher ({teacher}) scores {first.aug} best of {count} ways to"
        " augment images.",
        f"2. Students ({student}) that were then trained with {first.aug} came out as {rank} of {count} by test"
        f" loss{others}; two students each are far too few to prove anything.",
        f"3. dametric choose, which trains a few students briefly, {taken}: a larger budget makes that surer.",
    ]


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
