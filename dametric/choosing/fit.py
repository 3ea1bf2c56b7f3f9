"""Parameters of short runs and scores by maximum likelihood from complete ledgers."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from scipy.stats import t as student_t

from dametric.base.arguments import argument
from dametric.choosing.arms import Floats, arms_of, likeness
from dametric.choosing.parameters import SHIPPED, Parameters, read_parameters
from dametric.choosing.posterior import Observation, posterior, prior_of
from dametric.choosing.units import Unit, complete_units, read_ledgers, scores_of
from dametric.errors import UsageError

WIDE = Parameters(
    spread=dict.fromkeys((0.002, 0.004, 0.008, 0.015, 0.03, 0.06, 0.12, 0.25, 0.5), 1.0),
    noise=dict.fromkeys((0.001, 0.002, 0.004, 0.008, 0.015, 0.03, 0.06, 0.12), 1.0),
    half=dict.fromkeys((0.02, 0.05, 0.1, 0.2, 0.35, 0.6), 1.0),
    growth=dict.fromkeys((-0.2, 0.0, 0.2, 0.4, 0.7, 1.0), 1.0),
)
"""What is possible before any ledger is looked at."""
_TABLES = ("spread", "noise", "half", "growth")
_ELSEWHERE = 0.1  # probability that a new unit is like none that was seen
_ROUNDS = 200


def fitted(
    units: Sequence[Unit],
    scores: Mapping[str, Mapping[str, float]] | None = None,
    *,
    wide: Parameters = WIDE,
    source: str = "",
    date: str = "",
) -> Parameters:
    """Parameters that make the losses of complete units most likely.

    The tables are the distributions over units of greatest likelihood on the grid of ``wide`` (by EM, each table
    independent of the others), with a tenth of the probability left to what was not seen. A score has weight where
    the mean of its slope over units is above 0 at 95 % (t over units), else none.

    Parameters
    ----------
    units : sequence of Unit
    scores : mapping of unit's name to mapping of str to float, optional
        Of the teachers, higher is a higher loss.
    wide : Parameters
    source, date : str
        To be recorded.

    Returns
    -------
    Parameters
    """
    likelihood = np.array([_likelihoods(unit, wide) for unit in units])
    shape = tuple(len(getattr(wide, name)) for name in _TABLES)
    tables = map(_widened, most_likely(likelihood.reshape(len(units), *shape)))
    found = {
        name: {value: float(weight) for value, weight in zip(getattr(wide, name), table, strict=True)}
        for name, table in zip(_TABLES, tables, strict=True)
    }
    shares = [steps / unit.steps[-1] for unit in units for steps in unit.steps]
    longest = [unit.steps[-1] for unit in units]
    slope, slope_spread = _slope([_slope_of(unit, (scores or {}).get(unit.name)) for unit in units])
    return replace(
        wide,
        spread=found["spread"],
        noise=found["noise"],
        half=found["half"],
        growth=found["growth"],
        slope=slope,
        slope_spread=slope_spread,
        fractions=(min(shares), 1.0),
        steps=(min(longest) // 2, 2 * max(longest)),
        source=source,
        date=date,
    )


def fitted_from(
    ledgers: Sequence[str | os.PathLike[str]],
    scores: Sequence[str | os.PathLike[str]] = (),
    *,
    metric: str = "t_stddev",
    made_by: str = "fitted",
    date: str = "",
) -> tuple[Parameters, list[str]]:
    """Parameters from the complete units of ledgers, which name their ledgers and units.

    Parameters
    ----------
    ledgers : sequence of path-like
    scores : sequence of path-like
        Of the teachers; by default ``scores/*.json`` in the ledgers.
    metric : str
        Of the scores.
    made_by, date : str
        To be recorded.

    Returns
    -------
    Parameters
    list of str
        What is left out, and what the score has shown.

    Raises
    ------
    UsageError
        If no unit is complete, with what is missing.
    """
    units, notes = complete_units(read_ledgers(ledgers))
    by_teacher, _ = scores_of(units, ledgers, scores, metric)
    by_unit = {unit.name: by_teacher[unit.teacher] for unit in units if unit.teacher in by_teacher}
    names = ", ".join(unit.name for unit in units)
    count = f"{len(units)} unit{'s' * (len(units) > 1)}"
    source = f"{made_by} from {count} of {', '.join(map(str, ledgers))}: {names}"
    parameters = fitted(units, by_unit, source=source, date=date)
    weight = f"{metric} has a slope of {parameters.slope:.2f}, spread {parameters.slope_spread:.2f}"
    none = f"{metric} is not shown to help in {len(by_unit)} units with scores (3 are the least), so it has no weight"
    return parameters, [*notes, weight if parameters.slope else none]


def assumed_parameters(
    parameters: Parameters | str | os.PathLike[str] | None,
    ledger: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] = (),
    metric: str = "t_stddev",
) -> tuple[Parameters, str]:
    """What a choice assumes of short runs, and a remark on where it is from.

    Parameters
    ----------
    parameters : Parameters or path-like, optional
    ledger : path-like or sequence of path-like
        Folders of runs.
    metric : str
        Of the scores that lie in them.

    Returns
    -------
    Parameters
        Those that are given, those fitted to complete units of the ledger, or those that are shipped.
    str
        "" where there is no ledger.

    Raises
    ------
    UsageError
        If both are given, or the ledger holds no runs.
    """
    folders = [ledger] if isinstance(ledger, (str, os.PathLike)) else list(ledger)
    if not folders:
        if isinstance(parameters, Parameters):
            return parameters, ""
        return read_parameters(SHIPPED if parameters is None else parameters), ""
    if parameters is not None:
        raise UsageError(f"{argument('parameters')} and {argument('ledger')} both say what is assumed: give one")
    read_ledgers(folders)
    try:
        known, notes = fitted_from(folders, metric=metric)
    except UsageError as error:
        shipped = read_parameters()
        return shipped, f"What is shipped is assumed of short runs ({shipped.date}): {error}."
    said = f"Assumed of short runs: {'; '.join([known.source, *notes])}."
    return replace(known, metric=metric), said


def _likelihoods(unit: Unit, wide: Parameters) -> Floats:
    """Likelihood of a unit's losses under every setting, up to a factor."""
    arms = arms_of(unit.augs, unit.image_size)
    prior = prior_of(arms, [steps / unit.steps[-1] for steps in unit.steps], wide, None, unit.seeds)
    runs = [Observation(*run, loss) for run, loss in sorted(unit.losses.items())]
    result: Floats = posterior(prior, runs).weights / prior.weights
    return result


def most_likely(likelihood: Floats, rounds: int = _ROUNDS) -> list[Floats]:
    """Independent distributions over the axes that maximise the product over units of the mean likelihood, by EM.

    Parameters
    ----------
    likelihood : ndarray
        Shape (units, values of the first table, of the second, ...).
    rounds : int

    Returns
    -------
    list of ndarray
        A table for each axis.
    """
    axes = range(1, likelihood.ndim)
    tables = [np.full(likelihood.shape[axis], 1 / likelihood.shape[axis]) for axis in axes]
    for _ in range(rounds):
        joint = likelihood.copy()
        for axis, table in zip(axes, tables, strict=True):
            joint *= table.reshape([-1 if axis == place else 1 for place in range(likelihood.ndim)])
        joint /= joint.sum(tuple(axes), keepdims=True)
        marginals = [joint.sum(tuple(other for other in axes if other != axis)).mean(0) for axis in axes]
        tables = [marginal / marginal.sum() for marginal in marginals]
    return tables


def _widened(table: Floats) -> Floats:
    """The same with some probability for what was not seen."""
    result: Floats = (1 - _ELSEWHERE) * table + _ELSEWHERE / len(table)
    return result


def _slope_of(unit: Unit, score: Mapping[str, float] | None) -> float:
    """What a standardised score is worth in a unit, in units of the spread of its effects; NaN without one."""
    if score is None:
        return math.nan
    kept = [arm for arm, aug in enumerate(unit.augs) if math.isfinite(score.get(aug, math.nan))]
    if len(kept) < 3:
        return math.nan
    values = np.array([score[unit.augs[arm]] for arm in kept])
    losses = np.array([unit.truth[arm] for arm in kept])
    inverse = np.linalg.inv(likeness([arms_of(unit.augs, unit.image_size)[arm] for arm in kept], 0.6, 1.0))
    ones = np.ones(len(kept))
    inverse = inverse - np.outer(inverse @ ones, ones @ inverse) / (ones @ inverse @ ones)  # beside a free level
    spread = math.sqrt(losses @ inverse @ losses / (len(kept) - 1))
    direction = (values - values.mean()) / values.std() if values.std() > 0 else values * 0
    power = direction @ inverse @ direction
    return float(direction @ inverse @ losses / power / spread) if power > 0 and spread > 0 else 0.0


def _slope(each: Sequence[float]) -> tuple[float, float]:
    """Mean and deviation over units where the mean is shown to be above 0, else no weight."""
    known = np.array([slope for slope in each if math.isfinite(slope)])
    if len(known) < 3:
        return 0.0, 0.0
    mean, deviation = float(known.mean()), float(known.std(ddof=1))
    low = mean - float(student_t.ppf(0.95, len(known) - 1)) * deviation / math.sqrt(len(known))
    return (mean, deviation) if low > 0 else (0.0, 0.0)
