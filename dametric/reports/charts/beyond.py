"""What the metric knows beyond simpler measures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from dametric.analysis import Analysis
from dametric.reports.cells import Cell, Table, chance, number, table_of, word
from dametric.reports.chart import Chart
from dametric.reports.charts.forest import ALL

PLACE = 70


def chart(analysis: Analysis) -> Chart | None:
    """A table; None where no simpler measure was scored."""
    if not analysis.partial:
        return None
    note = (
        "A score that agrees with a simpler measure may owe to it all that it says. Partial tau: what is left of its"
        f" agreement with the {analysis.outcome.name} when what both share with that measure is taken away; 0 is"
        " nothing."
    )
    title = f"What {analysis.metric} knows beyond simpler measures"
    return Chart("beyond", title, note, tables=(partial_table(analysis),))


def partial_table(analysis: Analysis) -> Table:
    """Kendall's partial tau given simpler measures."""

    def rows() -> Iterator[Sequence[Cell]]:
        for entry in analysis.partial:
            about, several = (word(entry.given), word(entry.what)), len(entry.units) > 1
            for unit, tau in entry.units.items() if several else ():
                yield *about, word(unit), number(tau), number(None), word(None)
            where = ALL if several else next(iter(entry.units))
            result = entry.result
            yield *about, word(where), number(result.statistic), chance(result.pvalue), word(result.note)

    caption = (
        "Kendall's partial tau, turned so that a good metric is positive (residuals of ranks permuted, approximate)"
    )
    once = ("Given", "Which is", "Unit")
    return table_of("partial", caption, ("Given", "Which is", "Unit", "Partial tau", "p", "Note"), rows(), once)
