"""The fixed test: does a metric know more of a unit than a list of augmentations does?

Metric and loss are standardised within each unit, and the mean of each setting over units is taken away; what is left
is correlated over all units and settings. p: the metric's rows are given to other units of the same student, in all
ways (4! 4! = 576 for the whole study), one-sided in the metric's stated direction; Holm over the metrics named.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dametric.errors import UsageError
from dametric.stats import holm
from dametric.stats.pooling import double_centred
from dametric.stats.result import counted
from experiments.study.entries import Entry, controls, entries
from experiments.study.results import Floats, Study

ALPHA = 0.05
_ROUNDING = 1e-11


@lru_cache(maxsize=8)
def within(students: tuple[str, ...]) -> NDArray[np.intp]:
    """All permutations of units that leave every student's units among themselves: shape (permutations, units).

    Examples
    --------
    >>> within(("a", "b", "a")).tolist()
    [[0, 1, 2], [2, 1, 0]]
    """
    blocks = [[place for place, name in enumerate(students) if name == student] for student in dict.fromkeys(students)]
    rows = []
    for orders in itertools.product(*(itertools.permutations(block) for block in blocks)):
        row = np.arange(len(students), dtype=np.intp)
        for block, order in zip(blocks, orders, strict=True):
            row[block] = order
        rows.append(row)
    return np.array(rows, dtype=np.intp)


def floor(students: Sequence[str]) -> float:
    """The smallest p that so many units of each student can give."""
    return 1 / math.prod(math.factorial(students.count(student)) for student in set(students))


def pvalues(metric: Floats, loss: Floats, students: tuple[str, ...]) -> tuple[Floats, Floats]:
    """Correlations beyond a list and their one-sided p-values, of many studies at once.

    Parameters
    ----------
    metric, loss : ndarray of shape (..., units, settings)
        Oriented: a higher metric expects a higher loss.
    students : tuple of str
        Of the units.

    Returns
    -------
    correlation, p : ndarray of shape (...)
    """
    a, b = centred(metric), centred(loss)
    size = np.sqrt((a**2).sum((-1, -2)) * (b**2).sum((-1, -2)))
    products = np.einsum("...us,...vs->...uv", a, b) / size[..., None, None]
    places = np.arange(len(students))
    values = np.stack([products[..., order, places].sum(-1) for order in within(students)], -1)
    return values[..., 0], (values >= values[..., :1] - _ROUNDING).mean(-1)


def centred(values: Floats) -> Floats:
    """Standardised within units, settings' means taken away: :func:`dametric.stats.pooling.double_centred` of many."""
    z = (values - values.mean(-1, keepdims=True)) / values.std(-1, ddof=1, keepdims=True)
    return np.asarray(z - z.mean(-2, keepdims=True))


@dataclass(frozen=True)
class Answer:
    """What the test says of a metric.

    Attributes
    ----------
    metric : str
    units : int
        With losses and scores of all settings.
    correlation, p, adjusted : float
        NaN where there are too few units, or no claim was made (``adjusted``).
    floor : float
        Of p.
    note : str
        Why a number is missing.
    """

    metric: str
    units: int
    correlation: float = math.nan
    p: float = math.nan
    adjusted: float = math.nan
    floor: float = 1.0
    note: str = ""


def answer(metric: str, better: str, values: pd.DataFrame, losses: pd.DataFrame, tests: int = 1) -> Answer:
    """Test one metric on the units that have both; settings that it cannot score are left out of all."""
    settings = [aug for aug in losses.columns if aug in values and values[aug].notna().any()]
    scored = values.reindex(index=losses.index, columns=settings).dropna() if settings else losses.iloc[:0]
    students = [str(student) for _, student in scored.index]
    least = floor(students)
    if len(scored) < 3 or least * tests > ALPHA:
        short = f"cannot answer: {len(scored)} whole units with scores, floor of p {least:.3g}"
        short += f", by Holm {min(1, least * tests):.3g}" * (tests > 1)
        return Answer(metric, len(scored), floor=least, note=short)
    sign = 1.0 if better == "lower" else -1.0
    x, y = sign * scored.to_numpy(np.float64), losses.loc[scored.index, settings].to_numpy(np.float64)
    if (np.ptp(x, axis=1) == 0).any() or np.allclose(double_centred(x), 0):
        return Answer(metric, len(scored), floor=least, note="the same in all settings of a unit, or in all units")
    correlation, p = pvalues(x, y, tuple(students))
    left_out = len(losses.columns) - len(settings)
    return Answer(
        metric,
        len(scored),
        float(correlation),
        float(p),
        floor=least,
        note=f"without {counted(left_out, 'setting')}" * bool(left_out),
    )


def named_tests(study: Study, losses: pd.DataFrame | None = None) -> list[Answer]:
    """The three metrics of the claim, p adjusted by Holm over all three; a metric whose code is newer is refused."""
    losses = study.losses() if losses is None else losses
    named = entries()
    answers = [_checked(study, entry, losses, len(named)) for entry in named.values()]
    ps = [
        answer.p if math.isfinite(answer.p) else 1.0 for answer in answers
    ]  # what cannot be tested counts as not shown
    return [
        Answer(**{**vars(each), "adjusted": float(p) if math.isfinite(each.p) else math.nan})
        for each, p in zip(answers, holm(ps), strict=True)
    ]


def _checked(study: Study, entry: Entry, losses: pd.DataFrame, tests: int) -> Answer:
    try:
        for unit in losses.index:
            made_by = study.code_behind(entry.metric, unit)
            if made_by is not None:
                entry.check(made_by, study.first_loss)
    except UsageError as error:
        return Answer(entry.metric, 0, note=f"refused: {error}")
    return answer(entry.metric, entry.better, study.metric(entry.metric, losses.index), losses, tests)


def shown_controls(study: Study) -> list[Answer]:
    """Metrics that are shown without a claim."""
    losses = study.losses()
    return [answer(name, better, study.metric(name, losses.index), losses) for name, better in controls().items()]
