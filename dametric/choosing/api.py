"""`choose`: which augmentation to use, from scores and short students."""

from __future__ import annotations

import math
import os
import pickle
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from dametric.augment import NEEDS_STUDENT, ImageSpec, expand, parse, repeated
from dametric.base.arguments import argument
from dametric.base.environment import machine
from dametric.base.files import check_writable
from dametric.base.interrupts import until_interrupted
from dametric.base.locks import claimed
from dametric.base.option_groups import (
    HeldOutOptions,
    ImageOptions,
    LossOptions,
    OptimizerOptions,
    PrecisionOptions,
    RunOptions,
    TeacherOptions,
    ViewOptions,
)
from dametric.base.options import options_of, takes
from dametric.base.progress import progress, say
from dametric.base.user_code import code_digest, load_object, one_line, source_digest
from dametric.choosing.advice import distill_command
from dametric.choosing.arms import BASELINE, Arm, arms_of
from dametric.choosing.fit import assumed_parameters
from dametric.choosing.parameters import Parameters
from dametric.choosing.runs import Candidates, HeldOutRequest, Key, OwnTrainer, Students, user_code_of
from dametric.choosing.scored import Scoring, directions_of, oriented
from dametric.choosing.settle import Clock, Settling, budget_of, fitting, seconds_kept
from dametric.choosing.state import Question, check_epsilon
from dametric.choosing.student_scores import STUDENT_METRICS
from dametric.data.balanced_subset import usual_held_out
from dametric.data.given import is_source
from dametric.data.listing import NoSplit
from dametric.errors import Interrupted, RunFailed, UsageError
from dametric.jobs.executor import Executor, Stop, own_executor
from dametric.jobs.inline import InlineExecutor
from dametric.jobs.processes import ProcessExecutor
from dametric.metrics.base import Direction
from dametric.models.accuracy import ACCURACY_IMAGES
from dametric.models.failures import network_errors
from dametric.models.named import AnyNetwork, Named
from dametric.models.registry import check_architecture, is_user_architecture
from dametric.records.choices import NAME, Choice, ChoiceCosts, read_choice
from dametric.sweeps.request import ray_cluster
from dametric.training.api import introduce_teacher, student_request
from dametric.training.context import TrainingContext, weights_digest
from dametric.training.recipe import Recipe
from dametric.training.request import DistillationRequest, TrainingRequest
from dametric.training.run import carry_out

FRACTIONS = (0.05, 0.2, 1.0)
_LEAST_STEPS = 20
_CLOCK = "clock.json"
_NO_EVIDENCE = "no evidence yet that it orders students beyond a list"
_OF_RECIPE = ("base_aug", "loss_term")
_FEW_HELD_OUT = 100
_LEAST_SHARE = 0.2  # of the time, for scores that have no weight
_TRIAL_STEPS, _TRIAL_SECONDS = 40, 5.0


