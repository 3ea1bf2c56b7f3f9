"""Size of the association over units: random-effects mean and variance components."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import stats

from dametric.errors import UsageError, unknown
from dametric.stats.coefficients import coefficient
from dametric.stats.intervals import fisher_variance, inside
from dametric.stats.result import Floats, Result, check_fraction, notes_of, too_few, undefined, vector
from dametric.stats.table import checked

DEPENDENT = "units share augmentations and are not independent: take the p-value from the joint permutation"


@dataclass(frozen=True)
class RandomEffects:
    """Mean effect over units that may truly differ.

    Attributes
    ----------
    mean : Result
        Mean and interval, without p-value; ``n`` counts units.
    tau2 : float
        Variance of the true effects between units, on the scale of Fisher's z.
    i2 : float
        Share of the observed variance that is between units, 0 to 1.
    q, q_pvalue : float
        Cochran's Q and its chi-squared p-value for equal effects.
    """

    mean: Result
    tau2: float
    i2: float
    q: float
    q_pvalue: float


def combine(
    effect: ArrayLike,
    variance: ArrayLike,
    *,
    estimator: str = "iterated",
    interval: str = "knapp-hartung",
    confidence: float = 0.95,
) -> RandomEffects:
    """Random-effects mean by :func:`statsmodels.stats.meta_analysis.combine_effects`.

    Parameters
    ----------
    effect, variance : array-like of shape (units,)
        Estimates and their sampling variances (above 0).
    estimator : {"iterated", "dl"}
        Between-unit variance by Paule & Mandel (1982, doi 10.6028/jres.087.022) or by DerSimonian & Laird (1986,
        doi 10.1016/0197-2456(86)90046-2); a negative one is 0.
    interval : {"knapp-hartung", "normal"}
        Student's t with the estimated scale (Knapp & Hartung 2003, doi 10.1002/sim.1482), or normal.
    confidence : float
        Fraction.

    Returns
    -------
    RandomEffects
        On the scale of the effects; NaN, with the reason in ``mean.note``, for fewer than two units.

    Raises
    ------
    UsageError
        For input that is not finite numbers of one length, variances not above 0, and unknown names.
    """
    for what, name, known in (
        ("estimator", estimator, ("iterated", "dl")),
        ("interval", interval, ("knapp-hartung", "normal")),
    ):
        if name not in known:
            raise unknown(what, name, known)
    check_fraction("confidence", confidence)
    a = vector("effect", effect)
    v, k = vector("variance", variance, len(a)), len(a)
    if k and v.min() <= 0:
        raise UsageError(f"variance holds {v.min():g}: sampling variances are above 0")
    names = {"iterated": "Paule-Mandel", "dl": "DerSimonian-Laird", "normal": "normal interval"}
    label = f"random-effects mean ({names[estimator]}; {names.get(interval, 'Knapp-Hartung interval')})"
    nan = math.nan
    if k < 2:
        return RandomEffects(undefined(k, label, "", too_few(k, "unit", 2)), nan, nan, nan, nan)
    from statsmodels.stats.meta_analysis import combine_effects  # type: ignore[import-untyped]  # slow

    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        found = combine_effects(a, v, method_re=estimator)
    tau2, q = max(0.0, float(found.tau2)), max(0.0, float(found.q))
    kind = "re" if tau2 > 0 else "fe"  # with no variance between units the two are the same
    mean = float(getattr(found, f"mean_effect_{kind}"))
    if interval == "normal":
        se, factor = float(getattr(found, f"sd_eff_w_{kind}")), float(stats.norm.ppf((1 + confidence) / 2))
    else:
        se, factor = float(getattr(found, f"sd_eff_w_{kind}_hksj")), float(stats.t.ppf((1 + confidence) / 2, k - 1))
    note = "" if se > 0 else "all units agree exactly: the Knapp-Hartung interval has no width"
    low, high = (mean - factor * se, mean + factor * se) if se > 0 else (nan, nan)
    i2 = max(0.0, 1 - (k - 1) / q) if q > 0 else 0.0
    result = Result(mean, nan, low, high, k, label, "", note)
    return RandomEffects(result, tau2, i2, q, float(stats.chi2.sf(q, k - 1)))


def random_effects(
    frame: pd.DataFrame,
    method: str = "pearson",
    *,
    x: str = "x",
    y: str = "y",
    estimator: str = "iterated",
    interval: str = "knapp-hartung",
    confidence: float = 0.95,
) -> RandomEffects:
    """Random-effects mean of the units' correlations by Fisher's z.

    Parameters
    ----------
    frame : pandas.DataFrame
        Columns unit, aug, and those named next. Every unit counts with the augmentations it has.
    method : {"pearson", "spearman"}
        Whose z has variance 1 / (n - 3) and (1 + r^2 / 2) / (n - 3). A coefficient of exactly 1 in size is handled
        as in :func:`pooled`.
    x, y : str
        Columns of the score and of the outcome.
    estimator, interval, confidence
        As for :func:`combine`.

    Returns
    -------
    RandomEffects
        Mean and interval as correlations, ``tau2`` on the scale of z. Units with fewer than four augmentations, or
        constant, are left out; ``mean.note`` names them and says that units are dependent.

    Raises
    ------
    UsageError
        If a column is missing, a number is not finite, a unit has an augmentation twice, and for unknown names.
    """
    if method not in ("pearson", "spearman"):
        raise unknown("coefficient with a Fisher z", method, ("pearson", "spearman"))
    z, variance, lost = [], [], []
    for unit, part in checked(frame, x, y).groupby("unit", sort=False):
        a, b = part[x].to_numpy(np.float64), part[y].to_numpy(np.float64)
        if len(a) < 4 or np.ptp(a) == 0 or np.ptp(b) == 0:
            lost.append(str(unit))
            continue
        r = float(inside(method, coefficient(method, a, b), len(a))[0])
        z.append(math.atanh(r))
        variance.append(fisher_variance(method, r, len(a)))
    found = combine(z, variance, estimator=estimator, interval=interval, confidence=confidence)
    m = found.mean
    note = f"left out because constant or with fewer than 4 augmentations: {', '.join(lost)}" if lost else ""
    label = f"{m.method} of Fisher's z of {'Pearson' if method == 'pearson' else 'Spearman'} correlations"
    ends = (math.tanh(value) for value in (m.statistic, m.low, m.high))
    value, low, high = ends
    mean = Result(value, math.nan, low, high, m.n, label, "", notes_of(m.note, note, DEPENDENT))
    return RandomEffects(mean, found.tau2, found.i2, found.q, found.q_pvalue)


@dataclass(frozen=True)
class MixedModel:
    """Variance components of the standardised outcome.

    Attributes
    ----------
    slope, slope_se : float
        Mean slope on the standardised score, and its standard error given the components; the p-value that would
        follow is too small with few units, so there is none.
    aug, unit_slope, residual : float
        Variances: of the augmentations' common effects, of the slope between units, and of the rest.
    n : int
        Points.
    converged : bool
    note : str
        What the fit complained of.
    """

    slope: float
    slope_se: float
    aug: float
    unit_slope: float
    residual: float
    n: int
    converged: bool
    note: str = ""


def mixed_model(frame: pd.DataFrame, *, x: str = "x", y: str = "y") -> MixedModel:
    """Crossed mixed model of the outcome on the score, both standardised within units, for its components.

    ``w ~ z`` with a random slope by unit and a random intercept by augmentation, crossed, by REML
    (:class:`statsmodels.regression.mixed_linear_model.MixedLM` with one group and two variance components).

    Parameters
    ----------
    frame : pandas.DataFrame
        As for :func:`random_effects`; constant units are left out.
    x, y : str

    Returns
    -------
    MixedModel
        NaN, with the reason in ``note``, for fewer than two units, fewer than three augmentations, or a failed fit.

    Raises
    ------
    UsageError
        As :func:`random_effects`.
    """
    table = checked(frame, x, y)
    scores = table.groupby("unit")[[x, y]]
    spread = scores.transform("max") - scores.transform("min")
    table = table[(spread[x] > 0) & (spread[y] > 0)]
    groups = table.groupby("unit")
    data = table[["unit", "aug"]].copy()
    for name, column in (("z", x), ("w", y)):
        data[name] = (table[column] - groups[column].transform("mean")) / groups[column].transform("std")
    units, augs = data.unit.nunique(), data.aug.nunique()
    if units < 2 or augs < 3:
        return _no_model(len(data), too_few(units, "unit", 2) if units < 2 else too_few(augs, "augmentation", 3))
    if min(float((data.w - data.z).abs().max()), float((data.w + data.z).abs().max())) < 1e-9:
        return _no_model(len(data), "all points lie on a line: there is no variance to divide")
    return _fitted(data)


def _fitted(data: pd.DataFrame) -> MixedModel:
    import statsmodels.formula.api as smf  # type: ignore[import-untyped]  # slow to import

    crossed = {"aug": "0+C(aug)", "slope": "0+C(unit):z"}
    groups: Floats = np.ones(len(data))
    with warnings.catch_warnings(record=True) as caught, np.errstate(all="ignore"):
        warnings.simplefilter("always")
        try:
            # Powell's method: the gradient methods stop early where a variance is close to zero, which is common.
            fit = smf.mixedlm("w ~ z", data, groups=groups, vc_formula=crossed).fit(method="powell")
            parts = dict(zip(fit.model.exog_vc.names, (float(value) for value in fit.vcomp), strict=True))
            slope, se, residual = float(fit.params.z), float(fit.bse.z), float(fit.scale)
        except (np.linalg.LinAlgError, ValueError) as error:
            return _no_model(len(data), f"the fit failed: {' '.join(str(error).split())}")
    said = ["a variance is at zero" if "boundary" in str(w.message) else "" for w in caught]
    note = notes_of("" if fit.converged else "the fit did not converge", *said)
    return MixedModel(slope, se, parts["aug"], parts["slope"], residual, len(data), bool(fit.converged), note)


def _no_model(n: int, why: str) -> MixedModel:
    nan = math.nan
    return MixedModel(nan, nan, nan, nan, nan, n, False, why)
