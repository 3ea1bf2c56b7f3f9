"""Augmentations that differ in one strength alone: curves, and where a metric is best on them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from dametric.analysis.numbers import listed
from dametric.records.score_rows import Difference, MetricValue, ScoreRow
from dametric.records.scores import Scores
from dametric.stats.best_set import best_set, dof_of
from dametric.stats.families import by_strength, strength_curves

LEAST = 3  # strengths that make a curve
FOR_EVER = (
    "T. stddev falls for ever with strength, until images are destroyed: it orders augmentations, and cannot find a"
    " best strength."
)


@dataclass(frozen=True)
class Curve:
    """One augmentation at several strengths.

    Attributes
    ----------
    name : str
        The specification with its strength left open, such as "mixup:alpha=…".
    parameter : str
        What the strength is called.
    metric : str
        What was measured.
    strengths : tuple of float
        In rising order.
    rows : tuple of ScoreRow
        Of each strength.
    logarithmic : bool
        Whether strengths have equal ratios rather than equal steps.
    best : int, optional
        Place of the strength with the best value; None where no direction was stated, no value is known, or all
        images are destroyed.
    tied : tuple of int
        Places of the strengths that are not shown to be worse than another (95 % for all of the curve), the best one
        included. Destroyed images do not compete.
    """

    name: str
    parameter: str
    metric: str
    strengths: tuple[float, ...]
    rows: tuple[ScoreRow, ...]
    logarithmic: bool
    best: int | None
    tied: tuple[int, ...]

    @property
    def values(self) -> list[MetricValue]:
        """The metric at each strength."""
        return [row.metrics[self.metric] for row in self.rows]

    @property
    def competing(self) -> list[int]:
        """Places of the strengths whose images are not destroyed, and whose values are known."""
        return _competing(self.rows, self.metric)

    @property
    def inside(self) -> bool:
        """Whether the best strength lies between others, so that it is one at all."""
        return self.best is not None and self.best not in (self.competing[0], self.competing[-1])

    @property
    def interval(self) -> tuple[float, float] | None:
        """The weakest and the strongest that might be best (95 %); None where the best lies at an end."""
        return (self.strengths[self.tied[0]], self.strengths[self.tied[-1]]) if self.inside else None

    @property
    def short_answer(self) -> str:
        """The best strength in a few words."""
        if self.best is None:
            return "best: not known"
        if self.interval is None:
            return "best: none inside the range"
        low, high = self.interval
        return f"best: {self.strengths[self.best]:g} ({low:g} to {high:g})"

    @property
    def spec(self) -> str:
        """The specification with the best strength; with none where it is not known."""
        return self.name if self.best is None else self.rows[self.best].aug


def sentences(curves: Sequence[Curve]) -> list[str]:
    """Where the metric is best on each curve, how sure that is, and whether it is a strength at all."""
    inside, ends = [], [curve for curve in curves if curve.best is not None and not curve.inside]
    for curve in curves:
        if curve.best is not None and curve.interval is not None:
            low, high = curve.interval
            places = {"lower": curve.competing[0], "upper": curve.competing[-1]}
            reached = [f"the {end} end" for end, place in places.items() if place in curve.tied]
            beyond = f", as far as {' and '.join(reached)} of the range" if reached else ""
            at = f"{curve.metric} is best at {curve.parameter} = {curve.strengths[curve.best]:g}"
            inside.append(f"{curve.name}: {at}; 95 % interval {low:g} to {high:g}{beyond}.")
    if ends:
        intact = ", of strengths that leave images intact" if any(_lost(curve) for curve in ends) else ""
        names = listed([curve.spec for curve in ends])
        inside.append(f"Best strength: none inside the range ({ends[0].metric} is best at its end{intact}): {names}.")
        if ends[0].metric.startswith("t_stddev"):
            inside.append(FOR_EVER)
    unknown = [curve.name for curve in curves if curve.best is None]
    return [*inside, *([f"Best strength: not known of {listed(unknown)}."] if unknown else [])]


def _lost(curve: Curve) -> bool:
    return any(row.destroyed for row in curve.rows)


class TableLine(NamedTuple):
    """A line of a table of scores.

    Attributes
    ----------
    name : str
        A family, or an augmentation, indented below its family.
    place : int or None
        Of the row in the scores; None for a family.
    mark : str
        "best of mixup", where it is.
    """

    name: str
    place: int | None
    mark: str = ""


def table_lines(scores: Scores) -> list[TableLine]:
    """The lines of a table: the rows as they are ordered, or by family where strengths are among them.

    Families stand in the order of their best rows; in a family the strengths in order, see
    :func:`dametric.stats.families.by_strength`.
    """
    names = [row.aug for row in scores.rows]
    if not curves_of(scores):
        return [TableLine(name, place) for place, name in enumerate(names)]
    lines = []
    for family, places in sorted(by_strength(names).items(), key=lambda item: min(item[1])):
        if len(places) == 1:
            lines.append(TableLine(names[places[0]], places[0]))
            continue
        lines.append(TableLine(family, None))
        lines += [
            TableLine(f"  {names[place]}", place, f"best of {family}" if place == min(places) else "")
            for place in places
        ]
    return lines


def curves_of(scores: Scores) -> tuple[Curve, ...]:
    """The curves among scored augmentations: those of three strengths and more, in the order of their best rows.

    Rows of one curve have the same specification but for one number; a specification that leaves the number out
    belongs to it with the value that it stands for.

    Parameters
    ----------
    scores : Scores

    Examples
    --------
    >>> from dametric.records.scores import Scores
    >>> rows = [{"aug": f"mixup:alpha={a}", "metrics": {"m": {"value": v, "se": 0.1, "direction": "lower"}}}
    ...         for a, v in ((0.5, 3.0), (1, 2.0), (2, 2.5))]
    >>> [curve.short_answer for curve in curves_of(Scores(rows, {"metrics": ["m"]}, {}))]
    ['best: 1 (0.5 to 2)']
    """
    rows = scores.rows
    found = strength_curves(
        [row.aug for row in rows], LEAST, lambda place, key: _parameter(rows[place].parameters, key)
    )
    return tuple(_curve(scores, *curve) for curve in found)


def heads_of(scores: Scores, curves: Sequence[Curve]) -> list[ScoreRow]:
    """The rows that are on no curve, and of each curve its best one, in the order of the scores."""
    best = {curve.rows[curve.best].aug for curve in curves if curve.best is not None}
    on_curves = {row.aug for curve in curves for row in curve.rows}
    return [row for row in scores.rows if row.aug in best or row.aug not in on_curves]


def _parameter(parameters: Any, key: str) -> float | None:
    """The first number of this name among an augmentation's operations."""
    if isinstance(parameters, dict) and isinstance(parameters.get(key), (int, float)):
        return float(parameters[key])
    inner: Any = parameters.values() if isinstance(parameters, dict) else parameters
    if not isinstance(parameters, (dict, list, tuple)):
        return None
    return next((value for part in inner if (value := _parameter(part, key)) is not None), None)


