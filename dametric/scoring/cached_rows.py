"""Outputs of the networks for images, computed when first needed and once for all augmentations that show them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from dametric.augment import NEEDS_STUDENT, Augmented, criterion

Ask = Callable[[Tensor], Tensor]
_NETWORKS = ("teacher", "student_log")


class Origin(NamedTuple):
    """The labels and mixing weights of the images that augmented images were made from."""

    labels: Tensor | None  # (rows,), int64
    partner_labels: Tensor | None = None  # (rows,), int64
    lam: Tensor | None = None  # (rows,), float64
    partner: Tensor | None = None  # (rows,), int64: row of the base view

    @classmethod
    def of(cls, augmented: Augmented, labels: Tensor | None, base_views: int | None = None) -> Origin:
        """Of augmented images, whose pool, if they are one, is made run after run of images with these labels."""
        count = base_views if labels is None else len(labels)
        assert count is not None
        own = None if labels is None else labels.repeat(len(augmented.images) // count)
        if augmented.partner is None:
            return cls(own)
        partner = augmented.partner % count
        return cls(own, None if labels is None else labels[partner], augmented.lam, partner)

    def take(self, index: Tensor) -> Origin:
        return Origin(*(None if part is None else part[index] for part in self))


@dataclass(frozen=True, eq=False)
class Rows:
    """What the networks say about some images: probabilities, and cross-entropy of the student."""

    teacher: Tensor  # (rows, classes), float64
    student_log: Tensor | None  # (rows, classes), float64

    def take(self, index: Tensor) -> Rows:
        return Rows(self.teacher[index], None if self.student_log is None else self.student_log[index])

    @cached_property
    def cross_entropy(self) -> Tensor | None:
        """Teacher-student cross-entropy in nats: Tensor of shape (rows,)."""
        return None if self.student_log is None else -(self.teacher * self.student_log).sum(-1)


def compute_cross_entropies(several: Sequence[Rows]) -> None:
    """Cross-entropies of rows of one shape by as many kernels as of one of them, which cost a GPU by the call."""
    alike: dict[torch.Size, dict[int, Rows]] = {}
    for rows in several:
        if rows.student_log is not None and "cross_entropy" not in vars(rows):
            alike.setdefault(rows.teacher.shape, {})[id(rows)] = rows
    for group in alike.values():
        teacher, student = (torch.stack([getattr(rows, name) for rows in group.values()]) for name in _NETWORKS)
        for rows, values in zip(group.values(), -(teacher * student).sum(-1), strict=True):
            vars(rows)["cross_entropy"] = values  # where a cached property keeps it


class CachedRows:
    """Augmented images, and the outputs of the networks for them as far as they are computed.

    Parameters
    ----------
    images : Tensor of shape (rows, channels, height, width)
    teacher, student_log : callable
        Ask a network: probabilities of the teacher, log-probabilities of the student, of shape (rows, classes).
    """

    def __init__(self, images: Tensor, teacher: Ask, student_log: Ask) -> None:
        self.images = images
        self._ask_teacher, self._ask_student = teacher, student_log

    @cached_property
    def teacher(self) -> Tensor:
        """The teacher's probabilities, (rows, classes)."""
        return self._ask_teacher(self.images)

    @cached_property
    def student_log(self) -> Tensor:
        """The student's log-probabilities, (rows, classes)."""
        return self._ask_student(self.images)

    def rows(self, student: bool) -> Rows:
        """What metrics need."""
        return Rows(self.teacher, self.student_log if student else None)


class Pool:
    """Images to pick from, run after run; other augmentations may have shown some of the runs already."""

    def __init__(self, runs: Sequence[CachedRows]) -> None:
        self._runs = runs

    def judge(self, by: str, raw: Tensor | None) -> Tensor:
        """Values of a criterion, (pool,); only those networks that it needs are asked."""
        student = self._all("student_log") if by in NEEDS_STUDENT else None
        teacher = None if by == "student_entropy" else self._all("teacher")
        return criterion(by, teacher, student, raw)

    def take(self, chosen: Tensor, student: bool) -> Rows:
        """What the networks say about the picked images; where a part of the pool is unknown, only they are shown."""
        return Rows(self._picked("teacher", chosen), self._picked("student_log", chosen) if student else None)

    def _all(self, network: str) -> Tensor:
        return torch.cat([getattr(run, network) for run in self._runs])

    def _picked(self, network: str, chosen: Tensor) -> Tensor:
        if all(network in vars(run) for run in self._runs):  # where cached properties keep their values
            return self._all(network)[chosen]
        first, kept = self._runs[0], torch.cat([run.images for run in self._runs]).index_select(0, chosen)
        fresh = CachedRows(kept, first._ask_teacher, first._ask_student)
        answer: Tensor = getattr(fresh, network)
        return answer