@takes(
    optimizer=OptimizerOptions,
    loss=LossOptions,
    view=ViewOptions,
    precision=PrecisionOptions,
    checkpoint=TeacherOptions,
    images=ImageOptions,
)
def choose(
    teacher: AnyNetwork,
    student: str | nn.Module,
    data: Any = None,
    candidates: str | Sequence[str] = "standard",
    *,
    output: str | os.PathLike[str] = "choice",
    budget: str | float = "30m",
    epsilon: float = 0.01,
    fractions: Sequence[float] = FRACTIONS,
    metric: str | Sequence[str] = "t_stddev",
    parameters: Parameters | str | os.PathLike[str] | None = None,
    ledger: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] = (),
    runner: str | Callable[..., Any] | None = None,
    jobs: int = 1,
    lockstep: int = 1,
    executor: Executor | Callable[[], Executor] | str | None = None,
    ray: str | None = None,
    cpus_per_run: float = 1.0,
    gpus_per_run: float = 0.0,
    held_out: int | None = None,
    device: str | torch.device | None = None,
    quiet: bool = False,
    optimizer: OptimizerOptions,
    loss: LossOptions,
    view: ViewOptions,
    precision: PrecisionOptions,
    checkpoint: TeacherOptions,
    images: ImageOptions,
) -> Iterator[Choice]:
    """Choose an augmentation for distilling: score all, then train short students until the answer is sure enough.

    The same call goes on with what is in ``output``; after every run the state of the answer is yielded, and written
    to ``output/choice.json``. Students are compared on images of the training split that they are not trained on; the
    test split is not read.

    Parameters
    ----------
    teacher, student, data
        As :func:`dametric.distill` takes them; of image sets in memory the second is the held-out one.
    candidates : str or sequence of str
        Augmentations, ranges and sets as :func:`dametric.score` takes them; ``identity``, the loader's own augmentation
        alone, is always one.
    output : path-like
        A folder for the answer, scores and runs.
    budget : str or float
        Time in all, over all calls: ``"30m"``, seconds, or ``"20000steps"`` of students, which is the same on every
        machine.
    epsilon : float
        Stop when the answer is with 95 % probability within so many nats of the best one's loss.
    fractions : sequence of float
        Of the schedule (``epochs`` or ``steps``) that is really meant: schedules of runs, each whole in itself.
    metric : str or sequence of str
        Scores of the candidates, by the teacher alone or with a warm student (``grad_align``, ``ridge_student``,
        ``branch_loss``, ``ts_useful``), which is then made. The first is what is expected before any run, as far as
        ``parameters`` give it weight; all are shown.
    parameters : Parameters or path-like, optional
        What is assumed of short runs and scores; by default what is shipped, see
        :class:`dametric.choosing.parameters.Parameters`.
    ledger : path-like or sequence of path-like
        Folders of runs: where they hold complete studies, these parameters are fitted to them.
    runner : str or callable, optional
        A trainer of your own that makes the runs: see :class:`dametric.choosing.runs.OwnTrainer`. ``steps`` is then the
        schedule meant.
    jobs : int
        Runs side by side, in processes that share the cores.
    lockstep : int
        Train up to so many students of one seed together: the same numbers, sooner; they are chosen together.
    executor : Executor, callable or str, optional
        What carries out the runs in place of processes: see :func:`dametric.sweep`.
    ray : str, optional
        On a Ray cluster: "auto", "HOST:PORT", "ray://...", or "local". All nodes share ``output``.
    cpus_per_run, gpus_per_run : float
        With ``ray``: needs of a run in cores and GPUs.
    held_out : int, optional
        Held-out images: a tenth of the training images, 5,000 at most, by default.
    device : str or torch.device, optional
        CUDA where there is one.
    quiet : bool
        No progress on stderr.
    **options

    Yields
    ------
    Choice

    Raises
    ------
    UsageError
        For anything that cannot be, before anything is trained.
    RunFailed
        If the student of the images as they are fails.

    Examples
    --------
    >>> import tempfile
    >>> from dametric.models import build
    >>> short = {"steps": 20, "batch_size": 32, "device": "cpu", "dtype": "float32", "quiet": True}
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     states = choose(build("resnet8", 10, 8), "resnet8", "digits", ["cutmix"], output=folder, image_size=8,
    ...                     train_images=200, fractions=(0.5, 1), budget="50steps", **short)
    ...     answer = list(states)[-1]
    >>> answer.status, sorted(arm.aug for arm in answer.arms)
    ('spent', ['cutmix', 'identity'])
    """
    check_epsilon(epsilon)
    for name, count in (("jobs", jobs), ("lockstep", lockstep)):
        if count < 1:
            raise UsageError(f"{argument(name)} is a number from 1 up, not {count}")
    places = _Places(jobs, lockstep, executor, ray, cpus_per_run, gpus_per_run, str(device) if device else None)
    folder = Path(output)
    seconds, steps = budget_of(budget)
    metrics = (metric,) if isinstance(metric, str) else tuple(metric)
    directions = directions_of(metrics)
    assumed, fitted_to = assumed_parameters(parameters, ledger, next(iter(directions)))
    specs = list(expand([candidates] if isinstance(candidates, str) else candidates))
    for spec in specs:
        parse(spec, ImageSpec())
    run = RunOptions(eval_every="last", keep="none")
    common = student_request(data, None, device, quiet, optimizer, loss, view, precision, run, images)
    common.check()
    if runner is not None:
        _check_own_trainer(lockstep, optimizer, loss, view)
    if runner is not None and (of_students := [name for name in directions if name in STUDENT_METRICS]):
        raise UsageError(
            f"{argument('metric', of_students[0])} is read with a student that is distilled here: leave it out"
        )
    if isinstance(student, str) and runner is None:
        check_architecture(student)
    if isinstance(runner, str):
        load_object(runner, "runner")  # what cannot be loaded is refused before anything is scored
    check_writable(folder / NAME)
    if places.jobs > 1:
        _check_sendable("runner" if runner is not None else "student", student if runner is None else runner)
    with network_errors():
        request = _request(common, teacher, student, data, folder, checkpoint, held_out)
        groups = (optimizer, loss, view, precision, checkpoint, images, _held_out_again(request, held_out))
        command = distill_command(teacher, student, data, device, groups) if runner is None else None
        how = (assumed, runner, places, seconds, steps, quiet, fitted_to, command)
        return _Task(folder, specs, epsilon, fractions, metrics, directions, *how).settled(request)


