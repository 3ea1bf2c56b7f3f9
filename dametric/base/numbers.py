"""Numbers with errors, as tables print them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

_ROUNDING = 1e-9  # of the largest value: an error below is none
_NOTHING_AT_ALL = 1e-300  # numbers below have few digits left
_NOTHING = 1e-13  # an error below is one of rounding, whatever the value
_SMALL, _LARGE = 1e-5, 1e6  # beyond, a value stands with an exponent


class Number(NamedTuple):
    """A value with its standard error."""

    value: float
    se: float


def aligned(numbers: Sequence[Number]) -> list[str]:
    """A column of values with standard errors, all to the second digit of the smallest error."""
    known = [number.value for number in numbers if math.isfinite(number.value) and number.value]
    least = max(_ROUNDING * max(map(abs, known), default=0.0), _NOTHING if known else 0.0)
    if known and (max(map(abs, known)) >= _LARGE or max(map(abs, known)) < _SMALL):
        return [with_error(value, se if se > least else 0.0) for value, se in numbers]
    errors = [number.se for number in numbers if math.isfinite(number.se) and number.se > least]
    digits = _digits(min(errors)) if errors else None

    def text(value: float, se: float) -> str:
        if digits is not None and se <= least and math.isfinite(value):  # known, but for rounding
            return f"{round(value, digits) + 0.0:.{digits}f}"
        return with_error(value, se, digits)

    return [text(*number) for number in numbers]


def with_error(value: float, se: float, digits: int | None = None) -> str:
    """A number with its standard error, both to the error's second digit: "0.01372 ± 0.00011"."""
    if not math.isfinite(value):
        return "nan"
    if not math.isfinite(se) or se <= _NOTHING_AT_ALL:
        return f"{value:.6g}"
    if not _SMALL <= max(abs(value), se) < _LARGE and digits is None:
        largest = max(abs(value), se)
        exponent = math.floor(math.log10(largest))
        if round(largest / 10.0**exponent, _digits(se / 10.0**exponent)) >= 10:  # 9.996 would stand as 10.00
            exponent += 1
        scale = 10.0**exponent
        return f"({with_error(value / scale, se / scale)})e{exponent}"
    digits = _digits(se) if digits is None else digits
    return f"{value:.{digits}f} ± {se:.{digits}f}"


def _digits(se: float) -> int:
    rounded = float(f"{se:.1e}")  # an error of 0.0996 stands as 0.10
    return min(max(0, 1 - math.floor(math.log10(rounded or se))), 12)
