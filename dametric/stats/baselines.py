"""What a score has to beat, brought into the same shape so that the same tests apply."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import stats

from dametric.stats.published import load_published
from dametric.stats.table import checked, long, wide

_PUBLISHED = {"cutmixpick:by=student_entropy": "cutmix_pick_S", "cutmixpick:by=teacher_entropy": "cutmix_pick_T"}


def fixed_order(frame: pd.DataFrame, *, x: str = "x", y: str = "y") -> pd.DataFrame:
    """One list of augmentations for all units: the mean rank of the outcome in the other units as the score.

    Parameters
    ----------
    frame : pandas.DataFrame
        As for :func:`pooled`; augmentations that not all units have are left out.
    x, y : str
        Columns of the score (not used) and of the outcome.

    Returns
    -------
    pandas.DataFrame
        Columns unit, aug, x (mean rank, 1 for the lowest outcome), y; no rows for fewer than two units. Its
        coefficients compare with those of a score, its joint permutation p does not: every outcome is on both
        sides, so test agreement of the units by :func:`kendalls_w`.

    Raises
    ------
    UsageError
        As :func:`pooled`.
    """
    table = wide(frame, x, y)
    if len(table.units) < 2 or not table.n:
        return long(table).iloc[:0]
    ranks = stats.rankdata(table.y, axis=1)
    others = (ranks.sum(0) - ranks) / (len(ranks) - 1)
    return long(table).assign(x=others.ravel())


def published_list(frame: pd.DataFrame, *, y: str = "y") -> pd.DataFrame:
    """A list that was fixed before the study: the mean rank of the loss in the ten published units as the score.

    Parameters
    ----------
    frame : pandas.DataFrame
        As for :func:`pooled`; only the augmentations of the paper, with its settings, are on the list.
    y : str
        Column of the outcome.

    Returns
    -------
    pandas.DataFrame
        Columns unit, aug, x (mean rank, 1 for the lowest loss), y. No rows where fewer than three augmentations are on
        the list, or a unit is a published one, whose losses made it.

    Raises
    ------
    UsageError
        As :func:`pooled`.
    """
    table = checked(frame, y)
    points = load_published()
    ranks = points.groupby("unit").student_test_loss.rank().groupby(points.aug).mean()
    x = table.aug.map(lambda aug: ranks.get(_PUBLISHED.get(aug, aug), np.nan)).astype(float)
    listed = table[["unit", "aug"]].assign(x=x, y=table[y]).dropna()
    known = set(points.unit) & set(table.unit)
    return listed.iloc[:0] if known or listed.aug.nunique() < 3 else listed.reset_index(drop=True)


def other_unit(frame: pd.DataFrame, *, x: str = "x", y: str = "y") -> pd.DataFrame:
    """Every unit's outcome beside every other unit's score: is it this teacher's score that matters, or any?

    Parameters
    ----------
    frame : pandas.DataFrame
        As for :func:`pooled`. With a column ``teacher`` only units of other teachers lend their scores.
    x, y : str
        Columns of the score and of the outcome.

    Returns
    -------
    pandas.DataFrame
        Columns unit ("unit scored by other unit"), aug, x, y, for :func:`pooled`; no rows where there is no other.

    Raises
    ------
    UsageError
        As :func:`pooled`.
    """
    table = wide(frame, x, y)
    rows = checked(frame, x, y)
    owner = {unit: unit for unit in table.units}
    if "teacher" in rows:
        owner = dict(zip(rows.unit, rows.teacher.astype(str), strict=True))
    pairs = [
        (i, j)
        for i, here in enumerate(table.units)
        for j, there in enumerate(table.units)
        if i != j and owner[here] != owner[there]
    ]
    first, second = (np.array([pair[side] for pair in pairs], dtype=np.intp) for side in (0, 1))
    return pd.DataFrame(
        {
            "unit": np.repeat([f"{table.units[i]} scored by {table.units[j]}" for i, j in pairs], table.n),
            "aug": np.tile(list(table.augs), len(pairs)),
            "x": table.x[second].ravel(),
            "y": table.y[first].ravel(),
        }
    )
