"""What the students show of each metric, and whether anything can be recommended by it: decided here alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from dametric.analysis.confirmatory import Confirmatory
from dametric.analysis.unit import UnitAnalysis
from dametric.stats.result import Result

LEAST_AUGS = 6
LEAST_FAMILIES = 3
LEAST_RELIABILITY = 0.5

ObstacleKind = Literal["augmentations", "families", "loss noise", "score noise", "one seed", "unknown seeds"]
Standing = Literal["shown", "not shown", "cannot answer", "no family test", "no test"]
Refusal = Literal["", "no direction", "cannot answer", "not shown"]


@dataclass(frozen=True)
class Obstacle:
    """Why some units cannot answer, or, where it does not block, not well."""

    kind: ObstacleKind
    units: tuple[str, ...]
    blocks: bool


@dataclass(frozen=True)
class Shared:
    """What several units have in common, where that is too little to pool."""

    augmentations: int
    families: int


@dataclass(frozen=True)
class Decision:
    """What the students show of the metrics that were fixed in advance.

    Attributes
    ----------
    metric, direction : str
        The first metric, which recommendations go by.
    units : int
    obstacles : tuple of Obstacle
    shared : Shared or None
    answerable : bool
        Whether there can be an answer on the first metric.
    standings : tuple of Standing
        Of each metric: whether it is shown to predict the students ("shown": the p-value of whole families, adjusted
        over the metrics, is at most the level), and if not, why.
    """

    metric: str
    direction: str
    units: int
    obstacles: tuple[Obstacle, ...]
    shared: Shared | None
    answerable: bool
    standings: tuple[Standing, ...]

    @property
    def refusal(self) -> Refusal:
        """Why nothing is recommended; empty where a better score was shown to mean a better student."""
        if self.direction == "open":
            return "no direction"
        if not self.answerable:
            return "cannot answer"
        return "" if self.standings[0] == "shown" else "not shown"


def decide(answers: Sequence[Confirmatory], units: Mapping[str, UnitAnalysis], alpha: float) -> Decision:
    """Decide from the confirmatory tests and from what the units say of the first metric.

    Parameters
    ----------
    answers : sequence of Confirmatory
    units : mapping of str to UnitAnalysis
        Of the first metric.
    alpha : float
        Level.

    Returns
    -------
    Decision
        Units cannot answer with fewer than 6 augmentations, fewer than 3 families, or noise of the mean losses (or of
        the scores) above their variance between augmentations.
    """
    first, obstacles, shared = answers[0], _obstacles(units), _shared(units)
    blocked = {name for obstacle in obstacles if obstacle.blocks for name in obstacle.units}
    tested = not (math.isnan(first.result.pvalue) or math.isnan(first.families.result.pvalue))
    answerable = len(blocked) < len(units) and shared is None and tested
    standings = tuple(_standing(answer, answerable, alpha) for answer in answers)
    return Decision(first.metric, first.direction, len(units), obstacles, shared, answerable, standings)


def _standing(answer: Confirmatory, answerable: bool, alpha: float) -> Standing:
    if math.isnan(answer.result.pvalue):
        return "no test"
    if math.isnan(answer.families.result.pvalue):
        return "no family test"
    if not answerable:
        return "cannot answer"
    return "shown" if answer.families.p_holm <= alpha else "not shown"


def _obstacles(units: Mapping[str, UnitAnalysis]) -> tuple[Obstacle, ...]:
    checks: tuple[tuple[ObstacleKind, bool, Callable[[UnitAnalysis], bool]], ...] = (
        ("augmentations", True, lambda unit: unit.n < LEAST_AUGS),
        ("families", True, lambda unit: unit.n_families < LEAST_FAMILIES),
        ("loss noise", True, lambda unit: _unreliable(unit.noise.reliability_loss)),
        ("score noise", True, lambda unit: _unreliable(unit.noise.reliability_score)),
        ("one seed", False, lambda unit: unit.seeds.least < 2),
        ("unknown seeds", False, lambda unit: math.isnan(unit.seeds.least)),
    )
    obstacles = (
        Obstacle(kind, tuple(name for name, unit in units.items() if fails(unit)), blocks)
        for kind, blocks, fails in checks
    )
    return tuple(obstacle for obstacle in obstacles if obstacle.units)


def _unreliable(reliability: Result | None) -> bool:
    return reliability is not None and reliability.statistic < LEAST_RELIABILITY


def _shared(units: Mapping[str, UnitAnalysis]) -> Shared | None:
    """What all of several units have is all that can be pooled; None where that is enough, or no less than one has."""
    augs = set.intersection(*(set(unit.augs) for unit in units.values()))
    pairs = (pair for unit in units.values() for pair in zip(unit.augs, unit.families, strict=True))
    families = {family for aug, family in pairs if aug in augs}
    alone = min((unit.n, unit.n_families) for unit in units.values())
    enough = len(augs) >= LEAST_AUGS and len(families) >= LEAST_FAMILIES
    if len(units) < 2 or enough or (len(augs), len(families)) == alone:
        return None
    return Shared(len(augs), len(families))
