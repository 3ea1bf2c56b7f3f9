"""What `score` is asked of a student: the warm student where an architecture is named, and the scores read with it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from dametric.augment import Augmentation, ImageSpec, default_base
from dametric.base.arguments import argument
from dametric.base.files import default_cache_dir
from dametric.base.option_groups import AccuracyOptions, ImageOptions, PrecisionOptions, ScoringOptions, TeacherOptions
from dametric.base.options import takes
from dametric.base.progress import say
from dametric.choosing.result import StatedDifference, StudentScore
from dametric.choosing.student_scores import STUDENT_METRICS, warm_scores
from dametric.choosing.warm import WarmStudent, warm_student
from dametric.data import ImageSet, hold_out
from dametric.data.balanced_subset import usual_held_out
from dametric.data.given import source_of
from dametric.data.request import ImageRequest
from dametric.errors import UsageError
from dametric.metrics import METRICS
from dametric.models import LoadedNetwork
from dametric.models.computing import chosen_device, chosen_dtype
from dametric.models.failures import network_errors
from dametric.models.named import Named
from dametric.models.registry import check_architecture
from dametric.records.score_rows import Difference, MetricValue, ScoreRow, WarmStudentName
from dametric.records.scores import Scores
from dametric.scoring.inputs import gathered
from dametric.scoring.ranks import Ranks
from dametric.scoring.request import augmentations
from dametric.training.context import Teacher, TrainingContext, weights_digest
from dametric.training.recipe import EPOCHS, Recipe, default_rate

OF_STUDENTS_ALONE = tuple(name for name in STUDENT_METRICS if name not in METRICS)
"""Scores that the pass of `dametric.score` does not know."""
_BESIDE = ("t_stddev",)  # what stands beside them where nothing else is asked for


@dataclass(frozen=True, eq=False)
class WarmScores:
    """What is left to be scored as usual, and what was read with a student.

    Attributes
    ----------
    metrics : tuple of str or None
        For `dametric.score`.
    student : str or None
        The student's checkpoint, for the same.
    order : tuple of str
        Metrics of a warm student as they were asked for, and in between the others.
    scores : tuple of StudentScore
    name : WarmStudentName or None
    """

    metrics: tuple[str, ...] | None
    student: str | None
    order: tuple[str, ...] = ()
    scores: tuple[StudentScore, ...] = ()
    name: WarmStudentName | None = None

    def added(self, scores: Scores) -> Scores:
        """The table with these scores in it; where one of them was asked for first, in its order."""
        if self.name is None:
            return scores
        own = {score.metric: score for score in self.scores}
        usual = scores.metrics
        names = [name for name in self.order if name in own or name in usual]
        names += [name for name in (*usual, *own) if name not in names]
        rows = [
            replace(row, metrics={name: _value(own[name], row) if name in own else row.metrics[name] for name in names})
            for row in scores.rows
        ]
        if names[0] in own:
            rows = _ranked(own[names[0]], rows)
        config = replace(scores.settings, metrics=tuple(names), warm_student=self.name)
        return Scores.of(rows, config, scores.versions)


@takes(
    options=ScoringOptions,
    precision=PrecisionOptions,
    checkpoint=TeacherOptions,
    looked_at=AccuracyOptions,
    images=ImageOptions,
)
def scored_by_student(
    teacher: str,
    data: Any,
    augs: Sequence[str],
    *,
    student: str | None,
    student_arch: str | None = None,
    student_weights: str | None = None,
    student_epochs: int | None = None,
    split: str = "train",
    ledger: str | os.PathLike[str] | None = None,
    known: WarmStudentName | None = None,
    device: str | torch.device | None = None,
    quiet: bool = False,
    options: ScoringOptions,
    precision: PrecisionOptions,
    checkpoint: TeacherOptions,
    looked_at: AccuracyOptions,
    images: ImageOptions,
) -> WarmScores:
    """Make the warm student if an architecture is named, and read the scores that take one.

    Parameters
    ----------
    teacher, data, augs, split, device, quiet
        As :func:`dametric.score` takes them.
    student : str, optional
        A checkpoint, or an architecture, of which a warm student is distilled.
    student_arch, student_weights : str, optional
        Of its checkpoint.
    student_epochs : int, optional
        Epochs of the schedule meant, of which 5 % make the warm student and a branch; 240 by default.
    ledger : path-like, optional
        Where students are kept; the user's cache by default.
    known : WarmStudentName, optional
        What the student must be: one that other scores were read with.
    **options

    Returns
    -------
    WarmScores
        Without scores where neither a metric nor the student asks for a warm student.

    Raises
    ------
    UsageError, RunFailed, Interrupted
        As `dametric.score` and `dametric.distill` do.
    """
    del looked_at
    order = tuple(options.metrics or ())
    wanted = tuple(dict.fromkeys(name for name in order if name in OF_STUDENTS_ALONE))
    usual = tuple(name for name in order if name not in OF_STUDENTS_ALONE) or (_BESIDE if wanted else None)
    named = student is not None and not os.path.exists(student) and _is_architecture(student)
    if not wanted and not named:
        if student_epochs is not None:
            raise UsageError(
                f"{argument('student_epochs', student_epochs)}: nothing here is trained or read for so long"
            )
        return WarmScores(usual, student)
    _check(wanted, student, split)
    place = chosen_device(device)
    dtype = str(chosen_dtype(precision.dtype, place)).removeprefix("torch.")
    request = ImageRequest(**vars(images), source=source_of(data), quiet=True)
    with network_errors():
        teacher_source = Named.read(teacher, "teacher", checkpoint.arch, checkpoint.weights)
        given = None if named or student is None else Named.read(student, "student", student_arch, student_weights)
        inputs = gathered(teacher_source, given, data, split, checkpoint, request, False, (None, None))
        training, held_out = hold_out(inputs.data, _held_out(inputs.data, options.held_out))
        context = TrainingContext(training, held_out, place, _as_teacher(inputs.teacher))
        spec = ImageSpec(training.image_size, inputs.teacher.mean)
        chosen = augmentations(augs, spec, True)
        arch = student if named and student is not None else inputs.student.arch if inputs.student else ""
        recipe = Recipe(
            epochs=student_epochs or EPOCHS,
            lr=default_rate(arch),
            per=options.per or "sample",
            base_aug=options.base_aug or default_base(training.image_size),
            dtype=dtype,
        )
        where = Path(ledger) if ledger is not None else default_cache_dir() / "students"
        if known is not None and inputs.student is not None:
            _check_known(inputs.student, student, known)
        return _read(context, recipe, chosen, inputs.student, student, wanted, usual, order, where, quiet, known)


def _read(
    context: TrainingContext,
    recipe: Recipe,
    augs: list[Augmentation],
    given: LoadedNetwork | None,
    student: str | None,
    wanted: tuple[str, ...],
    usual: tuple[str, ...] | None,
    order: tuple[str, ...],
    root: Path,
    quiet: bool,
    known: WarmStudentName | None,
) -> WarmScores:
    assert student is not None
    if given is None:
        warm = warm_student(student, context, recipe, augs, root=root, quiet=quiet)
        file = str(warm.file)
        say(
            f"student: {warm.arch} distilled for {warm.steps} steps on {len(warm.candidates)} candidates: {file}", quiet
        )
    else:
        warm, file = WarmStudent.given(given), student
        if known is None:
            say("student: given; if it was trained on the held-out images, scores read on these are too good", quiet)
    scores = warm_scores(context, warm, recipe, augs, wanted, root=root, quiet=quiet) if wanted else []
    name = known or WarmStudentName(
        warm.arch, warm.identity, warm.steps, list(warm.candidates), len(context.test), recipe.asked_length
    )
    for score in scores:
        for aug, reason in score.reasons.items():
            say(f"{score.metric} of {aug} is not known: {reason}")
    return WarmScores(usual, file, order, tuple(scores), name)


def _check_known(student: LoadedNetwork, file: str | None, known: WarmStudentName) -> None:
    digest = weights_digest(student.model)
    if digest != known.sha256:
        raise UsageError(
            f"{file} has the weights {digest[:12]}, and the scores were read with {(known.sha256 or '')[:12]}: give "
            f"that student with {argument('student', 'FILE')}, or score all augmentations anew"
        )


def _check(wanted: tuple[str, ...], student: str | None, split: str) -> None:
    if student is None:
        raise UsageError(
            f"{wanted[0]} is read with a student: give an architecture or a checkpoint with {argument('student')}"
        )
    if split != "train":
        raise UsageError(f"{argument('split', split)}: a warm student learns from, and is read on, training images")
    if Ranks.current().world > 1:
        raise UsageError("a warm student is trained by one process: start the command without torchrun")


def _is_architecture(name: str) -> bool:
    try:
        check_architecture(name)
    except UsageError:
        return False
    return True


def _held_out(data: ImageSet, count: int | None) -> int:
    return count if count is not None else usual_held_out(len(data), data.num_classes)


def _as_teacher(loaded: LoadedNetwork) -> Teacher:
    parts = {name: value for name, value in vars(loaded).items() if name in LoadedNetwork.__dataclass_fields__}
    return Teacher(**{**parts, "sha256": loaded.sha256 or weights_digest(loaded.model)})


def _value(score: StudentScore, row: ScoreRow) -> MetricValue:
    stated = score.interval(row.aug)
    return MetricValue(
        *stated,
        plugin=stated.value,
        blocks=score.parts,
        direction=score.direction,
        estimator="student",
        student=score.student,
        cost=score.cost,
        reason=score.reasons.get(row.aug),
    )


def _ranked(score: StudentScore, rows: list[ScoreRow]) -> list[ScoreRow]:
    """Rows best first by a score, with paired differences to the best and to all others."""
    sign = -1 if score.direction == "higher" else 1

    def place(row: ScoreRow) -> tuple[bool, bool, float]:
        value = float(score.values[score.augs.index(row.aug)])
        return row.destroyed, value != value, sign * value

    ordered = sorted(rows, key=place)
    best = ordered[0].aug

    def stated(gap: StatedDifference, to: str | None = None) -> Difference:
        return Difference(to, *gap)

    ranked = []
    for row in ordered:
        gap = score.difference(row.aug, best)
        ranked.append(
            replace(
                row,
                difference=stated(gap, best),
                differences={other.aug: stated(score.difference(row.aug, other.aug)) for other in ordered},
                tied_with_best=gap.low <= 0 <= gap.high,
                influence=None,  # which the pass keeps of its own first metric
                keys=tuple(key for key in row.keys or () if key != "influence"),
            )
        )
    return ranked
