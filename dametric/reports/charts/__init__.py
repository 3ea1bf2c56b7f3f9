"""The sections of a report, one file each: what is in this folder is on the page, in the order of ``PLACE``.

A file holds ``PLACE``, a number, and ``chart(analysis)``, which returns a :class:`dametric.reports.Chart`, or None
where there is nothing to show.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from pkgutil import iter_modules
from types import ModuleType
from typing import Any

from dametric.analysis import Analysis
from dametric.base.user_code import load_object
from dametric.errors import UsageError
from dametric.reports.chart import Chart

Maker = Callable[[Analysis], Chart | None]


def built_in() -> list[Maker]:
    """The makers of this folder's files, in their order on the page."""
    return makers_in(sys.modules[__name__])


def makers_in(folder: ModuleType) -> list[Callable[[Any], Chart | None]]:
    """The function ``chart`` of every file of a package, in the order of its files' ``PLACE``."""
    modules = [import_module(f"{folder.__name__}.{module.name}") for module in iter_modules(folder.__path__)]
    return [module.chart for module in sorted(modules, key=lambda module: (module.PLACE, module.__name__))]


def drawn(analysis: Analysis, own: Sequence[str | Maker] = ()) -> tuple[Chart, ...]:
    """Every section that has something to show, the user's own last.

    Parameters
    ----------
    analysis : Analysis
    own : sequence of str or callable
        ``./file.py:name``, ``pkg.mod:name``, or the function itself.

    Raises
    ------
    UsageError
        If what is named cannot be had, or makes something else than a Chart.
    """
    charts = [chart for make in built_in() if (chart := make(analysis)) is not None]
    return (*charts, *own_charts(analysis, own, {chart.key for chart in charts}))


def own_charts(material: Any, own: Sequence[str | Callable[[Any], Any]], known: set[str]) -> list[Chart]:
    """The user's own charts of an analysis, or of scores, whose keys are not those that are known already."""
    charts: list[Chart] = []
    for make in own:
        chart = (load_object(make, "chart") if isinstance(make, str) else make)(material)
        if chart is not None and not isinstance(chart, Chart):
            raise UsageError(
                f"chart {make} returned a {type(chart).__name__}: return a dametric.reports.Chart, or None"
            )
        if chart is not None and chart.key in known | {other.key for other in charts}:
            raise UsageError(f"chart {make} has the key '{chart.key}', as another one: give it one of its own")
        charts += [chart] if chart is not None else []
    return charts
