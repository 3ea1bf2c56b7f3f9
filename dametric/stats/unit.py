"""Everything about one unit and one metric, as plain values."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd

from dametric.stats.coefficients import METHODS
from dametric.stats.correlation import correlate
from dametric.stats.disattenuation import disattenuated
from dametric.stats.families import family
from dametric.stats.intervals import bca
from dametric.stats.joined import ENDPOINTS, Unit, as_measured, expected_sign
from dametric.stats.noise import expected_tau, reliability, tied_tau
from dametric.stats.regression import leave_out, ols
from dametric.stats.result import Floats, Result
from dametric.stats.toplist import regret_curve
from dametric.stats.york import york

_INFLUENCE = ("kendall", "pearson")
_BOOTSTRAP = 1999


def coefficients(
    rows: pd.DataFrame, endpoint: str, alternative: str, methods: Sequence[str] = METHODS, **options: Any
) -> dict[str, Result]:
    """Coefficients of a metric with an endpoint in one unit, with the signs that the measured values have.

    Parameters
    ----------
    rows : pandas.DataFrame
        Of one unit and one metric, from :func:`dametric.stats.joined.prepare`.
    endpoint : {"test_loss", "test_top1"}
    alternative : {"two-sided", "greater"}
        "greater": one-sided in the stated direction, whatever sign that is.
    methods : sequence of str
    **options
        Passed on to :func:`correlate`.

    Returns
    -------
    dict of str to Result
        Empty where the endpoint is not known.
    """
    outcome = np.array(rows[endpoint], dtype=np.float64)
    if not len(outcome) or np.isnan(outcome).any():
        return {}
    stated = str(rows["direction"].iloc[0])
    x, y = expected_sign(stated, "test_loss") * np.array(rows["score"]), expected_sign("lower", endpoint) * outcome
    sign = expected_sign(stated, endpoint)
    return {method: as_measured(correlate(x, y, method, alternative, **options), sign) for method in methods}


def describe_unit(rows: pd.DataFrame, **options: Any) -> dict[str, Any]:
    """Coefficients, lines, influence, regret and noise of one metric in one unit.

    Parameters
    ----------
    rows : pandas.DataFrame
        Of one unit and one metric, from :func:`dametric.stats.joined.prepare`.
    **options
        ``confidence``, ``resamples`` and ``seed``.

    Returns
    -------
    dict
        ``n, augs, families, n_families, direction, seeds`` (least and most), ``best`` (by score and by loss; several
        where they are equal; none by score where no direction is stated), ``coefficients`` (endpoint to coefficient to
        result, two-sided), ``bca`` (Pearson), ``ols`` (of the loss), ``ols_top1`` (of the accuracy, None where it is
        not known), ``york`` (None without errors of both axes), ``influence`` (coefficient to ranges by aug and by
        family), ``regret`` (list over k; NaN where no direction is stated), ``noise`` (None where errors are not
        known).
    """
    unit = Unit.of(rows)
    confidence = options["confidence"]
    found = {
        endpoint: {
            name: result.to_dict() for name, result in coefficients(rows, endpoint, "two-sided", **options).items()
        }
        for endpoint in ENDPOINTS
    }
    second = bca(unit.score, unit.loss, confidence=confidence, resamples=_BOOTSTRAP, seed=options["seed"])
    families = [family(aug) for aug in unit.augs]
    return {
        "n": unit.n,
        "augs": list(unit.augs),
        "families": families,
        "n_families": len(set(families)),
        "direction": unit.direction,
        "seeds": {"least": _least(unit.seeds), "most": -_least(-unit.seeds)},
        "best": {
            "by_score": [] if unit.direction == "open" else _lowest(unit, unit.choice_score),
            "by_loss": _lowest(unit, unit.loss),
        },
        "coefficients": found,
        "bca": second.to_dict(),
        "ols": _ols(unit.augs, unit.score, unit.loss, confidence),
        "ols_top1": _ols(unit.augs, unit.score, unit.top1, confidence) if np.isfinite(unit.top1).all() else None,
        "york": _york(unit, confidence),
        "influence": {
            name: {by: asdict(leave_out(unit.score, unit.loss, unit.augs, name, by=by)) for by in ("aug", "family")}
            for name in _INFLUENCE
        },
        "regret": _regret(unit),
        "noise": _noise(unit, **options),
    }


def _lowest(unit: Unit, values: Floats) -> list[str]:
    return [unit.augs[i] for i in np.flatnonzero(values == values.min())]


def _least(values: Floats) -> float:
    known = values[np.isfinite(values)]
    return float(known.min()) if len(known) == len(values) and len(values) else math.nan


def _ols(augs: tuple[str, ...], score: Floats, outcome: Floats, confidence: float) -> dict[str, Any]:
    line = ols(score, outcome, confidence=confidence)
    return {
        "slope": line.slope.to_dict(),
        "intercept": line.intercept.to_dict(),
        "slope_se": line.slope_se,
        "intercept_se": line.intercept_se,
        "r_squared": line.r_squared,
        "cook": dict(zip(augs, (float(value) for value in line.cook), strict=True)),
        "flagged": [augs[i] for i in line.flagged],
    }


def _york(unit: Unit, confidence: float) -> dict[str, Any] | None:
    """None where an axis has no errors, or an error of zero, which would be an infinite weight."""
    if not unit.errors_known or (unit.score_se <= 0).any() or (unit.loss_se <= 0).any():
        return None
    line = york(unit.score, unit.loss, unit.score_se, unit.loss_se, confidence=confidence)
    values = {"slope": line.slope.to_dict(), "intercept": line.intercept.to_dict()}
    return {**asdict(line), **values, "scale": line.scale}


def _regret(unit: Unit) -> list[dict[str, Any]]:
    curve = regret_curve(
        unit.choice_score,
        unit.loss,
        loss_se=unit.loss_se if np.isfinite(unit.loss_se).all() else None,
        accuracy=unit.top1 if np.isfinite(unit.top1).all() else None,
    )
    if unit.direction == "open":  # nothing says which score would be taken
        curve.loc[:, curve.columns != "k"] = math.nan
    rows = curve.astype(float).to_dict("records")
    return [{str(name): int(value) if name == "k" else value for name, value in row.items()} for row in rows]


def _noise(unit: Unit, **options: Any) -> dict[str, Any]:
    """Reliabilities where an axis has errors, the rest where both have."""
    axes = {"score": (unit.score, unit.score_se), "loss": (unit.loss, unit.loss_se)}
    out: dict[str, Any] = {
        f"reliability_{name}": reliability(values, se).to_dict() if np.isfinite(se).all() else None
        for name, (values, se) in axes.items()
    }
    both = ("disattenuated", "expected_tau", "tied_tau")
    if not unit.errors_known:
        return out | dict.fromkeys(both)
    points = unit.score, unit.loss, unit.score_se, unit.loss_se
    confidence, resamples, seed = options["confidence"], options["resamples"], options["seed"]
    results = (
        disattenuated(*points, confidence=confidence, seed=seed),
        expected_tau(*points, confidence=confidence, seed=seed),
        tied_tau(*points, confidence=confidence, resamples=resamples, seed=seed),
    )
    return out | {name: result.to_dict() for name, result in zip(both, results, strict=True)}
