"""kappa of the teacher, with its error: on the scale of ``logit kappa^2``."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from scipy import stats

from dametric.metrics import Design
from dametric.metrics.teacher_confidence import T_CONFIDENCE, reduce_square
from dametric.records.score_rows import MetricValue
from dametric.scoring.engine import OF_TEACHER, Engine
from dametric.scoring.jackknife import Blocks, jackknife, leave_one_out
from dametric.scoring.population import Passes, of_population


def teacher_confidence(engine: Engine) -> MetricValue | None:
    """kappa over the base views shown; None where none were."""
    metric = next((metric for metric in engine.metrics if metric.of_teacher), None)
    if metric is None or (OF_TEACHER, metric.contributor) not in engine.blocks:
        return None
    blocks = engine.blocks[OF_TEACHER, metric.contributor].cpu()
    plan = engine.protocol
    passes = None if plan.reference else Passes(blocks.epoch, blocks.units, len(engine.data) // plan.batch)
    rows = int(blocks.contribution["rows"].sum())
    return kappa(blocks, min(rows, len(engine.data)), passes)


def kappa(blocks: Blocks, images: int, passes: Passes | None = None) -> MetricValue:
    """Value, standard error and 95 % interval.

    Parameters
    ----------
    blocks : Blocks
        Contributions of :data:`~dametric.metrics.teacher_confidence.T_CONFIDENCE`.
    images : int
        Different images shown, N: ``kappa^2`` is cut at ``1 - 1 / (2 N)``.
    passes : Passes, optional
        As of :func:`~dametric.scoring.jackknife.measured`.
    """
    theta, deleted = leave_one_out(blocks, T_CONFIDENCE, Design(), reduce_square)
    most = 1 - 1 / (2 * images)
    plain, count = float(theta.clamp(min=0).sqrt()), len(deleted)
    about = MetricValue(plain, math.nan, plugin=plain, blocks=count, estimator="images")
    if count < 2 or not float(theta) > 0 or bool((deleted <= 0).any()):
        return about
    corrected, shares = jackknife(theta.clamp(max=most).logit(), deleted.clamp(max=most).logit(), blocks.units)
    factor = 1.0
    if passes is not None and float(shares.norm()) > 0:
        factor = of_population(shares, passes).factor
    corrected = corrected.clamp(max=math.log(most / (1 - most)))
    se = factor * float(shares.norm())
    half = float(stats.t.ppf(0.975, count - 1)) * se
    low, value, high = (float(torch.sigmoid(corrected + shift).sqrt()) for shift in (-half, 0.0, half))
    return replace(about, value=value, se=value * (1 - value**2) / 2 * se, low=low, high=high)
