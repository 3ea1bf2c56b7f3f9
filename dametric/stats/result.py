"""What every statistic returns, and how its input is checked."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dametric.errors import UsageError, unknown

Alternative = Literal["two-sided", "greater", "less"]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Result:
    """An estimate with what is known about it; NaN where something is not defined, with the reason in ``note``.

    Attributes
    ----------
    statistic : float
        The estimate.
    pvalue : float
        Probability of a statistic at least as extreme if nothing were there.
    low, high : float
        Confidence interval, 95 % unless asked otherwise; always two-sided, whatever ``alternative`` says of the
        p-value.
    n : int
        Points (augmentations, or units where units are what is averaged) behind the estimate.
    method : str
        How statistic, p-value and interval were made.
    alternative : str
        "two-sided", "greater" or "less"; empty where there is no test.
    note : str
        Why a number is NaN, and what else a reader has to know; empty where there is nothing to say.
    """

    statistic: float
    pvalue: float = math.nan
    low: float = math.nan
    high: float = math.nan
    n: int = 0
    method: str = ""
    alternative: str = ""
    note: str = ""

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain Python values."""
        return asdict(self)

    def noted(self, *notes: str) -> Result:
        """The same with more to say; what is empty or said already is left out."""
        return replace(self, note=notes_of(self.note, *notes))

    def __repr__(self) -> str:
        parts = [f"{self.statistic:.4g}"]
        if not math.isnan(self.pvalue):
            parts.append(f"p={self.pvalue:.2g} ({self.alternative})")
        if not (math.isnan(self.low) and math.isnan(self.high)):
            parts.append(f"[{self.low:.4g}, {self.high:.4g}]")
        parts.append(f"n={self.n}")
        parts += [text for text in (self.method, self.note) if text]
        return f"Result({', '.join(parts)})"


def notes_of(*notes: str) -> str:
    """Several notes as one text, each once."""
    return "; ".join(dict.fromkeys(note for note in notes if note))


def counted(count: int, word: str) -> str:
    """A number and what it counts: "1 unit", "2 units"."""
    return f"{count} {word}" if count == 1 else f"{count} {word}s"


def too_few(count: int, word: str, least: int) -> str:
    """Why that many do not do."""
    return f"{counted(count, word)} {'is' if count == 1 else 'are'} too few: at least {least} are needed"


def undefined(n: int, method: str, alternative: str, note: str) -> Result:
    """A result without numbers, and why."""
    return Result(math.nan, n=n, method=method, alternative=alternative, note=note)


def vector(name: str, values: ArrayLike, n: int | None = None) -> Floats:
    """One-dimensional finite numbers.

    Raises
    ------
    UsageError
        If they are not numbers, not one-dimensional, not finite, or not ``n``.
    """
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise UsageError(f"{name} holds something that is not a number: give a sequence of numbers") from None
    if array.ndim != 1:
        raise UsageError(f"{name} has {array.ndim} dimensions: give a one-dimensional sequence of numbers")
    if n is not None and len(array) != n:
        raise UsageError(f"{name} has {len(array)} values, the others have {n}: give one value for each point")
    bad = np.flatnonzero(~np.isfinite(array))
    if len(bad):
        word = "NaN" if np.isnan(array[bad[0]]) else "infinite"
        raise UsageError(f"{name} is {word} at position {bad[0]} (counted from 0): leave that point out")
    return array


def errors_of(name: str, values: ArrayLike, n: int, *, positive: bool = False) -> Floats:
    """Standard errors: one number for all points, or one for each.

    Raises
    ------
    UsageError
        As :func:`vector`, and if one is negative (or zero, where only positive ones do).
    """
    array = vector(name, np.full(n, values) if np.ndim(values) == 0 else values, n)
    if (array < 0).any() or (positive and (array == 0).any()):
        raise UsageError(f"{name} holds {array.min():g}: standard errors are {'above' if positive else 'not below'} 0")
    return array


def check_alternative(alternative: str) -> None:
    """Refuse what is not "two-sided", "greater" or "less" with a UsageError."""
    if alternative not in get_args(Alternative):
        raise unknown("alternative", alternative, get_args(Alternative))


def check_fraction(name: str, value: float) -> None:
    """Refuse what is not strictly between 0 and 1 with a UsageError."""
    if not 0 < value < 1:
        raise UsageError(f"{name} is {value:g}: give a number between 0 and 1")


def check_count(name: str, value: int, least: int = 1) -> None:
    """Refuse what is not a whole number of at least ``least`` with a UsageError."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
        raise UsageError(f"{name} is {value}: give a whole number of at least {least}")


def why_degenerate(named: dict[str, Sequence[float] | Floats]) -> str:
    """Why no coefficient can be had from these points; empty if one can."""
    n = len(next(iter(named.values())))
    if n < 3:
        return too_few(n, "point", 3)
    constant = [name for name, values in named.items() if np.ptp(np.asarray(values)) == 0]
    return f"{' and '.join(constant)} {'is' if len(constant) == 1 else 'are'} constant" if constant else ""
