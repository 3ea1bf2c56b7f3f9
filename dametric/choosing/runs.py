"""Short runs of a choice: which there are, what they came to, and the jobs that make them."""

from __future__ import annotations

import json
import math
import os
import re
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor

from dametric.augment import ImageSpec, parse, repeated
from dametric.augment.base import Augmented
from dametric.augment.external import External
from dametric.augment.keys import Keys
from dametric.base.arguments import argument
from dametric.base.files import read_text, write_atomic
from dametric.base.progress import Advance
from dametric.base.user_code import line_of, load_object, one_line, source_digest
from dametric.data.build import AvailableSplit
from dametric.data.request import ImageRequest, Splits
from dametric.errors import UsageError
from dametric.jobs.executor import Job, Stop
from dametric.models.failures import network_errors
from dametric.records.record import FINISHED, RunRecord
from dametric.records.runs import Run
from dametric.training.context import TrainingContext, TrainingRun
from dametric.training.request import DistillationRequest
from dametric.training.run import carry_out_together

FAILED = "failed"
_MOST = 1e6  # nats: no posterior takes more
_DIVERGED = 4.0  # times the loss of a network that knows nothing: one such run would outweigh all others


@dataclass(frozen=True)
class Key:
    """What tells the runs of a choice apart."""

    aug: str
    steps: int
    seed: int


@dataclass(frozen=True)
class Outcome:
    """How a run stands.

    Attributes
    ----------
    key : Key
    loss, top1 : float
        Held-out; NaN where it is not finished.
    seconds : float
    failed : str or None
        Why it cannot be finished.
    """

    key: Key
    loss: float = math.nan
    top1: float = math.nan
    seconds: float = 0.0
    failed: str | None = None

    def __post_init__(self) -> None:
        if abs(self.loss) >= _MOST and self.failed is None:  # or it would be begun for ever, or weighed
            object.__setattr__(self, "failed", f"its loss is {self.loss:g}")

    @property
    def finished(self) -> bool:
        """Whether its loss is known."""
        return math.isfinite(self.loss) and self.failed is None


class HeldOutRequest(ImageRequest):
    """Images for training, and in the place of the test images those that are held out: the test split is not read."""

    def splits(self, train: AvailableSplit | None = None) -> Splits:
        """The two parts of the training split."""
        training, held_out = self.training(train or self.find("train"))
        assert held_out is not None
        return Splits(training, held_out)


class Runs(Protocol):
    """Makes runs, and knows those that were begun."""

    def job(self, keys: Sequence[Key]) -> Job:
        """What carries out runs of one seed, or goes on with them; what came of them is in :meth:`outcomes`."""

    def outcomes(self) -> list[Outcome]:
        """All runs that were begun, finished or not; those of candidates whose code has changed since are none."""


def user_code_of(aug: str) -> dict[str, str]:
    """Hashes of the user's own functions in an augmentation, by their names, as they are now."""
    return {
        operation.name: source_digest(operation.function)
        for member in parse(aug, ImageSpec()).members
        for operation in member.operations
        if isinstance(operation, External)
    }


@dataclass(frozen=True)
class Candidates:
    """The candidates of a choice, under which the runs of a folder are counted however they were spelt.

    Attributes
    ----------
    names : tuple of str
    images : ImageSpec
        Of the images that are trained on: defaults may depend on it.

    Examples
    --------
    >>> candidates = Candidates(("identity", "cutmix:alpha=1"))
    >>> candidates.name("cutmix"), candidates.name("rotate:degrees=0"), candidates.name("mixup")
    ('cutmix:alpha=1', 'identity', 'mixup')
    """

    names: tuple[str, ...] = ()
    images: ImageSpec = field(default_factory=ImageSpec)

    def name(self, aug: str) -> str:
        """The candidate that an augmentation is, or its own name."""
        return aug if aug in self.names else _same_candidate(aug, self)


@lru_cache(maxsize=1024)
def _same_candidate(aug: str, candidates: Candidates) -> str:
    try:
        every = [replace(parse(name, candidates.images), name=name) for name in (*candidates.names, aug)]
    except UsageError:  # of a candidate of before, whose file is gone
        return aug
    return repeated(every).get(aug, aug)


class _Current:
    """Tells runs of a candidate's code as it is now from those of before."""

    def __init__(self) -> None:
        self.code: dict[str, dict[str, str] | None] = {}
        self.outdated: dict[str, None] = {}

    def __call__(self, aug: str, recorded: Mapping[str, str] | None) -> bool:
        """What is not recorded, and what a name said that is not the candidate's, is no difference."""
        if aug not in self.code:
            try:
                self.code[aug] = user_code_of(aug)
            except UsageError:  # of a candidate of before, whose file is gone
                self.code[aug] = None
        known, now = recorded or {}, self.code[aug] or {}
        current = all(known.get(name, digest) == digest for name, digest in now.items())
        if not current:
            self.outdated[aug] = None
        return current


