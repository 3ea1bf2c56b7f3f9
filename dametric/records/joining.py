"""Scores beside the students that they are about."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from dametric.base.arguments import argument
from dametric.base.terminal import note
from dametric.errors import UsageError
from dametric.records.recipes import OPTIONS, SETTING, label_by_recipe, scored_setting
from dametric.records.scores import Scores

STUDENT_METRICS = ("ce_", "ts_")  # how the names of metrics begin that ask the student of a score file
_STUDENT_PICKS = "by=student"  # in the names of augmentations that do
_DIFFERENCES = ["difference", "difference_se", "tied_with_best"]
_OWN = [*_DIFFERENCES, "recipe", "arch"]  # columns that `join` does not give
_SHOWN = 6  # names in a line
_FIRST = ["unit", "pair", "teacher", "student", "data", "file", "metric", "direction", "aug"]


@dataclass(frozen=True)
class ScoredAug:
    """An augmentation as a metric of a score file orders it.

    Attributes
    ----------
    aug : str
    score, score_se : float
    difference, difference_se : float
        Paired, to the best row of the file; NaN where another metric orders the file.
    tied_with_best : bool or None
        None where another metric orders the file.
    destroyed : bool
        So little of the information between images is left that no score speaks for it.
    """

    aug: str
    score: float
    score_se: float
    difference: float = math.nan
    difference_se: float = math.nan
    tied_with_best: bool | None = None
    destroyed: bool = False


@dataclass(frozen=True)
class StudentRow:
    """A row of a joined table: an augmentation's score and its students, NaN where something is not known."""

    aug: str
    score: float
    test_loss: float
    score_se: float = math.nan
    test_loss_se: float = math.nan
    test_top1: float = math.nan
    test_top1_se: float = math.nan
    seeds: int = 0


def join(scores: Scores, runs: pd.DataFrame, metric: str | None = None) -> pd.DataFrame:
    """Join a score file with a ledger: what the score says of an augmentation, and how its students came out.

    Parameters
    ----------
    scores : Scores
    runs : pandas.DataFrame
        From :func:`dametric.records.runs.load_runs`. Only finished distillations count; where the score file names its
        teacher by hash, only those from that teacher, else all, which must then be one teacher's; where it says of
        which images, only those of images of that name, size and, as far as that can be told, fingerprint; what a
        student was asked for (``ce_*`` metrics, picks by the student, scores that are read with a warm student) is said
        of that student alone. Runs of one student by different recipes are students of their own, as is whatever else a
        result depends on: "resnet8 (960 epochs)", "resnet8 (temperature 4)", "resnet8 (mean 0, std 1)". An augmentation
        may be spelt in another way than it was scored. What is left out is said on stderr, a line for each reason.
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
        If the metric was not measured, no augmentation was both scored and distilled, the teacher of the scores is not
        known and the runs are of several, or the code of an augmentation was edited between its runs.

    Examples
    --------
    >>> import tempfile
    >>> import dametric
    >>> short = {"image_size": 8, "device": "cpu", "dtype": "float32", "quiet": True}
    >>> steps = {"steps": 2, "eval_every": "last", **short}
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     teacher = dametric.train("resnet8", "digits", output=f"{folder}/t.pth", **steps)
    ...     scores = dametric.score(f"{folder}/t.pth", augs=["flip", "cutmix"], batches=4, batch_size=16, **short)
    ...     ledger = dametric.distill_all(f"{folder}/t.pth", "resnet8", augs=["flip"], out=folder, **steps)
    ...     join(scores, ledger.table)[["student", "aug", "seeds"]]
       student   aug  seeds
    0  resnet8  flip      1
    """
    metric = metric or scores.metrics[0]
    if metric not in scores.metrics:
        raise UsageError(f"the scores have no metric '{metric}', only {', '.join(scores.metrics)}")
    for line in left_out([scores], runs):
        note(line)
    joined = _beside(scores, _students(scores, runs), metric)
    if joined.empty:
        raise UsageError(f"no augmentation was both scored and distilled from the same teacher{_why([scores], runs)}")
    return joined.drop(columns=_OWN)


