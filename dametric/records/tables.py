"""Rows of a table as records."""

from __future__ import annotations

from dataclasses import MISSING, fields
from typing import Any, TypeVar

import pandas as pd

Record = TypeVar("Record")


def records_of(kind: type[Record], table: pd.DataFrame) -> list[Record]:
    """The rows of a table as instances of a dataclass whose fields are its columns; those with a default may lack.

    Raises
    ------
    KeyError
        If a column is missing for which there is no default.

    Examples
    --------
    >>> from dataclasses import dataclass
    >>> @dataclass(frozen=True)
    ... class Point:
    ...     aug: str
    ...     loss: float
    ...     seeds: int = 1
    >>> records_of(Point, pd.DataFrame({"aug": ["flip"], "loss": [0.5], "unit": ["all"]}))
    [Point(aug='flip', loss=0.5, seeds=1)]
    """
    described: Any = kind
    names = [each.name for each in fields(described) if each.name in table or each.default is MISSING]
    rows = zip(*(table[name].tolist() for name in names), strict=True)  # itertuples takes a millisecond more
    return [kind(**dict(zip(names, row, strict=True))) for row in rows]
