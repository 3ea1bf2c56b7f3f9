"""What stands in a report, in its order, before it is given a form."""

from __future__ import annotations

from dataclasses import dataclass

from dametric.report import charts, evidence, tables
from dametric.report.advice import advise, lead
from dametric.report.cells import Table
from dametric.report.chart import Chart
from dametric.report.material import Material
from dametric.report.provenance import provenance

NOISE = (
    "Reliability: share of the variance between augmentations that is not measurement noise. Disattenuated: Pearson's r"
    " as it would be without noise; an estimate above 1 says that the noise is over-stated, or is chance. Expected"
    " tau-b: mean and range if everything were measured once more. Noise as ties: differences within their 95 %"
    " interval count as ties. York: line with errors on both axes; scatter above 1 is more than those errors say."
)
BEYOND = (
    "A score that agrees with a simpler measure may owe to it all that it says. Partial tau: what is left of its"
    " agreement with the {outcome} when what both share with that measure is taken away; 0 is nothing."
)


@dataclass(frozen=True)
class Section:
    """A part of the page: a figure, tables, or both."""

    key: str
    title: str
    note: str
    chart: Chart | None
    tables: tuple[Table, ...]


@dataclass(frozen=True)
class Report:
    """What stands on the page, in its order, before it is given a form."""

    material: Material
    title: str
    lead: list[str]
    reasons: list[str]  # the verdict, but for what the lead says already
    take: Table
    sections: tuple[Section, ...]
    runs: Table | None
    provenance: list[tuple[str, str]]

    @property
    def charts(self) -> tuple[Chart, ...]:
        """The figures."""
        return tuple(section.chart for section in self.sections if section.chart is not None)


def build(material: Material) -> Report:
    """Put a report together.

    Parameters
    ----------
    material : Material

    Returns
    -------
    Report
    """
    advice = advise(material)
    return Report(
        material=material,
        title=f"Which augmentation to distil with: {material.metric} and its students",
        lead=lead(material, advice),
        reasons=[text for text in material.found["verdict"] if text != material.found["cost"]],
        take=tables.advice_table(material, advice),
        sections=tuple(section for section in _sections(material) if section is not None),
        runs=None if material.runs is None else tables.runs_table(material.runs),
        provenance=provenance(material),
    )


def _sections(material: Material) -> list[Section | None]:
    found, metric, table = material.found, material.metric, material.table
    influence = charts.influence(found, metric)
    noise, beyond = evidence.noise_table(material), evidence.partial_table(material)
    rivals = charts.metrics(found)
    return [
        _section(charts.scatter(table, found, metric), tables.points_table(material)),
        _section(charts.forest(found, metric), evidence.pooled_table(material), tables.units_table(material)),
        _section(influence, tables.influence_table(influence)),
        _section(charts.subpools(found), evidence.subpools_table(material)),
        Section("noise", "What measurement noise does", NOISE, None, (noise,)) if noise else None,
        _section(rivals, tables.metrics_table(material), evidence.williams_table(material)),
        _beyond(material, beyond) if beyond else None,
        _section(charts.regret(table, found, metric)),
    ]


def _beyond(material: Material, table: Table) -> Section:
    title, note = f"What {material.metric} knows beyond simpler measures", BEYOND.format(outcome=material.outcome.name)
    return Section("beyond", title, note, None, (table,))


def _section(chart: Chart | None, *shown: Table | None) -> Section | None:
    if chart is None:
        return None
    kept = tuple(table for table in shown if table is not None and table.rows)
    return Section(chart.key, chart.title, chart.note, chart, kept)
