"""What stands in a report, in its order, before it is given a form."""

from __future__ import annotations

from dataclasses import dataclass

from dametric.report import charts
from dametric.report.advice import advise, lead
from dametric.report.cells import Table
from dametric.report.chart import Chart
from dametric.report.material import Material
from dametric.report.provenance import provenance
from dametric.report.tables import (
    advice_table,
    influence_table,
    metrics_table,
    points_table,
    runs_table,
    units_table,
)


@dataclass(frozen=True)
class Report:
    """What stands on the page, in its order, before it is given a form."""

    material: Material
    title: str
    lead: list[str]
    take: Table
    charts: tuple[tuple[Chart, Table | None], ...]
    runs: Table | None
    provenance: list[tuple[str, str]]


def build(material: Material) -> Report:
    """Put a report together.

    Parameters
    ----------
    material : Material

    Returns
    -------
    Report
    """
    found, metric, table = material.found, material.metric, material.table
    advice = advise(material)
    influence = charts.influence(found, metric)
    figures: list[tuple[Chart, Table | None]] = [
        (charts.scatter(table, found, metric), points_table(material)),
        (charts.forest(found, metric), units_table(material)),
        (influence, influence_table(influence)),
        (charts.metrics(found), metrics_table(material)),
        (charts.regret(table, found, metric), None),
    ]
    return Report(
        material=material,
        title=f"Which augmentation to distil with: {metric} and its students",
        lead=lead(material, advice),
        take=advice_table(material, advice),
        charts=tuple(figures),
        runs=None if material.runs is None else runs_table(material.runs),
        provenance=provenance(material),
    )
