"""Several units at once: a tidy table turned into one row a unit, one column an augmentation."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from dametric.errors import UsageError
from dametric.stats.result import Floats, notes_of, too_few


@dataclass(frozen=True)
class Table:
    """Score and outcome of the augmentations that all units have.

    Attributes
    ----------
    units, augs : tuple of str
        In order of appearance.
    x, y : ndarray of shape (units, augs)
    note : str
        Which augmentations were left out because a unit lacks them, and which units were constant.
    """

    units: tuple[str, ...]
    augs: tuple[str, ...]
    x: Floats
    y: Floats
    note: str = ""

    @property
    def n(self) -> int:
        """Number of augmentations."""
        return len(self.augs)

    def varying(self) -> Table:
        """The same without units in which x or y is constant."""
        keep = (np.ptp(self.x, axis=1) > 0) & (np.ptp(self.y, axis=1) > 0) if self.n else np.zeros(len(self.x), bool)
        lost = [unit for unit, kept in zip(self.units, keep, strict=True) if not kept]
        note = f"left out because score or outcome is constant: {', '.join(lost)}" if lost and self.n else ""
        return replace(self.only(set(self.units) - set(lost)), note=notes_of(self.note, note))

    def only(self, units: Collection[str]) -> Table:
        """The same for some of the units."""
        keep = np.array([unit in units for unit in self.units], dtype=bool)
        kept = tuple(unit for unit in self.units if unit in units)
        return replace(self, units=kept, x=self.x[keep], y=self.y[keep])

    def why_not(self, units: int = 1) -> str:
        """Why nothing can be had from it; empty if something can."""
        if self.n < 3:
            return too_few(self.n, "common augmentation", 3)
        if not self.units:
            return "there is no unit in which both score and outcome vary"
        if len(self.units) < units:
            return too_few(len(self.units), "unit", units)
        return ""


def checked(frame: pd.DataFrame, *columns: str) -> pd.DataFrame:
    """A tidy table with columns unit and aug, and finite numbers in the other ones named.

    Raises
    ------
    UsageError
        If a column is missing, a number is not finite, or a unit has an augmentation twice.
    """
    if not isinstance(frame, pd.DataFrame):
        raise UsageError(f"units are pooled from a pandas DataFrame, not {type(frame).__name__}")
    missing = [name for name in ("unit", "aug", *columns) if name not in frame]
    if missing:
        raise UsageError(f"the table has no column '{missing[0]}': it needs {', '.join(('unit', 'aug', *columns))}")
    table = frame.reset_index(drop=True)
    for name in ("unit", "aug"):
        if table[name].isna().any():
            raise UsageError(f"'{name}' is missing in row {int(table[name].isna().argmax())} of the table")
    table = table.assign(unit=table.unit.astype(str), aug=table.aug.astype(str))
    for name in columns:
        try:
            values = table[name].astype(float)
        except (TypeError, ValueError):
            raise UsageError(f"column '{name}' holds something that is not a number") from None
        bad = ~np.isfinite(values.to_numpy())
        if bad.any():
            unit, aug, number = table[["unit", "aug", name]].iloc[int(bad.argmax())]
            word = "NaN" if np.isnan(number) else "infinite"
            raise UsageError(f"'{name}' is {word} for unit {unit}, augmentation {aug}: leave that row out")
        table[name] = values
    twice = table.duplicated(["unit", "aug"])
    if twice.any():
        unit, aug = table[["unit", "aug"]].iloc[int(twice.argmax())]
        raise UsageError(f"unit {unit} has augmentation {aug} twice: give one row, the mean over seeds")
    return table


def wide(frame: pd.DataFrame, x: str = "x", y: str = "y") -> Table:
    """Units and the augmentations that all of them have.

    Parameters
    ----------
    frame : pandas.DataFrame
        Columns unit, aug, and those named next; one row for each unit and augmentation.
    x, y : str
        Columns of the score and of the outcome.

    Returns
    -------
    Table

    Raises
    ------
    UsageError
        If a column is missing, a number is not finite, or a unit has an augmentation twice.
    """
    table = checked(frame, x, y)
    row, units = pd.factorize(table.unit)
    column, augs = pd.factorize(table.aug)
    common = np.bincount(column, minlength=len(augs)) == len(units)
    lost = [str(aug) for aug in augs[~common]]
    note = f"left out because not every unit has them: {', '.join(lost)}" if lost else ""

    def values(name: str) -> Floats:
        cells = np.full((len(units), len(augs)), np.nan)
        cells[row, column] = table[name]
        return cells[:, common]

    kept = tuple(str(aug) for aug in augs[common])
    return Table(tuple(str(unit) for unit in units), kept, values(x), values(y), note)


def beside(frame: pd.DataFrame, first: str, second: str, y: str) -> tuple[Table, Table]:
    """Two scores beside the same outcome, as :func:`wide` has them, of the units in which all three vary.

    Raises
    ------
    UsageError
        As :func:`wide`.
    """
    checked(frame, first, second, y)
    one, two = (wide(frame, x, y).varying() for x in (first, second))
    return one.only(two.units), two.only(one.units)


def long(table: Table) -> pd.DataFrame:
    """A table with one row for each unit and augmentation, columns unit, aug, x, y."""
    return pd.DataFrame(
        {
            "unit": np.repeat(list(table.units), table.n),
            "aug": np.tile(list(table.augs), len(table.units)),
            "x": table.x.ravel(),
            "y": table.y.ravel(),
        }
    )
