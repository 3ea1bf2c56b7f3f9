"""The figures of a report, each from what the analysis found."""

from __future__ import annotations

from dametric.report.charts.forest import forest
from dametric.report.charts.influence import influence
from dametric.report.charts.metrics import metrics
from dametric.report.charts.regret import regret
from dametric.report.charts.scatter import scatter
from dametric.report.charts.subpools import subpools

__all__ = ["forest", "influence", "metrics", "regret", "scatter", "subpools"]
