"""Scores beside the students that they are about."""

from __future__ import annotations

import pandas as pd

from dametric.errors import UsageError
from dametric.results import Scores


def join(scores: Scores, runs: pd.DataFrame, metric: str | None = None) -> pd.DataFrame:
    """Join a score file with a ledger: what the score says of an augmentation, and how its students came out.

    Parameters
    ----------
    scores : Scores
    runs : pandas.DataFrame
        From :func:`dametric.ledger.load_runs`. Only finished distillations count; where the score file names its
        teacher by hash, only those from that teacher.
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
    done = runs[(runs["status"] == "finished") & (runs["kind"] == "distill")]
    teacher = (scores.config.get("teacher") or {}).get("sha256")
    if teacher is not None:
        done = done[done["teacher_sha256"] == teacher]
    table = scores.table[["aug", metric, f"{metric}_se"]].rename(columns={metric: "score", f"{metric}_se": "score_se"})
    groups = done.groupby(["student", "aug"], as_index=False)
    students = groups.agg(
        test_loss=("test_loss", "mean"),
        test_loss_se=("test_loss", "sem"),
        test_top1=("test_top1", "mean"),
        test_top1_se=("test_top1", "sem"),
        seeds=("seed", "nunique"),
    )
    joined = table.merge(students, on="aug", how="inner")
    if joined.empty:
        raise UsageError("no augmentation was both scored and distilled from the same teacher")
    order = ["student", "aug", "score", "score_se", *students.columns[2:]]
    return joined[order].sort_values("student", kind="stable", ignore_index=True)
