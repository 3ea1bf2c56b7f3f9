"""T. stddev on the study's teachers: drawn per sample and per batch, on images that carry nothing, on the ladder."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pandas as pd

from dametric.stats import correlate
from experiments.study.ladder import RANDAUGMENT, SEEDS, STUDENT
from experiments.study.results import Study
from experiments.study.settings import CUTMIX, IDENTITY


def drawing(study: Study, metric: str = "t_stddev") -> pd.DataFrame:
    """Scores drawn for each sample against scores drawn once a batch.

    Returns
    -------
    pandas.DataFrame
        A row for each teacher: ``tau`` of the two orders of the settings, ``ratio`` (geometric mean of the score per
        batch over that per sample), ``largest`` (the ratio furthest from 1) and its setting ``of``.
    """
    rows = []
    for teacher in study.teachers.teacher:
        both = [study.scores(name) for name in (teacher, f"{teacher}-per-batch")]
        if both[0] is None or both[1] is None:
            continue
        per_sample, per_batch = ({row.aug: row.metrics[metric].value for row in each.rows} for each in both if each)
        augs = [aug for aug in per_sample if aug in per_batch]
        ratios = np.array([per_batch[aug] / per_sample[aug] for aug in augs])
        furthest = int(np.argmax(np.abs(np.log(ratios))))
        tau = correlate([per_sample[aug] for aug in augs], [per_batch[aug] for aug in augs]).statistic
        row = {"teacher": teacher, "settings": len(augs), "tau": tau, "ratio": float(np.exp(np.log(ratios).mean()))}
        rows.append({**row, "largest": ratios[furthest], "of": augs[furthest]})
    return pd.DataFrame(rows, columns=["teacher", "settings", "tau", "ratio", "largest", "of"])


def destroyed(study: Study, name: str = "T0-destroyed") -> pd.DataFrame:
    """Images that carry ever less, least T. stddev (its best) first: score with error, entropy, information kept."""
    scores, rows = study.scores(name), []
    for row in () if scores is None else scores.rows:
        values = {metric: row.metrics[metric].value for metric in ("t_stddev", "t_entropy", "information_kept")}
        values["information_kept"] = abs(round(values["information_kept"], 6))  # an estimate of 0 may lie below
        rows.append({"setting": row.aug, "t_stddev_se": row.metrics["t_stddev"].se, **values})
    columns = ["setting", "t_stddev", "t_stddev_se", "t_entropy", "information_kept"]
    return pd.DataFrame(rows, columns=columns).sort_values("t_stddev", ignore_index=True)


def pairs_of_ladder(study: Study) -> pd.DataFrame:
    """Whether T. stddev orders the ladder's settings as its students do, pair by pair.

    Returns
    -------
    pandas.DataFrame
        Rows teacher and pair: ``score`` (T. stddev of the first less that of the second, as a share of identity's),
        ``loss`` (difference of mean losses), ``noise`` (its error over seeds), ``agree``.
    """
    runs = study.drawn_per_sample(student=STUDENT)
    rows = []
    for teacher in study.teachers.teacher:
        scores = study.scores(teacher)
        loss = runs[runs.teacher == teacher].pivot(index="seed", columns="aug", values="test_loss")
        loss = loss.reindex(index=list(SEEDS), columns=[IDENTITY, CUTMIX, RANDAUGMENT])
        if scores is None or loss.isna().any(axis=None):
            continue
        values = {row.aug: row.metrics["t_stddev"].value for row in scores.rows}
        for first, second in combinations(loss.columns, 2):
            gap = loss[first] - loss[second]
            of_score = (values[first] - values[second]) / values[IDENTITY]
            numbers = {"score": of_score, "loss": gap.mean(), "noise": gap.std(ddof=1) / math.sqrt(len(gap))}
            agree = bool(np.sign(of_score) == np.sign(gap.mean()))
            rows.append({"teacher": teacher, "pair": f"{first} - {second}", **numbers, "agree": agree})
    return pd.DataFrame(rows, columns=["teacher", "pair", "score", "loss", "noise", "agree"])
