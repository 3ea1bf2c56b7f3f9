"""How strongly two variables go together, with a p-value that holds for nine points."""

from __future__ import annotations

import math

from numpy.typing import ArrayLike
from scipy import stats

from dametric.errors import unknown
from dametric.stats.coefficients import LABELS, check_method, standardised
from dametric.stats.intervals import fisher_interval
from dametric.stats.kendall import kendall_interval
from dametric.stats.permutation import coefficient_law
from dametric.stats.result import (
    Floats,
    Result,
    check_alternative,
    check_count,
    check_fraction,
    notes_of,
    undefined,
    vector,
    why_degenerate,
)


def correlate(
    x: ArrayLike,
    y: ArrayLike,
    method: str = "kendall",
    alternative: str = "two-sided",
    *,
    confidence: float = 0.95,
    best: str = "lower",
    resamples: int = 9999,
    seed: int = 0,
) -> Result:
    """Correlation with a permutation p-value and a confidence interval.

    Parameters
    ----------
    x, y : array-like of shape (n,)
        Finite numbers; ties are allowed.
    method : {"kendall", "spearman", "pearson", "weighted"}
        "kendall" is tau-b. "weighted" is the additive hyperbolic tau of Vigna (2015, doi 10.1145/2736277.2741088),
        in which exchanges near the best end count more; where there are ties its mean under independence is not
        zero (``note`` says what it is), so that only the p-value tells whether it is large.
    alternative : {"two-sided", "greater", "less"}
        Of the p-value. "greater": positive association.
    confidence : float
        Of the interval, a fraction.
    best : {"lower", "higher"}
        For "weighted": which end of both x and y is the best. Losses, and scores that are better when lower, have
        "lower"; turn the sign of a score that is better when higher.
    resamples : int
        Random pairings B where the law is not known: p = (1 + b) / (1 + B).
    seed : int
        Of the random pairings.

    Returns
    -------
    Result
        Up to ten points all n! pairings are tried, so that the p-value is exact, ties or not (up to eight for the
        weighted tau with ties); without ties Kendall's is exact up to 60 points and Spearman's up to 15 (see
        :mod:`dametric.stats.exact`). Two-sided is twice the smaller side, at most 1, as in
        :func:`scipy.stats.permutation_test`. Intervals: Fisher's z with variance 1 / (n - 3) for Pearson and
        (1 + r^2 / 2) / (n - 3) for Spearman; for Kendall that of :func:`dametric.stats.kendall.kendall_interval`,
        which assumes a normal copula; none for the weighted tau.
        Constant input or fewer than three points give NaN with the reason in ``note``.

    Raises
    ------
    UsageError
        For input that is not two equally long sequences of finite numbers, and unknown names.
    """
    check_method(method)
    check_alternative(alternative)
    check_fraction("confidence", confidence)
    check_count("resamples", resamples)
    if best not in ("lower", "higher"):
        raise unknown("best end", best, ("lower", "higher"))
    a, b = vector("x", x), vector("y", y)
    vector("y", b, len(a))
    why = why_degenerate({"x": a, "y": b})
    if why:
        return undefined(len(a), LABELS[method], alternative, why)
    value = observed(method, a, b, best)
    law = coefficient_law(method, a, b, best, resamples=resamples, seed=seed)
    low, high, kind, note = _interval(method, value, len(a), confidence)
    pairings = "exact permutation p" if law.exact else f"permutation p from {resamples} random pairings"
    label = "; ".join(filter(None, (LABELS[method], pairings, kind)))
    if method == "weighted" and min(len(set(a)), len(set(b))) < len(a):
        note = notes_of(f"mean under independence {law.mean:.3f}", note)
    return Result(value, law.pvalue(value, alternative), low, high, len(a), label, alternative, note)


def observed(method: str, x: Floats, y: Floats, best: str = "lower") -> float:
    """The coefficient as scipy computes it, of points that are not constant."""
    turn = -1.0 if best == "lower" else 1.0
    if method == "pearson":
        return float(stats.pearsonr(standardised(x), standardised(y)).statistic)  # centred: it warns of large means
    if method == "spearman":
        return float(stats.spearmanr(x, y).statistic)
    if method == "kendall":
        return float(stats.kendalltau(x, y, method="asymptotic").statistic)  # its p is not used, and this is quick
    return float(stats.weightedtau(turn * x, turn * y).statistic)


def _interval(method: str, value: float, n: int, confidence: float) -> tuple[float, float, str, str]:
    if method == "kendall":
        return *kendall_interval(value, n, confidence), ""
    if method == "weighted":
        return math.nan, math.nan, "", ""
    low, high, note = fisher_interval(method, value, n, confidence)
    return low, high, "Fisher z interval" + (" (Bonett-Wright variance)" if method == "spearman" else ""), note
