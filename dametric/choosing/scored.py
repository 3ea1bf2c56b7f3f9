"""Scores of a choice's candidates: by the teacher alone, and with a warm student; kept in the choice's folder."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path

from dametric.augment import Augmentation, ImageSpec, base_augmentation, parse
from dametric.base.arguments import argument
from dametric.base.progress import say
from dametric.base.user_code import is_user_code, source_digest
from dametric.choosing.batches import SIZE
from dametric.choosing.runs import user_code_of
from dametric.choosing.student_scores import DIRECTIONS, STUDENT_METRICS, warm_scores
from dametric.choosing.warm import WarmStudent, schedule_share, warm_steps, warm_student
from dametric.choosing.warm_scores import WarmScores
from dametric.errors import UsageError
from dametric.metrics.base import Direction
from dametric.metrics.named import metric_of
from dametric.records.runs import Run
from dametric.records.score_rows import WarmStudentName
from dametric.records.scores import Scores
from dametric.scoring import score
from dametric.training.context import TrainingContext
from dametric.training.recipe import Recipe
from dametric.training.request import DistillationRequest

NAME, LEDGER = "scores.json", "students"
_BATCHES = 40
_BESIDE = "t_stddev"  # of the teacher alone, where every metric that is asked for needs a student
_PASS = {"grad_align": 70, "ridge_student": 12, "ts_useful": 12}  # student-steps of a candidate, about


@dataclass(frozen=True)
class ChoiceScores:
    """What the candidates were scored, and what that took.

    Attributes
    ----------
    values, errors : dict of str to dict of str to float
        By metric and augmentation.
    seconds : float
        Of the teacher's pass.
    student_seconds : float
        Of the warm student and the scores that are read with it.
    student_steps : int
        The same in student-steps.
    """

    values: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    errors: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    seconds: float = 0.0
    student_seconds: float = 0.0
    student_steps: int = 0


def directions_of(metrics: Sequence[str]) -> dict[str, Direction]:
    """Which values of each metric are better, by the metric's name; the order is kept.

    Raises
    ------
    UsageError
        For an unknown metric, none, or one that needs a student that is not distilled here.

    Examples
    --------
    >>> directions_of(["t_stddev", "grad_align"])
    {'t_stddev': 'lower', 'grad_align': 'higher'}
    """
    result: dict[str, Direction] = {}
    for name in metrics:
        if name in STUDENT_METRICS:
            result[name] = DIRECTIONS[name]
            continue
        metric = metric_of(name)
        if "student" in metric.needs or metric.of_teacher:
            why = "is one number of the teacher" if metric.of_teacher else "needs a finished student"
            raise UsageError(f"{argument('metric', name)} {why}: of a student there are {', '.join(STUDENT_METRICS)}")
        result[metric.name] = metric.direction
    if not result:
        raise UsageError(f"{argument('metric')} names none")
    return result


def oriented(values: Mapping[str, float], direction: Direction) -> dict[str, float]:
    """Values of a metric by augmentation, turned so that higher ones expect a higher loss.

    Examples
    --------
    >>> oriented({"cutmix": 0.5}, "higher"), oriented({"cutmix": 0.5}, "lower")
    ({'cutmix': -0.5}, {'cutmix': 0.5})
    """
    sign = -1.0 if direction == "higher" else 1.0
    return {aug: sign * value for aug, value in values.items()}


@dataclass(frozen=True, eq=False)
class Scoring:
    """The scores that a choice asks for.

    Attributes
    ----------
    request : DistillationRequest
        With the recipe of a whole schedule.
    context : TrainingContext
        Of which the test images are the held-out ones.
    metrics : tuple of str
        As the user names them.
    folder : Path
    steps : float
        Student-steps that may be spent in all.
    stop : callable
    """

    request: DistillationRequest
    context: TrainingContext
    metrics: tuple[str, ...]
    folder: Path
    steps: float
    stop: Callable[[], bool]

    @property
    def with_student(self) -> tuple[str, ...]:
        """Those that are read with a warm student."""
        return tuple(name for name in self.metrics if name in STUDENT_METRICS)

    @property
    def _quiet(self) -> bool:
        return self.request.common.quiet

    @property
    def _recipe(self) -> Recipe:
        student = self.request.student
        return self.request.common.resolved(student if isinstance(student, str) else "", self.context.train)

    def read(self, augs: Sequence[str]) -> ChoiceScores:
        """Score the candidates, or find their scores in the folder.

        A warm student and the branches of ``branch_loss`` go on where they were stopped; the other passes begin anew.

        Raises
        ------
        UsageError
            If the budget does not bear what is asked for.
        Interrupted
            If ``stop`` said so.
        """
        path = self.folder / NAME
        kept = Scores.read(path) if path.exists() else None
        if kept is None or not self._of_teacher(kept, augs):
            kept = self._by_teacher(augs)
            if code := self._code(augs):
                kept = Scores(kept.scores, {**kept.config, "user_code": code}, kept.versions)
            kept.write(path)
        elif (code := self._code(augs)) and "user_code" not in kept.settings.extra:  # of before it was kept
            kept = Scores(kept.scores, {**kept.config, "user_code": code}, kept.versions)
            kept.write(path)
        if self.with_student:
            if kept.settings.warm_student is None:
                self._check_budget(len(augs))
            warm = self._warm_student(augs)
            if not self._of_student(kept, warm):
                kept = self._by_student(kept, warm, augs)
                kept.write(path)
        return _summary(kept)

    def kept(self) -> ChoiceScores:
        """The scores that are in the folder, as far as they are of this teacher, these images and this recipe."""
        path = self.folder / NAME
        kept = Scores.read(path) if path.exists() else None
        if kept is None or not self._of_teacher(kept, [row.aug for row in kept.rows]):
            return ChoiceScores()
        return _summary(kept)

    def _of_teacher(self, kept: Scores, augs: Sequence[str]) -> bool:
        """Whether the file holds this teacher's scores of these candidates, on these images, as the recipe has it."""
        settings, recipe = kept.settings, self._recipe
        teacher, code = settings.scored.sha256, self._code(augs)
        assert self.context.teacher is not None
        return (
            settings.extra.get("user_code", code) == code
            and settings.data.fingerprint in (None, self.context.train.fingerprint)
            and settings.per in (None, recipe.per)
            and settings.base_aug in (None, base_augmentation(recipe.base_aug, self._spec).name)
            and {row.aug for row in kept.rows} == set(augs)
            and {metric_of(name).name for name in self.metrics if name not in STUDENT_METRICS} <= set(kept.metrics)
            and (teacher is None or teacher == self.context.teacher.sha256)
        )

    def _by_teacher(self, augs: Sequence[str]) -> Scores:
        recipe = self._recipe
        own = tuple(name for name in self.metrics if name not in STUDENT_METRICS)
        return score(
            self.request.teacher,
            self.context.train,
            list(augs),
            metrics=own or (_BESIDE,),
            batches=_BATCHES,
            batch_size=min(SIZE, max(1, len(self.context.train) // 2)),
            accuracy=False,
            device=self.context.device,
            dtype=str(recipe.dtype),
            per=recipe.per,
            base_aug=recipe.base_aug,
            stop=self.stop,
            quiet=self._quiet,
            **asdict(self.request.checkpoint),
        )

    def _code(self, augs: Sequence[str]) -> dict[str, str]:
        """Hashes of the user's own code: candidates, what the loader does, metrics."""
        base = [] if self._recipe.base_aug == "none" else [self._recipe.base_aug]
        code = {name: digest for aug in (*augs, *base) for name, digest in user_code_of(aug).items()}
        return code | {name: source_digest(metric_of(name)) for name in self.metrics if is_user_code(name)}

    @cached_property
    def _here(self) -> TrainingContext:
        """The context of the choice; its held-out images are no test split, whatever the caller's set is called."""
        here = replace(self.context, test=replace(self.context.test, split="train"))
        here.share(self.context)
        return here

    @property
    def _spec(self) -> ImageSpec:
        assert self.context.teacher is not None
        return ImageSpec(self.context.train.image_size, self.context.teacher.mean)

    def _augs(self, names: Sequence[str]) -> list[Augmentation]:
        return [parse(name, self._spec) for name in names]

    def _check_budget(self, augs: int) -> None:
        """Say what the scores will take, before they do."""
        images = len(self.context.train)
        each = sum(_PASS.get(name, 2 * schedule_share(self._recipe, images)) for name in self.with_student)
        steps, names = warm_steps(self._recipe, images) + each * augs, " and ".join(self.with_student)
        if steps >= self.steps:
            raise UsageError(
                f"{names} of {augs} candidates take about {steps:,} student-steps, and {argument('budget')} is "
                f"{self.steps:,.0f}: give more, or leave them out of {argument('metric')}"
            )
        say(f"a warm student and {names}: about {steps:,} student-steps", self._quiet)

    def _warm_student(self, augs: Sequence[str]) -> WarmStudent:
        """Made once: found in the ledger by all that determines it."""
        return warm_student(
            self.request.student,
            self._here,
            self._recipe,
            self._augs(augs),
            root=self.folder / LEDGER,
            quiet=self._quiet,
            stop=self.stop,
        )

    def _of_student(self, kept: Scores, warm: WarmStudent) -> bool:
        """Whether the file holds the scores that are read with this student, for this schedule."""
        name = kept.settings.warm_student
        return (
            name is not None
            and (name.sha256, name.schedule) == (warm.identity, self._recipe.asked_length)
            and set(self.with_student) <= set(kept.metrics)
        )

    def _by_student(self, kept: Scores, warm: WarmStudent, augs: Sequence[str]) -> Scores:
        start = time.monotonic()
        read = warm_scores(
            self._here,
            warm,
            self._recipe,
            self._augs(augs),
            self.with_student,
            size=min(SIZE, len(self.context.train)),
            root=self.folder / LEDGER,
            quiet=self._quiet,
            stop=self.stop,
        )
        for each in read:
            for aug, reason in each.reasons.items():
                say(f"{each.metric} of {aug} is not known: {reason}")
        assert warm.file is not None
        record = Run(warm.file.parent).written
        name = WarmStudentName(
            warm.arch,
            warm.identity,
            warm.steps,
            list(warm.candidates),
            len(self.context.test),
            self._recipe.asked_length,
            time.monotonic() - start + (record.seconds if record is not None else 0.0),
        )
        order = tuple(name if name in STUDENT_METRICS else metric_of(name).name for name in self.metrics)
        return WarmScores(None, None, order, tuple(read), name).added(kept)


def _summary(scores: Scores) -> ChoiceScores:
    """The numbers of a score file; a candidate whose score is not known has NaN."""
    stated = {metric: {row.aug: row.metrics[metric] for row in scores.rows} for metric in scores.metrics}
    warm = scores.settings.warm_student
    costs = sum(value.cost or 0.0 for of_aug in stated.values() for value in of_aug.values())
    return ChoiceScores(
        {metric: {aug: value.value for aug, value in of_aug.items()} for metric, of_aug in stated.items()},
        {metric: {aug: value.se for aug, value in of_aug.items()} for metric, of_aug in stated.items()},
        scores.settings.seconds,
        0.0 if warm is None else warm.seconds or 0.0,
        0 if warm is None else warm.steps + math.ceil(costs),
    )
