"""Augmentations added to a score file that holds what was read with a student: with the same student again."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from dametric.base.arguments import argument
from dametric.base.progress import say
from dametric.choosing.warm_scores import scored_by_student
from dametric.errors import UsageError
from dametric.records.scores import Scores
from dametric.scoring.adding import ANEW, check_same
from dametric.scoring.api import score
from dametric.scoring.paired import ordered


def score_and_add(
    file: Scores, path: str, teacher: str, augs: Sequence[str], *, device: Any, quiet: bool, **given: Any
) -> Scores:
    """Score augmentations as those of a file were, the scores that are read with a student among them.

    What a student is read with is read again for all augmentations, on the same batches, so that differences are
    paired. Where it is what orders the file, no other influences were kept, and all are scored again.

    Parameters
    ----------
    file : Scores
        With ``settings.warm_student``.
    path : str
        Its name, for messages.
    teacher, augs, device, quiet
        As :func:`dametric.score` takes them.
    **given
        Other arguments of it that were given; ``student`` is the student's file, by default where it was.

    Raises
    ------
    UsageError
        If the student is not there, or is another one; as :func:`dametric.score` does where a file is added to.
    """
    known, request = file.settings.warm_student, file.settings.request
    assert known is not None
    student = given.pop("student", None) or (request or {}).get("student")
    if request is None or not student or not os.path.exists(student):
        raise UsageError(
            f"{path} holds what was read with a student whose weights are {(known.sha256 or '')[:12]}, and there is no "
            f"{student or 'file of it'}: give its checkpoint with {argument('student', 'FILE')}, {ANEW}"
        )
    if given.pop("metrics", None):
        raise UsageError(f"{path} has metrics of its own: leave {argument('metrics')} out, {ANEW}")
    own = [name for name in file.metrics if any(row.metrics[name].estimator == "student" for row in file.rows)]
    before = _usual(file, own)
    places = {name: given[name] for name in ("data", "root", "download", "cache_dir") if given.get(name) is not None}
    settings = {**request, "dtype": file.settings.dtype, **places, "student": student}
    names = [row.aug for row in file.rows] + [aug for aug in augs if aug not in {row.aug for row in file.rows}]
    length = (known.schedule or "").removesuffix(" epochs")
    read = {name: value for name, value in settings.items() if name not in ("metrics", "data")}
    asked = None
    if own:
        read |= {"student_epochs": int(length) if length.isdecimal() else None, "metrics": own, "known": known}
        asked = scored_by_student(teacher, settings.get("data"), names, device=device, quiet=quiet, **read)
    where: dict[str, Any] = {"device": str(device), "quiet": quiet, "accuracy": False}
    if all(row.influence is not None for row in before.rows):
        scores = score(teacher, augs=augs, add=before, **where, **{**given, "student": student})
    else:
        say(f"{path} is ordered by {file.metrics[0]}: all {len(names)} augmentations are scored again", quiet)
        scores = score(teacher, augs=names, **where, **settings)
        check_same(scores.settings, before)
    scores = scores if asked is None else replace(asked, order=tuple(file.metrics)).added(scores)
    origin: dict[str, Any] = {"teacher": file.settings.teacher, "student": file.settings.student, "warm_student": known}
    kept = replace(scores.settings, request=request, **origin)
    return Scores.of(scores.rows, kept, scores.versions)


def _usual(file: Scores, own: Sequence[str]) -> Scores:
    """The file without what was read with the student, in the order of what is left."""
    metrics = tuple(name for name in file.metrics if name not in own)
    rows = [replace(row, metrics={name: row.metrics[name] for name in metrics}) for row in file.rows]
    config = replace(file.settings, metrics=metrics, warm_student=None)
    return Scores.of(ordered(rows, metrics[0]) if rows[0].influence else rows, config, file.versions)
