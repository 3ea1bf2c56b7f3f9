"""Tables as CSV that a spreadsheet opens without computing anything."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def csv_text(table: pd.DataFrame) -> str:
    """A table as CSV, in which no text is a formula: an apostrophe goes before one that a spreadsheet would compute.

    Parameters
    ----------
    table : pandas.DataFrame
        Of numbers and texts; numbers are written in the shortest form that reads back as the same number.
    """
    plain = table.map(_cell).rename(columns=_cell)
    return str(plain.to_csv(index=False))


def _cell(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value
