"""Broken images: passed over where the user allows some, each replaced by another of its class."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from threading import Lock
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from dametric.base.arguments import argument
from dametric.base.progress import say
from dametric.errors import UsageError

T = TypeVar("T")
Use = Callable[[bytes, str], T]


@dataclass(frozen=True)
class Substitutes:
    """Images that stand in for broken ones of a split.

    A broken image is replaced by the next one of its class that can be read, in the order of the split and from its
    end on from its start: a function of the files alone, so that numbers of images, batches and resumed runs are as
    they would be.

    Parameters
    ----------
    read, where : callable
        Bytes and name of the i-th image of the split.
    labels : ndarray of shape (N,), int64
        Classes of the split's images.
    most : int
        Number of images that may be broken.
    """

    read: Callable[[int], bytes]
    where: Callable[[int], str]
    labels: npt.NDArray[np.int64]
    most: int
    _broken: dict[int, str] = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock)

    @property
    def names(self) -> tuple[str, ...]:
        """The broken images that were met so far, with the reason, in the order of the split."""
        with self._lock:
            return tuple(self._broken[row] for row in sorted(self._broken))

    @property
    def rows(self) -> npt.NDArray[np.int64]:
        """Their numbers in the split."""
        with self._lock:
            return np.array(sorted(self._broken), dtype=np.int64)

    def remember(self, rows: npt.NDArray[np.int64], names: list[str]) -> None:
        """Take over what an earlier reading of the same files met."""
        for row, name in zip(rows.tolist(), names, strict=True):
            self._pass_over(row, name)

    def use(self, row: int, use: Use[T]) -> T:
        """Apply a function to an image's bytes and name, or to those of the image in its place.

        Raises
        ------
        UsageError
            If more images are broken than may be, or all of a class are.
        """
        for candidate in self._candidates(row):
            if candidate in self._broken:
                continue
            try:
                return use(self.read(candidate), self.where(candidate))
            except UsageError as error:
                self._pass_over(candidate, str(error))
        raise UsageError(f"no image of the class of {self.where(row)} can be read")

    def _candidates(self, row: int) -> Iterator[int]:
        yield row
        same_class = np.flatnonzero(self.labels == self.labels[row])
        start = int(np.searchsorted(same_class, row)) + 1
        yield from np.roll(same_class, -start)[:-1].tolist()

    def _pass_over(self, row: int, reason: str) -> None:
        with self._lock:
            if row in self._broken:
                return
            if len(self._broken) >= self.most:
                allowed = argument("skip_broken", self.most)
                raise UsageError(
                    f"{reason}; more images are broken than {allowed} allows: `dametric data check` lists all"
                )
            self._broken[row] = reason
        say(f"data: passed over ({len(self._broken)} of at most {self.most}): {reason}")


def hinted(error: UsageError) -> UsageError:
    """The error of a broken image, with the ways out."""
    skip = argument("skip_broken", 1)
    return UsageError(f"{error}; `dametric data check` lists all such images, {skip} passes over so many")
