"""What is simulated for the calibration of the statistics: one function a case, from a generator to one study.

A test returns its p-value where nothing is there, so that it should be uniform; an interval returns whether it holds
the true value, or None where there is no interval. Numbers of augmentations, units and noise are of the size that
studies have: nine augmentations, eight teacher-student pairs, losses whose seed noise is a quarter of their spread.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from dametric import stats
from dametric.stats import Result
from experiments.calibration_families import inside, one_by_one, whole

Rng = np.random.Generator
RESAMPLES = 999
TRUE = 0.8  # correlation wherever an interval is tried at one value


@dataclass(frozen=True)
class Case:
    """A simulation.

    Attributes
    ----------
    name : str
    kind : {"test", "interval", "naive"}
        "naive" is what is commonly done and not claimed to hold: shown beside.
    claim : tuple of float, or None
        Where the rejections at 5 %, or the coverage of 95 % intervals, have to be; None where nothing is claimed.
    study : callable
        From a generator to a p-value, or to whether the interval holds the truth.
    """

    name: str
    kind: str
    claim: tuple[float, float] | None
    study: Callable[[Rng], float | bool | None]


LEVEL, COVERAGE = (0.035, 0.065), (0.93, 0.97)


def normal(rng: Rng, n: int, rho: float = 0.0) -> np.ndarray:
    """Two variables with this correlation, shape (2, n)."""
    x, rest = rng.standard_normal((2, n))
    return np.array([x, rho * x + math.sqrt(1 - rho**2) * rest])


def units(rng: Rng, share: float, m: int = 8, n: int = 9, columns: tuple[str, ...] = ("x", "y")) -> pd.DataFrame:
    """Units whose variables are independent of each other, but have this share of their variance in common between
    units: the same augmentations are good everywhere, and get good scores everywhere."""
    place: dict[str, Any] = {
        "unit": np.repeat([f"unit {i}" for i in range(m)], n),
        "aug": np.tile([f"augmentation {i}" for i in range(n)], m),
    }
    for name in columns:
        common, own = rng.standard_normal(n), rng.standard_normal((m, n))
        place[name] = (math.sqrt(share) * common + math.sqrt(1 - share) * own).ravel()
    return pd.DataFrame(place)


def holds(result: Result, truth: float) -> bool | None:
    """Whether an interval holds the truth; None where there is none."""
    return None if math.isnan(result.low) else bool(result.low <= truth <= result.high)


def of_one_unit(method: str, n: int, tail: bool = False) -> Callable[[Rng], float]:
    """p of a coefficient; with tails, the variables are of a law where few points carry everything."""

    def study(rng: Rng) -> float:
        x, y = normal(rng, n)
        if tail:
            x, y = np.exp(2 * x), np.exp(2 * y)
        return stats.correlate(x, y, method, resamples=RESAMPLES, seed=int(rng.integers(2**31))).pvalue

    return study


def jointly(method: str, share: float) -> Callable[[Rng], float]:
    return lambda rng: stats.pooled(units(rng, share), method, "greater").pvalue


def naively(share: float) -> Callable[[Rng], float]:
    return lambda rng: stats.naive(units(rng, share)).pvalue


def meta_analysis(share: float) -> Callable[[Rng], float]:
    """Fixed-variance meta-analysis of Fisher's z, as if units were independent."""

    def study(rng: Rng) -> float:
        frame = units(rng, share)
        z = [math.atanh(stats.correlate(p["x"], p["y"], "spearman").statistic) for _, p in frame.groupby("unit")]
        return math.erfc(abs(np.mean(z)) * math.sqrt(len(z) * 6 / 1.06) / math.sqrt(2))

    return study


def williams(rng: Rng) -> float:
    """Two metrics that predict the outcome equally well, and correlate by 0.9."""
    shared, one, two, rest = rng.standard_normal((4, 9))
    x1, x2 = math.sqrt(0.9) * shared + math.sqrt(0.1) * one, math.sqrt(0.9) * shared + math.sqrt(0.1) * two
    y = TRUE * shared + math.sqrt(1 - TRUE**2) * rest
    r = np.corrcoef([y, x1, x2])
    return stats.williams(float(r[0, 1]), float(r[0, 2]), float(r[1, 2]), 9).pvalue


def swapped(rng: Rng) -> float:
    """Two metrics that predict the outcome equally well, in four units that share half of everything."""
    frame = units(rng, 0.5, 4, columns=("shared", "one", "two", "rest"))
    for name, own in (("x1", "one"), ("x2", "two")):
        frame[name] = math.sqrt(0.7) * frame["shared"] + math.sqrt(0.3) * frame[own]
    frame["y"] = TRUE * frame["shared"] + math.sqrt(1 - TRUE**2) * frame["rest"]
    return stats.swap_test(frame, "x1", "x2").pvalue


