"""The answer in words: which augmentation to take, how sure that is, and what it costs to be wrong."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from dametric.records.scores import Scores
from dametric.report.material import Material
from dametric.stats.outcome import Outcome

NO_ERRORS = "the scores have no errors, so it is not known which others might be as good."
DIRECTIONS = {"lower": "lower is better", "higher": "higher is better"}
ROUNDING = 1e-12  # scores of a constant teacher differ by less than that, and by chance
LISTED = 4  # choices that are named


@dataclass(frozen=True)
class Advice:
    """Which augmentation to take in one unit, how sure that is, and what it costs to be wrong.

    Attributes
    ----------
    unit : str
    best_scored : tuple of str
        The augmentation with the best score; several where scores are equal, none where no direction is stated.
    score, score_se : float
        NaN where the error is not known.
    direction : str
    tied : tuple of str, or None
        What the scores cannot tell apart from it at 95 %; None where they have no errors.
    count : int
        Augmentations with a score.
    best : str
        The augmentation with the lowest test loss.
    cost, points, seed_errors : float
        Test loss of the choice above the lowest (nats), accuracy below the highest (percent points), and the cost in
        seed standard errors; NaN where it is not known.
    tied_cost, random_cost : float
        The highest cost among the choice and what cannot be told apart from it, and the mean over all.
    outcome : Outcome
        What the costs are of.
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
    outcome: Outcome

    @property
    def choice(self) -> str:
        """What has the best score, in words."""
        return " or ".join(self.best_scored)

    @property
    def distilled(self) -> bool:
        """Whether there are students of the augmentation with the best score."""
        return not math.isnan(self.cost)

    @property
    def sure(self) -> str:
        """How sure the choice is, as far as the scores go."""
        if self.tied is None:
            return NO_ERRORS
        if not self.tied:
            return f"the score tells it apart from all {self.count - 1} others at 95 %."
        others = f"{', '.join(self.tied)} ({len(self.tied)} of {self.count - 1} others)"
        return f"the score does not tell it apart at 95 % from {others}."

    @property
    def price(self) -> str:
        """What taking it costs, as measured on the students."""
        name, unit = self.outcome.name, self.outcome.unit
        if math.isnan(self.cost):
            return "it was not distilled here, so that is not known."
        if self.cost == 0:
            less = f", but accuracy is {self.points:.2f} percent points below the best" if self.points > 0 else ""
            text = f"here nothing: no other augmentation gave a lower {name}{less}."
        else:
            extra = [] if math.isnan(self.seed_errors) else [f"{self.seed_errors:.1f} seed standard errors"]
            extra += [] if math.isnan(self.points) else [f"accuracy {self.points:.2f} percent points below the best"]
            more = f" ({'; '.join(extra)})" if extra else ""
            text = f"its students' {name} is {self.cost:.4f} {unit} above the lowest, that of {self.best}{more}."
        if self.tied and not math.isnan(self.tied_cost):
            text += f" Taking the worst of those not told apart costs {self.tied_cost:.4f} {unit}."
        return f"{text} One taken at random costs {self.random_cost:.4f} {unit} on average."


def advise(material: Material) -> list[Advice]:
    """What to take in each unit.

    Parameters
    ----------
    material : Material

    Returns
    -------
    list of Advice
        In the order of the units. The choice is among everything that was scored, distilled or not, where there is
        a score file; the cost is about what was distilled.
    """
    rows = material.table[material.table["metric"] == material.metric]
    return [_advice(material, str(unit), part) for unit, part in rows.groupby("unit", sort=False)]


