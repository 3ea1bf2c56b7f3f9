"""What a sweep does: train a teacher, distil a student, make a score file; each in any process, each resumable."""

from __future__ import annotations

import glob
import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from dametric.claims import BusyError, claimed
from dametric.commands.inputs import DataOptions, check_classes, chosen_device, network_errors, read_checkpoint
from dametric.commands.score import ScoreOptions
from dametric.commands.score import _score as scored
from dametric.commands.training import TrainingOptions, outcome, write_teacher
from dametric.data import ImageSet
from dametric.distill import Setting, Teacher, Work
from dametric.distill.run import OnEpoch, carry_out
from dametric.errors import Interrupted, RunFailed
from dametric.files import sha256
from dametric.ledger import Run
from dametric.progress import Advance
from dametric.results import Scores
from dametric.sweep.schedule import Outcome

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
        return where.work(self.arch, recipe, folder=Path(self.output).with_suffix(".run"), compile=self.common.compile)

    @property
    def finished(self) -> bool:
        """Whether there is nothing left to do."""
        record = self.work().run.record
        return record is not None and record["status"] == "finished" and Path(self.output).exists()

    def inputs(self) -> list[Path]:
        """Files that it reads, or goes on with."""
        return _kept(self.work().run)

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

    def work(self) -> Work:
        """The run; its teacher's checkpoint is read."""
        where = setting(self.common.data, self.common.device, self.teacher, self.arch, self.mean, self.std)
        recipe = self.common.resolved(self.student, where.train, aug=self.aug, seed=self.seed)
        return where.work(self.student, recipe, self.root, compile=self.common.compile)

    def inputs(self) -> list[Path]:
        """Files that it reads, or goes on with."""
        return [Path(self.teacher), *_kept(self.work().run)]

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
        return replace(self.options, student=str(self.student.work().run.checkpoint))

    def asked(self) -> str:
        """A hash of all that the file depends on besides the code."""
        options = self.resolved()
        parts = asdict(replace(options, output=None, data=replace(options.data, quiet=True, cache_dir=None)))
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

    def moved(self, old: Path, new: Path) -> ScoreTask:
        """The same below another folder."""
        assert self.options.output is not None
        output, teacher = (_moved(path, old, new) for path in (self.options.output, self.options.teacher))
        options = replace(self.options, output=output, teacher=teacher)
        return replace(self, options=options, student=self.student and self.student.moved(old, new))


def _kept(run: Run) -> list[Path]:
    return [run.folder / name for name in ("record.json", "history.csv", "last.pt")]


AnyTask = TeacherTask | StudentTask | ScoreTask


def perform(task: AnyTask, advance: Advance, stop: Stop, on_epoch: OnEpoch = lambda row: None) -> Outcome:
    """Do a task, or go on with it, and say in a line what came of it.

    Raises
    ------
    UsageError
        If it cannot be done, whoever does it: a full disk, for example.
    """
    said: list[str] = []

    def taken_over(holder: str) -> None:
        said.append(f"taken over from {holder}, which died; ")
        advance(0, note=said[-1])

    try:
        with network_errors():
            if isinstance(task, ScoreTask):
                text = _make_scores(task, stop, taken_over)
            else:
                work = task.work()
                record = carry_out(work, stop=stop, advance=advance, on_epoch=on_epoch, on_taken_over=taken_over)
                if isinstance(task, TeacherTask):
                    _write_once(work, record, Path(task.output))
                text = outcome(record)
    except BusyError:
        return Outcome("busy")
    except RunFailed as error:
        return Outcome("failed", f"{''.join(said)}{error}")
    except Interrupted:
        return Outcome("saved")
    return Outcome("finished", f"{''.join(said)}{text}")


def _write_once(work: Work, record: dict[str, Any], target: Path) -> None:
    """Write a teacher's checkpoint, unless it is there."""
    if not target.exists():
        with _claimed(target):
            write_teacher(work, record, target)


@contextmanager
def _claimed(target: Path) -> Iterator[str | None]:
    """Hold a file that is to be written, and take away what those left who were killed while they wrote it."""
    with claimed(target.parent / ".locks" / target.name, str(target)) as before:
        for left in target.parent.glob(f".{glob.escape(target.name)}.*"):
            left.unlink(missing_ok=True)
        yield before


def _make_scores(task: ScoreTask, stop: Stop, taken_over: Callable[[str], None]) -> str:
    with _claimed(task.output) as before:
        if before is not None:
            taken_over(before)
        if task.finished:
            return "made before"
        options = task.resolved()
        result = scored(replace(options, passed_on={**(options.passed_on or {}), "stop": stop}))
        result.config["asked"] = task.asked()
        result.write(task.output)
    best = result.scores[0]
    return f"{len(result.scores)} augmentations, best {best['aug']} ({result.config['seconds']:.0f} s)"


@lru_cache(maxsize=2)
def images(data: DataOptions) -> tuple[ImageSet, ImageSet]:
    """Training and test images, read once in a process."""
    return data.load("train"), data.load("test")


@lru_cache(maxsize=4)
def setting(
    data: DataOptions,
    device: str | None,
    teacher: str | None = None,
    arch: str | None = None,
    mean: tuple[float, ...] | None = None,
    std: tuple[float, ...] | None = None,
) -> Setting:
    """Data and teacher, read once in a process.

    Raises
    ------
    UsageError
        If they cannot be read, or do not fit each other.
    """
    train_set, test = images(data)
    if teacher is None:
        return Setting(train_set, test, chosen_device(device))
    checkpoint = read_checkpoint(teacher, arch, train_set.image_size, "teacher", quiet=True)
    check_classes(checkpoint, train_set)
    return Setting(train_set, test, chosen_device(device), Teacher.of(checkpoint, train_set, mean, std))


def forget() -> None:
    """Read everything anew: files may have changed."""
    images.cache_clear()
    setting.cache_clear()


def _moved(path: str, old: Path, new: Path) -> str:
    where = Path(path).absolute()
    return str(new / (where.relative_to(old) if where.is_relative_to(old) else Path("elsewhere") / where.name))
