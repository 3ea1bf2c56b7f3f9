"""The published points: score and student loss of ten teacher-student-data units."""

from __future__ import annotations

from importlib.resources import files

import pandas as pd


def load_published() -> pd.DataFrame:
    """T. stddev of nine augmentations and the test loss of the students distilled with them, as published.

    Read off the vector figures of Wang, Lohit, Jones & Fu, "What Makes a 'Good' Data Augmentation in Knowledge
    Distillation -- A Statistical Perspective", NeurIPS 2022, arXiv 2012.02909 (CIFAR-100, Tiny ImageNet), and of
    its authors' project page (ImageNet100, ImageNet). ``cutmix_pick_S`` and ``cutmix_pick_T`` are picked by the
    student's and by the teacher's entropy.

    Returns
    -------
    pandas.DataFrame
        Ninety rows with columns ``unit`` ("dataset/teacher/student"), ``dataset, teacher, student, aug, t_stddev``
        (probability) and ``student_test_loss`` (nats). No standard errors were published with them.

    Examples
    --------
    >>> published = load_published()
    >>> len(published), published["unit"].nunique(), published["aug"].nunique()
    (90, 10, 9)
    """
    with (files("dametric.stats") / "published_points.csv").open(encoding="utf-8") as file:
        table = pd.read_csv(file)
    table.insert(0, "unit", table.dataset + "/" + table.teacher + "/" + table.student)
    return table


def published_frame() -> pd.DataFrame:
    """The published points in the columns that :func:`dametric.analysis.analyse` takes.

    Returns
    -------
    pandas.DataFrame
        Columns ``unit, teacher, aug, metric, direction, score, test_loss``.
    """
    table = load_published().rename(columns={"t_stddev": "score", "student_test_loss": "test_loss"})
    table["metric"], table["direction"] = "t_stddev", "lower"
    return table[["unit", "teacher", "aug", "metric", "direction", "score", "test_loss"]]
