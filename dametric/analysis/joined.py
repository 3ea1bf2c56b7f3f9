"""The table that an analysis starts from: every unit's scores beside its students."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from dametric.base.guards import DESTROYED, KEPT
from dametric.errors import UsageError, unknown
from dametric.records.tables import records_of
from dametric.stats.result import Floats, Result
from dametric.stats.table import checked

DIRECTIONS = ("lower", "higher", "open")
ENDPOINTS = ("test_loss", "test_top1")
_OPTIONAL = ("score_se", "test_loss_se", "test_top1", "test_top1_se", "seeds")


def prepare(frame: pd.DataFrame, direction: str = "lower") -> pd.DataFrame:
    """Check a joined table and fill in what it may leave out.

    Parameters
    ----------
    frame : pandas.DataFrame
        One row for each unit, metric and augmentation. Needed: ``aug, score, test_loss``. Optional: ``unit`` ("all"
        if there is none), ``metric`` ("score"), ``direction`` ("lower", "higher" or "open": which scores are
        better), ``score_se, test_loss_se`` (nats), ``test_top1, test_top1_se`` (fractions), ``seeds``, ``teacher``,
        ``file`` (place of the score file; -1 if there is none).
    direction : {"lower", "higher", "open"}
        For a table without that column.

    Returns
    -------
    pandas.DataFrame
        With all columns; NaN where nothing is known. ``destroyed``: whether so little of the information between
        images is left under an augmentation, by a metric ``information_kept``, that no score speaks for it.

    Raises
    ------
    UsageError
        If a needed column is missing, a score or loss is not finite, a unit has an augmentation twice under a
        metric, a standard error is negative, or a metric has more than one direction.
    """
    if direction not in DIRECTIONS:
        raise unknown("direction", direction, DIRECTIONS)
    if not isinstance(frame, pd.DataFrame):
        raise UsageError(f"an analysis takes a pandas DataFrame, not {type(frame).__name__}")
    table = frame.reset_index(drop=True)
    for name, default in (("unit", "all"), ("metric", "score"), ("direction", direction)):
        if name not in table:
            table[name] = default
    table = table.assign(file=table.file if "file" in table else -1, metric=table.metric.astype(str))
    if table.empty:
        raise UsageError("the table has no rows: nothing was both scored and distilled")
    checked_parts = [checked(part, "score", "test_loss") for _, part in table.groupby("metric", sort=False)]
    table = pd.concat(checked_parts, ignore_index=True)
    table["score"] = _without_rounding(table)
    for name in _OPTIONAL:
        table[name] = _numbers(table[name]) if name in table else np.nan
        if name.endswith("_se") and (table[name] < 0).any():
            raise UsageError(f"'{name}' holds {table[name].min():g}: standard errors are not below 0")
    for metric, part in table.groupby("metric", sort=False):
        stated = part.direction.astype(str).unique()
        if len(stated) > 1:
            raise UsageError(f"metric {metric} has directions {' and '.join(sorted(stated))}: give one")
        if stated[0] not in DIRECTIONS:
            raise unknown("direction", stated[0], DIRECTIONS)
    return table.assign(destroyed=_destroyed(table))


def _destroyed(table: pd.DataFrame) -> list[bool]:
    points = points_of(table)
    lost = {(point.unit, point.aug) for point in points if point.metric == KEPT and point.score < DESTROYED}
    return [(point.unit, point.aug) in lost for point in points]


def _without_rounding(table: pd.DataFrame) -> pd.Series:
    """Scores, equal where they differ by chance roundings alone: those of a teacher whose output is constant."""
    scores = table.score.copy()
    for _, part in scores.groupby([table.metric, table.unit], sort=False):
        if np.ptp(part) <= max(1e-15, 1e-14 * float(part.abs().max())):
            scores[part.index] = float(part.iloc[0])
    return scores


def _numbers(column: pd.Series) -> pd.Series:
    try:
        return column.astype(float).replace([np.inf, -np.inf], np.nan)
    except (TypeError, ValueError):
        raise UsageError(f"column '{column.name}' holds something that is not a number") from None


def expected_sign(direction: str, endpoint: str) -> int:
    """Sign that the correlation of a metric with an endpoint should have; "open" counts as "lower"."""
    return (-1 if direction == "higher" else 1) * (1 if endpoint == "test_loss" else -1)


def aligned(rows: pd.DataFrame, endpoint: str) -> pd.DataFrame:
    """Columns unit, aug, x, y, turned so that lower is better in both and a good metric correlates positively.

    Units in which the endpoint is not known for every augmentation are left out.
    """
    known = rows[endpoint].notna().groupby(rows.unit).transform("all")
    part = rows[known]
    turn = -1.0 if (part.direction == "higher").any() else 1.0
    outcome = part[endpoint] * (1.0 if endpoint == "test_loss" else -1.0)
    extra = ["teacher"] if "teacher" in part else []
    return part[["unit", "aug", *extra]].assign(x=turn * part.score, y=outcome)


def as_measured(result: Result, sign: int) -> Result:
    """A result of aligned variables with the sign that the measured ones have."""
    if sign > 0:
        return result
    other = {"greater": "less", "less": "greater"}.get(result.alternative, result.alternative)
    return Result(
        0.0 - result.statistic,
        result.pvalue,
        0.0 - result.high,
        0.0 - result.low,
        result.n,
        result.method,
        other,
        result.note,
    )


@dataclass(frozen=True)
class Unit:
    """One unit under one metric, as arrays in the order of the table.

    Attributes
    ----------
    augs : tuple of str
    score, score_se, loss, loss_se, top1, seeds : ndarray of shape (n,)
        Errors, accuracies and seeds may be NaN.
    direction : str
    destroyed : tuple of bool
        What no score speaks for.
    """

    augs: tuple[str, ...]
    score: Floats
    score_se: Floats
    loss: Floats
    loss_se: Floats
    top1: Floats
    seeds: Floats
    direction: str
    destroyed: tuple[bool, ...]

    @classmethod
    def of(cls, rows: pd.DataFrame) -> Unit:
        """From the rows of one unit and one metric."""

        points = points_of(rows)

        def column(name: str) -> Floats:
            return np.array([getattr(point, name) for point in points], dtype=np.float64)

        return cls(
            augs=tuple(point.aug for point in points),
            score=column("score"),
            score_se=column("score_se"),
            loss=column("test_loss"),
            loss_se=column("test_loss_se"),
            top1=column("test_top1"),
            seeds=column("seeds"),
            direction=points[0].direction,
            destroyed=tuple(point.destroyed for point in points),
        )

    @property
    def n(self) -> int:
        """Augmentations."""
        return len(self.augs)

    @property
    def choice_score(self) -> Floats:
        """Scores by which one would choose, lower is better: what is destroyed comes after all others."""
        turned = -self.score if self.direction == "higher" else self.score
        return np.where(self.destroyed, turned + (np.ptp(turned) + 1), turned)

    @property
    def errors_known(self) -> bool:
        """Whether both axes have a standard error everywhere."""
        return bool(np.isfinite(self.score_se).all() and np.isfinite(self.loss_se).all())


@dataclass(frozen=True)
class Point:
    """One row of a joined table; NaN where something is not known."""

    unit: str
    metric: str
    direction: str
    aug: str
    score: float
    test_loss: float
    score_se: float = math.nan
    test_loss_se: float = math.nan
    test_top1: float = math.nan
    test_top1_se: float = math.nan
    seeds: float = math.nan
    file: int = -1
    destroyed: bool = False


def points_of(rows: pd.DataFrame) -> list[Point]:
    """The rows of a joined table, from :func:`prepare`."""
    return records_of(Point, rows)


def direction_of(rows: pd.DataFrame) -> str:
    """Which scores of one metric's rows are better."""
    return str(rows.direction.iloc[0])


def by_unit(rows: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The rows of each unit, in the order of the table."""
    return {str(unit): part for unit, part in rows.groupby("unit", sort=False)}