def _advice(material: Material, unit: str, rows: pd.DataFrame) -> Advice:
    metric, direction = material.metric, str(rows["direction"].iloc[0])
    file = _file_of(material.scores, rows, metric)
    points = _scored(file, metric) if file else rows[["aug", "score", "score_se"]]
    points = points.dropna(subset="score").reset_index(drop=True)
    lost = points["aug"].isin(_destroyed(rows, file))
    points = points if lost.all() else points[~lost].reset_index(drop=True)
    if direction == "open":
        described = material.found["units"][unit][metric]
        return _without_choice(unit, rows, len(points), described, material.outcome)
    turned = points["score"] if direction != "higher" else -points["score"]
    place = int(turned.to_numpy().argmin())
    same = tuple(str(name) for name in points["aug"][turned == turned[place]])
    tied = _tied(points, place, file, metric)
    loss = rows.set_index("aug")["test_loss"]
    described = material.found["units"][unit][metric]
    costs = loss - loss.min()
    first = described["regret"][0] if set(same) == set(described["best"]["by_score"]) else {}
    alike = [name for name in dict.fromkeys([*same, *(tied or ())]) if name in loss]
    own = costs.reindex(list(same)).mean()  # NaN where none of them was distilled
    return Advice(
        unit=unit,
        best_scored=same,
        score=float(points["score"][place]),
        score_se=float(points["score_se"][place]),
        direction=direction,
        tied=tied,
        count=len(points),
        best=" or ".join(described["best"]["by_loss"]),
        cost=_or_nan(first.get("loss", own)),
        points=_or_nan(first.get("points")),
        seed_errors=_or_nan(first.get("seed_errors")),
        tied_cost=float(costs[alike].max()) if alike and tied is not None else math.nan,
        random_cost=float(costs.mean()),
        outcome=material.outcome,
    )


def _destroyed(rows: pd.DataFrame, file: Scores | None) -> set[str]:
    """What no score speaks for, as so little of the information between images is left."""
    distilled = {str(aug) for aug in rows["aug"][rows["destroyed"]]} if "destroyed" in rows else set()
    return distilled | {str(row["aug"]) for row in (file.scores if file else ()) if row.get("destroyed")}


def _without_choice(unit: str, rows: pd.DataFrame, count: int, described: dict[str, Any], outcome: Outcome) -> Advice:
    """Of a metric of which nobody said whether low or high is better."""
    nan, losses = math.nan, rows["test_loss"]
    best, random = " or ".join(described["best"]["by_loss"]), float((losses - losses.min()).mean())
    return Advice(unit, (), nan, nan, "open", None, count, best, nan, nan, nan, nan, random, outcome)


def _or_nan(value: Any) -> float:
    return math.nan if value is None else float(value)


def _file_of(files: Sequence[Scores], rows: pd.DataFrame, metric: str) -> Scores | None:
    """The score file that these rows come from: the one with the same values."""
    for file in files:
        if metric in file.metrics:
            values = _scored(file, metric).set_index("aug")["score"]
            mine = rows.set_index("aug")["score"]
            if set(mine.index) <= set(values.index) and np.array_equal(values[mine.index], mine, equal_nan=True):
                return file
    return None


def _scored(file: Scores, metric: str) -> pd.DataFrame:
    return file.table[["aug", metric, f"{metric}_se"]].set_axis(["aug", "score", "score_se"], axis=1)


def _tied(points: pd.DataFrame, place: int, file: Scores | None, metric: str) -> tuple[str, ...] | None:
    """By the paired differences of the score file; by the errors, as if independent, for another metric."""
    if file is not None and metric == file.metrics[0] and file.scores[0]["aug"] == points["aug"][place]:
        return tuple(str(score["aug"]) for score in file.scores[1:] if score["tied_with_best"])
    se = points["score_se"].to_numpy(float)
    if not np.isfinite(se).all():
        return None
    gap = np.abs(points["score"].to_numpy(float) - float(points["score"][place]))
    close = gap <= 1.959964 * np.sqrt(se**2 + se[place] ** 2) + ROUNDING
    return tuple(str(name) for i, name in enumerate(points["aug"]) if close[i] and i != place)


def recommends(material: Material) -> str:
    """Why nothing is recommended; empty where a better score was shown to mean a better student."""
    metric, entry = material.metric, material.found["confirmatory"][0]
    if entry["direction"] == "open":
        return f"no direction is stated for {metric}, so none of its scores is the best"
    if not material.found["answerable"]:
        return f"these students cannot answer whether a better {metric} means a better student"
    if entry["families"]["p_holm"] > material.found["settings"]["alpha"]:
        return f"these students do not show that a better {metric} means a better student"
    return ""


