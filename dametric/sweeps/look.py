"""A look at what a sweep is about to use, in the process that talks to the user: what is guessed is said once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import torch

from dametric.augment import ImageSpec, base_augmentation, parse
from dametric.base.progress import say
from dametric.data.glance import accuracy_text, share_text
from dametric.data.request import ImageRequest
from dametric.jobs.schedule import Task
from dametric.models import MODELS, build
from dametric.models.accuracy import ACCURACY_IMAGES, NO_ACCURACY, warn_of_teacher
from dametric.models.interface import interface
from dametric.models.loaded import GREY
from dametric.sweeps import tasks
from dametric.training import TrainingContext

_NAMED = 2  # runs of a list, at most


def look_ahead(left: Sequence[Task], quiet: bool, accuracy_images: int = ACCURACY_IMAGES) -> None:
    """Say what there is to know of teachers, students and augmentations, and refuse what is broken.

    Parameters
    ----------
    left : sequence of Task
        What the sweep is going to do. Teachers that it trains first are not looked at.
    quiet : bool
        Say nothing but warnings.
    accuracy_images : int
        The largest number of test images on which a teacher's accuracy is measured.
    """
    payloads: list[tasks.AnyTask] = [task.payload for task in left]
    _say_what_is_grey(payloads, quiet)
    students = [task.payload for task in left if task.kind == "student" and not task.needs]
    _look_at_teachers(students, quiet, accuracy_images)
    _look_at_networks(payloads, quiet)
    _look_at_augmentations(payloads, quiet)


def say_what_is_trained_again(left: Sequence[Task], again: Mapping[str, str], quiet: bool) -> None:
    """Say which runs that were finished before are not taken as they are, in one line for each reason.

    Parameters
    ----------
    left : sequence of Task
        What the sweep is going to do.
    again : mapping
        Reasons, by the key of a task.
    quiet : bool
        Say nothing.
    """
    for why in dict.fromkeys(again.values()):
        titles = [task.title for task in left if again.get(task.key) == why]
        if len(titles) == 1:
            say(f"{titles[0]}: finished before, {why}: it is trained again", quiet)
        elif titles:
            more = [f"and {len(titles) - _NAMED} more"] if len(titles) > _NAMED else []
            plural = why.replace("its", "their")
            named = "; ".join([*titles[:_NAMED], *more])
            say(f"{len(titles)} runs finished before, {plural}: they are trained again ({named})", quiet)


def _data(payload: tasks.AnyTask) -> ImageRequest:
    return payload.options.data if isinstance(payload, tasks.ScoreTask) else payload.common.images


def _say_what_is_grey(payloads: Iterable[tasks.AnyTask], quiet: bool) -> None:
    for data in dict.fromkeys(_data(payload) for payload in payloads):
        if data.grey:
            say(GREY.format("teacher"), quiet)


def _look_at_teachers(students: Sequence[tasks.StudentTask], quiet: bool, most: int) -> None:
    """Say how good the teachers are that were given, and refuse those that are broken."""
    seen = set()
    for payload in students:
        about = (payload.common.images, payload.teacher)
        if about in seen or not Path(payload.teacher).exists():
            continue
        seen.add(about)
        where = payload.context()
        assert where.teacher is not None
        where.teacher.introduce(f"teacher {payload.teacher}", quiet)
        if not where.labelled:
            say(f"teacher {payload.teacher}: {NO_ACCURACY.format(where.train.name)}", quiet)
            continue
        top1, count = where.accuracy(most)
        warn_of_teacher(where.teacher, top1, where.train.num_classes, count, "students")
        shown = f"{share_text(count, len(where.test))} test images of {where.test.image_size} pixels"
        say(f"teacher {payload.teacher}: {accuracy_text(top1, count)} on {shown}", quiet)


def _look_at_networks(payloads: Iterable[tasks.AnyTask], quiet: bool) -> None:
    """Say what is guessed of how networks that are to be trained answer; built-in ones leave nothing to guess."""
    seen = set()
    for payload in payloads:
        if isinstance(payload, tasks.ScoreTask):
            continue
        role, arch = (
            ("teacher", payload.arch) if isinstance(payload, tasks.TeacherTask) else ("student", payload.student)
        )
        data = payload.common.images
        if arch in MODELS or (data, role, arch) in seen:
            continue
        seen.add((data, role, arch))
        where = tasks.context(data, payload.common.device)
        train = where.train
        with torch.random.fork_rng(devices=[]):
            model = build(arch, train.num_classes, train.image_size)
        who, classes = f"{role} {arch}", train.num_classes
        where.tell(interface(model, train, train.mean, train.std, who=who, classes=classes, training=True), quiet)


def _look_at_augmentations(payloads: Iterable[tasks.AnyTask], quiet: bool) -> None:
    """Say what the user's functions are seen to do, and what augmentations leave of the images."""
    seen: set[tuple[object, ...]] = set()
    for payload in payloads:
        where = _setting(payload)
        spec = ImageSpec(where.train.image_size, where.teacher.mean if where.teacher else where.train.mean)
        for name in _augmentations(payload):
            if (_data(payload), name) not in seen:
                seen.add((_data(payload), name))
                where.looked_at(parse(name, spec), quiet)
        if isinstance(payload, tasks.ScoreTask):
            continue
        base = payload.common.base_aug
        if base is not None and (_data(payload), base, "base") not in seen:
            seen.add((_data(payload), base, "base"))
            where.looked_at(base_augmentation(base, spec, mixes=True), quiet)


def _augmentations(payload: tasks.AnyTask) -> Sequence[str]:
    """What students or scores are of."""
    if isinstance(payload, tasks.ScoreTask):
        return payload.options.augs
    return [payload.aug] if isinstance(payload, tasks.StudentTask) else []


def _setting(payload: tasks.AnyTask) -> TrainingContext:
    """Data, and the teacher of a student if it is there."""
    if isinstance(payload, tasks.StudentTask) and Path(payload.teacher).exists():
        return payload.context()
    device = payload.options.device if isinstance(payload, tasks.ScoreTask) else payload.common.device
    return tasks.context(_data(payload), device)