@dataclass(frozen=True)
class Students:
    """Runs by dametric's own trainer, in a ledger.

    Attributes
    ----------
    request : DistillationRequest
        With a recipe of a whole schedule; its output is the ledger's folder.
    ready : TrainingContext or None
        Data and teacher, where they are in memory of this process.
    candidates : Candidates
    teacher : dict or None
        Identity of the teacher: runs of another one are none of these, and are not made.
    """

    request: DistillationRequest
    ready: TrainingContext | None = None
    candidates: Candidates = field(default_factory=Candidates)
    teacher: Mapping[str, Any] | None = None

    def job(self, keys: Sequence[Key]) -> Job:
        """See :class:`Runs`; several go in lockstep."""
        return StudentJob(self, tuple(keys))

    def run(self, key: Key) -> TrainingRun:
        """A run as the trainer has it."""
        context = self.ready or context_of(self.request)
        if self.teacher is not None and (context.teacher is None or context.teacher.identity != self.teacher):
            raise UsageError(
                f"the teacher {self.request.teacher} is no longer the one that this choice began with: put that one "
                f"back, or choose another {argument('output')}"
            )
        common = self.request.common
        recipe = {**common.recipe, "epochs": None, "steps": key.steps}
        request = replace(self.request, common=replace(common, recipe=recipe))
        return request.work(context, key.aug, key.seed)

    def outcomes(self) -> list[Outcome]:
        """See :class:`Runs`."""
        return self._read()[0]

    def outdated(self) -> list[str]:
        """Candidates of which there are runs of code that has changed since."""
        return self._read()[1]

    def _read(self) -> tuple[list[Outcome], list[str]]:
        current = _Current()
        runs = [Run(path.parent) for path in sorted(Path(self.request.output).glob("*/record.json"))]
        records = [record for run in runs if (record := run.written) is not None]
        kept = [
            record
            for record in records
            if self.teacher is None or record.config.extra.get("teacher", self.teacher) == self.teacher
            if current(record.config.aug, record.config.extra.get("user_code"))
        ]
        return [_outcome(record, self.candidates) for record in kept], list(current.outdated)


def _outcome(record: RunRecord, candidates: Candidates) -> Outcome:
    recipe = record.config.recipe
    key = Key(candidates.name(record.config.aug), recipe.steps or 0, recipe.seed)
    if record.status != FINISHED:
        return Outcome(key, failed=(record.error or "it failed") if record.status == FAILED else None)
    result, classes = record.result, record.about.data.classes or 2
    if not result.test_loss < _DIVERGED * math.log(classes):
        return Outcome(key, failed=f"its loss is {result.test_loss:.3g}")
    return Outcome(key, result.test_loss, result.test_top1, record.seconds)


@dataclass(frozen=True)
class StudentJob:
    """Runs of dametric's own trainer in lockstep: the same numbers as each alone."""

    students: Students
    keys: tuple[Key, ...]

    def __call__(self, advance: Advance, stop: Stop) -> None:
        """Carry them out, or go on with them; one that is held by another process is left to it."""
        with network_errors():
            carry_out_together([self.students.run(key) for key in self.keys], advance=advance, stop=stop)


_contexts: list[tuple[DistillationRequest, object, TrainingContext]] = []  # of a worker, for all runs of a choice


def context_of(request: DistillationRequest) -> TrainingContext:
    """Data and teacher, read once in a process that carries out runs for another one."""
    stamp = None
    if isinstance(request.teacher, (str, os.PathLike)) and (file := Path(request.teacher)).exists():
        stamp = (file.stat().st_mtime_ns, file.stat().st_size)  # the file may be another one by now
    if not _contexts or _contexts[0][:2] != (request, stamp):
        _contexts[:] = [(request, stamp, request.context())]
    return _contexts[0][2]


@dataclass(frozen=True)
class View:
    """An augmentation for a trainer of the user's own.

    Attributes
    ----------
    name : str
        Specification.
    seed : int

    Examples
    --------
    >>> import torch
    >>> images = torch.zeros(4, 3, 8, 8, dtype=torch.uint8)
    >>> View("mixup", seed=0)(images, step=0).images.shape
    torch.Size([4, 3, 8, 8])
    """

    name: str
    seed: int

    def __call__(self, images: Tensor, step: int, mean: Sequence[float] | None = None) -> Augmented:
        """Augment the batch of a step.

        Parameters
        ----------
        images : Tensor of shape (rows, channels, height, width), uint8
            After the loader's own augmentation.
        step : int
            Counted from 0; a step and a seed draw the same parameters for ever.
        mean : sequence of float, optional
            Colour of what is cut out, 0..1; the middle by default.

        Returns
        -------
        Augmented
            ``images`` (uint8, or float32 in pixel units), and where images are mixed ``partner`` and ``lam``.

        Raises
        ------
        UsageError
            For an augmentation that picks, since that asks a teacher.
        """
        size = ImageSpec(int(images.shape[-1]), tuple(mean) if mean else ImageSpec().mean)
        aug = parse(self.name, size)
        if aug.pick:
            raise UsageError(f"{self.name} picks by asking a network, which a trainer of your own cannot be told to do")
        return aug(images, Keys(self.seed, 1, len(images), first=step))


