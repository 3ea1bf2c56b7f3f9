"""`dametric plan`: what a study of a given size can find out."""

from __future__ import annotations

import json
import math

from dametric import stats
from dametric.base import limits

POWER = 0.8


def plan(
    rho: float, augs: int, seeds: int, units: int, seed_sd: float, spread: float, alpha: float, seed: int, as_json: bool
) -> None:
    """Print what a study of this size can detect."""
    for name, count in (("augs", augs), ("seeds", seeds), ("units", units)):
        limits.whole(name, count, limits.STUDIES[name])
    found = stats.plan(rho, augs, seeds, units, seed_sd, spread, alpha, seed=seed)
    least = stats.detectable(augs, seeds, units, seed_sd=seed_sd, spread=spread, alpha=alpha, power=POWER, seed=seed)
    if as_json:
        numbers = {name: getattr(found, name) for name in found.__dataclass_fields__}
        plain = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in numbers.items()}
        print(json.dumps({**plain, "detectable": least if math.isfinite(least) else None, "at_power": POWER}, indent=1))
        return
    pairs = "" if units == 1 else f" in {units} units"
    print(f"{augs} augmentations, {seeds} seeds each{pairs}; true correlation {rho:g}, seed noise {seed_sd:g},")
    print(f"spread of the losses {spread:g}; {found.method}, {found.alternative}, level {alpha:g}")
    print(f"power          {found.power:.2f} ± {found.power_se:.2f}")
    if math.isfinite(least):
        print(f"detectable     true correlations from {least:.2f} on, with a power of {POWER:g}")
    print(f"Kendall's tau  {found.tau_mean:.2f} ± {found.tau_sd:.2f} (mean and standard deviation over such studies)")
    if math.isfinite(found.tau_critical):
        print(f"significant    from tau {found.tau_critical:.2f} on")
    print(f"reliability    {found.reliability:.2f} of the variance of the mean losses is not seed noise;")
    print(f"               at least 0.90 from {found.seeds_needed} seed{'s' * (found.seeds_needed != 1)} on")
    if found.note:
        print(found.note)
