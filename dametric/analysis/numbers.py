"""How numbers are written in answers, tables and figures."""

from __future__ import annotations

import math
from collections.abc import Sequence

from dametric.base import numbers

UNKNOWN = "–"
_ROUNDING = 1e-13  # what is below is what sums of floats leave of 0


def known(value: float | None) -> bool:
    """Whether there is a finite number."""
    return value is not None and math.isfinite(value)


def number(value: float | None, form: str = ".2f") -> str:
    """A number, or a dash where it is not known.

    Examples
    --------
    >>> number(0.98765), number(0.98765, ".4f"), number(float("nan"))
    ('0.99', '0.9877', '–')

    What fixed digits would show as zero is said to be below the last digit; what is large has an exponent.

    >>> number(3.2e-12, ".4f"), number(1.5e9, ".4f"), number(-1e-17, ".4f")
    ('<0.0001', '1.5e+09', '0.0000')
    """
    if value is None or not math.isfinite(value):
        return UNKNOWN
    text = format(value, form)
    if form[-1:] != "f":
        return text
    if abs(value) >= 1e6:
        return f"{value:.2g}"
    if float(text):
        return text
    zero = text.removeprefix("-")
    last = f"{zero[:-1]}1"
    return zero if abs(value) <= _ROUNDING else f"<{last}" if value > 0 else f">-{last}"


def p_value(value: float | None) -> str:
    """A p-value with two digits that count.

    Examples
    --------
    >>> p_value(0.0213), p_value(8.29e-06)
    ('0.021', '8.3e-06')
    """
    return number(value, ".2g")


def interval(low: float, high: float, form: str = ".2f") -> str:
    """An interval; "none" where it has no ends.

    Examples
    --------
    >>> interval(-0.412, 0.8), interval(float("nan"), 1.0)
    ('[-0.41, 0.80]', 'none')
    """
    return f"[{low:{form}}, {high:{form}}]" if known(low) and known(high) else "none"


def among(count: int, destroyed: int) -> str:
    """How many augmentations can be the best.

    Examples
    --------
    >>> among(9, 0), among(8, 1)
    ('9 augmentations', '8 augmentations (1 more destroys the images)')
    """
    lost = f" ({destroyed} more destroy{'s' * (destroyed == 1)} the images)" if destroyed else ""
    return f"{counted(count, 'augmentation')}{lost}"


def with_error(value: float, se: float) -> str:
    """A value and its standard error, to the second digit of the error.

    Examples
    --------
    >>> with_error(13.7249, 1.1), with_error(2.0, float("nan"))
    ('13.7 ± 1.1', '2')
    """
    return numbers.with_error(value, se) if known(value) and known(se) and se > 0 else number(value, ".4g")


def listed(names: Sequence[str], most: int = 8) -> str:
    """Names with commas between, the first of many.

    Examples
    --------
    >>> listed(["a", "b", "c"], 2)
    'a, b and 1 more'
    """
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"{', '.join(names[:most])}{more}"


def counted(count: int, word: str) -> str:
    """A number and what it counts.

    Examples
    --------
    >>> counted(1, "unit"), counted(2, "family")
    ('1 unit', '2 families')
    """
    many = f"{word[:-1]}ies" if word.endswith("y") else f"{word}s"
    return f"{count} {word if count == 1 else many}"
