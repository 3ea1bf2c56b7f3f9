"""Tables of a report: what is shown, and what it is sorted by."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

from dametric.analysis import numbers
from dametric.stats.result import Result

NO_RESULT = Result(math.nan)


class Cell(NamedTuple):
    """What a table shows, and what it is sorted by."""

    text: str
    value: float | str | None


@dataclass(frozen=True)
class Table:
    """A table of the report; the first column says what a row is about."""

    key: str
    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]

    @cached_property
    def numeric(self) -> tuple[bool, ...]:
        """Which columns hold numbers."""
        return tuple(
            all(not isinstance(row[place].value, str) for row in self.rows) for place in range(len(self.columns))
        )


def number(value: Any, form: str = ".4f") -> Cell:
    """A number as it is shown and as it is sorted; a dash where it is not known."""
    return Cell(numbers.number(value, form), float(value) if numbers.known(value) else None)


def chance(value: float | None) -> Cell:
    """A p-value."""
    return number(value, ".2g")


def error(value: Any) -> Cell:
    """A standard error with two digits that count, never with an exponent that its value does not have."""
    if not numbers.known(value) or not 0 < abs(value) < 1e-3:
        return number(value, "#.2g")
    return number(value, f".{1 - math.floor(math.log10(abs(value)))}f")


def ends(result: Result, form: str = ".4f") -> tuple[Cell, Cell, Cell]:
    """An estimate and both ends of its interval."""
    return number(result.statistic, form), number(result.low, form), number(result.high, form)


def word(value: Any) -> Cell:
    """A text that is sorted as it is shown; a dash where there is none."""
    missing = value is None or value == "" or (isinstance(value, float) and math.isnan(value))
    return Cell(numbers.UNKNOWN, None) if missing else Cell(str(value), str(value))


def table_of(
    key: str, caption: str, columns: Sequence[str], rows: Iterable[Sequence[Cell]], once: Collection[str] = ()
) -> Table:
    """The table without columns of which nothing is known.

    Of the columns named in ``once`` those that say the same in all of several rows are said in the caption instead.
    """
    cells = [tuple(row) for row in rows]
    kept = [place for place in range(len(columns)) if any(row[place].value is not None for row in cells)]
    same = [i for i in kept if columns[i] in once and len(cells) > 1 and len({row[i] for row in cells}) == 1]
    caption = "; ".join([caption, *(f"{columns[i].lower()}: {cells[0][i].text}" for i in same)])
    kept = [i for i in kept if i not in same]
    return Table(key, caption, tuple(columns[i] for i in kept), tuple(tuple(row[i] for i in kept) for row in cells))
