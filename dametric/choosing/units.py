"""Complete units of ledgers: every augmentation at every length of schedule, and what the teachers' scores say."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from dametric.base.arguments import argument
from dametric.choosing.arms import BASELINE
from dametric.choosing.decision import Run
from dametric.errors import UsageError
from dametric.records.recipes import OPTIONS, SETTING
from dametric.records.runs import find_runs, load_runs
from dametric.records.scores import Scores
from dametric.stats.families import USUAL_SIZE

_OF_A_UNIT = [
    "data",
    "teacher",
    "teacher_sha256",
    "student",
    *(n for n in OPTIONS if n not in ("epochs", "steps")),
    *SETTING,
]


@dataclass(frozen=True)
class Unit:
    """A unit of a complete ledger.

    Attributes
    ----------
    name : str
    augs : tuple of str
        Identity first.
    steps : tuple of int
        Of schedules, ascending.
    losses : dict of (int, int, int) to float
        By augmentation, schedule and seed.
    teacher : str
        Hash of its weights.
    image_size : int
        Pixels.
    """

    name: str
    augs: tuple[str, ...]
    steps: tuple[int, ...]
    losses: Mapping[Run, float]
    teacher: str = ""
    image_size: int = USUAL_SIZE

    @property
    def truth(self) -> list[float]:
        """Mean loss of the longest schedule."""
        last = len(self.steps) - 1
        return [float(np.mean(self.of(arm, last))) for arm in range(len(self.augs))]

    @property
    def seeds(self) -> int:
        """Seeds lie below this number."""
        return 1 + max(seed for _, _, seed in self.losses)

    @property
    def missing(self) -> list[tuple[str, int]]:
        """Augmentations and schedules without a run."""
        return [
            (aug, steps)
            for arm, aug in enumerate(self.augs)
            for fraction, steps in enumerate(self.steps)
            if not self.of(arm, fraction)
        ]

    def of(self, arm: int, fraction: int) -> list[float]:
        """Losses of an augmentation at a schedule, by seed."""
        return [loss for (own, level, _), loss in sorted(self.losses.items()) if (own, level) == (arm, fraction)]

    def without(self, seed: int) -> Unit:
        """The unit as if a seed had never been trained."""
        losses = {run: loss for run, loss in self.losses.items() if run[2] != seed}
        return replace(self, losses=losses)


def read_ledgers(ledgers: Sequence[str | os.PathLike[str]]) -> pd.DataFrame:
    """The table of all runs of several folders, each run once.

    Raises
    ------
    UsageError
        If a folder holds none.
    """
    return load_runs(run for ledger in ledgers for run in find_runs(ledger))


def complete_units(table: pd.DataFrame) -> tuple[list[Unit], list[str]]:
    """Complete units of a ledger's table.

    Parameters
    ----------
    table : pandas.DataFrame
        As :func:`dametric.load_runs` makes it. Held-out losses are taken where all runs of a unit have them.

    Returns
    -------
    list of Unit
    list of str
        What the other units lack, one line each.

    Raises
    ------
    UsageError
        If there is none, with what is missing.
    """
    students = table[(table.kind == "distill") & (table.status == "finished")]
    names = [name for name in _OF_A_UNIT if name in table]
    units: list[Unit] = []
    notes: list[str] = []
    for key, part in students.groupby(names, dropna=False, sort=False):
        row = dict(zip(names, key, strict=True))
        name = f"{row['teacher']} {str(row['teacher_sha256'])[:6]} -> {row['student']}"
        number = 1 + sum(unit.name.partition(" (")[0] == name for unit in units)
        unit = _unit(name if number == 1 else f"{name} ({number})", str(row["teacher_sha256"]), part)
        lack = _lack(unit)
        if lack:
            notes.append(f"{name} is left out: {lack}")
        else:
            units.append(unit)
    if not units:
        why = notes[0] if notes else "no student is finished"
        raise UsageError(
            f"no unit is complete ({why}): what is wanted is identity, two more augmentations, and two lengths of "
            "schedule, each with a run of every augmentation, as a grid of dametric sweep makes them with several "
            "steps under training; the same command goes on with what is begun"
        )
    return units, notes


def _unit(name: str, teacher: str, part: pd.DataFrame) -> Unit:
    outcome = "held_out_loss" if part.held_out_loss.notna().all() else "test_loss"
    part = part[np.isfinite(part[outcome])]
    lengths = sorted(set(part.step.astype(int).tolist()))
    augs = [aug for aug in (BASELINE, *sorted(set(part.aug) - {BASELINE})) if (part.aug == aug).any()]
    places = {aug: place for place, aug in enumerate(augs)}
    losses = {
        (places[aug], lengths.index(int(step)), int(seed)): float(loss)
        for aug, step, seed, loss in zip(part.aug, part.step, part.seed, part[outcome], strict=True)
    }
    sizes = part.image_size.dropna() if "image_size" in part else ()
    size = int(max(sizes, default=USUAL_SIZE))
    return Unit(name, tuple(augs), tuple(lengths), losses, teacher, size)


def _lack(unit: Unit) -> str:
    """What keeps a unit from being complete; "" where it is."""
    if BASELINE not in unit.augs or len(unit.augs) < 3:
        return f"finished are only {', '.join(unit.augs) or 'none'}"
    if len(unit.steps) < 2:
        return f"all its schedules have {unit.steps[0]:,} steps"
    listed = [f"{aug} at {steps:,} steps" for aug, steps in unit.missing]
    more = f" and {len(listed) - 3} more" if len(listed) > 3 else ""
    return f"no finished run of {', '.join(listed[:3])}{more}" if listed else ""


def scores_by_teacher(
    files: Sequence[Scores | str | os.PathLike[str]], metric: str
) -> dict[str | None, dict[str, float]]:
    """Scores with higher values for higher losses, by the hash of the teacher's weights.

    Raises
    ------
    UsageError
        If a file cannot be read, or lacks the metric.
    """
    found: dict[str | None, dict[str, float]] = {}
    for file in files:
        scores = file if isinstance(file, Scores) else Scores.read(file)
        if metric not in scores.metrics:
            raise UsageError(f"{file} holds no {metric}, but {', '.join(scores.metrics)}")
        for row in scores.rows:
            value = row.metrics[metric]
            if not row.destroyed and value.direction in ("lower", "higher"):
                signed = value.value if value.direction == "lower" else -value.value
                found.setdefault(scores.settings.scored.sha256, {})[row.aug] = signed
    return found


def scores_of(
    units: Sequence[Unit],
    folders: Sequence[str | os.PathLike[str]],
    scores: Sequence[Scores | str | os.PathLike[str]],
    metric: str,
) -> tuple[dict[str | None, dict[str, float]], list[str]]:
    """Scores of the units' teachers, and what is to be said of them."""
    files = list(scores) or [path for folder in folders for path in sorted(Path(folder).glob("scores/*.json"))]
    by_teacher = scores_by_teacher(files, metric) if files else {}
    without = [unit.name for unit in units if unit.teacher not in by_teacher]
    way_out = f"give score files of these teachers with {argument('scores')} , as dametric score writes them"
    if scores and len(without) == len(units):
        raise UsageError(f"these scores are of none of the teachers of {', '.join(without)}: {way_out}")
    notes = [f"No score of {', '.join(without)}, so the rule score is missing there: {way_out}."] if without else []
    for unit in units:
        lacking = [aug for aug in unit.augs if aug not in by_teacher.get(unit.teacher, unit.augs)]
        if lacking:
            notes.append(f"{unit.name}: {', '.join(lacking)} has no score of a kind, and is never taken by it.")
    return by_teacher, notes
