"""What train and distill were asked for, resolved against data, device and architecture; it can be pickled."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from torch import nn

from dametric.augment import ImageSpec, base_augmentation, default_base
from dametric.base.arguments import argument
from dametric.base.option_groups import EvalEvery, Keep, TeacherOptions
from dametric.base.progress import say
from dametric.data import AvailableSplit, ImageSet
from dametric.data.given import as_image_set, is_source
from dametric.data.request import ImageRequest, Splits
from dametric.errors import UsageError
from dametric.models.checkpoint import Checkpoint
from dametric.models.computing import chosen_device, chosen_dtype
from dametric.models.loaded import check_classes, taken_by
from dametric.models.named import Named
from dametric.records.runs import Row
from dametric.training.context import Teacher, TrainingContext, TrainingRun
from dametric.training.loss import own_term
from dametric.training.recipe import Objective, Recipe, default_rate

Group = tuple[tuple[str, int], ...]  # augmentations and seeds of runs that are carried out together


@dataclass(frozen=True)
class TrainingRequest:
    """What `train` and `distill` have in common; what is None is chosen by data, device and architecture.

    Attributes
    ----------
    images : ImageRequest
        Where images come from, if they are not in memory.
    recipe : dict
        Arguments of :class:`~dametric.training.recipe.Recipe`.
    lr, base_aug, device, dtype, compile, eval_every, keep, deterministic
        See :mod:`dametric.base.option_groups`.
    tensorboard : bool
        Write event files into the run's folder.
    """

    images: ImageRequest
    recipe: dict[str, Any]
    lr: float | None = None
    base_aug: str | None = None
    device: Any = None
    dtype: Any = None
    compile: bool = False
    tensorboard: bool = False
    eval_every: EvalEvery = 1
    keep: Keep = "last"
    deterministic: bool = False

    @property
    def quiet(self) -> bool:
        """Whether to print nothing but errors."""
        return self.images.quiet

    @property
    def objective(self) -> Objective:
        """The loss to minimise."""
        result: Objective = self.recipe["objective"]
        return result

    @property
    def batch_size(self) -> int:
        """Images of a training step."""
        return int(self.recipe.get("batch_size", 64))

    def check(self) -> None:
        """Refuse options that are wrong whatever the images, before any is read."""
        Recipe(**self.recipe, lr=0.05 if self.lr is None else self.lr, dtype=self._dtype())
        if self.base_aug is not None:
            base_augmentation(self.base_aug, ImageSpec(), mixes=not self.objective.needs_teacher)
        if self.objective.term is not None:
            own_term(self.objective.term)
        if self.tensorboard:
            _summary_writer()

    def resolved(self, arch: str, images: ImageSet, **more: Any) -> Recipe:
        """The recipe for an architecture on a data set."""
        return Recipe(
            **self.recipe,
            **more,
            lr=default_rate(arch) if self.lr is None else self.lr,
            base_aug=self.base_aug or default_base(images.image_size),
            dtype=self._dtype(),
        )

    def _dtype(self) -> str:
        return str(chosen_dtype(self.dtype, chosen_device(self.device))).removeprefix("torch.")

    def read(self, request: ImageRequest, training: AvailableSplit | None = None) -> Splits:
        """Images for training and testing, read; the training split may be available already."""
        splits = request.splits(training)
        for note in splits.train.notes:
            say(f"data: {note}", self.quiet)
        if splits.held_out is not None and request.train_images is None:
            say(f"data: {len(splits.held_out)} images are held out, {len(splits.train)} are trained on", self.quiet)
        return splits

    def work(self, context: TrainingContext, network: str | nn.Module, recipe: Recipe, **where: Any) -> TrainingRun:
        """A run with these options."""
        how: dict[str, Any] = {"eval_every": self.eval_every, "keep": self.keep, "deterministic": self.deterministic}
        return context.work(network, recipe, **where, compile=self.compile, **how)

    def in_memory(self, data: Any, held_out: ImageSet | int | None) -> Splits:
        """Images for training and testing that a caller has.

        Raises
        ------
        UsageError
            If they are not two sets.
        """
        if not isinstance(data, (tuple, list)) or len(data) != 2:
            raise UsageError("data are a name, a path, or two sets: images for training and images for testing")
        if held_out is not None and not isinstance(held_out, ImageSet):
            raise UsageError(f"{argument('held_out')} of images in memory is an image set: see dametric.data.hold_out")
        train, test = (as_image_set(part, split) for part, split in zip(data, ("train", "test"), strict=True))
        return Splits(train, test, held_out)


@dataclass(frozen=True)
class DistillationRequest:
    """Everything `distill` was asked; an augmentation and a seed of it are a training run."""

    common: TrainingRequest
    teacher: Any
    student: Any
    augs: tuple[str, ...]
    seeds: tuple[int, ...]
    output: str
    checkpoint: TeacherOptions = field(default_factory=TeacherOptions)
    data: Any = None
    held_out: ImageSet | int | None = None
    jobs: int = 1
    lockstep: int = 1

    def context(self) -> TrainingContext:
        """Data and teacher, read once for all runs."""
        common, options = self.common, self.checkpoint
        named = Named.read(self.teacher, "teacher", options.arch, options.weights)
        if is_source(self.data):
            request = common.images.of(named.network) if named.speaks_of_images else common.images  # type: ignore[arg-type]
            request = replace(request, evaluation=named.evaluation)
            available = request.find("train")
            named = named.built(available, common.images.image_size)
            if isinstance(named.network, Checkpoint):
                check_classes(named.network, available)
            images, test, held_out = common.read(request, available)
            if taken_by(named.model, "teacher", request, images.image_size).grey:
                images, test, held_out = images.grey(), test.grey(), held_out and held_out.grey()
        else:
            images, test, held_out = common.in_memory(self.data, self.held_out)
            named = named.built(images, None)
        teacher = named.loaded(
            images, options.mean, options.std, common.quiet, kind=Teacher, read_here=is_source(self.data)
        )
        return TrainingContext(images, test, chosen_device(common.device), teacher, held_out)

    def work(self, context: TrainingContext, aug: str, seed: int) -> TrainingRun:
        """The run of an augmentation and a seed."""
        arch = self.student if isinstance(self.student, str) else ""
        recipe = self.common.resolved(arch, context.train, aug=aug, seed=seed)
        return self.common.work(context, self.student, recipe, root=self.output)

    def groups(self) -> list[Group]:
        """All runs in groups that are carried out together: of one seed, in the order of augmentations."""
        if self.lockstep == 1:
            return [((aug, seed),) for aug in self.augs for seed in self.seeds]
        size = self.lockstep
        parts = [self.augs[start : start + size] for start in range(0, len(self.augs), size)]
        return [tuple((aug, seed) for aug in part) for part in parts for seed in self.seeds]


def on_epoch(works: Sequence[TrainingRun], options: TrainingRequest) -> Callable[[TrainingRun, Row], None]:
    """Write TensorBoard's event files as training goes on, if that was asked for."""
    if not options.tensorboard:
        return lambda work, row: None
    make = _summary_writer()
    writers = {work.run.folder: make(work.run.folder) for work in works}

    def write(work: TrainingRun, row: Row) -> None:
        writer = writers[work.run.folder]
        for name, value in row.items():
            if name not in ("epoch", "step") and math.isfinite(value):
                writer.add_scalar(name.replace("_", "/", 1), value, int(row["epoch"]))
        writer.flush()

    return write


def _summary_writer() -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise UsageError(f"{argument('tensorboard')} needs the package tensorboard: pip install tensorboard") from None
    return SummaryWriter