def _students(scores: Scores, runs: pd.DataFrame, without: Collection[str] = ()) -> pd.DataFrame:
    """Means over seeds, of the students of the teacher that was scored; a recipe by its values, not by its name."""
    done = _joinable(scores, runs)
    done = done[~done.student.isin(without)]
    done = _named(label_by_recipe(done.assign(arch=done.student, recipe=_recipes(done))))
    done = done.assign(aug=_as_scored(scores, done), seed=done.seed.where(done.test_loss.notna()))
    groups = done.groupby(["student", "aug"])
    _check_code(done)
    done = done[done.test_loss.notna() | (groups.test_loss.transform("count") == 0)]  # means are of the same seeds
    return done.groupby(["student", "aug"], as_index=False).agg(
        arch=("arch", "first"),
        recipe=("recipe", "first"),
        test_loss=("test_loss", "mean"),
        test_loss_se=("test_loss", "sem"),
        test_top1=("test_top1", "mean"),
        test_top1_se=("test_top1", "sem"),
        seeds=("seed", "nunique"),
    )


def _as_scored(scores: Scores, runs: pd.DataFrame) -> list[str]:
    """The augmentation of every run as the score file spells it, or in the one way of writing it."""
    spellings = runs.aug_spelling.fillna(runs.aug) if "aug_spelling" in runs else runs.aug
    known = dict(zip(runs.aug, spellings, strict=True))
    scored: dict[str, str] = {}
    for row in scores.rows:
        scored.setdefault(row.aug_spelling or known.get(row.aug, row.aug), row.aug)
    return [scored.get(spelling, spelling) for spelling in spellings]


def _check_code(students: pd.DataFrame) -> None:
    """Refuse to average runs of an augmentation whose code was edited between them."""
    if "aug_code" not in students:
        return
    for (student, aug), group in students.groupby(["student", "aug"]):
        if group.aug_code.nunique() > 1:
            first = group.drop_duplicates("aug_code").reindex(columns=["folder", "aug_code"])
            which = " and ".join(str(folder if isinstance(folder, str) else code) for folder, code in first.values)
            raise UsageError(
                f"the code of {aug} was edited between runs of {student}, which are no seeds of one another ({which}): "
                "move those of one code to a folder of their own"
            )


def _recipes(runs: pd.DataFrame) -> list[str]:
    """The values of those options in which runs of one student differ, as a key; what is not known is no difference."""
    keys = [""] * len(runs)
    for places in runs.groupby("student").indices.values():
        group = runs.iloc[places]
        for name in (name for name in (*OPTIONS, *SETTING) if name in group and group[name].nunique() > 1):
            for place, value in zip(places, group[name], strict=True):
                keys[place] += "" if pd.isna(value) else f" {name}={value!r}"
    return keys


def _named(runs: pd.DataFrame) -> pd.DataFrame:
    """Names that are one recipe each: where values differ by less than a name shows, the key itself is the name."""
    recipes = runs.groupby("student").recipe.nunique()
    rows = zip(runs.student, runs.arch, runs.recipe, strict=True)
    return runs.assign(student=[name if recipes[name] == 1 else f"{arch}{key}" for name, arch, key in rows])


def _of_teacher(scores: Scores, runs: pd.DataFrame) -> pd.DataFrame:
    """Distillations from the teacher that was scored, whatever became of them."""
    students, teacher = runs[runs.kind == "distill"], scores.settings.scored.sha256
    return students if teacher is None else students[students.teacher_sha256 == teacher]


def _joinable(scores: Scores, runs: pd.DataFrame) -> pd.DataFrame:
    """Finished distillations of what was scored.

    Raises
    ------
    UsageError
        If nobody can know which teacher's they are to be.
    """
    students = _of_teacher(scores, runs)
    students = students[(students.status == "finished") & _of_images(scores, students)]
    students = students[_as_normalised(scores, students)]
    teachers = [str(teacher)[:12] for teacher in students.teacher_sha256.dropna().unique()]
    if scores.settings.scored.sha256 is None and len(teachers) > 1:
        raise UsageError(
            "the score file names its teacher by no hash (as for a network in memory), and the runs are of several: "
            f"{', '.join(teachers)}; give those of one, for example {argument('only')} teacher_sha256={teachers[0]}*"
        )
    return students


def _of_images(scores: Scores, runs: pd.DataFrame) -> pd.Series:
    """Which runs are of the images that were scored; what one of the two does not say is no difference.

    As many images of the same name that are others by their fingerprint are those of another folder; of fewer or more,
    one may be a part of the other.
    """
    fits = pd.Series(True, index=runs.index)
    data, size = scores.settings.data, scores.settings.image_size
    if data.folder is not None and "data" in runs:
        fits &= runs.data.isna() | (runs.data.map(lambda path: Path(str(path)).name) == data.folder)
    if size is not None and "image_size" in runs:
        fits &= runs.image_size.isna() | (runs.image_size == size)
    return fits & ~_of_other_pixels(scores, runs)