def partial(rng: Rng, n: int = 9) -> float:
    """Score and outcome agree only through a third variable."""
    z, one, two = rng.standard_normal((3, n))
    x, y = 0.7 * z + math.sqrt(0.51) * one, 0.7 * z + math.sqrt(0.51) * two
    return stats.partial_tau(x, y, z, resamples=RESAMPLES, seed=int(rng.integers(2**31))).pvalue


def incremental(rng: Rng) -> float:
    """Scores that know the fixed list of augmentations and nothing else."""
    frame = units(rng, 0.0, 8, columns=("x", "y"))
    effect = np.tile(rng.standard_normal(9), 8)
    frame["x"] += 1.5 * effect
    frame["y"] += 1.5 * effect
    return stats.incremental(frame, resamples=RESAMPLES, seed=int(rng.integers(2**31))).pvalue


def concordance(rng: Rng) -> float:
    return stats.kendalls_w(rng.standard_normal((4, 9)), resamples=RESAMPLES, seed=int(rng.integers(2**31))).pvalue


def tied(rng: Rng) -> float:
    x, y = normal(rng, 9)
    return stats.tied_tau(x, y, 0.3, 0.3).pvalue


def student_t(rng: Rng, n: int, rho: float) -> np.ndarray:
    """Two variables with a t copula of three degrees of freedom, shape (2, n): extremes come together."""
    return normal(rng, n, rho) / np.sqrt(rng.chisquare(3, n) / 3)


def coefficient(
    method: str, n: int, rho: float, law: Callable[[Rng, int, float], np.ndarray] = normal
) -> Callable[[Rng], bool | None]:
    truth = {
        "pearson": rho,
        "spearman": 6 / math.pi * math.asin(rho / 2),
        "kendall": 2 / math.pi * math.asin(rho),
    }[method]

    def study(rng: Rng) -> bool | None:
        x, y = law(rng, n, rho)
        return holds(stats.correlate(x, y, method, resamples=1), truth)

    return study


def bca(n: int, rho: float) -> Callable[[Rng], bool | None]:
    def study(rng: Rng) -> bool | None:
        seed = int(rng.integers(2**31))
        return holds(stats.bca(*normal(rng, n, rho), resamples=1999, seed=seed), rho)

    return study


def slope(n: int, uneven: bool) -> Callable[[Rng], bool | None]:
    """Slope of 2; uneven: scatter grows with the score."""

    def study(rng: Rng) -> bool | None:
        x = rng.standard_normal(n)
        scatter = np.exp(0.5 * x) if uneven else 1.0
        return holds(stats.ols(x, 2 * x + scatter * rng.standard_normal(n)).slope, 2)

    return study


def york(n: int) -> Callable[[Rng], bool | None]:
    """Slope of 2 where both axes have errors of a tenth to three tenths of the spread."""

    def study(rng: Rng) -> bool | None:
        x = rng.standard_normal(n)
        se_x, se_y = rng.uniform(0.1, 0.3, n), rng.uniform(0.2, 0.6, n)
        seen = x + se_x * rng.standard_normal(n), 2 * x + se_y * rng.standard_normal(n)
        return holds(stats.york(*seen, se_x, se_y).slope, 2)

    return study


def disattenuated(n: int, rho: float, noise: tuple[float, float]) -> Callable[[Rng], bool | None]:
    """Standard errors of x and y as parts of the true spread."""

    def study(rng: Rng) -> bool | None:
        x, y = normal(rng, n, rho)
        errors = np.array(noise)[:, None] * np.ones(n)
        seen = (values + se * rng.standard_normal(n) for values, se in zip((x, y), errors, strict=True))
        return holds(stats.disattenuated(*seen, *errors, seed=int(rng.integers(2**31))), rho)

    return study


def random_effects(rng: Rng) -> bool | None:
    """Eight independent units whose true z vary by 0.3 about that of the true correlation."""
    z = math.atanh(TRUE) + 0.3 * rng.standard_normal(8)
    parts = []
    for i, value in enumerate(z):
        x, y = normal(rng, 9, math.tanh(value))
        parts.append(pd.DataFrame({"unit": f"unit {i}", "aug": [f"a{k}" for k in range(9)], "x": x, "y": y}))
    return holds(stats.random_effects(pd.concat(parts)).mean, TRUE)


