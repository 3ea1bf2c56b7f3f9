"""What scores say by themselves, without students: every sentence of their page."""

from __future__ import annotations

import math

from dametric.analysis.curves import curves_of, sentences
from dametric.analysis.numbers import among, counted, listed, with_error
from dametric.base.guards import DESTROYED
from dametric.records.score_rows import ScoreRow
from dametric.records.scores import Scores

BETTER = {"lower": "lower is better", "higher": "higher is better"}
MOST_NAMED = 3  # of what is tied, in a sentence; the table has all
PROXY = (
    "This is what the teacher says. Whether {metric} orders students is a question of its own, which distilled students"
    " and dametric correlate answer."
)
NOT_COMPARABLE = (
    "Differences of T. stddev between teachers are not comparable: a confident teacher has larger ones for the same"
    " augmentations. Compare ranks."
)


def subject(scores: Scores) -> str:
    """Which teacher and images were scored, as "resnet20 on cifar100"."""
    config = scores.settings
    return f"{config.scored.arch or 'a teacher without a name'} on {config.data.folder or 'images without a name'}"


def answer(scores: Scores, where: str = "") -> list[str]:
    """What has the best score, what cannot be told apart from it, and the teacher's confidence; one sentence each.

    Parameters
    ----------
    scores : Scores
    where : str
        What was scored, in place of :func:`subject`.
    """
    return [_best(scores, where or subject(scores)), *_tied(scores), *_confidence(scores)]


def reasons(scores: Scores) -> list[str]:
    """What else is to be known before the table is used."""
    config, first = scores.settings, scores.metrics[0]
    lines = sentences(curves_of(scores))
    lines += [f"{row.aug} is {row.same_as}: the same images." for row in scores.rows if row.same_as]
    lost = [row.aug for row in scores.rows if row.destroyed]
    if lost:
        lines.append(
            f"Destroyed: under {listed(lost)} less than {DESTROYED:g} of the information between images is left to the"
            " teacher, so that a good score does not speak for it."
        )
    if not config.rel_se_reached:
        lines.append(f"The precision asked for ({100 * (config.rel_se or 0):g} %) was not reached.")
    if (config.epochs or 0) > 1 and config.protocol != "reference":
        few = (config.data.images or 0) < 2 * (config.b or 0)
        whose = "these images only" if few else "other images of their kind"
        lines.append(f"{config.epochs:.3g} passes over {config.data.images} images: errors are those for {whose}.")
    return [*lines, PROXY.format(metric=first)]


def _best(scores: Scores, what: str) -> str:
    first, every = scores.metrics[0], counted(len(scores), "augmentation")
    intact = [row for row in scores.rows if not row.destroyed]
    where = f"for {what}"
    if scores.direction == "open":
        return f"Nobody has said which values of {first} are good: {every} scored {where}, none is best."
    if not intact:
        return f"No augmentation: {where} all {every} destroy the images."
    best = intact[0]
    value = best.metrics[first]
    if not math.isfinite(value.value):
        return f"Not known: too few batches for a value of {first} {where}."
    number = with_error(value.value, value.se)
    these = among(len(intact), len(scores) - len(intact))
    return f"{best.aug} has the best {first} of {these} {where}: {number} ({BETTER[scores.direction]})."


def _tied(scores: Scores) -> list[str]:
    if scores.direction == "open" or scores.rows[0].destroyed or len(scores) < 2:
        return []
    if not math.isfinite(scores.rows[0].metrics[scores.metrics[0]].value):
        return []
    tied = [row.aug for row in scores.rows[1:] if row.tied_with_best and not row.destroyed]
    sure, resolution = "95 %, paired differences", scores.settings.resolution
    if resolution is not None:
        sure = f"{100 * (1 - resolution.level):g} % for all {resolution.pairs} pairs together, paired differences"
    if not tied:
        return [f"Every other one is distinguishable from it ({sure})."]
    return [f"Not distinguishable from it ({sure}): {listed(tied, MOST_NAMED)}."]


def _confidence(scores: Scores) -> list[str]:
    kappa = scores.settings.t_confidence
    if kappa is None:
        return []
    whose = "its training images" if scores.settings.data.split == "train" else "images it was not trained on"
    number = with_error(kappa.value, kappa.se)
    return [f"The teacher's confidence kappa is {number} on {whose} (1: one-hot)."]


def standing(scores: Scores, row: ScoreRow) -> str:
    """What is to be said of a row: "best", "not distinguishable", "worse", "destroyed", or nothing."""
    if row.destroyed:
        return "destroyed"
    if scores.direction == "open" or not math.isfinite(row.metrics[scores.metrics[0]].value):
        return ""
    return "best" if row is scores.rows[0] else "not distinguishable" if row.tied_with_best else "worse"
