"""`dametric demo`: the main job from nothing, on the bundled digits."""

from __future__ import annotations

from pathlib import Path

import torch

from dametric.commands.inputs import DataOptions, check_writable, say
from dametric.commands.score import ScoreOptions
from dametric.commands.score import run as score
from dametric.data import ImageSet
from dametric.distill import TrainOptions, train
from dametric.models import build, save_checkpoint
from dametric.progress import progress

TEACHER, STUDENT = "resnet8", "resnet8"
TEACHER_EPOCHS, STUDENT_EPOCHS = 20, 4


def run(folder: Path, seed: int, quiet: bool) -> None:
    """Train a teacher and a half-trained student, score the paper's nine, leave JSON and a picture in ``folder``."""
    for name in ("teacher.pth", "student.pth", "scores.json", "scores.png"):
        check_writable(folder / name)
    data = DataOptions("digits", quiet=quiet)
    images = data.load("train")
    _train(folder / "teacher.pth", TEACHER, TEACHER_EPOCHS, images, seed, quiet)
    _train(folder / "student.pth", STUDENT, STUDENT_EPOCHS, images, seed + 1, quiet)
    score(
        ScoreOptions(
            augs=["paper"],
            teacher=str(folder / "teacher.pth"),
            student=str(folder / "student.pth"),
            data=DataOptions(None, quiet=quiet),
            output=str(folder / "scores.json"),
            picture=str(folder / "scores.png"),
            passed_on={"seed": seed, "batches": 88},
        )
    )
    say(f"wrote {folder}/scores.json and {folder}/scores.png; look at the augmentations with: dametric show", quiet)


def _train(path: Path, arch: str, epochs: int, images: ImageSet, seed: int, quiet: bool) -> None:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = build(arch, images.num_classes, images.image_size)
    with progress(f"training {path.stem} ({arch}, {epochs} epochs)", epochs, quiet=quiet) as advance:
        train(model, images, TrainOptions(epochs=epochs, seed=seed), device, advance)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_checkpoint(
        path,
        model.cpu(),
        arch=arch,
        classes=images.classes,
        mean=images.mean,
        std=images.std,
        data=images.name,
        image_size=images.image_size,
    )