def _held_out_again(request: DistillationRequest, held_out: int | None) -> HeldOutOptions:
    """What the whole schedule is to hold out: nothing, unless there is no evaluation split to look at."""
    if held_out is None or not is_source(request.data):
        return HeldOutOptions()
    try:
        request.common.images.of(_named_images(request)).find("test")
    except NoSplit:
        return HeldOutOptions(held_out=held_out)
    return HeldOutOptions()


def _check_sendable(name: str, value: Any) -> None:
    """Refuse what other processes cannot be given, before anything is scored."""
    try:
        pickle.dumps(value)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise UsageError(
            f"{argument(name)} cannot be given to other processes ({one_line(error)}): define it in a module, or leave "
            f"{argument('jobs')} out"
        ) from None


def _check_own_trainer(lockstep: int, *groups: Any) -> None:
    """Refuse what would be silently left out, since a trainer of the user's own has a recipe of its own."""
    unknown = ["lockstep"] if lockstep > 1 else []
    for group in groups:
        unknown += [each.name for each in options_of(type(group)) if getattr(group, each.name) != each.default]
    if others := [name for name in unknown if name != "steps"]:
        raise UsageError(f"{argument('runner')} trains by a recipe of its own, so {argument(others[0])} has no meaning")


def _request(
    common: TrainingRequest,
    teacher: AnyNetwork,
    student: str | nn.Module,
    data: Any,
    folder: Path,
    checkpoint: TeacherOptions,
    held_out: int | None,
) -> DistillationRequest:
    """What all runs have in common; of images that are read, a number of them is held out."""
    request = DistillationRequest(common, teacher, student, (), (), str(folder / "runs"), checkpoint, data)
    if not is_source(data):
        if held_out is not None:
            raise UsageError(f"{argument('held_out')} is about images that are read here: give a second image set")
        return request
    if held_out is not None and held_out < 1:
        raise UsageError(f"{argument('held_out')} is a number of images from 1 up, not {held_out}")
    own = HeldOutRequest(**{**vars(common.images), "held_out": held_out or 1})
    if held_out is None:
        split = own.of(_named_images(request)).find("train")
        count = min(len(split.labels), own.train_images or len(split.labels))
        own = replace(own, held_out=usual_held_out(count, len(split.classes)))
    return replace(request, common=replace(common, images=own))


def _named_images(request: DistillationRequest) -> Any:
    """What the teacher's checkpoint says of its images."""
    named = Named.read(request.teacher, "teacher", request.checkpoint.arch, request.checkpoint.weights)
    return named.network if named.speaks_of_images else _Silent()


