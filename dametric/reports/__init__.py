"""Figures and pages; never imports torch."""

from __future__ import annotations

from dametric.reports.api import report
from dametric.reports.chart import Chart, Panel

__all__ = ["Chart", "Panel", "report"]
