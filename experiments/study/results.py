"""The study's committed records and score files as tables; what is missing of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dametric.records.scores import Scores
from experiments.study.plan import RECORDS, Key, Ledger, expected
from experiments.study.settings import SETTINGS, SHORT, STEPS, UNITS

Floats = NDArray[np.float64]
STUDENT_METRICS = ("grad_align", "ridge_student", "branch_loss", "ts_useful")
OUTCOMES = ("test_loss", "test_top1", "held_out_loss", "held_out_top1")


@dataclass(frozen=True)
class Study:
    """What there is of the study.

    Attributes
    ----------
    records : Path
        Folder of the records; score files are in its folder ``scores``.
    runs : frozenset of str or None
        Ids of the runs that are looked at; all that are finished by default.
    """

    records: Path = RECORDS
    runs: frozenset[str] | None = None

    @classmethod
    def of_page(cls, records: Path = RECORDS) -> Study:
        """The study of the runs that the page was made of; others may have ended since."""
        tables = [pd.read_csv(records / "tables" / f"{name}.csv", dtype=str) for name in ("runs", "teacher_runs")]
        return cls(records, frozenset(pd.concat(tables).run))

    @cached_property
    def finished(self) -> dict[Key, dict[str, Any]]:
        """Records of finished runs by the key of their run."""
        every = Ledger(self.records).finished()
        return {key: record for key, (_, record) in every.items() if self.runs is None or record["id"] in self.runs}

    @cached_property
    def students(self) -> pd.DataFrame:
        """Finished students: columns teacher, student, aug, seed, steps, per, outcomes, seconds and finished."""
        rows = []
        for key, record in self.finished.items():
            if len(key) > 1 and key[0] is not None:
                last, timing = record["last"], record["timing"]
                rows.append(
                    {
                        **dict(zip(("teacher", "student", "aug", "seed", "steps"), key, strict=False)),
                        "per": key[5] if len(key) > 5 else "sample",
                        **{name: last[name] for name in OUTCOMES},
                        "run": record["id"],
                        "seconds": timing["seconds"],
                        "finished": timing["finished"],
                    }
                )
        columns = ["teacher", "student", "aug", "seed", "steps", "per", *OUTCOMES, "seconds", "finished", "run"]
        table = pd.DataFrame(rows, columns=columns)
        order = ["teacher", "student", "steps", "aug", "seed", "per"]
        return table.sort_values(order, ignore_index=True)

    @property
    def teacher_runs(self) -> pd.DataFrame:
        """Names of the teachers that were trained, and ids of their runs."""
        rows = [(key[0], record["id"]) for key, record in sorted(self.finished.items(), key=str) if len(key) == 1]
        return pd.DataFrame(rows, columns=["teacher", "run"])

    def drawn_per_sample(self, steps: int = STEPS, student: str | None = None) -> pd.DataFrame:
        """Students of one length of schedule, perhaps of one architecture, whose parameters were drawn per sample."""
        table = self.students
        chosen = (table.steps == steps) & (table.per == "sample")
        return table[chosen if student is None else chosen & (table.student == student)]

    @cached_property
    def teachers(self) -> pd.DataFrame:
        """Teachers that have a score file: name, kappa with its interval, and loss and accuracy on the test images."""
        rows = []
        clean = {name: record["last"] for (name, *rest), record in self.finished.items() if not rest}
        for (name, *rest), record in self.finished.items():
            if rest and name not in clean:  # it was given: students' records say how good it is
                of_teacher = record["about"]["teacher"]["clean"]
                clean[name] = {"test_loss": of_teacher["loss"], "test_top1": of_teacher["top1"]}
        for name in sorted(clean):
            scores = self.scores(name)
            kappa = None if scores is None else scores.settings.t_confidence
            if kappa is not None:
                rows.append(
                    {
                        "teacher": name,
                        "kappa": kappa.value,
                        "low": kappa.low,
                        "high": kappa.high,
                        "test_loss": clean[name]["test_loss"],
                        "test_top1": clean[name]["test_top1"],
                    }
                )
        return pd.DataFrame(rows, columns=["teacher", "kappa", "low", "high", "test_loss", "test_top1"])

    def scores(self, name: str) -> Scores | None:
        """A score file by its name; None where it was not made."""
        if name not in self._scores:
            path = self.records / "scores" / f"{name}.json"
            self._scores[name] = Scores.read(path) if path.exists() else None
        return self._scores[name]

    @cached_property
    def _scores(self) -> dict[str, Scores | None]:
        """Score files that were read."""
        return {}

    def losses(
        self, steps: int = STEPS, seed: int = 0, outcome: str = "test_loss", units: Sequence[tuple[str, str]] = UNITS
    ) -> pd.DataFrame:
        """Units that are whole at this length and seed (rows) by settings (columns)."""
        table = self.drawn_per_sample(steps)
        table = table[table.seed == seed]
        wide = table.pivot_table(index=["teacher", "student"], columns="aug", values=outcome, aggfunc="first")
        wide = wide.reindex(index=pd.MultiIndex.from_tuples(units), columns=list(SETTINGS))
        return wide.dropna()

    def metric(self, name: str, units: pd.Index[tuple[str, str]]) -> pd.DataFrame:  # type: ignore[type-var]
        """Values of a metric: units (rows) by settings (columns), NaN where there is none."""
        rows = {}
        for teacher, student in units:
            values = dict.fromkeys(SETTINGS, math.nan)
            files = (f"{teacher}-{student}", f"{teacher}-{student}-branches", teacher)
            for file in (*files, f"{teacher}-held-out", f"{teacher}-views"):
                scores = self.scores(file)
                if scores is not None and name in scores.metrics:
                    values |= {row.aug: row.metrics[name].value for row in scores.rows}
                    break
            rows[teacher, student] = values
        return pd.DataFrame(rows).T.reindex(columns=list(SETTINGS))

    def warm_scores(self) -> pd.DataFrame:
        """How well the metrics of a warm student are known.

        Returns
        -------
        pandas.DataFrame
            A row for each unit and metric that were scored: ``spread`` of the settings' values, and ``se``, the median
            error of a value; of the first metric of a file that of its difference to the best, on the same batches.
        """
        rows = []
        for teacher, student in UNITS:
            for ending in ("", "-branches"):
                scores = self.scores(f"{teacher}-{student}{ending}")
                for name in () if scores is None else [name for name in scores.metrics if name in STUDENT_METRICS]:
                    assert scores is not None
                    paired = name == scores.metrics[0]  # the file is ordered by it
                    errors = [row.difference.se if paired else row.metrics[name].se for row in scores.rows]
                    spread = float(np.std([row.metrics[name].value for row in scores.rows], ddof=1))
                    error = float(np.median([error for error in errors if error > 0]))
                    rows.append({"unit": f"{teacher} -> {student}", "metric": name, "spread": spread, "se": error})
        return pd.DataFrame(rows, columns=["unit", "metric", "spread", "se"])

    def code_behind(self, metric: str, unit: tuple[str, str]) -> str | None:
        """Hash of the code that made a unit's scores, as their file says; None where there is no file."""
        for ending in ("", "-branches"):
            scores = self.scores(f"{unit[0]}-{unit[1]}{ending}")
            if scores is not None and metric in scores.metrics:
                return str(scores.config.get("metric_code", {}).get(metric, "not stated"))
        return None

    @cached_property
    def first_loss(self) -> date | None:
        """Day on which the first run of the strengths alone ended."""
        own = {run.key for run in expected() if run.part in ("strengths", "short", "seeds")}
        days = [record["timing"]["finished"][:10] for key, record in self.finished.items() if key in own]
        return date.fromisoformat(min(days)) if days else None

    def missing(self) -> list[str]:
        """What there is and what is not, part by part: lines to print."""
        plan, lines = expected(), []
        for part in ("teachers", "ladder", "strengths", "short", "seeds"):
            runs = [run for run in plan if run.part == part]
            lines.append(f"{part}: {sum(run.key in self.finished for run in runs)} of {len(runs)} runs are here")
        whole = [f"{teacher} -> {student}" for teacher, student in self.losses().index]
        lines.append(f"whole units of the strengths: {len(whole)} of {len(UNITS)}" + "".join(f", {x}" for x in whole))
        for steps in SHORT:
            lines.append(f"whole units at {steps} steps: {len(self.losses(steps))} of {len(UNITS)}")
        names = [*(f"{teacher}.json" for teacher, _ in UNITS), *(f"{t}-{s}.json" for t, s in UNITS)]
        names += [f"{t}-{s}-branches.json" for t, s in UNITS]
        absent = [name for name in names if not (self.records / "scores" / name).exists()]
        lines.append(f"score files that are missing: {', '.join(absent) or 'none'}")
        return lines