def _of_other_pixels(scores: Scores, runs: pd.DataFrame) -> pd.Series:
    data = scores.settings.data
    scored = scored_setting(None, None, data.fingerprint)["train_data"]
    if scored is None or data.split != "train" or not {"train_data", "train_images"} <= set(runs.columns):
        return pd.Series(False, index=runs.index)
    return (runs.train_images == data.images) & runs.train_data.notna() & (runs.train_data != scored)


def _as_normalised(scores: Scores, runs: pd.DataFrame) -> pd.Series:
    """Where some runs saw the teacher normalised as it was scored, those; all where none did, which is said."""
    fits = _normalised_alike(scores, runs)
    return fits if fits.any() else ~fits


def _normalised_alike(scores: Scores, runs: pd.DataFrame) -> pd.Series:
    fits, settings = pd.Series(True, index=runs.index), scores.settings
    for name, scored in scored_setting(settings.mean, settings.std, None).items():
        if scored is not None and name in runs:
            fits &= runs[name].isna() | (runs[name].astype(str) == scored)
    return fits


def left_out(files: Sequence[Scores], runs: pd.DataFrame) -> list[str]:
    """What of the scored teachers' runs, and of the scores, does not come into a join: a line for each reason.

    Parameters
    ----------
    files : sequence of Scores
    runs : pandas.DataFrame
        From :func:`dametric.records.runs.load_runs`.

    Returns
    -------
    list of str
    """
    lines: list[str] = []
    for scores in files:
        students = _of_teacher(scores, runs)
        finished = students[students.status == "finished"]
        others = finished[_of_other_pixels(scores, finished)]
        same = students[_of_images(scores, students)]
        done = same[same.status == "finished"]
        alike = _as_normalised(scores, done)
        kept = done[alike]
        unfinished = same[same.status != "finished"]
        lines += _counted(unfinished, "not finished", list(unfinished.status))
        lines += _counted(kept[kept.test_loss.isna()], "without a test loss, as where training diverged")
        lines += _counted(others, f"of other images of the name {scores.settings.data.folder} than were scored")
        lines += _counted(done[~alike], "with a teacher that was normalised otherwise than when it was scored")
        if len(done) and not _normalised_alike(scores, done).any():
            lines.append("the teacher of all these runs was normalised otherwise than when it was scored")
        lines += _unjoined(scores, kept)
    return list(dict.fromkeys(lines))


def _counted(runs: pd.DataFrame, why: str, words: Sequence[str] = ()) -> list[str]:
    if not len(runs):
        return []
    names = [f"{aug} seed {seed:g}" for aug, seed in zip(runs.aug, runs.seed, strict=True)]
    if words:
        names = [f"{name} {word}" for name, word in zip(names, words, strict=True)]
    return [f"left out: {len(runs)} run{'s' * (len(runs) > 1)} {why} ({_listed(names)})"]


def _unjoined(scores: Scores, runs: pd.DataFrame) -> list[str]:
    """Augmentations that were scored or distilled alone."""
    scored, distilled = [row.aug for row in scores.rows], list(dict.fromkeys(_as_scored(scores, runs)))
    if not set(scored) & set(distilled):
        return []  # which is refused, or said of another file's teacher
    parts = [
        f"{what} ({_listed(alone)})"
        for what, alone in (
            ("scored but not distilled", [aug for aug in scored if aug not in distilled]),
            ("distilled but not scored", [aug for aug in distilled if aug not in scored]),
        )
        if alone
    ]
    return [f"left out: augmentations {' and '.join(parts)}"] if parts else []


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")


def _why(files: Sequence[Scores], runs: pd.DataFrame) -> str:
    """What keeps the students of a scored teacher from being joined, where it is that they saw other images."""
    for scores in files:
        others = _of_teacher(scores, runs)
        others = others[(others.status == "finished") & ~_of_images(scores, others)]
        if len(others):
            size, columns = scores.settings.image_size, ["data", "image_size", "train_data"]
            data, trained_size, trained = others.reindex(columns=columns).iloc[0]
            pixels = ["" if pd.isna(value) else f" of {value:g} pixels" for value in (size, trained_size)]
            if _of_other_pixels(scores, others).iloc[0]:
                pixels = [f" (fingerprint {str(value)[:12]})" for value in (scores.settings.data.fingerprint, trained)]
            scored = f"{scores.settings.data.folder}{pixels[0]} was scored"
            return f" on the same images: {scored}, {data}{pixels[1]} was distilled with"
    return ""


