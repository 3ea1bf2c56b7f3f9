"""The warm student: a short distillation on a mixture of all candidates, where the scores of choose.md are read."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from dametric.augment import Augmentation
from dametric.augment.branches import Mixture
from dametric.base.arguments import argument
from dametric.data import ImageSet
from dametric.errors import UsageError
from dametric.models import LoadedNetwork, load_state
from dametric.training.context import TrainingContext, weights_digest
from dametric.training.recipe import Recipe
from dametric.training.watched import watched

SHARE, LEAST = 20, 300
"""The warm student's schedule: one part in so many of the schedule meant, and so many steps at least."""
FOLDER = "warm"
"""Where it lies below the ledger's folder."""


@dataclass(frozen=True, eq=False)
class WarmStudent:
    """The student theta0 that scores are read at.

    Attributes
    ----------
    model : nn.Module
        In evaluation mode, on the CPU; takes normalised images, returns logits.
    arch : str
    mean, std : tuple of float
        Its normalisation, in units of 0..1.
    identity : str
        Hash of its weights: scores of another theta0 are not comparable.
    steps : int
        What it cost, in student-steps; 0 where it was given.
    candidates : tuple of str
        What it was distilled on, by canonical specification; empty where it was given.
    file : Path or None
        Its checkpoint in the ledger.
    """

    model: nn.Module
    arch: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    identity: str
    steps: int = 0
    candidates: tuple[str, ...] = ()
    file: Path | None = None

    @classmethod
    def given(cls, student: LoadedNetwork) -> WarmStudent:
        """A student that the user has."""
        model = student.model.eval()
        return cls(model, student.arch, student.mean, student.std, weights_digest(model))


def schedule_share(recipe: Recipe, images: int) -> int:
    """Steps of 5 % of the schedule meant, rounded up, on so many training images."""
    return math.ceil(recipe.length(max(1, images // recipe.batch_size)) / SHARE)


def warm_steps(recipe: Recipe, images: int) -> int:
    """Steps of the warm student: 5 % of the schedule meant, 300 at least."""
    return max(LEAST, schedule_share(recipe, images))


def warm_recipe(recipe: Recipe, images: int, mixture: Augmentation) -> Recipe:
    """The warm student's recipe: a whole one-cycle of 5 % of the schedule meant, 300 steps at least, from seed 0.

    Parameters
    ----------
    recipe : Recipe
        What the student will really be trained by.
    images : int
        Number of training images.
    mixture : Augmentation
    """
    steps = warm_steps(recipe, images)
    return replace(recipe, epochs=None, steps=steps, schedule="onecycle", seed=0, aug=mixture.canonical)


def held_out_images(context: TrainingContext) -> ImageSet:
    """The held-out images of a context: its own, else those it tests on, which then must not be a test split.

    Raises
    ------
    UsageError
        If there are none but a test split, which is never looked at before the end.
    """
    images = context.held_out or context.test
    if images.split == "test":
        raise UsageError(f"scores of students are read on held-out training images: give {argument('held_out')}")
    return images


def apart(context: TrainingContext, student: WarmStudent | None = None) -> TrainingContext:
    """A context for short students: evaluated on the held-out images alone, normalised as the student is."""
    train = context.train
    if student is not None:
        train = replace(train, mean=student.mean, std=student.std)
    result = TrainingContext(train, held_out_images(context), context.device, context.teacher)
    result.share(context)
    return result


def warm_student(
    student: str | nn.Module,
    context: TrainingContext,
    recipe: Recipe,
    candidates: Sequence[Augmentation],
    *,
    root: str | Path = "runs",
    quiet: bool = False,
    stop: Callable[[], bool] | None = None,
) -> WarmStudent:
    """Distil the user's student shortly, on a uniform mixture of all candidates; once for a ledger.

    Every batch draws one candidate. Interrupted or killed, the same call goes on; finished, it is read from the ledger.

    Parameters
    ----------
    student : str or nn.Module
        An architecture, or a network to start from.
    context : TrainingContext
        Teacher, training images, and held-out images; see :func:`held_out_images`.
    recipe : Recipe
        The schedule meant, and everything else that the student will really be trained by.
    candidates : sequence of Augmentation
        Their order has no effect.
    root : path-like
        The ledger's folder; the run lies below its folder ``warm``.
    quiet : bool
        No progress on stderr.
    stop : callable, optional
        Asked after every step whether to save and stop there.

    Returns
    -------
    WarmStudent

    Raises
    ------
    UsageError, RunFailed, Interrupted
        As :func:`dametric.distill` does.

    Examples
    --------
    >>> import tempfile
    >>> from dametric.augment import parse
    >>> from dametric.data import hold_out
    >>> from dametric.data.request import ImageRequest
    >>> from dametric.models import build
    >>> from dametric.training.context import Teacher
    >>> digits = ImageRequest(source="digits", image_size=8, train_images=60, quiet=True).load("train")
    >>> training, held_out = hold_out(digits, 20)
    >>> teacher = Teacher.of(build("resnet8", 10, 8), training)
    >>> context = TrainingContext(training, held_out, torch.device("cpu"), teacher)
    >>> recipe = Recipe(steps=20, batch_size=4, dtype="float32")
    >>> augs = [parse("cutmix"), parse("mixup")]
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     student = warm_student("resnet8", context, recipe, augs, root=folder, quiet=True)
    >>> student.steps, student.candidates
    (300, ('cutmix', 'mixup'))
    """
    if context.teacher is None or not candidates:
        raise UsageError("a warm student needs a teacher, and one candidate at least")
    here = apart(context)
    mixture = Mixture.of(here.looked_at(each, quiet) for each in candidates)
    short = warm_recipe(recipe, len(here.train), mixture)
    work = here.work(student, short, Path(root) / FOLDER, aug=mixture, eval_every="last")
    watched(work, quiet=quiet, stop=stop)
    model = work.fresh()
    load_state(work.run.checkpoint, model)
    return WarmStudent(
        model.to(torch.device("cpu")).eval(),
        work.arch,
        here.train.mean,
        here.train.std,
        weights_digest(model),
        short.steps or 0,
        tuple(each.canonical for each in mixture.members),
        work.run.checkpoint,
    )
