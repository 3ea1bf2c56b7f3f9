"""From a grid to tasks that can be carried out, with everything checked before anything is trained."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import torch

from dametric.augment import NEEDS_STUDENT, Images, base_augmentation, parse
from dametric.base.names import inside, slug
from dametric.commands import sweep_tasks as tasks
from dametric.commands.inputs import say
from dametric.commands.score import ScoreOptions
from dametric.commands.sweep_options import (
    Place,
    data_options,
    shown_data,
    student_task,
    teacher_file,
    training_options,
)
from dametric.commands.training import TrainingOptions, refuse_another
from dametric.data import ImageSet
from dametric.errors import UsageError, unknown
from dametric.jobs.schedule import Task
from dametric.models import build
from dametric.models.computing import DTYPES
from dametric.records.runs import Run
from dametric.scoring import check_request
from dametric.sweep.grid import Grid, RunSpec
from dametric.training import Recipe, Work


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
        What was said of the grid.
    done : list of Work
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
    done: list[Work] = field(default_factory=list)
    again: dict[str, str] = field(default_factory=dict)


def study(grid: Grid, place: Place, quiet: bool = False) -> Study:
    """Everything that a grid asks for, as tasks.

    Raises
    ------
    UsageError
        For anything that cannot be: images that are not there, architectures, augmentations or numbers that do not
        exist, a teacher of other classes, an output folder that holds another teacher of that name.
    """
    made = Study()
    teachers = {key: (title, task) for key, title, task in _teachers(grid, place)}
    for spec in grid.rows:
        key = f"teacher:{spec.data}-{spec.teacher}"
        if key in teachers:  # which comes right before the first that needs it
            title, task = teachers.pop(key)
            work = _checked_teacher(task)
            made.runs[key] = work.run
            if work.finished:
                made.finished.add(key)
            elif why := work.starts_over:
                made.again[key] = why
            made.tasks.append(Task(key, "teacher", title, task, (), work.epochs))
        _add_student(made, grid, spec, place, quiet)
    if grid.score is not None:
        for key, about, scores, needs in _scores(grid, place, quiet):
            made.about[key] = about
            if all(need in made.finished for need in needs) and scores.finished:
                made.finished.add(key)
            made.tasks.append(Task(key, "score", f"scores of {key.split(':', 1)[1]}", scores, tuple(needs)))
    return made


def chosen(made: Study, rows: Sequence[RunSpec], shard: tuple[int, int] | None) -> list[Task]:
    """The tasks of some rows and of a shard, with the teachers they need.

    Score files speak of the whole grid, so that one is made where any row of its teacher is chosen; a file that shows
    a student waits for that one where it is chosen too, and is left to others where it is not.
    """
    named = set(rows)
    students = [key for key, spec in made.specs.items() if spec in named]
    pairs = {(row.data, row.teacher, name) for row in rows for name in (row.student, None)}
    scores = [key for key, about in made.about.items() if about in pairs]
    if shard is not None:
        which, count = shard
        mine = set(students[which - 1 :: count])
        without = [key for key in scores if not _student_of(key, made)]
        scores = [key for key in scores if _student_of(key, made) in mine] + without[which - 1 :: count]
        students = [key for key in students if key in mine]
    kept = {*students, *scores}
    needed = {need for task in made.tasks if task.key in kept for need in task.needs}
    kept |= {need for need in needed if need.startswith("teacher:")}
    return [
        task
        for task in made.tasks
        if task.key in kept and all(need in kept or need in made.finished for need in task.needs)
    ]


def _student_of(key: str, made: Study) -> str | None:
    task = next(task for task in made.tasks if task.key == key)
    return next((need for need in task.needs if need.startswith("student:")), None)


def _key(spec: RunSpec) -> str:
    more = "".join(f", {name}={value}" for name, value in spec.training)
    return f"student:{spec.data}, {spec.teacher} -> {spec.student}, {spec.aug}, seed {spec.seed}{more}"


def _teachers(grid: Grid, place: Place) -> Iterator[tuple[str, str, tasks.TeacherTask]]:
    """Those that are to be trained: key, a few words, task."""
    for data, teacher in dict.fromkeys((spec.data, spec.teacher) for spec in grid.rows):
        options = grid.teachers[teacher]
        if "checkpoint" in options:
            continue
        own = {key: value for key, value in options.items() if key not in ("family", "arch", "seed", "data")}
        common = training_options(shown_data(grid, data, teacher), own, place, teacher=True)
        output = str(teacher_file(grid, data, teacher, place))
        arch = options["arch"]
        title = f"teacher {teacher}" + ("" if teacher == arch else f" ({arch})")
        title = (f"{data}, " if len(grid.data) > 1 else "") + title
        yield f"teacher:{data}-{teacher}", title, tasks.TeacherTask(common, arch, options.get("seed", 0), output)


def _checked_teacher(task: tasks.TeacherTask) -> Work:
    task.common.check()
    images = tasks.setting(task.common.data, task.common.device).train
    _check_network(task.arch, images)
    _check_batches(task.common, images)
    work = task.work()
    refuse_another(work)
    return work


def _add_student(made: Study, grid: Grid, spec: RunSpec, place: Place, quiet: bool) -> None:
    task = student_task(grid, spec, place)
    key, needed = _key(spec), f"teacher:{spec.data}-{spec.teacher}"
    trained = "checkpoint" not in grid.teachers[spec.teacher]
    recipe = _check_student(task)
    images = tasks.images(task.common.data).train
    once = replace(spec, aug=parse(spec.aug, Images(images.image_size, images.mean)).canonical)
    if made.spelt.setdefault(once, spec.aug) != spec.aug:
        said = f"{grid.path}: {spec.aug} is {made.spelt[once]}: the same runs"
        if said not in made.notes:
            made.notes.append(said)
            say(said, quiet)
        return
    if not trained or needed in made.finished:
        work = task.work()
        made.runs[key] = work.run
        if work.finished:
            made.finished.add(key)
            made.done.append(work)
        elif why := work.starts_over:
            made.again[key] = why
    folder = grid.folder(spec.training)
    title = f"{spec.teacher} -> {spec.student}, {spec.aug}, seed {spec.seed}"
    title = (f"{spec.data}, " if len(grid.data) > 1 else "") + title + (f", {folder}" if folder else "")
    steps = len(images) // recipe.batch_size
    made.specs[key] = spec
    epochs = recipe.length(steps) / steps
    needs = (needed,) if trained else ()
    made.tasks.append(Task(key, "student", title, task, needs, epochs, (spec.data, spec.teacher, *recipe.lockstep)))


def _check_student(task: tasks.StudentTask) -> Recipe:
    """Refuse what could not be distilled, as far as that shows without the teacher; its recipe."""
    images = tasks.images(task.common.data)[0]
    of = Images(images.image_size, images.mean)
    parse(task.aug, of)
    recipe = task.common.resolved(task.student, images, aug=task.aug, seed=task.seed)
    if task.common.base_aug is not None:
        base_augmentation(task.common.base_aug, of, mixes=not task.common.objective.needs_teacher)
    _check_network(task.student, images)
    _check_batches(task.common, images)
    return recipe


_built: set[tuple[str, int, int]] = set()


def _check_network(arch: str, images: ImageSet) -> None:
    asked = (arch, images.num_classes, images.image_size)
    if asked not in _built:
        with torch.device("meta"):
            build(arch, max(1, images.num_classes), images.image_size)
        _built.add(asked)


def _check_batches(common: TrainingOptions, images: ImageSet) -> None:
    size = common.recipe.get("batch_size", 64)
    if len(images) < size:
        raise UsageError(f"{len(images)} images are fewer than one batch of {size}: use a smaller batch size")


def _scores(
    grid: Grid, place: Place, quiet: bool
) -> Iterator[tuple[str, tuple[str, str, str | None], tasks.ScoreTask, list[str]]]:
    """A score file for every teacher, or for every pair where a student is shown too."""
    assert grid.score is not None
    shown = grid.score.get("student")
    if shown and place.keep == "none":
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
        augs = list(grid.score.get("augmentations") or dict.fromkeys(row.aug for row in rows))
        size = tasks.images(data_options(grid.data[data]))[0].image_size
        if student is None:
            left_out = [aug for aug in augs if parse(aug, Images(size)).pick in NEEDS_STUDENT]
            augs = [aug for aug in augs if aug not in left_out]
            for aug in left_out:
                say(f"{aug} is not scored: it asks a student, name one with 'student:' in the score block", quiet)
        name = f"{data}-{teacher}" + (f"-{slug(student)}" if student else "")
        task = _score_task(grid, place, rows[0], augs, name)
        needs = [] if "checkpoint" in grid.teachers[teacher] else [f"teacher:{data}-{teacher}"]
        if spec is not None:
            task = replace(task, student=student_task(grid, spec, place))
            needs.append(_key(spec))
        yield f"score:{name}", (data, teacher, student), task, needs


def _score_task(grid: Grid, place: Place, row: RunSpec, augs: list[str], name: str) -> tasks.ScoreTask:
    asked = {key: value for key, value in (grid.score or {}).items() if key not in ("student", "augmentations")}
    split, dtype = asked.pop("split", "train"), asked.pop("dtype", None)
    numbers = {key: asked[key] for key in ("protocol", "rel_se", "raw_weight", "temperature") if key in asked}
    metrics = list(asked["metrics"]) if "metrics" in asked else None
    needs_student = (grid.score or {}).get("student") is not None
    for key, word, known in (
        ("protocol", asked.get("protocol", "default"), ("default", "reference")),
        ("split", split, ("train", "test")),
        ("dtype", dtype or "float32", DTYPES),
    ):
        if word not in known:
            raise unknown(f"score: {key}", word, known)
    check_request(augs, metrics, needs_student, asked.get("per"), asked.get("base_aug"), **numbers)
    distilled = student_task(grid, row, place)
    # pictures as the students see them, unless the block says otherwise
    seen = {} if distilled.common.base_aug is None else {"base_aug": distilled.common.base_aug}
    options = ScoreOptions(
        augs=augs,
        teacher=distilled.teacher,
        data=distilled.common.data,
        arch=distilled.arch,
        split=split,
        mean=distilled.mean,
        std=distilled.std,
        device=place.device,
        dtype=dtype,
        output=str(inside(place.root, "scores", f"{name}.json")),
        passed_on={**seen, **asked, **({"metrics": metrics} if metrics else {})},
    )
    return tasks.ScoreTask(options)