@dataclass(frozen=True)
class _Silent:
    """A network that says nothing of its images."""

    data: str | None = None
    image_size: int | None = None


@dataclass(frozen=True)
class _Places:
    """Where runs are carried out."""

    jobs: int = 1
    lockstep: int = 1
    executor: Executor | Callable[[], Executor] | str | None = None
    ray: str | None = None
    cpus: float = 1.0
    gpus: float = 0.0
    device: str | None = None

    def __post_init__(self) -> None:
        if self.executor is not None and (self.ray is not None or self.jobs > 1):
            other = argument("jobs") if self.ray is None else argument("ray")
            raise UsageError(f"{argument('executor')} says where runs are carried out, so {other} has no meaning")
        if self.ray is not None and self.jobs > 1:
            raise UsageError(
                f"with {argument('ray')} the cluster says how many runs go on, so {argument('jobs')} has no meaning"
            )
        if self.ray is None and (self.cpus, self.gpus) != (1.0, 0.0):
            name = "cpus_per_run" if self.cpus != 1.0 else "gpus_per_run"
            raise UsageError(f"{argument(name)} has a meaning with {argument('ray')} alone")

    @property
    def here(self) -> bool:
        """Whether runs are carried out in this process."""
        return self.executor is None and self.ray is None and self.jobs == 1

    @contextmanager
    def open(self, folder: Path) -> Iterator[Executor]:
        """What carries them out."""
        with ray_cluster(self.ray, self.device, self.cpus, self.gpus) as cluster, ExitStack() as stack:
            executor: Executor
            if cluster is not None:
                from dametric.jobs.ray_executor import RayExecutor

                executor = RayExecutor(cluster, folder)
            elif self.executor is not None:
                executor = own_executor(self.executor)
            else:
                executor = InlineExecutor() if self.jobs == 1 else ProcessExecutor(self.jobs)
            yield stack.enter_context(executor)


