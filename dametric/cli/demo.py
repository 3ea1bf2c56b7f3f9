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
SECONDS = (12, 85, 8, 5)  # of the steps, roughly, on two idle cores
CHOICE = 45  # seconds of the last step besides, the budget, however busy the machine is
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
    with progress("demo", sum(SECONDS) + CHOICE, quiet=quiet, time_left=False) as advance:
        step = _Steps(advance, quiet)
        step("training a teacher")
        train(TEACHER, "digits", output=teacher, epochs=TEACHER_EPOCHS, seed=seed, **short)
        step(f"distilling {SEEDS * len(PAPER)} students")
        students = _students(folder, range(seed, seed + SEEDS), short, step)
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
        self._over = 0.0  # of the steps' seconds on idle cores
        console = Console(stderr=True)
        self._lines = not console.is_terminal or console.is_dumb_terminal  # where a bar shows nothing

    def __call__(self, what: str) -> None:
        from dametric.base.progress import say

        self.done()
        self._at += 1
        note = f"step {self._at} of {len(SECONDS)}: {what}, {self.left()}"
        self._advance(0, note=note)
        if self._lines:
            say(note, self._quiet)

    def part(self, share: float, what: str) -> None:
        """A share of the step is over."""
        from dametric.base.progress import say

        self._over += share * SECONDS[self._at - 1]
        note = f"{what}, {self.left()}"
        self._advance(share * SECONDS[self._at - 1], note=f"step {self._at} of {len(SECONDS)}: {note}")
        if self._lines:
            say(note, self._quiet)

    def done(self) -> None:
        """The step is over, what of it was counted already aside."""
        over = float(sum(SECONDS[: self._at]))
        self._advance(over - self._over + (CHOICE if self._at == len(SECONDS) else 0))
        self._over = over

    def left(self) -> str:
        """The time left, by the pace of this run so far; the budget of the choice is the same on every machine."""
        rest, budget = sum(SECONDS) - self._over, CHOICE
        if not self._over:
            return f"on two idle cores about {_minutes(rest + budget)} left"
        return f"about {_minutes(rest * (time.monotonic() - self._start) / self._over + budget)} left"


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds > 90 else f"{seconds:.0f} s"


def _students(folder: Path, seeds: range, short: dict[str, Any], step: _Steps) -> Ledger:
    """The students of every augmentation in turn, so that the line moves; none is trained twice."""
    from dametric.augment import PAPER
    from dametric.errors import RunFailed
    from dametric.training import distill_all

    options: dict[str, Any] = {"out": folder / "runs", "epochs": STUDENT_EPOCHS, "seeds": seeds, **short}
    for number, aug in enumerate(PAPER, 1):
        if failed := distill_all(folder / "teacher.pth", STUDENT, "digits", aug, **options).failed:
            raise RunFailed("; ".join(failed))
        step.part(1 / len(PAPER), f"{number * len(seeds)} of {len(PAPER) * len(seeds)} students")
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
