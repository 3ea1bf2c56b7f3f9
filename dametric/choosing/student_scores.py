"""All scores that are read with a warm student, in one pass over the fixed batches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from dametric.augment import Augmentation
from dametric.base.interrupts import until_interrupted
from dametric.base.progress import progress
from dametric.choosing.batches import BATCHES, SIZE, FixedBatches
from dametric.choosing.branch_loss import branch_loss
from dametric.choosing.grad_align import GradAlign
from dametric.choosing.result import StudentScore
from dametric.choosing.ridge_student import RidgeStudent
from dametric.choosing.useful import Useful
from dametric.choosing.warm import WarmStudent
from dametric.errors import Interrupted, unknown
from dametric.metrics.base import Direction
from dametric.training.context import TrainingContext
from dametric.training.recipe import Recipe

Collector = GradAlign | RidgeStudent | Useful
COLLECTORS: dict[str, type[GradAlign] | type[RidgeStudent] | type[Useful]] = {
    kind.name: kind for kind in (GradAlign, RidgeStudent, Useful)
}
DIRECTIONS: dict[str, Direction] = {
    "grad_align": "higher",
    "ridge_student": "lower",
    "branch_loss": "lower",
    "ts_useful": "higher",
}
"""Which values of the scores that a warm student gives are better."""
STUDENT_METRICS = tuple(DIRECTIONS)
"""The scores that a warm student gives."""


def warm_scores(
    context: TrainingContext,
    student: WarmStudent,
    recipe: Recipe,
    augs: Sequence[Augmentation],
    metrics: Sequence[str] = STUDENT_METRICS,
    *,
    root: str | Path = "runs",
    quiet: bool = False,
    stop: Callable[[], bool] | None = None,
    batches: int = BATCHES,
    size: int = SIZE,
) -> list[StudentScore]:
    """Score augmentations with a warm student.

    Parameters
    ----------
    context : TrainingContext
        Teacher, training images, and held-out images: its own, else those that it tests on, never a test split.
    student : WarmStudent
        From :func:`dametric.choosing.warm.warm_student`, or given.
    recipe : Recipe
        The schedule meant, and everything else that the student will really be trained by.
    augs : sequence of Augmentation
        All are read on the same batches; the value of one does not depend on the others.
    metrics : sequence of str
        Of :data:`STUDENT_METRICS`.
    root : path-like
        The ledger's folder, where branches are kept.
    quiet : bool
        No progress on stderr.
    stop : callable, optional
        Asked after every batch, and every step of a branch, whether to stop there.
    batches, size : int
        Other than the fixed 64 batches of 64, for tests.

    Returns
    -------
    list of StudentScore
        One for each metric, in the order asked for.

    Raises
    ------
    UsageError
        For an unknown metric, or a loss without augmented images.
    Interrupted
        If ``stop`` said so.
    """
    for name in metrics:
        if name not in STUDENT_METRICS:
            raise unknown("metric of a warm student", name, STUDENT_METRICS)
    names = tuple(aug.name for aug in augs)
    scores: dict[str, StudentScore] = {}
    if any(name in COLLECTORS for name in metrics):
        fixed = FixedBatches.of(context, student, recipe, augs, quiet, batches=batches, size=size)
        collectors = [COLLECTORS[name](fixed) for name in dict.fromkeys(metrics) if name in COLLECTORS]
        _collect(fixed, collectors, quiet, stop)
        scores = {each.name: each.score(names) for each in collectors}
    if "branch_loss" in metrics:
        scores["branch_loss"] = branch_loss(context, student, recipe, augs, root=root, quiet=quiet, stop=stop)
    return [replace(scores[name], student=student.identity) for name in metrics]


def _collect(
    fixed: FixedBatches, collectors: Sequence[Collector], quiet: bool, stop: Callable[[], bool] | None
) -> None:
    title = " and ".join(each.name for each in collectors)
    with until_interrupted() as interrupted, progress(title, fixed.batches, quiet=quiet) as advance:
        for number, (labels, shown) in enumerate(fixed):
            for member, inputs in enumerate(shown):
                for each in collectors:
                    each.observe(member, number, inputs, labels)
            advance(1)
            if (stop or interrupted)():
                raise Interrupted(f"stopped after {number + 1} of {fixed.batches} batches: {title} begin anew")
