"""Scores beside the students that they are about."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

import pandas as pd

from dametric.errors import UsageError
from dametric.recipes import told_apart
from dametric.results import Scores


def join(scores: Scores, runs: pd.DataFrame, metric: str | None = None) -> pd.DataFrame:
    """Join a score file with a ledger: what the score says of an augmentation, and how its students came out.

    Parameters
    ----------
    scores : Scores
    runs : pandas.DataFrame
        From :func:`dametric.ledger.load_runs`. Only finished distillations count; where the score file names its
        teacher by hash, only those from that teacher. Runs of one student by different recipes are students of
        their own: "resnet8 (960 epochs)", "resnet8 (temperature 4)".
    metric : str, optional
        The one that orders the score file by default.

    Returns
    -------
    pandas.DataFrame
        One row for each student and augmentation that was both scored and distilled, best score first:
        ``student, aug, score, score_se, test_loss, test_loss_se, test_top1, test_top1_se, seeds``. Means over
        seeds of the last epoch, with standard errors of the mean (NaN for one seed).

    Raises
    ------
    UsageError
        If the metric was not measured, or no augmentation was both scored and distilled.
    """
    metric = metric or scores.metrics[0]
    if metric not in scores.metrics:
        raise UsageError(f"the scores have no metric '{metric}', only {', '.join(scores.metrics)}")
    joined = _beside(scores.table, _students(scores, runs), metric)
    if joined.empty:
        raise UsageError("no augmentation was both scored and distilled from the same teacher")
    return joined


def _students(scores: Scores, runs: pd.DataFrame, without: Collection[str] = ()) -> pd.DataFrame:
    """Means over seeds, of the students of the teacher that was scored."""
    done = runs[(runs["status"] == "finished") & (runs["kind"] == "distill")]
    teacher = (scores.config.get("teacher") or {}).get("sha256")
    if teacher is not None:
        done = done[done["teacher_sha256"] == teacher]
    done = done[~done["student"].isin(without)]
    groups = told_apart(done).groupby(["student", "aug"], as_index=False)
    return groups.agg(
        test_loss=("test_loss", "mean"),
        test_loss_se=("test_loss", "sem"),
        test_top1=("test_top1", "mean"),
        test_top1_se=("test_top1", "sem"),
        seeds=("seed", "nunique"),
    )


def _beside(table: pd.DataFrame, students: pd.DataFrame, metric: str) -> pd.DataFrame:
    part = table[["aug", metric, f"{metric}_se"]].set_axis(["aug", "score", "score_se"], axis=1)
    joined = part.merge(students, on="aug", how="inner")
    order = ["student", "aug", "score", "score_se", *students.columns[2:]]
    return joined[order].sort_values("student", kind="stable", ignore_index=True)


def study(scores: Sequence[Scores], runs: pd.DataFrame) -> pd.DataFrame:
    """Join score files with a ledger, for all metrics and all teacher-student pairs at once.

    Parameters
    ----------
    scores : sequence of Scores
        One for each teacher, or one for each of its students, where the file shows a student too.
    runs : pandas.DataFrame
        From :func:`dametric.ledger.load_runs`.

    Returns
    -------
    pandas.DataFrame
        One row for each unit (teacher, student, data set), metric and augmentation: ``unit, teacher, student, data,
        metric, direction`` and the columns of :func:`join`. Units are told apart by name, and by a number where
        two teachers bear the same.

    Raises
    ------
    UsageError
        If no augmentation was both scored and distilled in any of them.
    """
    parts: list[pd.DataFrame] = []
    seen: dict[str, list[object]] = {}
    shown = {(_teacher(file), _student(file)) for file in scores}
    for file in scores:
        teacher = str((file.config.get("teacher") or {}).get("arch", "teacher"))
        data = Path(str((file.config.get("data") or {}).get("name", "data"))).name
        known = seen.setdefault(f"{teacher} {data}", [])
        if _teacher(file) not in known or _teacher(file) is None:
            known.append(_teacher(file))
        number = len(known) if _teacher(file) is None else known.index(_teacher(file)) + 1
        directions = {name: metric["direction"] for name, metric in file.scores[0]["metrics"].items()}
        others = {student for its, student in shown if its == _teacher(file) and student} - {_student(file)}
        without = [] if _teacher(file) is None else others  # files that show other students speak of those
        table, students = file.table, _students(file, runs, without)  # once for all metrics
        for metric in file.metrics:
            part = _beside(table, students, metric)
            if part.empty:
                continue  # another teacher's students are in this ledger
            about = {"teacher": teacher, "data": data, "metric": metric, "direction": directions[metric]}
            pair = f"{teacher}{f' #{number}' if number > 1 else ''} -> " + part["student"] + f", {data}"
            parts.append(part.assign(unit=pair, **about))
    if not parts:
        raise UsageError("no augmentation was both scored and distilled from the same teacher")
    table = pd.concat(parts, ignore_index=True)
    first = ["unit", "teacher", "student", "data", "metric", "direction", "aug"]
    return table[[*first, *(name for name in table.columns if name not in first)]]


def _teacher(file: Scores) -> str | None:
    return (file.config.get("teacher") or {}).get("sha256")


def _student(file: Scores) -> str | None:
    return (file.config.get("student") or {}).get("arch")
