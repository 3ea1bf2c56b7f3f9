"""What a study of a given size can find out, by simulation."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from scipy import stats

from dametric.base import limits
from dametric.errors import UsageError
from dametric.stats.coefficients import coefficient
from dametric.stats.result import Floats, check_alternative, check_count, check_fraction, counted

_AT_ONCE = 250_000  # signs of pairs held at once, times eight bytes
_STEPS = 10  # halvings of the range of correlations: to 0.001


@dataclass(frozen=True)
class Power:
    """What to expect of a study.

    Attributes
    ----------
    power : float
        Probability that the test rejects at ``alpha``.
    power_se : float
        Standard error of that from the simulation.
    tau_mean, tau_sd : float
        Mean and standard deviation of the (mean) Kendall tau that the study will see.
    tau_critical : float
        Smallest tau that rejects; NaN where it depends on the data (several units), or where no tau does (too few
        augmentations for the level).
    reliability : float
        Share of the variance of the mean losses that is not seed noise.
    seeds_needed : int
        Seeds for the reliability that was asked for.
    method : str
        Which test was simulated, and how its p-value was had.
    alternative : str
    note : str
    """

    power: float
    power_se: float
    tau_mean: float
    tau_sd: float
    tau_critical: float
    reliability: float
    seeds_needed: int
    method: str
    alternative: str
    note: str = ""


def power(
    rho: float,
    augs: int,
    seeds: int,
    units: int = 1,
    seed_sd: float = 0.02,
    spread: float = 0.04,
    alpha: float = 0.05,
    simulations: int = 2000,
    seed: int = 0,
    *,
    alternative: str = "greater",
    share: float = 0.5,
    reliability: float = 0.9,
) -> Power:
    """Power of Kendall's tau between a score and the students' losses.

    Score and true loss are bivariate normal over augmentations with correlation ``rho``; the loss is seen as a mean
    over seeds with noise ``seed_sd / sqrt(seeds)``. With one unit the test is exact at any number of augmentations
    (without ties tau has a known law; Kendall 1938, doi 10.1093/biomet/30.1-2.81). With several units the joint
    permutation of labels is replaced by its normal approximation, whose variance is exact (Daniels 1944, doi
    10.1093/biomet/33.2.129).

    Parameters
    ----------
    rho : float
        Pearson correlation of the score with the true losses, between -1 and 1; positive is the expected direction.
    augs : int
        Augmentations, at least 3.
    seeds : int
        Students for each augmentation.
    units : int
        Teacher-student-data pairs.
    seed_sd : float
        Standard deviation of the loss between seeds, in nats. 0 gives the power for correlations with the measured
        losses themselves.
    spread : float
        Standard deviation of the true losses between augmentations, in nats. The defaults are of the size seen on
        CIFAR-100.
    alpha : float
        Level of the test, a fraction.
    simulations, seed : int
    alternative : {"greater", "two-sided", "less"}
        One-sided in the stated direction by default, as for the primary endpoint.
    share : float
        Share of the variance, of scores and of losses, that is common to all units; with one unit it does not
        matter.
    reliability : float
        For ``seeds_needed``: ``R = reliability / (1 - reliability) * seed_sd^2 / spread^2``, rounded up.

    Returns
    -------
    Power

    Raises
    ------
    UsageError
        For numbers out of range and unknown names.

    Examples
    --------
    >>> f"{power(0.9, augs=18, seeds=3, simulations=200).power:.1f}"
    '1.0'
    """
    _check(rho, seed_sd, spread, share)
    check_alternative(alternative)
    for name, fraction in (("alpha", alpha), ("reliability", reliability)):
        check_fraction(name, fraction)
    for name, count, least in (
        ("augs", augs, 3),
        ("seeds", seeds, 1),
        ("units", units, 1),
        ("simulations", simulations, 1),
    ):
        check_count(name, count, least)
        limits.whole(name, count, limits.STUDIES.get(name, limits.BATCHES))
    rng = np.random.default_rng(seed)
    step = max(1, _AT_ONCE // (units * augs**2))
    taus, rejected = [], []
    least_p = (2 if alternative == "two-sided" else 1) / math.factorial(augs)  # of any permutation of labels
    for start in range(0, simulations, step):
        x, y = _studies(rng, min(step, simulations - start), units, augs, rho, share)
        y = y + seed_sd / spread / math.sqrt(seeds) * rng.standard_normal(y.shape)
        tau, p = _exact(x[:, 0], y[:, 0], alternative) if units == 1 else _joint(x, y, alternative)
        taus.append(tau)
        rejected.append(np.maximum(p, least_p) <= alpha)
    tau, share_rejected = np.concatenate(taus), float(np.concatenate(rejected).mean())
    ratio = (seed_sd / spread) ** 2
    test = "exact Kendall test" if units == 1 else "joint permutation of Kendall's tau, normal approximation"
    critical = _critical(augs, alpha, alternative) if units == 1 else math.nan
    hopeless = least_p > alpha or (units == 1 and math.isnan(critical))
    return Power(
        power=share_rejected,
        power_se=math.sqrt(share_rejected * (1 - share_rejected) / simulations),
        tau_mean=float(tau.mean()),
        tau_sd=float(tau.std(ddof=1)) if simulations > 1 else math.nan,
        tau_critical=critical,
        reliability=1 / (1 + ratio / seeds),
        seeds_needed=max(1, math.ceil(round(reliability / (1 - reliability) * ratio, 9))),
        method=f"{test} at {alpha:g}, {counted(simulations, 'simulation')}",
        alternative=alternative,
        note=f"with {augs} augmentations no result is significant at {alpha:g}" if hopeless else "",
    )


def _check(rho: float, seed_sd: float, spread: float, share: float) -> None:
    if not -1 <= rho <= 1:
        raise UsageError(f"rho is {rho:g}: give a correlation between -1 and 1")
    if not (0 <= seed_sd < math.inf and 0 < spread < math.inf):
        raise UsageError(f"seed_sd is {seed_sd:g} and spread {spread:g}: give standard deviations, the spread above 0")
    if not 0 <= share <= 1:
        raise UsageError(f"share is {share:g}: give a fraction from 0 to 1")


def _studies(
    rng: np.random.Generator, count: int, units: int, augs: int, rho: float, share: float
) -> tuple[Floats, Floats]:
    """Scores and true losses of variance 1, shape (count, units, augs)."""

    def normal() -> Floats:
        common, own = rng.standard_normal((count, 1, augs)), rng.standard_normal((count, units, augs))
        return math.sqrt(share) * common + math.sqrt(1 - share) * own

    x, rest = normal(), normal()
    return x, rho * x + math.sqrt(1 - rho**2) * rest


@lru_cache(maxsize=16)
def _tails(n: int) -> tuple[Floats, Floats]:
    """P(at least k) and P(at most k) concordant pairs of n points without ties."""
    law: Floats = np.ones(1)
    for size in range(2, n + 1):
        law = np.convolve(law, np.full(size, 1 / size))
    return law[::-1].cumsum()[::-1], law.cumsum()


def _exact(x: Floats, y: Floats, alternative: str) -> tuple[Floats, Floats]:
    tau, n = coefficient("kendall", x, y), x.shape[1]
    concordant = np.rint((tau + 1) * n * (n - 1) / 4).astype(int)
    greater, less = _tails(n)
    return tau, _side(greater[concordant], less[concordant], alternative)


def _side(greater: Floats, less: Floats, alternative: str) -> Floats:
    both = np.minimum(1.0, 2 * np.minimum(greater, less))
    return np.asarray({"greater": greater, "less": less, "two-sided": both}[alternative])


def _critical(n: int, alpha: float, alternative: str) -> float:
    """The tau nearest to zero that rejects."""
    p = _side(*_tails(n), alternative)
    tau = 4 * np.arange(len(p)) / (n * (n - 1)) - 1
    rejecting = tau[(p <= alpha) & (tau < 0 if alternative == "less" else tau > 0)]
    return float(rejecting[abs(rejecting).argmin()]) if len(rejecting) else math.nan


def _joint(x: Floats, y: Floats, alternative: str) -> tuple[Floats, Floats]:
    """Mean tau over units, and its p under a joint permutation of labels in the normal approximation.

    For generalised coefficients ``c = sum_ij a_ij b_ij`` (i, j over all ordered pairs) under random pairing,
    ``Cov(c, c') = 4 / (n (n-1) (n-2)) (<a_i. a'_i.> - <a a'>) (<b_i. b'_i.> - <b b'>) + 2 / (n (n-1)) <a a'> <b b'>``.
    """
    n = x.shape[2]
    a, b = (np.sign(values[..., :, None] - values[..., None, :]) for values in (x, y))
    total = np.einsum("suij,suij->s", a, b)
    products = []
    for signs in (a, b):
        rows = signs.sum(3)
        flat = signs.reshape(*signs.shape[:2], -1)
        products.append((rows @ rows.transpose(0, 2, 1), flat @ flat.transpose(0, 2, 1)))
    (rows_a, all_a), (rows_b, all_b) = products
    variance = 4 / (n * (n - 1) * (n - 2)) * (rows_a - all_a) * (rows_b - all_b) + 2 / (n * (n - 1)) * all_a * all_b
    z = total / np.sqrt(variance.sum((1, 2)))
    tau = total / (x.shape[1] * n * (n - 1))
    return tau, _side(stats.norm.sf(z), stats.norm.cdf(z), alternative)


def detectable(augs: int, seeds: int, units: int = 1, *, least: float = 0.8, **options: Any) -> float:
    """Smallest true correlation that is detected with the given power.

    Bisection over :func:`power` with the same simulated studies at every step, so that power grows with the correlation
    but for a fraction of the simulation error.

    Parameters
    ----------
    augs, seeds, units : int
        As for :func:`power`.
    least : float
        Power that is asked for: the fraction of studies that reject.
    **options
        ``seed_sd, spread, alpha, simulations, seed, alternative, share`` of :func:`power`; with the alternative "less"
        the answer is the size of a negative correlation.

    Returns
    -------
    float
        Between 0 and 1; NaN where even a correlation of 1 is not detected that often.

    Raises
    ------
    UsageError
        As :func:`power`, and for a power that is not between 0 and 1.
    """
    check_fraction("the power that is asked for", least)
    sign = -1.0 if options.get("alternative") == "less" else 1.0

    def reached(rho: float) -> bool:
        return power(sign * rho, augs, seeds, units, **options).power >= least

    low, high = 0.0, 1.0
    if not reached(high):
        return math.nan
    for _ in range(_STEPS):
        middle = (low + high) / 2
        low, high = (low, middle) if reached(middle) else (middle, high)
    return high
