"""What is assumed of short runs and of scores before a user's runs speak: spreads, noise, agreement."""

from __future__ import annotations

import itertools
import json
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields, replace
from numbers import Real
from pathlib import Path
from typing import Any

from dametric.base.files import read_text
from dametric.errors import UsageError, shortened, unknown

SHIPPED = Path(__file__).with_name("shipped.json")
_TABLES = (("spread", 1e-9, 100.0), ("noise", 1e-9, 100.0), ("half", 0.0, 1.0), ("growth", -3.0, 3.0))
_MOST_SETTINGS = 20_000  # which a look weighs, and keeps, all
_NUMBERS = (
    *(("family_share", 0.0, 0.999), ("length", 0.01, 100.0), ("slope", -100.0, 100.0)),
    *(("slope_spread", 0.0, 100.0), ("trust", 0.0, 1.0), ("shared_noise", 0.0, 1000.0)),
)


@dataclass(frozen=True)
class Setting:
    """One point of the grid of what is not known.

    Attributes
    ----------
    weight : float
        Prior probability.
    spread : float
        Standard deviation of the arms' effects on the loss of a whole schedule, nats.
    noise : float
        Standard deviation of a run's loss over seeds beside that of its common start, nats.
    agreement : tuple of float
        Correlation of the arms' effects at each fraction of the schedule with those of the whole one; 1 at the end.
    scale : tuple of float
        How much larger than those of the whole one effects are at each fraction; 1 at the end.
    slope, slope_spread : float
        Mean and standard deviation of what a standardised score is worth, in units of ``spread``.
    """

    weight: float
    spread: float
    noise: float
    agreement: tuple[float, ...]
    scale: tuple[float, ...]
    slope: float
    slope_spread: float


@dataclass(frozen=True)
class Parameters:
    """Distributions over what is not known of a choice before its runs.

    Each of the first four is a discrete distribution: values and their probabilities, which are normalised. The
    posterior is a mixture over their product, so nothing is approximated.

    Attributes
    ----------
    spread, noise : dict of float to float
        As :class:`Setting`, nats.
    half : dict of float to float
        The share of the whole schedule at which the correlation of the arms' effects with those of the whole one is
        a half: at a fraction c it is 1 / (1 + odds (1 / c - 1)), odds = half / (1 - half), with ``half`` in (0, 1).
    growth : dict of float to float
        Effects at a fraction c are c^-growth times as large as those of the whole schedule.
    family_share, length : float
        See :func:`dametric.choosing.arms.likeness`.
    slope, slope_spread : float
        Mean and standard deviation of what a standardised score is worth, in units of ``spread``; negative is a score
        whose higher values mean lower losses. 0 and 0: a score has no weight.
    metric : str
        The score that the slope is of; every other one has no weight.
    trust : float
        Probability that a score is worth anything here: with the rest of it, the slope is 0.
    shared_noise : float
        Variance of a seed's common effect on all arms in units of that of ``noise``.
    fractions : tuple of float
        The smallest and the largest fraction of a schedule that the parameters come from.
    steps : tuple of int
        The same for the steps of whole schedules.
    source : str
        Where they come from.
    date : str
    """

    spread: dict[float, float]
    noise: dict[float, float]
    half: dict[float, float]
    growth: dict[float, float]
    family_share: float = 0.6
    length: float = 1.0
    slope: float = 0.0
    slope_spread: float = 0.0
    metric: str = "t_stddev"
    trust: float = 0.5
    shared_noise: float = 1.0
    fractions: tuple[float, float] = (0.05, 1.0)
    steps: tuple[int, int] = (1, 1_000_000_000)
    source: str = ""
    date: str = ""

    def __post_init__(self) -> None:
        for name, low, high in _TABLES:
            table: dict[float, float] = getattr(self, name)
            weights_hold = math.isfinite(sum(table.values())) and all(weight > 0 for weight in table.values())
            if not table or not weights_hold or not all(low < value < high for value in table):
                raise UsageError(
                    f"parameters: {name} is a table of values above {low:g} and below {high:g} with probabilities, not "
                    f"{table}"
                )
        for name, low, high in _NUMBERS:
            value = getattr(self, name)
            if not (isinstance(value, Real) and not isinstance(value, bool) and low <= float(value) <= high):
                raise UsageError(f"parameters: {name} is a number from {low:g} to {high:g}, not {value!r}")
        for name, kinds, most in (("fractions", (int, float), 1), ("steps", (int,), math.inf)):
            ends = getattr(self, name)
            numbers = isinstance(ends, tuple) and [type(end) in kinds for end in ends] == [True, True]
            if not (numbers and 0 < ends[0] <= ends[1] <= most):
                raise UsageError(f"parameters: {name} are the smallest and the largest, above 0, not {ends!r}")
        for name in ("metric", "source", "date"):
            if not isinstance(getattr(self, name), str):
                raise UsageError(f"parameters: {name} is a word, not {getattr(self, name)!r}")
        settings = math.prod(len(getattr(self, name)) for name, _, _ in _TABLES)
        if settings > _MOST_SETTINGS:
            raise UsageError(f"parameters: the tables have {settings:,} combinations, and {_MOST_SETTINGS:,} at most")

    def settings(self, fractions: Sequence[float]) -> Iterator[Setting]:
        """The grid, for these fractions of a schedule, the shortest first.

        Examples
        --------
        >>> only = Parameters({0.05: 1}, {0.01: 1}, {0.2: 1}, {0.0: 1})
        >>> [setting.agreement for setting in only.settings([0.2, 1.0])]
        [(0.5, 1.0)]
        """
        scored, trust = (self.slope, self.slope_spread), self.trust if self.slope or self.slope_spread else 0.0
        slopes = {slope: weight for slope, weight in ((scored, trust), ((0.0, 0.0), 1 - trust)) if weight > 0}
        tables: list[dict[Any, float]] = [self.spread, self.noise, self.half, self.growth, slopes]
        totals = [sum(table.values()) for table in tables]
        for cell in itertools.product(*(table.items() for table in tables)):
            (spread, _), (noise, _), (half, _), (growth, _), (slope, _) = cell
            weight = math.prod(part / total for (_, part), total in zip(cell, totals, strict=True))
            odds = half / (1 - half)
            agreement = tuple(1 / (1 + odds * (1 / fraction - 1)) for fraction in fractions)
            scale = tuple(fraction**-growth for fraction in fractions)
            yield Setting(weight, spread, noise, agreement, scale, *slope)

    def for_metric(self, metric: str) -> Parameters:
        """The same, without weight for a score that the slope is not of."""
        return self if metric == self.metric else replace(self, slope=0.0, slope_spread=0.0)

    def for_schedule(self, steps: int, fractions: Sequence[float]) -> tuple[Parameters, str]:
        """The same, made less certain where a schedule lies outside of what they come from, and what was done.

        Parameters
        ----------
        steps : int
            Of the whole schedule.
        fractions : sequence of float

        Returns
        -------
        Parameters
        str
            "" where nothing was done.
        """
        (shortest, longest), (low, high) = self.steps, self.fractions
        slack = 0.501 / steps  # fractions are whole steps of a schedule: half a step, and what rounding does to it
        outside = []
        if not shortest <= steps <= longest:
            outside.append(f"schedules of {shortest} to {longest} steps, not {steps}")
        if min(fractions) < low - slack or max(fractions) > high + slack:
            asked = f"{min(fractions):.3g}" if min(fractions) < low else f"{max(fractions):.3g}"
            outside.append(f"fractions of a schedule from {low:g} to {high:g}, not {asked}")
        if not outside:
            return self, ""
        half = dict.fromkeys((0.02, 0.1, 0.3, 0.6), 1.0)
        reason = (
            f"The parameters of short runs come from {' and '.join(outside)}: how far short runs agree with whole ones "
            "is taken as unknown."
        )
        return replace(self, half=half), reason

    def document(self) -> dict[str, object]:
        """What is written to JSON."""
        return asdict(self)


