"""Short runs: what whole schedules compressed to 100 and 400 steps say of 2,000; seed noise; what answers cost."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from dametric.stats import correlate, regret
from experiments.study.results import Study
from experiments.study.settings import SETTINGS, SHORT, STEPS, UNITS
from experiments.study.strengths import interval

_WARM, _BRANCHES, _ALIGN, _RIDGE = 300, 200, 64, 11  # steps, of which the first once and the others a setting


def fidelity(study: Study) -> pd.DataFrame:
    """How well a short run's outcome on held-out images ranks the test losses of whole ones, unit by unit.

    Returns
    -------
    pandas.DataFrame
        Rows steps, by ("held_out_loss" or "held_out_top1") and unit, with ``pearson``, ``tau`` and ``regret`` of the
        first choice (nats); after those of each kind the mean as unit "mean", with the interval of tau.
    """
    whole, rows = study.losses(), []
    for steps in SHORT:
        for outcome in ("held_out_loss", "held_out_top1"):
            short = study.losses(steps, outcome=outcome)
            units = [unit for unit in whole.index if unit in short.index]
            sign = 1.0 if outcome.endswith("loss") else -1.0
            own = []
            for unit in units:
                x, y = sign * short.loc[unit].to_numpy(float), whole.loc[unit].to_numpy(float)
                numbers = {"pearson": correlate(x, y, "pearson").statistic, "tau": correlate(x, y).statistic}
                own.append({**numbers, "regret": regret(x, y).loss})
                rows.append({"steps": steps, "by": outcome, "unit": " -> ".join(unit), **own[-1]})
            if own:
                low, high = interval([each["tau"] for each in own])[1:]
                mean: dict[str, float] = {name: float(np.mean([each[name] for each in own])) for name in own[0]}
                rows.append({"steps": steps, "by": outcome, "unit": "mean", **mean, "tau_low": low, "tau_high": high})
    columns = ["steps", "by", "unit", "pearson", "tau", "regret", "tau_low", "tau_high"]
    return pd.DataFrame(rows, columns=columns)


def seed_variance(study: Study) -> pd.DataFrame:
    """Seed noise of students that were trained from two seeds.

    Returns
    -------
    pandas.DataFrame
        A row for each unit and length of schedule: ``settings`` with both seeds, ``sd`` of a run (nats), ``paired``
        (of what is left when what a seed does to all settings alike is taken away), and ``spread`` of the settings'
        means.
    """
    rows = []
    groups = study.students.query("per == 'sample' and seed in (0, 1)").groupby(["teacher", "student", "steps"])
    for (teacher, student, steps), own in groups:
        wide = own.pivot(index="aug", columns="seed", values="test_loss").dropna()
        if wide.shape[1] == 2 and len(wide) > 1:
            gap = (wide[0] - wide[1]).to_numpy()
            rows.append(
                {
                    "unit": f"{teacher} -> {student}",
                    "steps": steps,
                    "settings": len(wide),
                    "sd": math.sqrt(float((gap**2).mean()) / 2),
                    "paired": float(gap.std(ddof=1)) / math.sqrt(2),
                    "spread": float(wide.mean(axis=1).std(ddof=1)),
                }
            )
    return pd.DataFrame(rows, columns=["unit", "steps", "settings", "sd", "paired", "spread"])


def costs(study: Study) -> pd.DataFrame:
    """What each answer about twelve settings of a unit costs, in whole runs of its student.

    Returns
    -------
    pandas.DataFrame
        ``answer``, ``runs`` (student-steps over 2,000; a forward pass alone counts a third of a step; of the teacher's
        scores seconds over those of a run, on the same machine), ``from``: what the number is taken from.
    """
    count = len(SETTINGS)
    rows = []
    seconds = [scores.settings.seconds for name, _ in UNITS if (scores := study.scores(name)) is not None]
    runs = study.drawn_per_sample(student="resnet8").seconds
    if seconds and len(runs):
        where = "seconds, medians of score files and of resnet8's records"
        rows.append({"answer": "scores of the teacher", "runs": np.median(seconds) / runs.median(), "from": where})
    for name, once, each in (
        ("warm student", _WARM, 0),
        ("ridge_student, with the warm student", _WARM, _RIDGE),
        ("grad_align, with the warm student", _WARM, _ALIGN),
        ("branch_loss, with the warm student", _WARM, _BRANCHES),
    ):
        rows.append({"answer": name, "runs": (once + count * each) / STEPS, "from": "steps"})
    for steps in (*SHORT, STEPS):
        rows.append({"answer": f"all settings for {steps} steps", "runs": count * steps / STEPS, "from": "steps"})
    return pd.DataFrame(rows, columns=["answer", "runs", "from"])
