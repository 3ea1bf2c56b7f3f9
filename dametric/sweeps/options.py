"""What a grid says, as the options of the commands that do such things."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dametric.base.arguments import speaking
from dametric.base.names import inside
from dametric.base.option_groups import LossOptions
from dametric.base.options import options_of
from dametric.data.request import ImageRequest
from dametric.models.registry import is_user_architecture
from dametric.sweeps import tasks
from dametric.sweeps.blocks import DataSpec
from dametric.sweeps.grid import Grid, RunSpec
from dametric.training import LABELS, Objective
from dametric.training.context import EvalEvery, Keep
from dametric.training.request import TrainingRequest

_OBJECTIVE = tuple(each.name for each in options_of(LossOptions))


@dataclass(frozen=True)
class RunEnvironment:
    """Where a sweep writes, what it computes on and how, how often it looks at test images and what it keeps.

    The dtype is that of runs for which the grid names none.
    """

    root: Path
    device: str | None = None
    dtype: str | None = None
    eval_every: EvalEvery = 1
    keep: Keep = "last"
    deterministic: bool = False


def data_options(images: DataSpec) -> ImageRequest:
    """Images as a grid names them; bars of their own would get in the way of the view."""
    return ImageRequest(source=images.source, **images.options, quiet=True)


def read_images(grid: Grid, quiet: bool) -> None:
    """Read all images that a grid names, with a bar where that takes long.

    Raises
    ------
    UsageError
        If they cannot be read; what would help is said as a grid has it.
    """
    with speaking("grid"):
        for images in grid.data.values():
            tasks.images(replace(data_options(images), quiet=quiet))


def training_options(
    data: ImageRequest, options: dict[str, Any], environment: RunEnvironment, teacher: bool
) -> TrainingRequest:
    """The options of `dametric train` or `dametric distill` that a grid sets."""
    own = dict(options)
    short = {name: name.removesuffix("_weight").removeprefix("loss_") for name in _OBJECTIVE}
    weights = {short[name]: own.pop(name) for name in _OBJECTIVE if name in own}
    lr, base_aug = own.pop("lr", None), own.pop("aug" if teacher else "base_aug", None)
    dtype, compile = own.pop("dtype", environment.dtype), own.pop("compile", False)
    objective = LABELS if teacher else Objective.of(**weights)
    recipe = {**own, "objective": objective}
    return TrainingRequest(
        data,
        recipe,
        lr,
        base_aug,
        environment.device,
        dtype,
        compile,
        eval_every=environment.eval_every,
        keep=environment.keep,
        deterministic=environment.deterministic,
    )


def teacher_file(grid: Grid, data: str, teacher: str, environment: RunEnvironment) -> Path:
    """A teacher's checkpoint: the one that was given, or that will be made."""
    given = grid.teachers[teacher].checkpoint
    return Path(given) if given else inside(environment.root, "teachers", f"{data}-{teacher}.pth")


def shown_data(grid: Grid, data: str, teacher: str) -> ImageRequest:
    """Images as a teacher takes them: of the size and in the channels of a given one's training.

    The size is the grid's where it asks for one; a teacher that is to be trained takes any, and the channels of its
    first layer.
    """
    options, given = data_options(grid.data[data]), grid.teachers[teacher]
    if options.image_size is None and given.checkpoint is not None:
        size = tasks.trained_size(given.checkpoint, given.weights)
        if size is not None and size != tasks.own_size(options):
            options = replace(options, image_size=size)
    grey = tasks.takes_grey(options, given.arch, given.checkpoint, given.weights)
    return replace(options, grey=True) if grey else options


def student_task(grid: Grid, spec: RunSpec, environment: RunEnvironment) -> tasks.StudentTask:
    """A row as something to be done."""
    teacher = grid.teachers[spec.teacher]
    data = shown_data(grid, spec.data, spec.teacher)
    common = training_options(data, dict(spec.training), environment, teacher=False)
    path = str(teacher_file(grid, spec.data, spec.teacher, environment))
    root = inside(environment.root, grid.folder(spec.training))
    # a checkpoint of ours says what it is; the user's code is not run on a file's word, but is on the grid's
    arch = None if teacher.trained and not is_user_architecture(teacher.arch or "") else teacher.arch
    return tasks.StudentTask(
        common,
        path,
        spec.student,
        spec.aug,
        spec.seed,
        str(root),
        arch,
        teacher.mean,
        teacher.std,
        teacher.weights,
    )
