"""What the tables of the prior do to stated probabilities: the same runs, judged by tables that are finer.

Run it with ``python -m experiments.choose_tables``. Units are those of the case "families" of
:mod:`experiments.choose_calibration`, whose structure is the model's own and whose spreads and noises are any between
those of the tables. So the probability by very fine tables is the right one, and the difference is known without
waiting for how often it was so: it takes some dozens of choices where counting takes thousands.
"""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import typer
from scipy.special import expit, logit
from scipy.stats import norm, qmc

from dametric.base.files import write_atomic
from dametric.base.progress import progress
from dametric.choosing.arms import Floats, arms_of
from dametric.choosing.decision import likely_settings
from dametric.choosing.parameters import Parameters, read_parameters
from dametric.choosing.posterior import Observation, Posterior, posterior, prior_of
from experiments.choose_calibration import ENOUGH, EPSILON, FRACTIONS, RESULTS, SPECS, Scale, cells, one_choice

_SPREAD = {0.004: 0.5, 0.01: 1.0, 0.025: 1.0, 0.06: 1.0, 0.15: 0.5}  # as they were shipped first: half as many steps
_NOISE = {0.002: 1.0, 0.006: 1.0, 0.02: 1.0, 0.06: 1.0}
_NORMALS = norm.ppf(qmc.Sobol(len(SPECS) + 1, rng=np.random.default_rng(0)).random(256))
_CASE, _EVERY, _AT_ONCE = "families", 4, 16


def finer(table: dict[float, float], parts: int, to: Scale, back: Scale) -> dict[float, float]:
    """The same distribution by so many values in the place of each.

    Examples
    --------
    >>> {round(value, 4): weight for value, weight in finer({0.01: 1.0, 0.04: 1.0}, 2, np.log, np.exp).items()}
    {0.0071: 0.5, 0.0141: 0.5, 0.0283: 0.5, 0.0566: 0.5}
    """
    edges = cells(table, to)
    result: dict[float, float] = {}
    for value, low, high in zip(sorted(table), edges, edges[1:], strict=False):
        middles = low + (high - low) * (np.arange(parts) + 0.5) / parts
        result |= dict.fromkeys((float(back(middle)) for middle in middles), table[value] / parts)
    return result


def fine(shipped: Parameters) -> Parameters:
    """What units are drawn from, so finely that it makes no difference any more."""
    return replace(
        shipped,
        spread=finer(shipped.spread, 2, np.log, np.exp),
        noise=finer(shipped.noise, 2, np.log, np.exp),
        half=finer(shipped.half, 2, logit, expit),
        growth=finer(shipped.growth, 2, lambda value: value, lambda value: value),
    )


def within(belief: Posterior) -> Floats:
    """Probability of each arm to be less than epsilon above the best."""
    kept, weights = likely_settings(belief)
    result = np.zeros(belief.arms)
    for start in range(0, len(kept), _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        draws = belief.draws(_NORMALS, kept[part])
        result += weights[part] @ (draws - draws.min(1, keepdims=True) < EPSILON).mean(2)
    return result


def judged(choices: int) -> pd.DataFrame:
    """Looks of choices by the shipped tables: what they and the former ones state, and what the fine ones say."""
    arms, shipped = arms_of(SPECS), read_parameters()
    tables = {"shipped": shipped, "former": replace(shipped, spread=_SPREAD, noise=_NOISE)}
    priors = {name: prior_of(arms, FRACTIONS, known) for name, known in tables.items()}
    right, rows = prior_of(arms, FRACTIONS, fine(shipped)), []
    with progress("choices", choices) as advance:
        for number in range(choices):
            runs: list[Observation] = []
            for place, look in enumerate(one_choice(_CASE, number, shipped, runs=runs)):
                if runs and (look["stopped"] or place % _EVERY == number % _EVERY):
                    exact = within(posterior(right, runs))
                    for name, prior in priors.items():
                        belief = posterior(prior, runs)
                        stated = within(belief)[belief.best]
                        rows.append((name, number, stated, exact[belief.best]))
            advance(1)
    return pd.DataFrame(rows, columns=["tables", "choice", "stated", "exact"])


def summary(looks: pd.DataFrame) -> pd.DataFrame:
    """Means by bin of what was stated, and the error of their difference over choices."""
    looks = looks.assign(bin=np.minimum((looks.stated * 5).astype(int), 4), gap=looks.exact - looks.stated)
    parts = []
    for name in dict.fromkeys(looks.tables):
        own = looks[looks.tables == name]
        for place in sorted(set(own.bin)):
            parts.append((name, f"{place / 5:.1f} to {place / 5 + 0.2:.1f}", own[own.bin == place]))
        parts.append((name, f"above {ENOUGH:g}", own[own.stated >= ENOUGH]))
    rows = []
    for name, where, part in parts:
        each = part.groupby("choice").gap.agg(["sum", "size"])
        error = math.sqrt(float(((each["sum"] - part.gap.mean() * each["size"]) ** 2).sum())) / len(part)
        rows.append((name, where, len(part), len(each), part.stated.mean(), part.exact.mean(), part.gap.mean(), error))
    columns = ["tables", "stated P", "looks", "choices", "mean stated", "by fine tables", "difference", "error"]
    return pd.DataFrame(rows, columns=columns)


def main(
    choices: Annotated[int, typer.Option(help="Simulated choices.")] = 100,
    output: Annotated[Path, typer.Option(help="Folder of the table.")] = RESULTS,
) -> None:
    """Simulate, and write tables.csv."""
    table = summary(judged(choices)).round(4)
    write_atomic(output / "tables.csv", table.to_csv(index=False))
    print(table.to_string(index=False))


if __name__ == "__main__":
    typer.run(main)