@dataclass(frozen=True)
class OwnTrainer:
    """Runs by a function of the user's own, one small file each.

    Attributes
    ----------
    runner : str or callable
        ``"./train.py:function"``; called with ``augment`` (a :class:`View`), ``steps`` and ``seed``, it returns the
        held-out loss, or a dict with "loss" and "top1".
    folder : str
    candidates : Candidates

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     trainer = OwnTrainer(lambda augment, steps, seed: {"loss": 1.5, "top1": 0.5}, folder)
    ...     trainer.job([Key("cutmix", 100, 0)])(lambda steps=1, note="": None, lambda: False)
    ...     [(outcome.key.aug, outcome.loss) for outcome in trainer.outcomes()]
    [('cutmix', 1.5)]
    """

    runner: str | Callable[..., Any]
    folder: str
    candidates: Candidates = field(default_factory=Candidates)

    def job(self, keys: Sequence[Key]) -> Job:
        """See :class:`Runs`."""
        return OwnJob(self, tuple(keys))

    def outcomes(self) -> list[Outcome]:
        """See :class:`Runs`."""
        return self._read()[0]

    def outdated(self) -> list[str]:
        """Candidates of which there are runs of code that has changed since."""
        return self._read()[1]

    def _read(self) -> tuple[list[Outcome], list[str]]:
        current = _Current()
        every = [_read_own(path) for path in sorted(Path(self.folder).glob("*.json"))]
        kept = [outcome for outcome, code in every if current(outcome.key.aug, code)]
        names = [self.candidates.name(outcome.key.aug) for outcome in kept]
        outcomes = [
            replace(outcome, key=replace(outcome.key, aug=name)) for outcome, name in zip(kept, names, strict=True)
        ]
        return outcomes, list(current.outdated)


@dataclass(frozen=True)
class OwnJob:
    """Runs of the user's own trainer, one after the other."""

    trainer: OwnTrainer
    keys: tuple[Key, ...]

    def __call__(self, advance: Advance, stop: Stop) -> None:
        """Carry them out from their beginning."""
        for key in self.keys:
            if not stop():
                self._one(key)
                advance(1)

    def _one(self, key: Key) -> None:
        given = self.trainer.runner
        function = load_object(given, "runner") if isinstance(given, str) else given
        start = time.monotonic()
        try:
            answer = function(augment=View(key.aug, key.seed), steps=key.steps, seed=key.seed)
        except UsageError:
            raise
        except Exception as error:
            raise UsageError(f"runner {given} failed: {one_line(error)}{line_of(error)}") from error
        measures = answer if isinstance(answer, dict) else {"loss": answer}
        try:
            loss, top1 = float(measures["loss"]), float(measures.get("top1", math.nan))
        except (KeyError, TypeError, ValueError):
            raise UsageError(
                f"{given} returns the held-out loss, or a dict with 'loss' and 'top1', not {str(answer)[:80]!r}"
            ) from None
        if math.isfinite(top1) and not 0 <= top1 <= 1:
            raise UsageError(f"{given} returned a top1 of {top1:g}: an accuracy is a share from 0 to 1, not in percent")
        failed = None if abs(loss) < _MOST else f"its loss is {loss:g}"  # which is false of a NaN too
        document = {"aug": key.aug, "steps": key.steps, "seed": key.seed, "loss": None if failed else loss}
        document |= {"top1": top1 if math.isfinite(top1) else None, "seconds": time.monotonic() - start}
        name = re.sub(r"[^A-Za-z0-9.+=-]+", "_", f"{key.aug[:80]}-{key.steps}-{key.seed}")
        path = Path(self.trainer.folder) / f"{name}-{zlib.crc32(key.aug.encode()):08x}.json"
        document |= {"failed": failed, **({"user_code": code} if (code := user_code_of(key.aug)) else {})}
        write_atomic(path, json.dumps(document) + "\n")


def _read_own(path: Path) -> tuple[Outcome, dict[str, str] | None]:
    try:
        part = json.loads(read_text(path))
        key = Key(str(part["aug"]), int(part["steps"]), int(part["seed"]))
        loss, top1, seconds = (
            math.nan if part[name] is None else float(part[name]) for name in ("loss", "top1", "seconds")
        )
        return Outcome(key, loss, top1, seconds, part["failed"]), part.get("user_code")
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{path} is not the record of a run ({error}): remove it") from error
