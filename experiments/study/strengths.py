"""The strengths: which metric finds a best strength, and what a metric is worth beside a list."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import stats

from dametric.stats import regret
from experiments.study.beyond_list import centred
from experiments.study.entries import controls, entries
from experiments.study.results import Floats, Study
from experiments.study.settings import FAMILIES, MIDDLE


def directions() -> dict[str, str]:
    """Every metric that is shown, and which values of it are better."""
    return {**{name: entry.better for name, entry in entries().items()}, **controls()}


def interval(values: Sequence[float] | Floats) -> tuple[float, float, float]:
    """Mean, and its 95 % interval by Student's t over units, which are not independent; NaN for fewer than three."""
    sample = np.asarray(values, dtype=np.float64)
    mean = float(sample.mean()) if len(sample) else math.nan
    if len(sample) < 3:
        return mean, math.nan, math.nan
    half = float(stats.t.ppf(0.975, len(sample) - 1) * sample.std(ddof=1) / math.sqrt(len(sample)))
    return mean, mean - half, mean + half


def best_strength(losses: pd.DataFrame, metrics: dict[str, pd.DataFrame], better: dict[str, str]) -> pd.DataFrame:
    """The strength that each metric chooses in each family, against the fixed middle one.

    Parameters
    ----------
    losses : pandas.DataFrame
        Units by settings.
    metrics : dict of pandas.DataFrame
        The same of each metric, NaN where it has no value.
    better : dict of str
        Which values are better.

    Returns
    -------
    pandas.DataFrame
        Rows family and rule ("middle", or a metric): ``units``, ``best`` (share of units in which the choice has the
        lowest loss of its family), ``regret`` (mean, nats), and ``less`` with its interval: how much less that is than
        the middle strength's.
    """
    rows = []
    for family, strengths in FAMILIES.items():
        for rule in ("middle", *metrics):
            picked, middle = [], []
            for unit, loss in losses[list(strengths)].iterrows():
                choice = MIDDLE[family] if rule == "middle" else _chosen(metrics[rule], unit, strengths, better[rule])
                if choice is not None:
                    picked.append(loss[choice] - loss.min())
                    middle.append(loss[MIDDLE[family]] - loss.min())
            if picked:
                less, low, high = interval(np.subtract(middle, picked))
                share = float(np.mean([value == 0 for value in picked]))
                row = {"family": family, "rule": rule, "units": len(picked), "best": share}
                rows.append({**row, "regret": float(np.mean(picked)), "less": less, "low": low, "high": high})
    return pd.DataFrame(rows, columns=["family", "rule", "units", "best", "regret", "less", "low", "high"])


def _chosen(values: pd.DataFrame, unit: object, strengths: Sequence[str], better: str) -> str | None:
    """The strength that a metric prefers; None where it does not have all."""
    if unit not in values.index:
        return None
    own = values.loc[[unit], list(strengths)].iloc[0]
    return None if own.isna().any() else str(own.idxmin() if better == "lower" else own.idxmax())


def practical_worth(losses: pd.DataFrame, metrics: dict[str, pd.DataFrame], better: dict[str, str]) -> pd.DataFrame:
    """A list made of the other units, alone and together with a metric, judged in the unit that was left out.

    The list is the mean of the standardised losses. A metric is standardised, the mean of each setting over the other
    units is taken away, and what is left enters with the slope that it has in the other units.

    Returns
    -------
    pandas.DataFrame
        Rows "list" and "list + METRIC": ``units``, ``tau`` and ``regret`` (of the first choice, nats) with intervals
        over units, and ``tau_gain``, ``regret_gain`` with theirs: how much better than the list on the same units.
    """
    rows = []
    for name in (None, *metrics):
        values = None if name is None else metrics[name].reindex(losses.index).dropna()
        units = losses if values is None else losses.loc[values.index]
        if len(units) < 3:
            continue
        sign = -1.0 if name is not None and better[name] == "higher" else 1.0
        y = units.to_numpy(np.float64)
        x = None if values is None else sign * values.to_numpy(np.float64)
        judged = [_left_out(y, x, unit) for unit in range(len(y))]
        lists = [_left_out(y, None, unit) for unit in range(len(y))]
        row: dict[str, object] = {"rule": "list" if name is None else f"list + {name}", "units": len(y)}
        for place, (column, turn) in enumerate((("tau", 1.0), ("regret", -1.0))):
            own, alone = (np.array([each[place] for each in many]) for many in (judged, lists))
            row |= dict(zip((column, f"{column}_low", f"{column}_high"), interval(own), strict=True))
            gained = interval(turn * (own - alone))
            row |= dict(zip((f"{column}_gain", f"{column}_gain_low", f"{column}_gain_high"), gained, strict=True))
        rows.append(row)
    numbers = [f"{name}{end}" for name in ("tau", "tau_gain", "regret", "regret_gain") for end in ("", "_low", "_high")]
    return pd.DataFrame(rows, columns=["rule", "units", *numbers])


def _left_out(loss: Floats, metric: Floats | None, unit: int) -> tuple[float, float]:
    """Tau-b and regret of the first choice in one unit, of what the others teach."""
    others = np.arange(len(loss)) != unit
    z = (loss - loss.mean(1, keepdims=True)) / loss.std(1, ddof=1, keepdims=True)
    predicted = z[others].mean(0)
    if metric is not None:
        x = (metric - metric.mean(1, keepdims=True)) / metric.std(1, ddof=1, keepdims=True)
        a, b = centred(metric[others]), centred(loss[others])
        predicted = predicted + float((a * b).sum() / (a**2).sum()) * (x[unit] - x[others].mean(0))
    tau = float(stats.kendalltau(predicted, loss[unit], method="asymptotic").statistic)
    return tau, regret(predicted, loss[unit]).loss


def of_study(study: Study) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Best strengths, and practical worth, of the units that there are."""
    losses, better = study.losses(), directions()
    metrics = {name: study.metric(name, losses.index) for name in better}
    return best_strength(losses, metrics, better), practical_worth(losses, metrics, better)
