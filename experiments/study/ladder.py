"""The ladder: does kappa, one number of the teacher, say how much an augmentation is worth?"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from dametric.stats import Result, correlate
from experiments.study.plan import expected
from experiments.study.results import Study
from experiments.study.settings import CUTMIX, IDENTITY

STUDENT, SEEDS = "resnet8", (0, 1)
RANDAUGMENT = "randaugment:n=2,m=9"
TEACHERS = tuple(sorted({run.key[0] for run in expected() if run.part == "ladder"}))


@dataclass(frozen=True)
class Ladder:
    """What the ladder says so far.

    Attributes
    ----------
    table : pandas.DataFrame
        A row for each teacher whose runs are all there, least kappa first: ``kappa`` with its interval, ``top1`` of the
        teacher, mean losses under identity and cutmix, ``gain`` (log of their ratio) with its error over seeds,
        ``points`` (of accuracy that cutmix gains), ``gain_randaugment``.
    of_kappa, of_accuracy : Result
        Spearman's rho with the gain, exact one-sided p.
    planned : int
        Teachers of the claim.
    """

    table: pd.DataFrame
    of_kappa: Result
    of_accuracy: Result
    planned: int = len(TEACHERS)

    @property
    def floor(self) -> float:
        """The smallest p that so many teachers can give."""
        return 1 / math.factorial(max(1, len(self.table)))

    @property
    def whole(self) -> bool:
        """Whether the claim can be judged."""
        return len(self.table) == self.planned


def ladder(study: Study) -> Ladder:
    """From the records of the ladder and the teachers' scores."""
    runs = study.drawn_per_sample(student=STUDENT)
    rows = []
    for teacher in study.teachers.to_dict("records"):
        own = runs[runs.teacher == teacher["teacher"]]
        loss, top1 = (own.pivot(index="seed", columns="aug", values=name) for name in ("test_loss", "test_top1"))
        augs = [IDENTITY, CUTMIX, RANDAUGMENT]
        loss, top1 = (each.reindex(index=list(SEEDS), columns=augs) for each in (loss, top1))
        if teacher["teacher"] not in TEACHERS or loss.isna().any(axis=None):
            continue
        gains = np.log(loss[IDENTITY] / loss[CUTMIX])
        rows.append(
            {
                "teacher": teacher["teacher"],
                "kappa": teacher["kappa"],
                "low": teacher["low"],
                "high": teacher["high"],
                "top1": teacher["test_top1"],
                "identity": loss[IDENTITY].mean(),
                "cutmix": loss[CUTMIX].mean(),
                "gain": gains.mean(),
                "gain_se": gains.std(ddof=1) / math.sqrt(len(gains)),
                "points": 100 * (top1[CUTMIX] - top1[IDENTITY]).mean(),
                "gain_randaugment": np.log(loss[IDENTITY] / loss[RANDAUGMENT]).mean(),
            }
        )
    columns = ["teacher", "kappa", "low", "high", "top1", "identity", "cutmix"]
    columns += ["gain", "gain_se", "points", "gain_randaugment"]
    table = pd.DataFrame(rows, columns=columns).sort_values("kappa", ignore_index=True)
    of_kappa, of_accuracy = (correlate(table[name], table.gain, "spearman", "greater") for name in ("kappa", "top1"))
    return Ladder(table, of_kappa, of_accuracy)
