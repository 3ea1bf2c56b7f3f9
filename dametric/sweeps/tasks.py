"""What a sweep does: train a teacher, distil a student, make a score file; what each reads, holds and leaves."""

from __future__ import annotations

import glob
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from dametric.augment import ImageSpec, base_augmentation, default_base, versions
from dametric.augment.base_view import versions_of_base
from dametric.base.files import sha256
from dametric.base.locks import claimed
from dametric.data.request import ImageRequest, Splits
from dametric.errors import UsageError
from dametric.jobs.executor import Stop
from dametric.models import MODELS, Checkpoint, build
from dametric.models.computing import chosen_device
from dametric.models.interface import input_channels
from dametric.models.loaded import built_network, check_classes
from dametric.models.named import Named
from dametric.models.reading import read_weights
from dametric.records.scores import Scores
from dametric.scoring import score
from dametric.training import Teacher, TrainingContext, TrainingRun
from dametric.training.request import TrainingRequest


@dataclass(frozen=True)
class TeacherTask:
    """A network to be trained by labels; its run's folder is beside the checkpoint, with the ending ``.run``."""

    common: TrainingRequest
    arch: str
    seed: int
    output: str

    def work(self) -> TrainingRun:
        """The run."""
        where = context(self.common.images, self.common.device)
        recipe = self.common.resolved(self.arch, where.train, seed=self.seed)
        target = Path(self.output)
        return self.common.work(where, self.arch, recipe, folder=target.with_suffix(".run"), target=target)


@dataclass(frozen=True)
class StudentTask:
    """A student to be distilled."""

    common: TrainingRequest
    teacher: str
    student: str
    aug: str
    seed: int
    root: str
    arch: str | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    weights: str | None = None

    def context(self) -> TrainingContext:
        """Data and teacher."""
        own = (self.arch, self.mean, self.std, self.weights)
        return context(self.common.images, self.common.device, self.teacher, *own)

    def work(self) -> TrainingRun:
        """The run; its teacher's checkpoint is read."""
        where = self.context()
        recipe = self.common.resolved(self.student, where.train, aug=self.aug, seed=self.seed)
        return self.common.work(where, self.student, recipe, root=self.root)


@dataclass(frozen=True)
class ScoreRequest:
    """Arguments of a call to score.

    Attributes
    ----------
    augs : list of str
    teacher : str
        Its file.
    data : ImageRequest
    arch, mean, std, weights
        As :class:`~dametric.base.option_groups.TeacherOptions`.
    student : str or None
        Its file.
    split, device, dtype, output : str or None
    options : dict
        The rest, by the names of :class:`~dametric.base.option_groups.ScoringOptions`.
    """

    augs: list[str]
    teacher: str
    data: ImageRequest
    arch: str | None = None
    student: str | None = None
    split: str = "train"
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    device: str | None = None
    dtype: str | None = None
    output: str = ""
    options: dict[str, Any] = field(default_factory=dict)
    weights: str | None = None

    def scores(self, stop: Stop) -> Scores:
        """What the call returns."""
        own = {"arch": self.arch, "mean": self.mean, "std": self.std, "weights": self.weights}
        where = {"split": self.split, "device": self.device, "dtype": self.dtype}
        quiet = self.data.quiet
        return score(
            self.teacher,
            self.data,
            self.augs,
            student=self.student,
            quiet=quiet,
            stop=stop,
            **own,
            **where,
            **self.options,
        )


