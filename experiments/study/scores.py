"""Scores of every unit of the study whose teacher is finished: `python -m experiments.study.scores --data DIR`.

Only what is missing is made, file by file in experiments/results/study/scores: of each teacher the twelve settings
(TEACHER.json), the same drawn once a batch (TEACHER-per-batch.json) and what needs held-out images
(TEACHER-held-out.json, TEACHER-views.json); of T0 images that carry nothing (T0-destroyed.json); with --warm, of each
unit what is read with a warm student (TEACHER-STUDENT.json; branches: TEACHER-STUDENT-branches.json). Warm students and
branches lie in the user's cache and go on where they were stopped.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from dametric.augment import ImageSpec, default_base, parse
from dametric.base.files import default_cache_dir
from dametric.choosing.student_scores import warm_scores
from dametric.choosing.warm import warm_student
from dametric.choosing.warm_scores import WarmScores
from dametric.data import ImageSet
from dametric.data.request import ImageRequest
from dametric.errors import UsageError
from dametric.records.score_rows import WarmStudentName
from dametric.records.scores import Scores
from dametric.scoring import score
from dametric.sweeps.tasks import context
from dametric.training.recipe import Recipe
from experiments.study.entries import entries
from experiments.study.plan import RECORDS, TAG, Ledger
from experiments.study.settings import SETTINGS, UNITS

FOLDER = RECORDS / "scores"
LEDGER = default_cache_dir() / f"{TAG}-warm"
BATCHES, IMAGES, STEPS = 64, 5000, 2000
OF_TEACHER = (
    *("t_stddev", "t_stddev_rms", "t_stddev_aug", "t_entropy", "t_gini", "t_conf", "information_kept"),
    *("t_consistency", "t_agree", "t_nll"),
)
HELD_OUT, VIEWS = ("affinity_loss", "affinity_acc"), ("div_aff",)
WITH_STUDENT = ("grad_align", "ridge_student", "ts_useful")
Stop = Callable[[], bool]


def black(images: torch.Tensor) -> torch.Tensor:
    """Black images."""
    return torch.zeros_like(images)


def grey(images: torch.Tensor) -> torch.Tensor:
    """Grey images."""
    return torch.full_like(images, 128)


def static(images: torch.Tensor) -> torch.Tensor:
    """Bytes drawn at random, of every pixel and channel."""
    return torch.randint_like(images, 0, 256)


DESTROYED = (
    *("identity", "crop+flip", "cutout:length=8", "cutout:length=16", "cutout:length=24", "cutout:length=32"),
    *("cutout:length=48", "cutout:length=64", "mixup", "cutmix", "cutmixpick:by=teacher_entropy", black, grey, static),
)


@dataclass(frozen=True)
class Teacher:
    """A finished teacher."""

    name: str
    file: Path

    @classmethod
    def finished(cls, records: Path = RECORDS) -> list[Teacher]:
        """Those whose files are beside the records."""
        ledger = Ledger(records)
        done = {key[0] for key in ledger.finished() if len(key) == 1}
        files = {path.stem.rpartition("-")[2]: path for path in (records / "teachers").glob("*.pth")}
        return [cls(name, file) for name, file in sorted(files.items()) if name in done or name == "T0"]


@dataclass(frozen=True)
class Images:
    """CIFAR-100 as the study has it."""

    source: str

    @property
    def request(self) -> ImageRequest:
        """5,000 images to train on, 5,000 held out."""
        return ImageRequest(source=self.source, train_images=IMAGES, held_out=IMAGES, quiet=True)

    @property
    def training(self) -> ImageSet:
        """What students, and all teachers but T0, are trained on."""
        return context(self.request, "cpu").train

    @property
    def whole(self) -> ImageSet:
        """All 50,000, of which the same 5,000 are held out."""
        return ImageRequest(source=self.source, quiet=True).load("train")


def of_teacher(teacher: Teacher, images: ImageSet, augs: Sequence[Any], metrics: Sequence[str], **more: Any) -> Scores:
    """A score file of the teacher alone, without what only comparisons of single pairs need."""
    scores = score(
        str(teacher.file),
        images,
        list(augs),
        metrics=tuple(metrics),
        batches=BATCHES,
        dtype="float32",
        device="cpu",
        accuracy=False,
        **more,
    )
    return small(scores)


def small(scores: Scores) -> Scores:
    """The same without paired differences and influences, which are most of a file."""
    rows = [
        {key: value for key, value in row.items() if key not in ("differences", "influence")} for row in scores.scores
    ]
    return Scores(rows, scores.config, scores.versions)


def of_unit(teacher: Teacher, student: str, images: Images, metrics: Sequence[str]) -> Scores:
    """A score file of what is read with the unit's warm student."""
    named = {name: entry for name, entry in entries().items() if name in metrics}
    for entry in named.values():
        entry.check(None, None)
    here = context(images.request, "cpu", str(teacher.file))
    assert here.teacher is not None
    spec = ImageSpec(here.train.image_size, here.teacher.mean)
    augs = [parse(name, spec) for name in SETTINGS]
    recipe = Recipe(steps=STEPS, schedule="onecycle", lr=0.1, base_aug=default_base(spec.size), dtype="float32")
    warm = warm_student(student, here, recipe, augs, root=LEDGER)
    read = warm_scores(here, warm, recipe, augs, metrics, root=LEDGER)
    name = WarmStudentName(warm.arch, warm.identity, warm.steps, list(warm.candidates), IMAGES, recipe.asked_length)
    beside = of_teacher(teacher, here.train, SETTINGS, ("t_stddev",))
    scores = WarmScores(None, None, tuple(metrics), tuple(read), name).added(beside)
    scores = replace(
        scores, config={**scores.config, "metric_code": {each.metric: each.code for each in named.values()}}
    )
    return small(scores)


