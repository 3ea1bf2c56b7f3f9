"""The fixed test on simulated studies, `python -m experiments.study.simulation`: its level, and what it can see.

A study has eight units, four of each of two students, and twelve settings. A loss is a list that all units share, plus
an interaction of which half of the variance is shared by the units of a student (the rest is the unit's own), all times
a scale of the unit's own; so is a metric, whose interaction is correlated with the loss's, both parts alike. Three
metrics are tested, by Holm's method. Writes experiments/results/study/tables/simulation.csv.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import typer

from dametric.stats import holm
from experiments.study.beyond_list import ALPHA, pvalues
from experiments.study.plan import RECORDS
from experiments.study.results import Floats
from experiments.study.settings import UNITS

TABLE = RECORDS / "tables" / "simulation.csv"
STUDENTS = tuple(student for _, student in UNITS)
"""Of the units, in the order in which they are finished."""
SETTINGS, METRICS = 12, 3
SHARED = 0.5  # of the interaction's variance, by the units of a student
LIST, SPREAD = 2.0, 0.7  # spread of the list, in spreads of the interaction; spread of the log scale of units
TRUTHS = (0.0, 0.3, 0.4, 0.5)
LEAST_UNITS = 7  # which can reject with Holm over three
_AT_ONCE = 500


def interaction(rng: np.random.Generator, studies: int, students: Sequence[str]) -> Floats:
    """Unit variance, half of it shared by units of a student: shape (studies, units, settings)."""
    names = list(dict.fromkeys(students))
    shared = rng.normal(size=(studies, len(names), SETTINGS))[:, [names.index(name) for name in students]]
    own = rng.normal(size=(studies, len(students), SETTINGS))
    return np.asarray(np.sqrt(SHARED) * shared + np.sqrt(1 - SHARED) * own)


def measured(rng: np.random.Generator, effects: Floats) -> Floats:
    """Interactions with a list that all units share, in units whose scales differ (about eightfold in eight)."""
    studies, units, settings = effects.shape
    shared = LIST * rng.normal(size=(studies, 1, settings))
    return np.exp(SPREAD * rng.normal(size=(studies, units, 1))) * (shared + effects)


def simulated(
    rng: np.random.Generator, studies: int, truths: Sequence[float], students: Sequence[str] = STUDENTS
) -> tuple[list[Floats], Floats]:
    """Metrics and losses of many studies.

    Parameters
    ----------
    rng : numpy.random.Generator
    studies : int
    truths : sequence of float
        Correlation of each metric's interaction with the loss's.
    students : sequence of str
        Of the units.

    Returns
    -------
    metrics, loss : arrays of shape (studies, units, settings)
    """
    known = interaction(rng, studies, students)
    others = [interaction(rng, studies, students) for _ in truths]
    pairs = zip(truths, others, strict=True)
    metrics = [measured(rng, truth * known + np.sqrt(1 - truth**2) * other) for truth, other in pairs]
    return metrics, measured(rng, known)


def table(repeats: int, seed: int = 0) -> pd.DataFrame:
    """Size and power.

    Parameters
    ----------
    repeats : int
        Simulated studies of each case.
    seed : int

    Returns
    -------
    pandas.DataFrame
        A row for each number of units and true correlation. ``correlation``: mean of what is measured; ``single``:
        share of rejections of one test at 5 %; ``alone`` and ``all``: share in which the first of three metrics is
        shown by Holm's method, where the other two know nothing and where they know as much; ``any``: in which any is.
    """
    rows = []
    for units in (len(STUDENTS), LEAST_UNITS):
        for truth in TRUTHS:
            rng = np.random.default_rng([seed, units, round(100 * truth)])
            sizes = [min(_AT_ONCE, repeats - start) for start in range(0, repeats, _AT_ONCE)]
            parts = pd.concat([_some(rng, size, truth, STUDENTS[:units]) for size in sizes])
            rows.append({"units": units, "truth": truth, "studies": repeats, **parts.mean().to_dict()})
    return pd.DataFrame(rows)


def _some(rng: np.random.Generator, studies: int, truth: float, students: tuple[str, ...]) -> pd.DataFrame:
    metrics, loss = simulated(rng, studies, [truth] * METRICS + [0.0] * (METRICS - 1), students)
    correlations, ps = zip(*(pvalues(metric, loss, students) for metric in metrics), strict=True)
    alike, alone = np.stack(ps[:METRICS], 1), np.stack([ps[0], *ps[METRICS:]], 1)
    shown = {name: np.array([holm(row) for row in each]) <= ALPHA for name, each in (("all", alike), ("alone", alone))}
    columns = {
        "correlation": correlations[0],
        "single": ps[0] <= ALPHA,
        "alone": shown["alone"][:, 0],
        "all": shown["all"][:, 0],
        "any": shown["all"].any(1),
    }
    return pd.DataFrame({name: np.asarray(values, dtype=np.float64) for name, values in columns.items()})


def main(
    repeats: Annotated[int, typer.Option(help="Simulated studies of each case.")] = 10000,
    seed: Annotated[int, typer.Option(help="Random seed.")] = 0,
    output: Annotated[Path, typer.Option("--output", "-o", help="Table to write.")] = TABLE,
) -> None:
    """Simulate, print, and write the table."""
    found = table(repeats, seed)
    output.parent.mkdir(parents=True, exist_ok=True)
    found.to_csv(output, index=False, float_format="%.4f", lineterminator="\n")
    print(found.to_string(index=False, float_format=lambda value: f"{value:.3f}"))


if __name__ == "__main__":
    typer.run(main)