def _tests() -> list[Case]:
    cases = [
        Case(f"{method}, 9 augmentations, exact", "test", LEVEL, of_one_unit(method, 9))
        for method in ("pearson", "spearman", "kendall", "weighted")
    ]
    cases += [
        Case(f"{method}, 18 augmentations, {how}", "test", LEVEL, of_one_unit(method, 18))
        for method, how in (("pearson", "random pairings"), ("kendall", "exact"))
    ]
    cases.append(Case("pearson, 9 augmentations, heavy tails", "test", LEVEL, of_one_unit("pearson", 9, True)))
    for share in (0.0, 0.5, 0.9):
        text = f"8 units that share {share:.0%} of augmentation effects"
        for method in ("kendall", "pearson"):
            cases.append(Case(f"joint permutation, {method}, {text}", "test", LEVEL, jointly(method, share)))
        cases.append(Case(f"72 points as if independent, {text}", "naive", None, naively(share)))
        cases.append(Case(f"fixed-variance meta-analysis, {text}", "naive", None, meta_analysis(share)))
    return [
        *cases,
        Case("Williams' test, 9 augmentations", "test", LEVEL, williams),
        Case("rank-swap test, 4 units", "test", LEVEL, swapped),
        Case("partial tau, 9 augmentations", "test", LEVEL, partial),
        Case("partial tau, 18 augmentations", "test", LEVEL, lambda rng: partial(rng, 18)),
        Case("incremental value, 8 units", "test", LEVEL, incremental),
        Case("Kendall's W, 4 units", "test", LEVEL, concordance),
        Case("tau-b with ties at noise level, 9 augmentations", "test", LEVEL, tied),
        *_families(),
    ]


def _families() -> list[Case]:
    """Six families of four settings: a share of the variance is the family's, and losses trend with strength."""
    cases = []
    for shared, trend, units in ((0.5, 0.0, 1), (0.8, 0.0, 1), (0.5, 3.0, 1), (0.8, 0.0, 4)):
        text = f"24 settings of 6 families, intraclass correlation {shared:g}"
        text += f", trends of strength {trend:g}" if trend else ""
        text += f", {units} units" if units > 1 else ""
        cases.append(Case(f"whole families permuted, {text}", "test", LEVEL, whole(shared, trend, units)))
        cases.append(Case(f"settings permuted one by one, {text}", "naive", None, one_by_one(shared, trend, units)))
        if trend:
            text = f"families permuted, and settings inside, {text}"
            cases.append(Case(text, "naive", None, inside(shared, trend)))
    return cases


def _intervals() -> list[Case]:
    cases = []
    for n in (9, 18):
        for rho in (0.0, 0.7, 0.95):
            for method in ("pearson", "spearman"):
                name = f"{method}, Fisher, {n} augmentations, correlation {rho:g}"
                cases.append(Case(name, "interval", COVERAGE, coefficient(method, n, rho)))
        cases.append(Case(f"pearson, BCa, {n} augmentations, correlation 0.7", "interval", None, bca(n, 0.7)))
        for uneven in (False, True):
            word = "uneven" if uneven else "even"
            name = f"least-squares slope, HC3, {n} augmentations, {word} scatter"
            cases.append(Case(name, "interval", COVERAGE, slope(n, uneven)))
        cases.append(Case(f"York's slope, {n} augmentations", "interval", COVERAGE, york(n)))
    cases += [*_kendall(), *_disattenuated()]
    return [*cases, Case("random-effects mean, 8 independent units", "interval", COVERAGE, random_effects)]


def _kendall() -> list[Case]:
    """Nothing is claimed where one step of tau is worth more than the claim (below nine points, and at .99 below 27),
    nor of a law that is not normal."""
    cases = []
    for n in (5, 7, 9, 12, 18, 27, 40):
        for rho in (0.0, 0.5, 0.7, 0.8, 0.95, 0.99):
            claim = COVERAGE if n >= (9 if rho < 0.99 else 27) else None
            name = f"kendall, {n} augmentations, correlation {rho:g}"
            cases.append(Case(name, "interval", claim, coefficient("kendall", n, rho)))
    for n in (9, 18):
        name = f"kendall, {n} augmentations, t copula, correlation {TRUE:g}"
        cases.append(Case(name, "interval", None, coefficient("kendall", n, TRUE, student_t)))
    return cases


def _disattenuated() -> list[Case]:
    levels = {"a quarter": (0.2, 0.25), "half": (0.4, 0.5)}
    return [
        Case(
            f"disattenuated correlation, {n} augmentations, correlation {rho:g}, noise {word} of the spread",
            "interval",
            COVERAGE,
            disattenuated(n, rho, noise),
        )
        for n in (7, 9, 12, 18, 27)
        for rho in (0.5, 0.8, 0.95)
        for word, noise in levels.items()
    ]


CASES = [*_tests(), *_intervals()]