@dataclass(frozen=True)
class _Task:
    """What `choose` was asked besides students and images."""

    folder: Path
    specs: Sequence[str]
    epsilon: float
    fractions: Sequence[float]
    metrics: tuple[str, ...]
    directions: dict[str, Direction]
    parameters: Parameters
    runner: str | Callable[..., Any] | None
    places: _Places
    seconds: float
    steps: float
    quiet: bool
    fitted_to: str
    command: str | None

    @property
    def metric(self) -> str:
        """What is expected before any run."""
        return next(iter(self.directions))

    def settled(self, request: DistillationRequest) -> Iterator[Choice]:
        """Check everything, then yield the states of the answer."""
        began = time.monotonic()
        context = request.context()
        _warn_of_few(context, request)
        if self.runner is None:
            context.check_loss(request.common.objective)
        specs = self._distinct(context)
        arms = arms_of(specs, context.train.image_size)
        if self.runner is None:
            recipe = request.common.resolved(_name(request.student), context.train)
            total = recipe.length(len(context.train) // recipe.batch_size)
        else:
            recipe, total = None, int(request.common.recipe["steps"] or 0)
            if not total:
                raise UsageError(f"a trainer of your own needs the schedule that is meant in {argument('steps')}")
        steps = fitting(total, self.fractions, min(_LEAST_STEPS, total))
        parameters, widened = self.parameters.for_metric(self.metric).for_schedule(
            total, [count / total for count in steps]
        )
        remarks = [text for text in (self.fitted_to, widened) if text]
        if not (parameters.slope or parameters.slope_spread):
            other = self.parameters.slope or self.parameters.slope_spread
            why = f"these parameters know what {self.parameters.metric} is worth" if other else _NO_EVIDENCE
            remarks.append(f"{self.metric} has no weight: {why}.")
        config = self._config(request, context, steps, arms)
        self._before(config)  # what is refused is refused at once; it is read again by whoever holds the folder
        question = Question(
            arms,
            steps,
            self.epsilon,
            parameters,
            base="the loader's own" if recipe is None else recipe.base_aug,
            remarks=tuple(remarks),
            config=config,
            versions=machine(context.device),
        )
        return self._go(question, request, context, time.monotonic() - began)

    def _distinct(self, context: TrainingContext) -> list[str]:
        """Candidates without those that spell another one differently."""
        spec_of = ImageSpec(context.train.image_size, context.train.mean)
        specs = list(dict.fromkeys((BASELINE, *self.specs)))
        augs = [replace(parse(spec, spec_of), name=spec) for spec in specs]
        if self.runner is not None:
            for aug in (aug for aug in augs if aug.pick):
                say(f"{aug.name} is left out: it picks by asking a network, which a trainer of your own has not")
            augs = [aug for aug in augs if not aug.pick]
            specs = [aug.name for aug in augs]
        same = repeated(augs)
        for spec, other in same.items():
            say(f"{spec} is {other}: one candidate", self.quiet)
        return [spec for spec in specs if spec not in same]

    def _code(self, request: DistillationRequest, arms: Sequence[Arm]) -> dict[str, Any]:
        """Hashes of what is the user's own: of the student or the trainer, of what a recipe names, of candidates."""
        code: dict[str, Any] = {} if self.runner is not None else _code_of_recipe(request.common)
        if self.runner is not None:
            code["runner"] = code_digest(
                load_object(self.runner, "runner") if isinstance(self.runner, str) else self.runner
            )
        elif isinstance(request.student, nn.Module):
            code["student"] = weights_digest(request.student)
        elif is_user_architecture(request.student):
            code["student"] = source_digest(load_object(request.student, "architecture"))
        candidates = {arm.name: own for arm in arms if (own := user_code_of(arm.name))}
        return {**code, **({"candidates": candidates} if candidates else {})}

    def _config(
        self, request: DistillationRequest, context: TrainingContext, steps: Sequence[int], arms: Sequence[Arm]
    ) -> dict[str, Any]:
        """What a choice must have in common with the runs that are there already."""
        assert context.teacher is not None
        return {
            "student": _name(request.student) if self.runner is None else _runner_name(self.runner),
            "teacher": context.teacher.identity,
            "data": {"train": context.train.fingerprint, "held_out": context.test.fingerprint},
            "images": {
                "name": context.train.name,
                "train": len(context.train),
                "held_out": len(context.test),
                "size": context.train.image_size,
            },
            "recipe": _plain(request.common.resolved(_name(request.student), context.train)),
            "steps": list(steps),
            "metric": self.metric,
            **({"metrics": list(self.directions)} if len(self.directions) > 1 else {}),
            **({} if context.labelled or self.runner is not None else {"loss": "divergence"}),
            "command": self.command,
            "code": self._code(request, arms),
        }

    def _before(self, config: dict[str, Any]) -> Choice | None:
        """The answer of a call before, if it was asked the same."""
        if not (self.folder / NAME).exists():
            return None
        before = read_choice(self.folder)
        for name in ("student", "teacher", "data", "recipe", "steps"):
            if before.config.get(name) != config[name]:
                what = "; ".join(_differences(name, before.config.get(name), config[name]))
                raise UsageError(
                    f"{self.folder} holds another choice ({what}): choose another {argument('output')}, or remove that "
                    "folder"
                )
        known = before.config.get("code") or {}  # which folders of former times have not
        for name, now in config["code"].items():
            if name != "candidates" and known.get(name, now) != now:
                what = f"the code of {argument(name)}" if name in _OF_RECIPE else f"the {name}"
                raise UsageError(
                    f"{self.folder} holds another choice: {what} has changed since. Choose another "
                    f"{argument('output')}, or remove that folder"
                )
        return before

    def _go(
        self, question: Question, request: DistillationRequest, context: TrainingContext, reading: float
    ) -> Iterator[Choice]:
        kept = self.folder / _CLOCK
        runs: Students | OwnTrainer
        images = ImageSpec(context.train.image_size, context.train.mean)
        candidates = Candidates(tuple(arm.name for arm in question.arms), images)
        if self.runner is None:
            runs = Students(
                request, context if self.places.here else None, candidates, dict(question.config["teacher"])
            )
        else:
            runs = OwnTrainer(self.runner, str(self.folder / "own"), candidates)
        with ExitStack() as stack:
            stack.enter_context(claimed(self.folder / ".lock", str(self.folder)))
            before = self._before(dict(question.config))
            spent = max(before.costs.seconds if before else 0.0, seconds_kept(kept))
            clock = Clock(spent + reading, self.seconds)
            for aug in runs.outdated():
                say(f"{aug} has changed since: its runs of before are left out", self.quiet)
            stack.enter_context(clock.kept(kept))
            stop = stack.enter_context(until_interrupted())
            question, costs = self._scored(question, request, context, clock, stop)
            if not runs.outcomes() and isinstance(runs, Students):
                clock.pace, size = _trial(replace(runs, ready=context), question)
                self._say_what_fits(question, clock)
                self._say_what_it_needs(context, size)
            stack.enter_context(network_errors())
            if before is None or not before.runs:
                introduce_teacher(context, ACCURACY_IMAGES, self.quiet, "held-out images, which it may have learnt")
            advance = stack.enter_context(progress("short students", None, quiet=self.quiet))
            yield from Settling(
                question,
                runs,
                stack.enter_context(self.places.open(self.folder)),
                clock,
                self.folder,
                costs,
                stop,
                advance,
                self.steps,
                before.looks if before else (),
                self.places.lockstep,
            )

    def _scored(
        self, question: Question, request: DistillationRequest, context: TrainingContext, clock: Clock, stop: Stop
    ) -> tuple[Question, ChoiceCosts]:
        """The question with the candidates' scores, and what they took."""

        start = clock.spent

        def over() -> bool:
            return stop() or clock.left <= 0 or clock.spent - start > most

        weightless = not (question.parameters.slope or question.parameters.slope_spread)
        read_by_student = any(name in STUDENT_METRICS for name in self.metrics)
        most = (_LEAST_SHARE if weightless and not read_by_student else 1.0) * clock.budget
        names = [arm.name for arm in question.arms if parse(arm.name, ImageSpec()).pick not in NEEDS_STUDENT]
        scoring = Scoring(request, context, self.metrics, self.folder, self.steps, over)
        try:
            scores = scoring.read(names)
        except Interrupted:
            if stop():
                raise
            scores = scoring.kept()
            rest = "those that are there are kept" if scores.values else "they are left out"
            say(f"scores took {clock.spent - start:.0f} s, which the budget does not bear: {rest}", self.quiet)
        question = replace(
            question,
            score=oriented(scores.values.get(self.metric, {}), self.directions[self.metric]),
            score_error=scores.errors.get(self.metric, {}),
            scores={name: scores.values.get(name, {}) for name in self.directions},
        )
        costs = ChoiceCosts(0.0, scores.seconds, scores.student_seconds, scores.student_steps)
        return question, costs

    def _say_what_fits(self, question: Question, clock: Clock) -> None:
        """Before anything is trained: the pace, and what the budget can do."""
        shortest, arms = question.steps[0], len(question.arms)
        whole = ", ".join(f"{steps:,}" for steps in question.steps)
        if not math.isfinite(clock.pace):
            say(f"{arms} candidates, runs of {whole} steps; the pace is not known yet", self.quiet)
            return
        fits = min(clock.left * clock.pace * self.places.jobs, self.steps)
        say(
            f"{arms} candidates, runs of {whole} steps, about {clock.pace:.0f} steps a second: the budget is "
            f"{fits / question.steps[-1]:.1f} whole schedules",
            self.quiet,
        )
        if fits < arms * shortest:
            say(
                f"WARNING: the budget bears {int(fits // shortest)} of the {arms} shortest runs, one a candidate: what "
                "is not trained is judged by its family alone; give more time, fewer candidates or smaller fractions"
            )

    def _say_what_it_needs(self, context: TrainingContext, size: int) -> None:
        """Before anything is trained: memory and disk."""
        images = (context.train, context.test)
        pixels = sum(
            len(each) * context.train.channels * context.train.image_size**2 for each in images if not each.lazy
        )
        memory = f"{pixels * self.places.jobs / 1e6:,.0f} MB of memory for images" if pixels else "images on disk"
        say(
            f"needs: {memory}, {size * self.places.jobs / 1e6:,.1f} MB of disk while runs go on, 10 kB a run",
            self.quiet,
        )


def _warn_of_few(context: TrainingContext, request: DistillationRequest) -> None:
    """Say of very few held-out images what they do to every comparison, and how there would be more."""
    count, images = len(context.test), len(context.train) + len(context.test)
    if count >= _FEW_HELD_OUT:
        return
    most = min(_FEW_HELD_OUT, (images - context.train.num_classes) // 2)  # half of each class may be held out
    more = "a larger second image set" if not is_source(request.data) else "more training images"
    if is_source(request.data) and most > count:
        more = argument("held_out", most)
    error = f"about {100 / math.sqrt(count):.0f} % of the losses' spread, which more runs do not lower"
    say(
        f"WARNING: students are compared on {count} held-out image{'s' * (count != 1)} alone: each mean loss is off by "
        f"{error}; give {more}"
    )


def _code_of_recipe(common: TrainingRequest) -> dict[str, Any]:
    """Hashes of the user's own code in what all runs have in common, by the option that names it."""
    base, term = common.base_aug, common.objective.term
    code = {
        "base_aug": {} if base in (None, "none") else user_code_of(str(base)),
        "loss_term": {} if term is None else {term: source_digest(load_object(term, "loss term"))},
    }
    return {name: own for name, own in code.items() if own}


def _trial(students: Students, question: Question) -> tuple[float, int]:
    """Student-steps a second and bytes of a run's folder, by a trial of some seconds that leaves nothing behind."""
    with tempfile.TemporaryDirectory() as folder:
        trial = replace(students, request=replace(students.request, output=folder))
        run = trial.run(Key(BASELINE, max(question.steps), 0))
        times: list[float] = []

        def stop() -> bool:
            times.append(time.monotonic())
            return len(times) > _TRIAL_STEPS or times[-1] - times[0] > _TRIAL_SECONDS

        with suppress(Interrupted, RunFailed):  # if it fails, the run itself says so
            carry_out(run, stop=stop)
        size = sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())
    paced = times[len(times) // 4 :]  # the first steps are slower
    return (len(paced) - 1) / (paced[-1] - paced[0]) if len(paced) > 1 else math.nan, size


def _runner_name(runner: Any) -> str:
    """What tells a runner from others, in another process too."""
    if isinstance(runner, str):
        return runner
    return f"{getattr(runner, '__module__', '')}:{getattr(runner, '__qualname__', type(runner).__qualname__)}"


def _name(student: Any) -> str:
    return student if isinstance(student, str) else ""


def _plain(recipe: Recipe) -> dict[str, Any]:
    """A recipe as JSON has it, without what every run has of its own."""
    own = ("aug", "seed", "epochs", "steps")
    return {name: value for name, value in asdict(recipe).items() if name not in own}


def _differences(name: str, before: Any, now: Any) -> list[str]:
    """What of a setting was something else, in words.

    Examples
    --------
    >>> _differences("recipe", {"lr": 0.1, "objective": {"ce": 0.1}}, {"lr": 0.1, "objective": {"ce": 0.2}})
    ['ce of objective of recipe was 0.1, now 0.2']
    """
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        every = [_differences(f"{key} of {name}", before.get(key), now.get(key)) for key in {**before, **now}]
        return [difference for some in every for difference in some]
    return [] if before == now else [f"{name} was {_short(before)}, now {_short(now)}"]


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) < 60 else f"{text[:57]}..."
