"""What a run's record holds, by the names of its keys: see :mod:`dametric.records.runs` for what each says."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from dametric.records.documents import Document, omitted
from dametric.records.score_rows import NetworkName

FINISHED, RUNNING = "finished", "running"


@dataclass(frozen=True)
class RecordedObjective(Document):
    """Weights of the loss, its temperature, and a term of the user's own; None where an old record does not say."""

    ce: float | None = None
    raw: float | None = None
    aug: float | None = None
    temperature: float | None = None
    term: str | None = omitted()


@dataclass(frozen=True)
class RecordedRecipe(Document):
    """What training was asked to do; other options are in ``extra``."""

    seed: int
    epochs: int | None = None
    steps: int | None = None
    base_aug: str | None = None
    aug: str | None = None
    objective: RecordedObjective | None = None


@dataclass(frozen=True)
class RunConfig(Document):
    """What determines a run's result, as far as it is read; its document is what the id is a hash of."""

    kind: str
    recipe: RecordedRecipe

    @property
    def aug(self) -> str:
        """The augmentation that the run is named by: of all images where a teacher is trained."""
        return str(self.recipe.base_aug if self.kind == "train" else self.recipe.aug)


@dataclass(frozen=True)
class RecordedStudent(Document):
    """The network that was trained."""

    arch: str
    parameters: int | None = None


@dataclass(frozen=True)
class RecordedData(Document):
    """Name, numbers and size of the images; the split that was tested on, where that is not the evaluation split."""

    name: str
    train: int | None = None
    test: int | None = None
    tested_on: str | None = omitted()
    held_out: int | None = omitted()
    classes: int | None = None
    image_size: int | None = None
    evaluation: str | None = omitted()
    decoder: str | None = omitted()
    passed_over: list[str] | None = omitted()


@dataclass(frozen=True)
class About(Document):
    """Names for humans."""

    student: RecordedStudent
    data: RecordedData
    device: str | None = None
    compile: bool | None = None
    teacher: NetworkName | None = omitted()
    guessed: list[str] | None = omitted()
    user_augmentations: dict[str, Any] | None = omitted()


@dataclass(frozen=True)
class Measures(Document):
    """How good the network was after an epoch; NaN where it was not looked at, more columns in ``extra``."""

    epoch: int = 0
    step: float = math.nan
    test_loss: float = math.nan
    test_top1: float = math.nan
    test_top5: float = math.nan
    test_ece: float = math.nan
    test_agreement: float = math.nan
    held_out_loss: float = math.nan
    held_out_top1: float = math.nan


@dataclass(frozen=True)
class CodeVersion(Document):
    """Version of the package and a hash of its source."""

    version: str | None = None
    sha256: str | None = None


@dataclass(frozen=True)
class Timing(Document):
    """When it was trained, in how many sittings, and for how many seconds.

    ``same_bits`` is False where sittings were not made of the same bits as one would have been: on a GPU, where torch's
    algorithms were not deterministic.
    """

    started: str | None = omitted()
    sessions: int = 0
    same_bits: bool | None = omitted()
    lockstep: int | None = omitted()
    finished: str | None = omitted()
    seconds: float = math.nan


@dataclass(frozen=True)
class RunRecord(Document):
    """A run's record.

    Attributes
    ----------
    id, status, error, kept, config, about, last, best, code, versions, timing
        As the keys of the document.
    """

    id: str
    status: str
    error: str | None = None
    kept: str | None = None
    config: RunConfig = field(kw_only=True)
    about: About = field(kw_only=True)
    last: Measures | None = None
    best: Measures | None = None
    code: CodeVersion | None = None
    versions: dict[str, Any] | None = None
    timing: Timing | None = None

    @property
    def finished(self) -> bool:
        """Whether training came to its end."""
        return self.status == FINISHED

    @property
    def result(self) -> Measures:
        """The last epoch; all unknown where there is none."""
        return self.last or Measures()

    @property
    def seconds(self) -> float:
        """Seconds of training; NaN where they are not known."""
        return math.nan if self.timing is None else self.timing.seconds

    @property
    def teacher(self) -> NetworkName:
        """The network that was learnt from; one without a name for training by labels."""
        return self.about.teacher or NetworkName()
