"""`score`: from a teacher and images to a table of augmentations."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import torch

from dametric.base.arguments import argument
from dametric.base.option_groups import AccuracyOptions, ImageOptions, PrecisionOptions, ScoringOptions, TeacherOptions
from dametric.base.options import takes
from dametric.base.progress import say
from dametric.data.given import is_source, source_of
from dametric.data.request import ImageRequest
from dametric.models.accuracy import NO_ACCURACY
from dametric.models.computing import chosen_device, chosen_dtype
from dametric.models.failures import network_errors
from dametric.models.named import AnyNetwork, Named
from dametric.models.normalisation import Given
from dametric.records.scores import Scores
from dametric.scoring.adding import with_request
from dametric.scoring.inputs import gathered, teacher_accuracy
from dametric.scoring.measure import measure
from dametric.scoring.ranks import own_device
from dametric.scoring.request import AugSpec, check_request
from dametric.scoring.stopping import Stop


@with_request
@takes(
    options=ScoringOptions,
    precision=PrecisionOptions,
    checkpoint=TeacherOptions,
    looked_at=AccuracyOptions,
    images=ImageOptions,
)
def score(
    teacher: AnyNetwork,
    data: Any = None,
    augs: AugSpec | Sequence[AugSpec] = "paper",
    *,
    student: AnyNetwork | None = None,
    student_arch: str | None = None,
    student_weights: str | None = None,
    student_mean: Given = None,
    student_std: Given = None,
    split: str = "train",
    accuracy: bool | None = None,
    device: str | torch.device | None = None,
    quiet: bool = False,
    provenance: dict[str, Any] | None = None,
    stop: Stop | None = None,
    add: str | os.PathLike[str] | Scores | None = None,
    options: ScoringOptions,
    precision: PrecisionOptions,
    checkpoint: TeacherOptions,
    looked_at: AccuracyOptions,
    images: ImageOptions,
) -> Scores:
    """Score augmentations for distilling from a teacher.

    Parameters
    ----------
    teacher : path-like, nn.Module, Checkpoint or LoadedNetwork
        A checkpoint's file, or a network that takes normalised images (batch, channels, height, width) and returns
        logits (batch, classes). A network is copied, not changed. A checkpoint's own normalisation is used where it
        says one, and its hash recorded; images of another size than it was trained on are refused. A loaded network
        is taken as it is.
    data : str, path-like, ImageRequest, ImageSet, Tensor, tuple or data set, optional
        Images to score on: a name or a path as :func:`dametric.load_data` takes them, an image set, uint8 images
        (N, C, H, W) with or without labels (N,), a data set of torchvision. By default what the checkpoint says it
        was trained on.
    augs : specification or sequence of them
        Names such as ``"cutmix:alpha=0.5"``, callables on uint8 batches, or ``"paper"`` for the paper's nine. A
        callable is given images one by one, batches if it mixes images or has an attribute ``mixes`` that is True; it
        returns pixels, values from 0 to 1, or images normalised by known constants. See
        :mod:`dametric.augment.examine`.
    student : path-like, nn.Module, Checkpoint or LoadedNetwork, optional
        For the ``ce_*`` metrics and for picks by the student.
    student_arch, student_weights : str, optional
        Its architecture and which weights of its file, as ``arch`` and ``weights`` are the teacher's.
    student_mean, student_std : sequence of float or str, optional
        Normalisation that the student was trained with; its checkpoint's by default, else the teacher's.
    split : {"train", "test"}
        Which images are scored, where they are read here.
    accuracy : bool, optional
        Measure the teacher's clean accuracy first; by default where the images are read here.
    device : str or torch.device, optional
        CUDA where there is one.
    quiet : bool
        No progress on stderr.
    provenance : dict, optional
        More for the table's ``config``.
    stop : callable, optional
        Asked after every batch whether to stop.
    add : path-like or Scores, optional
        Scores of the same teacher on the same images: only augmentations that are new are scored, on the same batches
        with the same settings, and the result has all of them.
    **options

    Returns
    -------
    Scores

    Raises
    ------
    UsageError
        If something cannot be read, or does not fit.
    Interrupted
        If ``stop`` said so.

    Examples
    --------
    >>> import torch
    >>> images = torch.randint(0, 256, (256, 3, 8, 8), dtype=torch.uint8)
    >>> teacher = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 10))
    >>> scores = score(teacher, images, ["identity", "cutmix"], batches=20, batch_size=8, base_aug="none", quiet=True)
    >>> sorted(row["aug"] for row in scores.scores)
    ['cutmix', 'identity']
    """
    assert add is None or isinstance(add, Scores)  # read by `with_request`
    check_request(augs, student is not None, options, mixes=add is not None)
    place = own_device(chosen_device(device))
    dtype = chosen_dtype(precision.dtype, place)
    request = ImageRequest(**vars(images), source=source_of(data), quiet=quiet)
    if isinstance(data, ImageRequest):
        data, request = None, data
    measured = accuracy if accuracy is not None else is_source(data)
    with network_errors():
        teacher_source = Named.read(teacher, "teacher", checkpoint.arch, checkpoint.weights)
        student_source = None if student is None else Named.read(student, "student", student_arch, student_weights)
        inputs = gathered(
            teacher_source, student_source, data, split, checkpoint, request, measured, (student_mean, student_std)
        )
        if student is None and "paper" in (augs if isinstance(augs, (str, list, tuple)) else ()):
            say(
                f"cutmixpick:by=student_entropy is left out: it asks a student, give one with {argument('student')}",
                quiet,
            )
        if measured and not inputs.data.num_classes:
            say(f"teacher: {NO_ACCURACY.format(inputs.data.name)}", quiet)
        elif measured:
            known = teacher_accuracy(inputs, place, dtype, quiet, looked_at.most)
            inputs.known.setdefault("teacher", {})["clean"] = known
        return measure(
            inputs.teacher,
            inputs.student,
            inputs.data,
            augs,
            options,
            device=place,
            dtype=dtype,
            compile=precision.compile,
            quiet=quiet,
            known={**inputs.known, **(provenance or {})},
            stop=stop,
            add=add,
        )
