"""What a sweep does: train a teacher, distil a student, make a score file; what each reads, holds and leaves."""

from __future__ import annotations

import glob
import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path

import torch

from dametric.base.files import sha256
from dametric.base.locks import claimed, is_held
from dametric.commands.inputs import DataOptions, Splits, check_classes, chosen_device, read_checkpoint
from dametric.commands.score import ScoreOptions
from dametric.commands.training import TrainingOptions
from dametric.errors import UsageError
from dametric.models import MODELS, build
from dametric.models.interface import input_channels
from dametric.models.reading import read_weights
from dametric.records.runs import Run
from dametric.records.scores import Scores
from dametric.training import Setting, Teacher, Work

Stop = Callable[[], bool]


@dataclass(frozen=True)
class TeacherTask:
    """A network to be trained by labels; its run's folder is beside the checkpoint, with the ending ``.run``."""

    common: TrainingOptions
    arch: str
    seed: int
    output: str

    def work(self) -> Work:
        """The run."""
        where = setting(self.common.data, self.common.device)
        recipe = self.common.resolved(self.arch, where.train, seed=self.seed)
        target = Path(self.output)
        return self.common.work(where, self.arch, recipe, folder=target.with_suffix(".run"), target=target)

    def inputs(self) -> list[Path]:
        """Files that it reads, or goes on with."""
        return _kept(self.work().run)

    @property
    def held(self) -> bool:
        """Whether a process is at it."""
        return self.work().run.held

    def claimed(self) -> AbstractContextManager[str | None]:
        """Hold it for this process."""
        return self.work().run.claimed()

    def moved(self, old: Path, new: Path) -> TeacherTask:
        """The same below another folder."""
        return replace(self, output=_moved(self.output, old, new))


@dataclass(frozen=True)
class StudentTask:
    """A student to be distilled."""

    common: TrainingOptions
    teacher: str
    student: str
    aug: str
    seed: int
    root: str
    arch: str | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    weights: str | None = None

    def setting(self) -> Setting:
        """Data and teacher."""
        own = (self.arch, self.mean, self.std, self.weights)
        return setting(self.common.data, self.common.device, self.teacher, *own)

    def work(self) -> Work:
        """The run; its teacher's checkpoint is read."""
        where = self.setting()
        recipe = self.common.resolved(self.student, where.train, aug=self.aug, seed=self.seed)
        return self.common.work(where, self.student, recipe, root=self.root)

    def inputs(self) -> list[Path]:
        """Files that it reads, or goes on with."""
        return [Path(self.teacher), *_kept(self.work().run)]

    @property
    def held(self) -> bool:
        """Whether a process is at it."""
        return self.work().run.held

    def claimed(self) -> AbstractContextManager[str | None]:
        """Hold it for this process."""
        return self.work().run.claimed()

    def moved(self, old: Path, new: Path) -> StudentTask:
        """The same below another folder; a teacher from elsewhere goes there too."""
        return replace(self, root=_moved(self.root, old, new), teacher=_moved(self.teacher, old, new))


