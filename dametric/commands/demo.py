"""`dametric demo`: everything from nothing, on the bundled digits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dametric.commands.inputs import DataOptions, check_writable, say
from dametric.commands.score import ScoreOptions
from dametric.commands.score import run as score
from dametric.commands.training import DistillOptions, TrainingOptions, augmentations, distill, train
from dametric.distill import LABELS, Objective

ARCH = "resnet8"  # of teacher and students
SIZE = 16  # pixels; enough for digits, and four times as fast as 32
TEACHER_EPOCHS, STUDENT_EPOCHS = 20, 6
SEEDS = 2
RATE = 0.1


def run(folder: Path, seed: int, quiet: bool) -> None:
    """Train a teacher, score the paper's nine, distil students under each of them, and join scores and students."""
    for name in ("teacher.pth", "scores.json", "scores.png"):
        check_writable(folder / name)
    data = DataOptions("digits", image_size=SIZE, quiet=quiet)
    teacher, runs = str(folder / "teacher.pth"), str(folder / "runs")
    train(ARCH, teacher, _options(data, TEACHER_EPOCHS, objective=LABELS, seed=seed))
    students = DistillOptions(
        _options(data, STUDENT_EPOCHS, objective=Objective()),
        teacher,
        ARCH,
        augmentations(["paper"]),
        tuple(range(seed, seed + SEEDS)),
        runs,
    )
    distill(students)
    score(
        ScoreOptions(
            augs=["paper"],
            teacher=teacher,
            data=DataOptions(None, quiet=quiet),
            output=str(folder / "scores.json"),
            picture=str(folder / "scores.png"),
            passed_on={"seed": seed, "batches": 88},
        )
    )
    say(f"wrote {folder}/scores.json and {folder}/scores.png; look at the augmentations with: dametric show", quiet)


def _options(data: DataOptions, epochs: int, **recipe: Any) -> TrainingOptions:
    return TrainingOptions(data, {"epochs": epochs, "schedule": "onecycle", **recipe}, lr=RATE)