def lead(material: Material, advice: Sequence[Advice]) -> list[str]:
    """The first words of the report: what to take, how sure that is, what it costs to be wrong.

    The first sentence, which is printed in bold, says what the verdict says: nothing is recommended where the students
    do not show, or cannot answer, that the score predicts them.
    """
    metric, why, belief = material.metric, recommends(material), _belief(material)
    if advice[0].direction == "open":
        return [f"No recommendation: {why}.", belief]
    better = DIRECTIONS[advice[0].direction]
    if len(advice) == 1:
        only = advice[0]
        error = "" if math.isnan(only.score_se) else f" ± {only.score_se:.2g}"
        value = f"{only.score:.4g}{error} ({better})"
        sure, price = only.sure, only.price
        if why:
            first = (
                f"No recommendation: {why}. Of {only.count} augmentations {only.choice} has the best {metric}, {value}."
            )
        elif only.distilled:
            first = f"Use {only.choice}: of {only.count} augmentations it has the best {metric}, {value}."
        else:
            first = (
                f"Distil with {only.choice} before you use it: of {only.count} augmentations it has the best {metric},"
                f" {value}, and no student of it is here."
            )
    else:
        first = f"{_of_several(advice, metric, why)} ({better})."
        sure, price = _sure_of_several(advice), _price_of_several(advice)
    return [first, f"How sure: {sure} {belief}", *([f"What it costs to be wrong: {price}"] if price else [])]


def _of_several(advice: Sequence[Advice], metric: str, why: str) -> str:
    """What to take where there are several units: what most of them say, or each its own."""
    name, number = Counter(choice for one in advice for choice in one.best_scored).most_common(1)[0]
    others = Counter(one.choice for one in advice if name not in one.best_scored).most_common()
    if any(one.distilled for one in advice if name in one.best_scored):
        opening = f"Use {name}: in"
    else:
        opening = f"Distil with {name}, of which no student is here, before you use it: in"
    if why:
        opening = f"No recommendation: {why}. What scores best is {name}: in"
    if not others:
        return f"{opening} all {len(advice)} units it has the best {metric}"
    listed = _counted(others)
    if 2 * number > len(advice):
        return f"{opening} {number} of {len(advice)} units it has the best {metric}, in the others {listed}"
    every = _counted(Counter(one.choice for one in advice).most_common())
    if why:
        return f"No recommendation: {why}. In each of {len(advice)} units the best {metric} has {every}"
    return (
        f"No augmentation is best in most of {len(advice)} units: take in each the one with the best {metric}, {every}"
    )


def _counted(choices: Sequence[tuple[str, int]]) -> str:
    shown = [f"{name} in {number}" for name, number in choices[:LISTED]]
    more = len(choices) - LISTED
    return ", ".join(shown) + (f" and {more} more, listed below" if more > 0 else "")


def _sure_of_several(advice: Sequence[Advice]) -> str:
    known = [one for one in advice if one.tied is not None]
    if not known:
        return NO_ERRORS
    apart = sum(not one.tied for one in known)
    return f"the score tells the best apart from all others at 95 % in {apart} of {len(known)} units."


def _price_of_several(advice: Sequence[Advice]) -> str:
    known = [one.cost for one in advice if not math.isnan(one.cost)]
    if not known:
        return ""
    random, outcome = float(np.mean([one.random_cost for one in advice])), advice[0].outcome
    return (
        f"the augmentation with the best score has the lowest {outcome.name} in {sum(cost == 0 for cost in known)} of"
        f" {len(known)} units; taking it costs {np.mean(known):.4f} {outcome.unit} on average, {max(known):.4f} at"
        f" most. One taken at random costs {random:.4f} on average."
    )


def _belief(material: Material) -> str:
    entry, alpha = material.found["confirmatory"][0], material.found["settings"]["alpha"]
    if not material.found["answerable"]:
        return "Whether a better score means a better student cannot be answered from these students: see below."
    p = entry["families"]["p_holm"]
    if entry["direction"] == "open":
        shown = "show" if p <= alpha else "do not show"
        both = f"{material.metric} goes with the {material.outcome.name}"
        return f"These students {shown} that {both} (two-sided p = {p:.2g})."
    shown = p <= alpha
    care = "what speaks against it is below" if shown else "that does not show that it does not"
    return (
        f"These students {'show' if shown else 'do not show'} that a better score means a better student"
        f" (p = {p:.2g}); {care}."
    )
