"""What a score file holds, by the names of its keys: see :mod:`dametric.records.scores` for what each says."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dametric.records.documents import Document, omitted


@dataclass(frozen=True)
class MetricValue(Document):
    """A metric of an augmentation: the value with its standard error and 95 % interval; NaN where it is not known."""

    value: float
    se: float
    low: float = math.nan
    high: float = math.nan
    plugin: float = math.nan
    blocks: int = 0
    direction: str = "open"
    estimator: str = ""
    student: str | None = omitted()
    cost: float | None = omitted()
    reason: str | None = omitted()


@dataclass(frozen=True)
class Difference(Document):
    """A paired difference to another augmentation."""

    to: str | None = omitted()
    value: float = math.nan
    se: float = math.nan
    low: float = math.nan
    high: float = math.nan


@dataclass(frozen=True)
class BatchInfluence(Document):
    """What every block of batches adds to the error of the first metric: paired differences are made of it.

    ``total`` and ``pairs`` are little-endian float64 in base64, a number for each block; ``pairs`` is missing where all
    are 0. ``blocks`` are runs of alike blocks: epoch, batches of each, and how many of them. ``complete`` is the number
    of batches of a pass over the images; missing where passes do not matter.
    """

    total: str
    dof: int
    blocks: list[Any] = field(default_factory=list)
    pairs: str | None = omitted()
    shape: float = 0.0
    complete: int | None = omitted()


@dataclass(frozen=True)
class Cost(Document):
    """What an augmentation costs: NaN images a second where it does nothing; ``clock`` is "cpu" or "wall" seconds."""

    images_per_second: float
    relative_step: float
    clock: str


@dataclass(frozen=True)
class ScoreRow(Document):
    """An augmentation's scores; ``aug_spelling`` is the one way of writing it, where that is another."""

    aug: str
    metrics: dict[str, MetricValue] = field(default_factory=dict)
    difference: Difference = field(default_factory=Difference)
    tied_with_best: bool = False
    differences: dict[str, Difference] = field(default_factory=dict)
    parameters: list[Any] = field(default_factory=list)
    batches: int | None = None
    rows: int = 0
    destroyed: bool = False
    same_as: str | None = omitted()
    aug_spelling: str | None = omitted()
    influence: BatchInfluence | None = omitted()
    group: str | None = omitted()
    cost: Cost | None = omitted()


@dataclass(frozen=True)
class Resolution(Document):
    """How augmentations were told apart: level of all pairs and looks together, and what can still be the best."""

    level: float
    pairs: int
    looks: int
    best: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class NetworkName(Document):
    """What tells a network from others."""

    arch: str | None = omitted()
    file: str | None = omitted()
    sha256: str | None = omitted()
    clean: dict[str, Any] | None = omitted()


@dataclass(frozen=True)
class ImagesName(Document):
    """What tells images from others."""

    name: str | None = None
    split: str | None = None
    images: int | None = None
    fingerprint: str | None = None
    evaluation: str | None = omitted()
    decoder: str | None = omitted()
    passed_over: list[str] | None = omitted()

    @property
    def folder(self) -> str | None:
        """The last part of the name, which may be a path that differs between machines."""
        return None if self.name is None else Path(self.name).name


@dataclass(frozen=True)
class WarmStudentName(Document):
    """The student that scores were read with: its weights, what it cost in steps, what it was distilled on."""

    arch: str | None = None
    sha256: str | None = None
    steps: int = 0
    candidates: list[str] | None = None
    held_out: int | None = None
    schedule: str | None = None
    seconds: float | None = omitted()


@dataclass(frozen=True)
class ScoreConfig(Document):
    """Every parameter that the numbers depend on."""

    teacher: NetworkName | None = omitted()
    student: NetworkName | None = omitted()
    metrics: tuple[str, ...] = ()
    per: str | None = None
    n: int | None = None
    G: int | None = None
    b: int | None = None
    w: float | None = None
    temperature: float | None = None
    seed: int | None = None
    views: int | None = omitted()
    image_size: int | None = None
    base_parameters: list[Any] | None = None
    tf32: bool | None = None
    batches: int | None = None
    epochs: float | None = None
    device: str | None = None
    ranks: int | None = None
    chunk: int | None = None
    rows_forwarded: dict[str, int] | None = None
    data: ImagesName = field(default_factory=ImagesName)
    protocol: str | None = None
    partner: str | None = None
    base_aug: str | None = None
    mean: list[float] | None = None
    std: list[float] | None = None
    normalised_by: str | None = None
    student_mean: list[float] | None = None
    student_std: list[float] | None = None
    max_batches: int | None = None
    rel_se: float | None = None
    rel_se_reached: bool = True
    dtype: str | None = None
    compile_seconds: float | None = None
    seconds: float = math.nan
    held_out: ImagesName | None = omitted()
    t_confidence: MetricValue | None = omitted()
    warm_student: WarmStudentName | None = omitted()
    guessed: list[str] | None = omitted()
    asked: str | None = omitted()
    request: dict[str, Any] | None = omitted()
    checksums: dict[str, int] | None = omitted()
    resolution: Resolution | None = omitted()

    @property
    def scored(self) -> NetworkName:
        """The teacher; one without a name where the file names none."""
        return self.teacher or NetworkName()

    @property
    def shown(self) -> NetworkName:
        """The student; one without a name where the file names none."""
        return self.student or NetworkName()
