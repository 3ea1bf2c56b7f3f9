"""Picking: augment a pool of images and keep those that a criterion ranks highest, as CutMixPick does."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dametric.augment.base import Augmented, Draw, Operation, check_at_most
from dametric.augment.keys import Keys
from dametric.augment.mix import CutMix
from dametric.errors import UsageError, unknown

CRITERIA = {
    "teacher_entropy": "entropy of the teacher's output on the mixed image",
    "student_entropy": "entropy of the student's output on the mixed image",
    "kld": "Kullback-Leibler divergence of the student's output from the teacher's on the mixed image",
    "dissimilarity": "L1 distance between the teacher's outputs on the mixed image and on its base view",
}
MOST_RUNS = 100  # of a pool, which is held in memory
NEEDS_STUDENT = ("student_entropy", "kld")


def _check(name: str, by: str, runs: int) -> None:
    if by not in CRITERIA:
        raise unknown(f"criterion of {name}", by, CRITERIA)
    if runs < 2:
        raise UsageError(f"{name}: runs is a whole number from 2 up, not {runs}")
    check_at_most(f"{name}: runs", runs, MOST_RUNS)


class _Pool:
    """A pool of images: one operation, ``once``, carried out ``runs`` times."""

    once: Operation
    runs: int

    def draw(self, keys: Keys, shape: torch.Size) -> Draw:
        """Draws of all runs, run after run: tensors of shape (runs * rows, ...)."""
        streams = [keys, *(keys.sub(f"run.{run}") for run in range(1, self.runs))]
        draws = [self.once.draw(stream, shape) for stream in streams]
        return {name: torch.cat([draw[name] for draw in draws]) for name in draws[0]}

    def apply(self, images: Tensor, draw: Draw) -> Augmented:
        """Make the pool: ``runs * rows`` images, run after run."""
        rows = len(images)
        parts = [
            self.once.apply(images, {name: values.split(rows)[run] for name, values in draw.items()})
            for run in range(self.runs)
        ]
        pool = torch.cat([part.images for part in parts])
        partners = [part.partner for part in parts if part.partner is not None]
        lams = [part.lam for part in parts if part.lam is not None]
        return Augmented(pool, torch.cat(partners), torch.cat(lams)) if partners else Augmented(pool)


@dataclass(frozen=True)
class Pick(_Pool):
    """Apply an operation ``runs`` times and keep as many images as a batch has, those ranked highest.

    Attributes
    ----------
    once : Operation
        Operation of one run; the first run is exactly what it makes by itself.
    by, runs
        As of :class:`CutMixPick`.
    """

    once: Operation
    by: str = "teacher_entropy"
    runs: int = 2
    random = True

    def __post_init__(self) -> None:
        _check("pick", self.by, self.runs)

    @property
    def stream(self) -> str:
        return self.once.stream

    @property
    def mixes(self) -> bool:
        return self.once.mixes


@dataclass(frozen=True)
class CutMixPick(_Pool):
    """Apply CutMix ``runs`` times and keep as many images as a batch has, those ranked highest (arXiv 2012.02909).

    Attributes
    ----------
    by : str
        The criterion, one of :data:`CRITERIA`.
    runs : int
        Size of the pool in batches.
    alpha, partner
        As of :class:`~dametric.augment.mix.CutMix`; the first run is exactly what ``cutmix`` makes.
    """

    by: str = "teacher_entropy"
    runs: int = 2
    alpha: float = 1.0
    partner: str = "roll"
    stream = "cutmix"
    mixes = True
    random = True

    def __post_init__(self) -> None:
        _check("cutmixpick", self.by, self.runs)
        CutMix(self.alpha, self.partner)  # checks both parameters

    @property
    def once(self) -> CutMix:  # type: ignore[override]
        """Operation of one run."""
        return CutMix(self.alpha, self.partner)


def criterion(by: str, teacher: Tensor | None, student_log: Tensor | None, raw: Tensor | None) -> Tensor:
    """Values by which a pool is ranked, highest first.

    Parameters
    ----------
    by : str
        One of :data:`CRITERIA`.
    teacher : Tensor of shape (pool, classes) or None
        The teacher's probabilities on the pool, for all criteria but ``student_entropy``.
    student_log : Tensor of shape (pool, classes) or None
        The student's log-probabilities on the pool, for :data:`NEEDS_STUDENT`.
    raw : Tensor of shape (rows, classes) or None
        The teacher's probabilities on the base view, for ``dissimilarity``.

    Returns
    -------
    Tensor of shape (pool,)
        In nats, or for ``dissimilarity`` as a sum of probabilities.
    """
    if by == "student_entropy":
        assert student_log is not None
        entropy: Tensor = torch.special.entr(student_log.exp()).sum(-1)
        return entropy
    assert teacher is not None
    entropy = torch.special.entr(teacher).sum(-1)
    if by == "teacher_entropy":
        return entropy
    if by == "dissimilarity":
        assert raw is not None
        return (teacher - raw.repeat(len(teacher) // len(raw), 1)).abs().sum(-1)
    assert student_log is not None  # kld: cross-entropy minus the teacher's entropy
    return -(teacher * student_log).sum(-1) - entropy


def pick(values: Tensor, *, runs: int, batches: int, keep: int) -> Tensor:
    """Choose the highest-ranking rows of every batch's pool.

    Parameters
    ----------
    values : Tensor of shape (runs * batches * b,)
        The criterion, in the order of a pool: run after run, each batch after batch.
    runs : int
        Runs in the pool.
    batches : int
        Number of statistical batches.
    keep : int
        Rows to keep of each batch's pool of ``runs * b``; all where there are fewer.

    Returns
    -------
    Tensor of shape (batches * min(keep, runs * b),), int64
        Positions in the pool, batch after batch.
    """

    def by_batch(pool: Tensor) -> Tensor:
        return pool.view(runs, batches, -1).transpose(0, 1).flatten(1)

    position = by_batch(torch.arange(len(values), device=values.device))
    best = by_batch(values).topk(min(keep, position.shape[1]), dim=1).indices
    return position.gather(1, best).flatten()