def files(teachers: Sequence[Teacher], images: Images, warm: bool) -> Iterator[tuple[str, Callable[[], Scores]]]:
    """Names of score files in the order in which they are made, and what makes them."""
    for teacher in teachers:
        yield teacher.name, lambda it=teacher: of_teacher(it, images.training, SETTINGS, OF_TEACHER)  # type: ignore[misc]
        yield (
            f"{teacher.name}-per-batch",
            lambda it=teacher: of_teacher(it, images.training, SETTINGS, ("t_stddev", "t_entropy"), per="batch"),  # type: ignore[misc]
        )
    for teacher in teachers:
        if teacher.name == "T0":
            yield (
                "T0-destroyed",
                lambda it=teacher: of_teacher(it, images.training, DESTROYED, ("t_stddev", "t_entropy", "t_gini")),  # type: ignore[misc]
            )
    picks = [aug for aug in SETTINGS if not aug.startswith("cutmixpick")]
    for teacher in teachers:
        for ending, augs, metrics in (("held-out", SETTINGS, HELD_OUT), ("views", picks, VIEWS)):
            yield (
                f"{teacher.name}-{ending}",
                lambda it=teacher, augs=augs, of=metrics: of_teacher(it, images.whole, augs, of, held_out=IMAGES),  # type: ignore[misc]
            )
    known = {teacher.name: teacher for teacher in teachers}
    for which, ending in ((WITH_STUDENT, ""), (("branch_loss",), "-branches")):
        for name, student in UNITS:
            if warm and name in known:
                yield (
                    f"{name}-{student}{ending}",
                    lambda it=known[name], to=student, of=which: of_unit(it, to, images, of),  # type: ignore[misc]
                )


def main(
    data: Annotated[str, typer.Option(help="CIFAR-100: Parquet shards or a folder of images.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the score files.")] = FOLDER,
    warm: Annotated[bool, typer.Option(help="Make warm students and what is read with them, too.")] = False,
    only: Annotated[str | None, typer.Option(help="Make files of names that begin so.")] = None,
) -> None:
    """Make the score files that are missing."""
    output.mkdir(parents=True, exist_ok=True)
    for name, make in files(Teacher.finished(), Images(data), warm):
        path = output / f"{name}.json"
        if path.exists() or not name.startswith(only or ""):
            continue
        try:
            scores = make()
        except UsageError as error:
            print(f"{name}: {error}", file=sys.stderr)
            raise typer.Exit(2) from None
        scores.write(path)
        print(
            f"{path.name}: {len(scores)} settings, {scores.settings.seconds:.0f} s, {path.stat().st_size / 1e3:.0f} kB"
        )


if __name__ == "__main__":
    typer.run(main)
