"""A chart of one's own for the report.

dametric report scores.json runs/ -o report.html --chart ./examples/chart.py:spread

In Python: ``dametric.report(analysis, "report.html", charts=[spread])``.
"""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes

from dametric.analysis import Analysis
from dametric.reports import Chart, Panel


def spread(analysis: Analysis) -> Chart:
    """How far the students of each unit are apart."""
    rows = analysis.rows[analysis.rows["metric"] == analysis.metric]
    losses = rows.groupby("unit", sort=False)["test_loss"]
    data = pd.DataFrame({"spread": losses.max() - losses.min()}).reset_index()

    def draw(axes: Axes) -> Axes:
        axes.barh(data["unit"], data["spread"])
        axes.set_xlabel(f"highest less lowest {analysis.outcome.name} ({analysis.outcome.unit})")
        return axes

    listed = ", ".join(f"{unit} {value:.3f}" for unit, value in data.itertuples(index=False))
    panel = Panel(f"Bars, spread of the {analysis.outcome.name}: {listed}.", draw)
    return Chart("spread", "How far students are apart", "What there is to be won.", (panel,), data)