@dataclass(frozen=True)
class ScoreTask:
    """A score file to be made."""

    options: ScoreRequest
    student: StudentTask | None = None

    @property
    def output(self) -> Path:
        """The file."""
        return Path(self.options.output)

    def resolved(self) -> ScoreRequest:
        """With the student's checkpoint, which is named by what it was distilled from."""
        if self.student is None:
            return self.options
        run = self.student.work().run
        record = run.written
        if record is not None and record.kept == "none":
            raise UsageError(f"the weights of {run.folder} were not kept: remove the folder to train them again")
        return replace(self.options, student=str(run.checkpoint))

    def asked(self) -> str:
        """A hash of all that the file depends on besides the code; its form is frozen, as that of a run's id is."""
        options = self.resolved()
        parts = asdict(replace(options, data=replace(options.data, quiet=True, cache_dir=None)))
        for name in ("memory_limit", "skip_broken"):  # what these decide is in the fingerprint of the images
            del parts["data"][name]
        parts |= {"passed_on": parts.pop("options"), "output": None, "picture": None, "json": False}
        parts |= {"student_arch": None, "accuracy": True}
        if parts["weights"] is None:  # there were times without this option
            del parts["weights"]
        for name in (
            "label_column",
            "image_column",
            "config",
            "eval_resize",
            "evaluation",
        ):  # scores were asked for before there were these
            if parts["data"][name] is None:
                del parts["data"][name]
        if not options.data.grey:
            del parts["data"]["grey"]
        parts["teacher"] = sha256(options.teacher)
        parts["student"] = options.student and sha256(options.student)
        images = context(options.data, options.device).train
        parts["images"] = images.fingerprint
        spec = options.options.get("base_aug") or default_base(images.image_size)
        base = base_augmentation(spec, ImageSpec(images.image_size, images.mean))
        raised = {name: number for spec in options.augs for name, number in versions(spec).items()}
        raised |= versions_of_base(base)
        parts |= {"versions": raised} if raised else {}
        return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:16]

    @property
    def finished(self) -> bool:
        """Whether the file is there, and is what is asked for."""
        if not self.output.exists():
            return False
        return Scores.read(self.output).settings.asked == self.asked()


AnyTask = TeacherTask | StudentTask | ScoreTask


@contextmanager
def claimed_file(target: Path) -> Iterator[str | None]:
    """Hold a file that is to be written, and take away what those left who were killed while they wrote it."""
    with claimed(_lock_of(target), str(target)) as before:
        for left in target.parent.glob(f".{glob.escape(target.name)}.*"):
            left.unlink(missing_ok=True)
        yield before


def _lock_of(target: Path) -> Path:
    return target.parent / ".locks" / target.name


@lru_cache(maxsize=2)
def images(data: ImageRequest) -> Splits:
    """Images for training and testing, read once in a process."""
    return data.splits()


@lru_cache(maxsize=6)
def context(
    data: ImageRequest,
    device: str | None,
    teacher: str | None = None,
    arch: str | None = None,
    mean: tuple[float, ...] | None = None,
    std: tuple[float, ...] | None = None,
    weights: str | None = None,
) -> TrainingContext:
    """Data and teacher, read once in a process.

    Raises
    ------
    UsageError
        If they cannot be read, or do not fit each other.
    """
    if teacher is None:
        train_set, test, held_out = images(data)
        return TrainingContext(train_set, test, chosen_device(device), held_out=held_out)
    named = Named.read(teacher, "teacher", arch, weights)
    data = replace(data, evaluation=named.evaluation)  # as `distill` shows images to this teacher
    train_set, test, held_out = images(data)
    checkpoint = named.built(train_set, data.image_size).network
    assert isinstance(checkpoint, Checkpoint)
    check_classes(checkpoint, train_set)
    loaded = Teacher.of(checkpoint, train_set, mean, std)
    with_teacher = TrainingContext(train_set, test, chosen_device(device), loaded, held_out)
    with_teacher.share(context(data, device))
    return with_teacher


@lru_cache(maxsize=64)
def own_size(data: ImageRequest) -> int:
    """The size that images have as they are read."""
    return images(data).train.image_size


@lru_cache(maxsize=64)
def trained_size(teacher: str, weights: str | None) -> int | None:
    """The size of the images that a teacher was trained on, by its file; None where there is none yet."""
    return read_weights(teacher, weights, "teacher").image_size if Path(teacher).exists() else None


@lru_cache(maxsize=64)
def takes_grey(data: ImageRequest, arch: str | None, teacher: str | None, weights: str | None) -> bool:
    """Whether a teacher takes images of one channel: of an architecture to be trained, or in a file that is there."""
    if (teacher is None and arch in MODELS) or (teacher is not None and not Path(teacher).exists()):
        return False
    file = None if teacher is None else read_weights(teacher, weights, "teacher")
    first = None if file is None else next((weight for weight in file.weights.values() if weight.dim() > 1), None)
    if first is not None and first.dim() == 4 and first.shape[1] != 1:  # which tells without the images
        return False
    train_set = images(data).train
    if file is not None:
        network = built_network(file, arch, train_set, data.image_size).model
    else:
        with torch.device("meta"):
            network = build(str(arch), max(1, train_set.num_classes), train_set.image_size)
    return input_channels(network, train_set.image_size) == 1


def forget() -> None:
    """Read everything anew: files may have changed."""
    takes_grey.cache_clear()
    own_size.cache_clear()
    trained_size.cache_clear()
    images.cache_clear()
    context.cache_clear()
