"""From a grid to tasks that can be carried out, with everything checked before anything is trained."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import torch

from dametric.augment import NEEDS_STUDENT, ImageSpec, base_augmentation, parse
from dametric.base.names import inside, slug
from dametric.base.option_groups import ScoringOptions
from dametric.base.progress import say
from dametric.data import ImageSet
from dametric.errors import UsageError, unknown
from dametric.jobs.schedule import Task
from dametric.models import build
from dametric.models.computing import DTYPES
from dametric.records.runs import Run
from dametric.scoring import check_request
from dametric.sweeps import tasks
from dametric.sweeps.blocks import ScoreSpec
from dametric.sweeps.grid import Grid, RunSpec
from dametric.sweeps.options import (
    RunEnvironment,
    data_options,
    shown_data,
    student_task,
    teacher_file,
    training_options,
)
from dametric.training import Recipe, TrainingRun
from dametric.training.many import refuse_another
from dametric.training.request import TrainingRequest


@dataclass
class Study:
    """A grid's tasks in the order they are begun, and what is known of them.

    Attributes
    ----------
    tasks : list of Task
        Teachers, students, score files.
    specs : dict of str to RunSpec
        The grid's rows by their task's key.
    runs : dict of str to Run
        Folders of teachers and students, where they are known: a student's is named by its teacher's weights.
    finished : set of str
        Keys of tasks that were done before.
    about : dict of str to (data, teacher, student or None)
        What score files speak of.
    spelt : dict of RunSpec to str
        Augmentations as the grid spells them, by the row with the one way of writing them.
    notes : list of str
        Remarks on the grid.
    done : list of TrainingRun
        Students that were finished before.
    again : dict of str to str
        Why teachers and students that were finished before are trained again, by the key of their task.
    """

    tasks: list[Task] = field(default_factory=list)
    specs: dict[str, RunSpec] = field(default_factory=dict)
    runs: dict[str, Run] = field(default_factory=dict)
    finished: set[str] = field(default_factory=set)
    about: dict[str, tuple[str, str, str | None]] = field(default_factory=dict)
    spelt: dict[RunSpec, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    done: list[TrainingRun] = field(default_factory=list)
    again: dict[str, str] = field(default_factory=dict)


def make_study(grid: Grid, environment: RunEnvironment, quiet: bool = False) -> Study:
    """Everything that a grid asks for, as tasks.

    Raises
    ------
    UsageError
        For anything that cannot be: images that are not there, architectures, augmentations or numbers that do not
        exist, a teacher of other classes, an output folder that holds another teacher of that name.
    """
    study = Study()
    teachers = {key: (title, task) for key, title, task in _teachers(grid, environment)}
    for spec in grid.rows:
        key = f"teacher:{spec.data}-{spec.teacher}"
        if key in teachers:  # which comes right before the first that needs it
            title, task = teachers.pop(key)
            work = _checked_teacher(task)
            study.runs[key] = work.run
            if work.finished:
                study.finished.add(key)
            elif why := work.starts_over:
                study.again[key] = why
            study.tasks.append(Task(key, "teacher", title, task, (), work.epochs))
        _add_student(study, grid, spec, environment, quiet)
    if grid.score is not None:
        for key, about, scores, needs in _scores(grid, environment, quiet):
            study.about[key] = about
            if all(need in study.finished for need in needs) and scores.finished:
                study.finished.add(key)
            study.tasks.append(Task(key, "score", f"scores of {key.split(':', 1)[1]}", scores, tuple(needs)))
    return study


def chosen(study: Study, rows: Sequence[RunSpec], shard: tuple[int, int] | None) -> list[Task]:
    """The tasks of some rows and of a shard, with the teachers they need.

    Score files speak of the whole grid, so that one is made where any row of its teacher is chosen; a file that shows
    a student waits for that one where it is chosen too, and is left to others where it is not.
    """
    named = set(rows)
    students = [key for key, spec in study.specs.items() if spec in named]
    pairs = {(row.data, row.teacher, name) for row in rows for name in (row.student, None)}
    scores = [key for key, about in study.about.items() if about in pairs]
    if shard is not None:
        which, count = shard
        own = set(students[which - 1 :: count])
        without = [key for key in scores if not _student_of(key, study)]
        scores = [key for key in scores if _student_of(key, study) in own] + without[which - 1 :: count]
        students = [key for key in students if key in own]
    kept = {*students, *scores}
    needed = {need for task in study.tasks if task.key in kept for need in task.needs}
    kept |= {need for need in needed if need.startswith("teacher:")}
    return [
        task
        for task in study.tasks
        if task.key in kept and all(need in kept or need in study.finished for need in task.needs)
    ]


def _student_of(key: str, study: Study) -> str | None:
    task = next(task for task in study.tasks if task.key == key)
    return next((need for need in task.needs if need.startswith("student:")), None)


def _key(spec: RunSpec) -> str:
    more = "".join(f", {name}={value}" for name, value in spec.training)
    return f"student:{spec.data}, {spec.teacher} -> {spec.student}, {spec.aug}, seed {spec.seed}{more}"


def _teachers(grid: Grid, environment: RunEnvironment) -> Iterator[tuple[str, str, tasks.TeacherTask]]:
    """Those that are to be trained: key, a few words, task."""
    for data, teacher in dict.fromkeys((spec.data, spec.teacher) for spec in grid.rows):
        spec = grid.teachers[teacher]
        if not spec.trained:
            continue
        common = training_options(shown_data(grid, data, teacher), spec.recipe, environment, teacher=True)
        output = str(teacher_file(grid, data, teacher, environment))
        arch = str(spec.arch)
        title = f"teacher {teacher}" + ("" if teacher == arch else f" ({arch})")
        title = (f"{data}, " if len(grid.data) > 1 else "") + title
        yield f"teacher:{data}-{teacher}", title, tasks.TeacherTask(common, arch, spec.seed or 0, output)


def _checked_teacher(task: tasks.TeacherTask) -> TrainingRun:
    task.common.check()
    images = tasks.context(task.common.images, task.common.device).train
    _check_network(task.arch, images)
    _check_batches(task.common, images)
    work = task.work()
    refuse_another(work)
    return work


def _add_student(study: Study, grid: Grid, spec: RunSpec, environment: RunEnvironment, quiet: bool) -> None:
    task = student_task(grid, spec, environment)
    key, needed = _key(spec), f"teacher:{spec.data}-{spec.teacher}"
    trained = grid.teachers[spec.teacher].trained
    recipe = _check_student(task)
    images = tasks.images(task.common.images).train
    once = replace(spec, aug=parse(spec.aug, ImageSpec(images.image_size, images.mean)).canonical)
    if study.spelt.setdefault(once, spec.aug) != spec.aug:
        note = f"{grid.path}: {spec.aug} is {study.spelt[once]}: the same runs"
        if note not in study.notes:
            study.notes.append(note)
            say(note, quiet)
        return
    if not trained or needed in study.finished:
        work = task.work()
        study.runs[key] = work.run
        if work.finished:
            study.finished.add(key)
            study.done.append(work)
        elif why := work.starts_over:
            study.again[key] = why
    folder = grid.folder(spec.training)
    title = (f"{spec.data}, " if len(grid.data) > 1 else "") + spec.title + (f", {folder}" if folder else "")
    steps = len(images) // recipe.batch_size
    study.specs[key] = spec
    epochs = recipe.length(steps) / steps
    needs = (needed,) if trained else ()
    study.tasks.append(Task(key, "student", title, task, needs, epochs, (spec.data, spec.teacher, *recipe.lockstep)))


def _check_student(task: tasks.StudentTask) -> Recipe:
    """Refuse what could not be distilled, as far as that shows without the teacher; its recipe."""
    images = tasks.images(task.common.images)[0]
    spec = ImageSpec(images.image_size, images.mean)
    parse(task.aug, spec)
    recipe = task.common.resolved(task.student, images, aug=task.aug, seed=task.seed)
    if task.common.base_aug is not None:
        base_augmentation(task.common.base_aug, spec, mixes=not task.common.objective.needs_teacher)
    _check_network(task.student, images)
    _check_batches(task.common, images)
    return recipe


_built: set[tuple[str, int, int]] = set()


def _check_network(arch: str, images: ImageSet) -> None:
    network = (arch, images.num_classes, images.image_size)
    if network not in _built:
        with torch.device("meta"):
            build(arch, max(1, images.num_classes), images.image_size)
        _built.add(network)


def _check_batches(common: TrainingRequest, images: ImageSet) -> None:
    size = common.batch_size
    if len(images) < size:
        raise UsageError(f"{len(images)} images are fewer than one batch of {size}: use a smaller batch size")


def _scores(
    grid: Grid, environment: RunEnvironment, quiet: bool
) -> Iterator[tuple[str, tuple[str, str, str | None], tasks.ScoreTask, list[str]]]:
    """A score file for every teacher, or for every pair where a student is shown too."""
    assert grid.score is not None
    shown = grid.score.student
    if shown and environment.keep == "none":
        raise UsageError(f"{grid.path}: score: student: its weights are needed, and keep: none takes them away")
    pairs = dict.fromkeys((spec.data, spec.teacher, spec.student if shown else None) for spec in grid.rows)
    for data, teacher, student in pairs:
        rows = [spec for spec in grid.rows if (spec.data, spec.teacher) == (data, teacher)]
        spec = None
        if student is not None:
            spec = next((row for row in rows if row.student == student and row.aug == shown), None)
            if spec is None:
                raise UsageError(
                    f"{grid.path}: score: student: {shown} is no augmentation that {student} is distilled with"
                )
        augs = list(grid.score.augmentations or dict.fromkeys(row.aug for row in rows))
        size = tasks.images(data_options(grid.data[data]))[0].image_size
        if student is None:
            left_out = [aug for aug in augs if parse(aug, ImageSpec(size)).pick in NEEDS_STUDENT]
            augs = [aug for aug in augs if aug not in left_out]
            for aug in left_out:
                say(f"{aug} is not scored: it asks a student, name one with 'student:' in the score block", quiet)
        name = f"{data}-{teacher}" + (f"-{slug(student)}" if student else "")
        task = _score_task(grid, environment, rows[0], augs, name)
        needs = [f"teacher:{data}-{teacher}"] if grid.teachers[teacher].trained else []
        if spec is not None:
            task = replace(task, student=student_task(grid, spec, environment))
            needs.append(_key(spec))
        yield f"score:{name}", (data, teacher, student), task, needs


def _score_task(grid: Grid, environment: RunEnvironment, row: RunSpec, augs: list[str], name: str) -> tasks.ScoreTask:
    scoring = grid.score or ScoreSpec()
    for key, word, known in (
        ("split", scoring.split, ("train", "test")),
        ("dtype", scoring.dtype or "float32", DTYPES),
    ):
        if word not in known:
            raise unknown(f"score: {key}", word, known)
    check_request(augs, scoring.student is not None, ScoringOptions(**scoring.options))
    distilled = student_task(grid, row, environment)
    # pictures as the students see them, unless the block says otherwise
    seen = {} if distilled.common.base_aug is None else {"base_aug": distilled.common.base_aug}
    request = tasks.ScoreRequest(
        augs=augs,
        teacher=distilled.teacher,
        data=distilled.common.images,
        arch=distilled.arch,
        split=scoring.split,
        mean=distilled.mean,
        std=distilled.std,
        device=environment.device,
        dtype=scoring.dtype,
        output=str(inside(environment.root, "scores", f"{name}.json")),
        options={**seen, **scoring.options},
    )
    return tasks.ScoreTask(request)
