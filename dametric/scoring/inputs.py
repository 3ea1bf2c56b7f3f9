"""The networks and images that a call to score names, read, and the record of their origin."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import Any

import torch

from dametric.base.arguments import argument
from dametric.base.option_groups import TeacherOptions
from dametric.base.progress import say
from dametric.data import ImageSet, NoSplit
from dametric.data.checks import check_order
from dametric.data.given import as_image_set, is_source
from dametric.data.request import ImageRequest
from dametric.errors import UsageError
from dametric.models import Checkpoint, LoadedNetwork
from dametric.models.accuracy import ACCURACY_IMAGES, report_accuracy
from dametric.models.loaded import check_classes, taken_by
from dametric.models.named import Named
from dametric.models.normalisation import Given
from dametric.scoring.ranks import Ranks

OTHER_CLASSES = ", or {} if images of other classes are meant"


@dataclass(frozen=True)
class Inputs:
    """Everything that is scored with.

    Attributes
    ----------
    teacher, student : LoadedNetwork
    data : ImageSet
    request : ImageRequest or None
        Where the images are from, if they were read here.
    checkpoint : Checkpoint or None
        The teacher's, if it has one.
    known : dict
        What a score file keeps of the networks.
    """

    teacher: LoadedNetwork
    student: LoadedNetwork | None
    data: ImageSet
    request: ImageRequest | None
    checkpoint: Checkpoint | None = None
    known: dict[str, Any] = field(default_factory=dict)


def gathered(
    teacher: Named,
    student: Named | None,
    data: object,
    split: str,
    options: TeacherOptions,
    images: ImageRequest,
    accuracy: bool,
    student_normalisation: tuple[Given, Given],
) -> Inputs:
    """Read images and networks; what one of them records of the others (classes, size, normalisation) is respected.

    Raises
    ------
    UsageError
        If something cannot be read, or teacher, student and images do not fit each other.
    """
    quiet = images.quiet
    if is_source(data):
        request: ImageRequest | None
        teacher, student, image_set, request = _read(teacher, student, split, images, accuracy)
    else:
        request = None
        _refuse_image_options(images)
        image_set = as_image_set(data)
        teacher = teacher.built(image_set, None)
        student = None if student is None else student.built(image_set, None)
    here = request is not None
    ready: LoadedNetwork = teacher.loaded(image_set, options.mean, options.std, quiet, read_here=here)
    known = {"teacher": teacher.record} if teacher.record else {}
    learner: LoadedNetwork | None = None
    if student is not None:
        # the normalisation that was given is the teacher's: a student may know better
        learner = student.loaded(image_set, *student_normalisation, quiet, ready.normalisation, read_here=here)
        known |= {"student": student.record} if student.record else {}
    checkpoint = teacher.network if isinstance(teacher.network, Checkpoint) else None
    return Inputs(ready, learner, image_set, request, checkpoint, known)


def _read(
    teacher: Named, student: Named | None, split: str, images: ImageRequest, accuracy: bool
) -> tuple[Named, Named | None, ImageSet, ImageRequest]:
    request = images.of(teacher.network) if teacher.speaks_of_images else images  # type: ignore[arg-type]
    request = replace(request, evaluation=teacher.evaluation)
    ranks = Ranks.current()
    # on the first rank of each host first, which may have to fetch them and leaves what it decoded in the cache
    available = ranks.in_turn(partial(request.find, split))
    teacher = teacher.built(available, images.image_size)
    if accuracy and isinstance(teacher.network, Checkpoint):
        check_classes(teacher.network, available, OTHER_CLASSES.format(argument("accuracy", False)))
    if student is not None:
        student = student.built(available, images.image_size)
        _check_alike(teacher.network, student.network)
    image_set = ranks.in_turn(partial(request.load, split, available))
    for note in image_set.notes:
        say(f"data: {note}", images.quiet)
    request = taken_by(teacher.model, "teacher", request, image_set.image_size)
    return teacher, student, image_set.grey() if request.grey else image_set, request


def _check_alike(teacher: object, student: object) -> None:
    """Refuse a student that knows other classes than the teacher."""
    if not isinstance(teacher, Checkpoint) or not isinstance(student, Checkpoint):
        return
    if student.num_classes != teacher.num_classes:
        raise UsageError(f"the student has {student.num_classes} classes and the teacher {teacher.num_classes}")
    check_order("teacher", teacher.classes, "the student", student.classes)


def _refuse_image_options(images: ImageRequest) -> None:
    given = [name for name, value in asdict(images).items() if name != "quiet" and value not in (None, False)]
    if given:
        raise UsageError(f"{argument(given[0])} says how images are read, and these are in memory: leave it out")


def teacher_accuracy(
    inputs: Inputs, device: torch.device, dtype: torch.dtype, quiet: bool, most: int = ACCURACY_IMAGES
) -> dict[str, Any]:
    """Measure the teacher's clean accuracy on the evaluation split, or on what is scored where there is none."""
    ranks, held_out = Ranks.current(), inputs.data
    if inputs.request is not None and held_out.split != "test":
        try:
            held_out = ranks.in_turn(partial(inputs.request.load, "test"))
        except NoSplit as error:
            say(f"no evaluation split ({error}); the accuracy below is on the training split", quiet)
    if inputs.checkpoint is not None:
        check_classes(inputs.checkpoint, held_out, OTHER_CLASSES.format(argument("accuracy", False)))
    classes = held_out.num_classes if inputs.checkpoint is None else inputs.checkpoint.num_classes
    share = slice(ranks.rank, None, ranks.world)
    return report_accuracy(
        inputs.teacher, held_out, classes, device, dtype, quiet, most, share=share, gather=ranks.gather
    )
