"""Which augmentation has the best score in each unit, how sure that is, and what it costs to be wrong."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from dametric.analysis.unit import UnitAnalysis
from dametric.records.joining import with_differences
from dametric.records.scores import Scores

ROUNDING = 1e-12  # scores of a constant teacher differ by less than that, and by chance
_NORMAL = 1.959964  # two-sided 95 %
_POINT = ["aug", "score", "score_se", "difference", "difference_se", "tied_with_best"]


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
        Augmentations with a score.
    best : str
        The augmentation with the lowest test loss.
    cost, points, seed_errors : float
        Test loss of the choice above the lowest, accuracy below the highest (percentage points), and the cost in seed
        standard errors; NaN where it is not known.
    tied_cost, random_cost : float
        The highest cost among the choice and what is not distinguishable from it, and the mean over all.
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
    parts = {str(unit): part for unit, part in rows.groupby("unit", sort=False)}
    return tuple(_advice(unit, parts[unit], about, scores) for unit, about in units.items())


def _advice(unit: str, rows: pd.DataFrame, about: UnitAnalysis, scores: Sequence[Scores]) -> Advice:
    metric = str(rows["metric"].iloc[0])
    places = rows["file"].unique()
    file = scores[int(places[0])] if len(places) == 1 and 0 <= places[0] < len(scores) else None
    points, destroyed = _scored(rows, file, metric)
    lost = points["aug"].isin(destroyed)
    points = points if lost.all() else points[~lost].reset_index(drop=True)
    losses = rows.set_index("aug")["test_loss"]
    costs, best = losses - losses.min(), " or ".join(about.best.by_loss)
    random = float(costs.mean())
    if about.direction == "open":
        nan = math.nan
        return Advice(unit, (), nan, nan, "open", None, len(points), best, nan, nan, nan, nan, random)
    turned = -points["score"] if about.direction == "higher" else points["score"]
    place = int(turned.to_numpy().argmin())
    same = tuple(str(name) for name in points["aug"][turned == turned[place]])
    tied = _tied(points, place)
    first = about.regret[0] if set(same) == set(about.best.by_score) else None
    alike = [name for name in dict.fromkeys([*same, *(tied or ())]) if name in losses]
    return Advice(
        unit=unit,
        best_scored=same,
        score=float(points["score"][place]),
        score_se=float(points["score_se"][place]),
        direction=about.direction,
        tied=tied,
        count=len(points),
        best=best,
        cost=first.loss if first else float(costs.reindex(list(same)).mean()),  # NaN where none was distilled
        points=first.points if first else math.nan,
        seed_errors=first.seed_errors if first else math.nan,
        tied_cost=float(costs[alike].max()) if alike and tied is not None else math.nan,
        random_cost=random,
    )


def _scored(rows: pd.DataFrame, file: Scores | None, metric: str) -> tuple[pd.DataFrame, set[str]]:
    """Every augmentation with a score, and which of them are destroyed, so that no score speaks for them."""
    destroyed = set(rows["aug"][rows["destroyed"]])
    if file is None:
        return rows.reindex(columns=_POINT).reset_index(drop=True), destroyed
    lost = {str(row["aug"]) for row in file.scores if row.get("destroyed")}
    return with_differences(file, metric).dropna(subset="score").reset_index(drop=True), destroyed | lost


def _tied(points: pd.DataFrame, place: int) -> tuple[str, ...] | None:
    """By the paired differences to the best row; by the errors, as if independent, where there are none to this one."""
    if points["difference"][place] == 0 and points["tied_with_best"].notna().all():
        tied = points["tied_with_best"].astype(bool)
        return tuple(str(name) for i, name in enumerate(points["aug"]) if tied[i] and i != place)
    se = points["score_se"].to_numpy(float)
    if not np.isfinite(se).all():
        return None
    gap = np.abs(points["score"].to_numpy(float) - float(points["score"][place]))
    close = gap <= _NORMAL * np.sqrt(se**2 + se[place] ** 2) + ROUNDING
    return tuple(str(name) for i, name in enumerate(points["aug"]) if close[i] and i != place)
