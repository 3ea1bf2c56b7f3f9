"""The weakest association that a study of a given size finds."""

from __future__ import annotations

import math
from typing import Any

from dametric.stats.power import plan
from dametric.stats.result import check_fraction

_STEPS = 10  # halvings of the range: correlations to 0.001


def detectable(augs: int, seeds: int, units: int = 1, *, power: float = 0.8, **options: Any) -> float:
    """Smallest true correlation that is detected with the given power.

    Bisection over :func:`plan` with the same simulated studies at every step, so that power grows with the correlation
    but for a fraction of the simulation error.

    Parameters
    ----------
    augs, seeds, units : int
        As for :func:`plan`.
    power : float
        Fraction of studies that reject.
    **options
        ``seed_sd, spread, alpha, simulations, seed, alternative, share`` of :func:`plan`; with the alternative "less"
        the answer is the size of a negative correlation.

    Returns
    -------
    float
        Between 0 and 1; NaN where even a correlation of 1 is not detected that often.

    Raises
    ------
    UsageError
        As :func:`plan`, and for a power that is not between 0 and 1.
    """
    check_fraction("power", power)
    sign = -1.0 if options.get("alternative") == "less" else 1.0

    def reached(rho: float) -> bool:
        return plan(sign * rho, augs, seeds, units, **options).power >= power

    low, high = 0.0, 1.0
    if not reached(high):
        return math.nan
    for _ in range(_STEPS):
        middle = (low + high) / 2
        low, high = (low, middle) if reached(middle) else (middle, high)
    return high
