"""Simulated studies of settings of families: what the settings of one family have in common is no evidence."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pandas as pd

from dametric import stats
from dametric.stats.coefficients import coefficient

Rng = np.random.Generator
RESAMPLES = 999
SETTINGS = tuple(
    f"{name}={value}"
    for name in ("rrc:scale", "cutout:length", "randaugment:m", "mixup:alpha", "cutmix:alpha", "snow:strength")
    for value in (1, 2, 3, 4)
)
FAMILIES, EACH = 6, 4


def studies(rng: Rng, shared: float, trend: float, units: int) -> pd.DataFrame:
    """Scores and losses that have nothing to do with each other.

    Parameters
    ----------
    rng : numpy.random.Generator
    shared : float
        Intraclass correlation: share of the variance that the settings of a family have in common.
    trend : float
        Standard deviation over families of what three steps of strength add, in standard deviations of the rest.
    units : int
        Each with half of every effect of its own.
    """
    place = {"unit": np.repeat([f"unit {i}" for i in range(units)], len(SETTINGS)), "aug": np.tile(SETTINGS, units)}
    return pd.DataFrame({**place, **{name: _values(rng, shared, trend, units) for name in ("x", "y")}})


def _values(rng: Rng, shared: float, trend: float, units: int) -> np.ndarray:
    steps = np.linspace(-0.5, 0.5, EACH)

    def one() -> np.ndarray:
        family, slope = rng.standard_normal((2, FAMILIES, 1))
        rest = rng.standard_normal((FAMILIES, EACH))
        losses: np.ndarray = math.sqrt(shared) * family + math.sqrt(1 - shared) * rest + trend * slope * steps
        return losses.ravel()

    if units == 1:
        return one()
    common = one()
    return np.concatenate([common + one() for _ in range(units)])


def whole(shared: float, trend: float = 0.0, units: int = 1) -> Callable[[Rng], float]:
    """p of the test that permutes whole families."""
    return lambda rng: stats.by_families(studies(rng, shared, trend, units))[0].pvalue


def one_by_one(shared: float, trend: float = 0.0, units: int = 1) -> Callable[[Rng], float]:
    """p of the test that takes every setting as independent of every other."""

    def study(rng: Rng) -> float:
        frame = studies(rng, shared, trend, units)
        return stats.pooled(frame, alternative="greater", resamples=RESAMPLES, seed=int(rng.integers(2**31))).pvalue

    return study


def inside(shared: float, trend: float) -> Callable[[Rng], float]:
    """p of a test that permutes whole families, and the settings inside each at random too."""

    def study(rng: Rng) -> float:
        frame = studies(rng, shared, trend, 1)
        x, y = (frame[name].to_numpy().reshape(FAMILIES, EACH) for name in ("x", "y"))
        drawn = [rng.permuted(y, axis=1)[rng.permutation(FAMILIES)].ravel() for _ in range(RESAMPLES)]
        taus = coefficient("kendall", x.ravel(), np.array([y.ravel(), *drawn]))
        return float(np.mean(taus >= taus[0] - 1e-11))

    return study