def read_parameters(path: str | os.PathLike[str] = SHIPPED) -> Parameters:
    """Parameters from a file; by default those that are shipped.

    Raises
    ------
    UsageError
        If it cannot be read.

    Examples
    --------
    >>> shipped = read_parameters()
    >>> shipped.fractions, shipped.slope
    ((0.05, 1.0), 0.0)
    """
    try:
        return _parsed(json.loads(read_text(path), object_pairs_hook=_unique))
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path}: not parameters of a choice ({error})") from error


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    known: dict[str, Any] = {}
    for name, value in pairs:
        if name in known:
            raise UsageError(f"'{shortened(name)}' stands twice")
        known[name] = value
    return known


def _parsed(document: Any) -> Parameters:
    if not isinstance(document, dict):
        raise UsageError(f"an object with tables such as spread, not {shortened(document)}")
    names = [each.name for each in fields(Parameters)]
    for name in document:
        if name not in names:
            raise unknown("key", name, names)
    known = dict(document)
    for name, *_ in _TABLES:
        if not isinstance(table := document.get(name), dict):
            raise UsageError(f'{name} is a table of values and probabilities, as {{"0.01": 1}}, and {_given(table)}')
        try:
            known[name] = {float(value): float(weight) for value, weight in table.items()}
        except (TypeError, ValueError):
            raise UsageError(f"{name} is a table of numbers and probabilities, not {shortened(table)}") from None
        if len(known[name]) < len(table):
            raise UsageError(f"{name} has a value twice: {shortened(table)}")
    known |= {name: tuple(known[name]) for name in ("fractions", "steps") if isinstance(known.get(name), list)}
    return Parameters(**known)


def _given(value: Any) -> str:
    return "is missing" if value is None else f"is {shortened(value)} here"
