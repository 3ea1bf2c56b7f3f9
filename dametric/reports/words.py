"""What the words of a page mean: the heads of tables and the terms of sentences, in a line each."""

from __future__ import annotations

import re
from collections.abc import Iterable

WORDS = {
    "T. stddev": "spread of the teacher's mean answer over draws of augmented images; the paper says: less is better",
    "t_stddev": "T. stddev, the spread of the teacher's mean answer over draws of augmented images; less is better",
    "t_stddev_rms": "t_stddev with a root mean square over classes",
    "t_stddev_aug": "t_stddev of the augmented images alone",
    "t_entropy": "how unsure the teacher is on augmented images, in nats",
    "t_gini": "how unsure the teacher is on augmented images: 1 - sum of squared probabilities",
    "t_conf": "mean largest probability of the teacher on augmented images",
    "information_kept": "how well the teacher still tells augmented images apart: 1 as unchanged ones, 0 not at all",
    "ce_mean": "mean cross-entropy of the student with the teacher on augmented images: how far apart they are",
    "ce_std": "standard deviation of that cross-entropy over images",
    "ce_cov": "covariance of that cross-entropy between an image and its augmentation",
    "kappa": "how near the teacher's answers are to certainty: 1 is one class with probability 1",
    "covariance": "whether two numbers go up and down together",
    "nats": "unit of loss and entropy, with natural logarithms; 0.01 nats is a small difference",
    "regret": "how much more loss one has than with the best augmentation",
    "P(best)": "probability that the augmentation is the best of the candidates",
    "Over best": "expected loss over that of the chosen one",
    "epsilon": "a difference too small to matter, in nats",
    "Difference to best": "paired: both were shown the same images, so that shared errors cancel",
    "distinguishable": "shown to differ: with 95 % confidence their paired difference is not 0",
    "Standing": "best, not distinguishable from it, or worse",
    "Family": "variants of one idea, such as mixup of any strength; not independent of each other",
    "±": "one standard error: how far the value would move with other images or seeds",
    "tau-b": "Kendall's rank correlation: 1 the same order, 0 none, -1 the reverse",
    "Kendall": "Kendall's tau-b, a rank correlation: 1 the same order, 0 none, -1 the reverse",
    "Spearman": "rank correlation: 1 the same order, 0 none, -1 the reverse",
    "Pearson": "correlation along a line: 1, 0 none, -1",
    "p": "probability of a correlation at least as strong if the score knew nothing",
    "Regret@1": "loss over the lowest of all when the best score is trusted",
    "Cook's distance": "how much one point pulls the line",
    "unit": "one teacher with one student on one image set",
    "units": "pairs of a teacher and a student on an image set",
    "ECE": "expected calibration error: how far stated and true accuracy are apart",
    "Agreement": "share of images to which student and teacher give the same class",
    "Top-1": "share of images whose most probable class is right",
}


def explained(*texts: str | Iterable[str]) -> list[tuple[str, str]]:
    """The terms that stand in texts as whole words, with what they mean, in the order in which they appear.

    Examples
    --------
    >>> [term for term, _ in explained("The teacher's confidence kappa is 0.97", ["t_stddev", "Spread"])]
    ['kappa', 't_stddev']
    """
    whole = " | ".join(text if isinstance(text, str) else " | ".join(text) for text in texts)
    places = {term: match.start() for term in WORDS if (match := _of(term).search(whole)) is not None}
    return [(term, WORDS[term]) for term in sorted(places, key=places.__getitem__)]


def _of(term: str) -> re.Pattern[str]:
    if term == "p":  # a head alone: in sentences it stands for everything
        return re.compile(r"(?:^|\| )p(?: \||$)")
    return re.compile(rf"(?<![\w.-]){re.escape(term)}(?![\w-])")