def _curve(scores: Scores, name: str, key: str, places: dict[float, int]) -> Curve:
    strengths = tuple(sorted(places))
    rows, metric = tuple(scores.rows[places[value]] for value in strengths), scores.metrics[0]
    sign = {"lower": 1, "higher": -1}.get(scores.direction, 0)
    competing, best, tied = _competing(rows, metric), None, tuple[int, ...]()
    if sign and competing:
        best = min(competing, key=lambda place: sign * rows[place].metrics[metric].value)
        chosen = not_shown_to_be_worse([rows[place] for place in competing], sign)
        tied = tuple(sorted({best, *(place for place, kept in zip(competing, chosen, strict=True) if kept)}))
    return Curve(name, key, metric, strengths, rows, _logarithmic(strengths), best, tied)


def _competing(rows: Sequence[ScoreRow], metric: str) -> list[int]:
    return [place for place, row in enumerate(rows) if not row.destroyed and math.isfinite(row.metrics[metric].value)]


def not_shown_to_be_worse(rows: Sequence[ScoreRow], sign: int) -> list[bool]:
    """Which of the rows might be the best of them (95 % for all together), from their paired differences.

    Parameters
    ----------
    rows : sequence of ScoreRow
    sign : int
        1 where low values are good, -1 where high ones are.
    """
    unknown = Difference()
    table = [[row.differences.get(other.aug, unknown) for other in rows] for row in rows]
    value, se, low, high = (
        np.array([[getattr(cell, name) for cell in line] for line in table], float)
        for name in ("value", "se", "low", "high")
    )
    return [bool(kept) for kept in best_set(sign * value, se, dof_of(low, high, se))]


def _logarithmic(strengths: Sequence[float]) -> bool:
    """Whether the ratios of neighbours are more alike than their steps are."""
    if strengths[0] <= 0:
        return False
    steps, ratios = np.diff(strengths), np.diff(np.log(strengths))
    return bool(np.std(ratios) / np.mean(ratios) < np.std(steps) / np.mean(steps))
