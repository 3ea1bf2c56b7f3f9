"""Which augmentation has the best score in each unit, how sure that is, and what it costs to be wrong."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from dametric.analysis.joined import by_unit, points_of
from dametric.analysis.unit import UnitAnalysis
from dametric.records.joining import ScoredAug, with_differences
from dametric.records.scores import Scores

ROUNDING = 1e-12  # scores of a constant teacher differ by less than that, and by chance
_NORMAL = 1.959964  # two-sided 95 %


@dataclass(frozen=True)
class Advice:
    """What has the best score in one unit, how sure that is, and what it costs to be wrong.

    Attributes
    ----------
    unit : str
    best_scored : tuple of str
        The augmentation with the best score; several where scores are equal, none where no direction is stated.
    score, score_se : float
        NaN where the error is not known.
    direction : str
    tied : tuple of str, or None
        What the scores do not distinguish from it (95 %); None where they have no errors.
    count : int
        Augmentations with a score whose images are not destroyed.
    best : str
        The augmentation with the lowest test loss.
    cost, points, seed_errors : float
        Test loss of the choice above the lowest, accuracy below the highest (percentage points), and the cost in seed
        standard errors; NaN where it is not known.
    tied_cost, random_cost : float
        The highest cost among the choice and what is not distinguishable from it, and the mean over all.
    destroyed : int
        Augmentations that destroy the images, which are not counted.
    """

    unit: str
    best_scored: tuple[str, ...]
    score: float
    score_se: float
    direction: str
    tied: tuple[str, ...] | None
    count: int
    best: str
    cost: float
    points: float
    seed_errors: float
    tied_cost: float
    random_cost: float
    destroyed: int = 0

    @property
    def choice(self) -> str:
        """What has the best score."""
        return " or ".join(self.best_scored)

    @property
    def distilled(self) -> bool:
        """Whether there are students of the augmentation with the best score."""
        return not math.isnan(self.cost)


def advise(rows: pd.DataFrame, units: Mapping[str, UnitAnalysis], scores: Sequence[Scores]) -> tuple[Advice, ...]:
    """What has the best score in each unit.

    Parameters
    ----------
    rows : pandas.DataFrame
        Of one metric, from :func:`dametric.analysis.joined.prepare`.
    units : mapping of str to UnitAnalysis
        Of that metric.
    scores : sequence of Scores
        The files that the column ``file`` counts.

    Returns
    -------
    tuple of Advice
        In the order of the units. The choice is among everything that was scored, distilled or not, where there is
        a score file; the cost is about what was distilled.
    """
    parts = by_unit(rows)
    return tuple(_advice(unit, parts[unit], about, scores) for unit, about in units.items())


def _advice(unit: str, rows: pd.DataFrame, about: UnitAnalysis, scores: Sequence[Scores]) -> Advice:
    every = _scored(rows, scores)
    points = [point for point in every if not point.destroyed] or every
    lost = len(every) - len(points)
    losses = {point.aug: point.test_loss for point in points_of(rows)}
    lowest = min(losses.values())
    costs, best = {aug: loss - lowest for aug, loss in losses.items()}, " or ".join(about.best.by_loss)
    random = float(np.mean(list(costs.values())))
    if about.direction == "open":
        nan = math.nan
        return Advice(unit, (), nan, nan, "open", None, len(points), best, nan, nan, nan, nan, random, lost)
    sign = -1 if about.direction == "higher" else 1
    chosen = min(points, key=lambda point: sign * point.score)
    same = tuple(point.aug for point in points if point.score == chosen.score)
    tied = _tied(points, chosen)
    first = about.regret[0] if set(same) == set(about.best.by_score) else None
    alike = [costs[aug] for aug in (*same, *(tied or ())) if aug in costs]
    distilled = [costs[aug] for aug in same if aug in costs]
    return Advice(
        unit=unit,
        best_scored=same,
        score=chosen.score,
        score_se=chosen.score_se,
        direction=about.direction,
        tied=tied,
        count=len(points),
        best=best,
        cost=first.loss if first else float(np.mean(distilled)) if distilled else math.nan,
        points=first.points if first else math.nan,
        seed_errors=first.seed_errors if first else math.nan,
        tied_cost=max(alike) if alike and tied is not None else math.nan,
        random_cost=random,
        destroyed=lost,
    )


def _scored(rows: pd.DataFrame, scores: Sequence[Scores]) -> list[ScoredAug]:
    """Every augmentation with a score: of the score file where the rows are of one, else those that were distilled."""
    points = points_of(rows)
    files = {point.file for point in points}
    place = files.pop() if len(files) == 1 else -1
    if not 0 <= place < len(scores):
        return [ScoredAug(point.aug, point.score, point.score_se, destroyed=point.destroyed) for point in points]
    lost = {point.aug for point in points if point.destroyed}
    every = with_differences(scores[place], points[0].metric)
    return [
        replace(point, destroyed=point.destroyed or point.aug in lost) for point in every if not math.isnan(point.score)
    ]


def _tied(points: Sequence[ScoredAug], chosen: ScoredAug) -> tuple[str, ...] | None:
    """By the paired differences to the best row; by the errors, as if independent, where there are none to this one."""
    others = [point for point in points if point is not chosen]
    if chosen.difference == 0 and all(point.tied_with_best is not None for point in points):
        return tuple(point.aug for point in others if point.tied_with_best)
    if not all(math.isfinite(point.score_se) for point in points):
        return None

    def close(point: ScoredAug) -> bool:
        error = math.hypot(point.score_se, chosen.score_se)
        return abs(point.score - chosen.score) <= _NORMAL * error + ROUNDING

    return tuple(point.aug for point in others if close(point))