def _beside(scores: Scores, students: pd.DataFrame, metric: str) -> pd.DataFrame:
    table = pd.DataFrame(with_differences(scores, metric)).astype({"tied_with_best": "boolean"})
    joined = table.drop(columns="destroyed").merge(students, on="aug", how="inner")
    shown, warm = scores.settings.shown.arch, scores.settings.warm_student
    if shown is not None:  # of the others it says nothing
        of_student = joined.aug.str.contains(_STUDENT_PICKS) | metric.startswith(STUDENT_METRICS)
        joined = joined[~of_student | (joined.arch == shown)]
    if warm is not None and warm.arch is not None and any(row.metrics[metric].student for row in scores.rows):
        joined = joined[joined.arch == warm.arch]
    order = ["student", "aug", "score", "score_se", *students.columns[4:], *_OWN]
    return joined[order].sort_values("student", kind="stable", ignore_index=True)


def study(scores: Sequence[Scores], runs: pd.DataFrame) -> pd.DataFrame:
    """Join score files with a ledger, for all metrics and all teacher-student pairs at once.

    Parameters
    ----------
    scores : sequence of Scores
        One for each teacher, or one for each of its students, where the file shows a student too.
    runs : pandas.DataFrame
        From :func:`dametric.records.runs.load_runs`.

    Returns
    -------
    pandas.DataFrame
        One row for each unit (teacher, student, data set), metric and augmentation: ``unit, teacher, student, data,
        metric, direction`` and the columns of :func:`join`. ``unit`` is a name to be shown, with a number where two
        teachers bear the same; ``pair`` is the unit's key, whatever else is joined: the teacher's hash, the student,
        the values of its recipe that others do not share, and the data. ``file`` is the place of the score file in
        ``scores``; ``difference, difference_se`` (paired, to the best row of the file) and ``tied_with_best`` are of
        the metric that orders it, and unknown for others.

    Raises
    ------
    UsageError
        If no augmentation was both scored and distilled in any of them, and as :func:`join`.
    """
    parts: list[pd.DataFrame] = []
    seen: dict[str, list[object]] = {}
    shown = {(file.settings.scored.sha256, file.settings.shown.arch) for file in scores}
    for place, file in enumerate(scores):
        scored, digest = file.settings.scored, file.settings.scored.sha256
        teacher, data = scored.arch or "teacher", file.settings.data.folder or "data"
        known = seen.setdefault(f"{teacher} {data}", [])
        if digest not in known or digest is None:
            known.append(digest)
        number = len(known) if digest is None else known.index(digest) + 1
        others = {student for its, student in shown if its == digest and student} - {file.settings.shown.arch}
        without = [] if digest is None else others  # files that show other students speak of those
        students = _students(file, runs, without)  # once for all metrics
        for metric in file.metrics:
            part = _beside(file, students, metric)
            if part.empty:
                continue  # another teacher's students are in this ledger
            direction = file.rows[0].metrics[metric].direction
            about = {"teacher": teacher, "data": data, "metric": metric, "direction": direction}
            name = f"{teacher} #{number}" if number > 1 else teacher
            unit = [f"{name} -> {student}, {data}" for student in part.student]
            keys = zip(part.arch, part.recipe, strict=True)
            pair = [f"{digest or teacher}/{arch}{recipe}/{data}" for arch, recipe in keys]
            parts.append(part.drop(columns=["recipe", "arch"]).assign(unit=unit, pair=pair, file=place, **about))
    if not parts:
        raise UsageError(f"no augmentation was both scored and distilled from the same teacher{_why(scores, runs)}")
    table = pd.concat(parts, ignore_index=True)
    return table[[*_FIRST, *(name for name in table.columns if name not in _FIRST)]]


def with_differences(scores: Scores, metric: str) -> list[ScoredAug]:
    """Scores by a metric, and their paired differences to the best row where it is the metric that orders the file."""
    first = metric == scores.metrics[0]
    return [
        ScoredAug(
            row.aug,
            row.metrics[metric].value,
            row.metrics[metric].se,
            row.difference.value if first else math.nan,
            row.difference.se if first else math.nan,
            row.tied_with_best if first else None,
            row.destroyed,
        )
        for row in scores.rows
    ]