@dataclass(frozen=True)
class ScoreTask:
    """A score file to be made."""

    options: ScoreOptions
    student: StudentTask | None = None

    @property
    def output(self) -> Path:
        """The file."""
        assert self.options.output is not None
        return Path(self.options.output)

    def resolved(self) -> ScoreOptions:
        """With the student's checkpoint, which is named by what it was distilled from."""
        if self.student is None:
            return self.options
        run = self.student.work().run
        if run.record is not None and run.record.get("kept") == "none":
            raise UsageError(f"the weights of {run.folder} were not kept: remove the folder to train them again")
        return replace(self.options, student=str(run.checkpoint))

    def asked(self) -> str:
        """A hash of all that the file depends on besides the code."""
        options = self.resolved()
        parts = asdict(replace(options, output=None, data=replace(options.data, quiet=True, cache_dir=None)))
        for name in ("weights", "student_weights"):  # there were times without these options
            if parts[name] is None:
                del parts[name]
        for name in ("label_column", "image_column", "config"):  # scores were asked for before there were these
            if parts["data"][name] is None:
                del parts["data"][name]
        if not options.data.grey:
            del parts["data"]["grey"]
        del parts["accuracy_images"]  # no score depends on it
        parts["teacher"] = sha256(options.teacher)
        parts["student"] = options.student and sha256(options.student)
        parts["images"] = setting(options.data, options.device).train.fingerprint
        return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:16]

    @property
    def finished(self) -> bool:
        """Whether the file is there, and is what is asked for."""
        if not self.output.exists():
            return False
        return Scores.read(self.output).config.get("asked") == self.asked()

    def inputs(self) -> list[Path]:
        """Files that it reads."""
        return [Path(self.options.teacher), *([] if self.student is None else self.student.inputs())]

    @property
    def held(self) -> bool:
        """Whether a process is at it."""
        return is_held(_lock_of(self.output))

    def claimed(self) -> AbstractContextManager[str | None]:
        """Hold it for this process."""
        return claimed_file(self.output)

    def moved(self, old: Path, new: Path) -> ScoreTask:
        """The same below another folder."""
        assert self.options.output is not None
        output, teacher = (_moved(path, old, new) for path in (self.options.output, self.options.teacher))
        options = replace(self.options, output=output, teacher=teacher)
        return replace(self, options=options, student=self.student and self.student.moved(old, new))


def _kept(run: Run) -> list[Path]:
    return [*run.files, *run.again.files]


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
def images(data: DataOptions) -> Splits:
    """Images for training and testing, read once in a process."""
    return data.splits()


@lru_cache(maxsize=6)
def setting(
    data: DataOptions,
    device: str | None,
    teacher: str | None = None,
    arch: str | None = None,
    mean: tuple[float, ...] | None = None,
    std: tuple[float, ...] | None = None,
    weights: str | None = None,
) -> Setting:
    """Data and teacher, read once in a process.

    Raises
    ------
    UsageError
        If they cannot be read, or do not fit each other.
    """
    train_set, test, held_out = images(data)
    if teacher is None:
        return Setting(train_set, test, chosen_device(device), held_out=held_out)
    checkpoint = read_checkpoint(read_weights(teacher, weights, "teacher"), arch, train_set, data.image_size)
    check_classes(checkpoint, train_set)
    found = Teacher.of(checkpoint, train_set, mean, std)
    made = Setting(train_set, test, chosen_device(device), found, held_out)
    made.share(setting(data, device))
    return made


@lru_cache(maxsize=64)
def own_size(data: DataOptions) -> int:
    """The size that images have as they are read."""
    return images(data).train.image_size


@lru_cache(maxsize=64)
def trained_size(teacher: str, weights: str | None) -> int | None:
    """The size of the images that a teacher was trained on, by its file; None where there is none yet."""
    return read_weights(teacher, weights, "teacher").image_size if Path(teacher).exists() else None


@lru_cache(maxsize=64)
def takes_grey(data: DataOptions, arch: str | None, teacher: str | None, weights: str | None) -> bool:
    """Whether a teacher takes images of one channel: of an architecture to be trained, or in a file that is there."""
    if (teacher is None and arch in MODELS) or (teacher is not None and not Path(teacher).exists()):
        return False
    file = None if teacher is None else read_weights(teacher, weights, "teacher")
    first = None if file is None else next((weight for weight in file.weights.values() if weight.dim() > 1), None)
    if first is not None and first.dim() == 4 and first.shape[1] != 1:  # which tells without the images
        return False
    train_set = images(data).train
    if file is not None:
        network = read_checkpoint(file, arch, train_set, data.image_size).model
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
    setting.cache_clear()


def _moved(path: str, old: Path, new: Path) -> str:
    where = Path(path).absolute()
    return str(new / (where.relative_to(old) if where.is_relative_to(old) else Path("elsewhere") / where.name))
