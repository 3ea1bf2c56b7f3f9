"""Every augmentation's value with its interval."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes

from dametric.analysis.curves import curves_of, heads_of
from dametric.analysis.numbers import with_error
from dametric.analysis.score_words import subject
from dametric.records.score_rows import ScoreRow
from dametric.records.scores import Scores
from dametric.reports.chart import Chart, Panel
from dametric.reports.drawing import Mark
from dametric.reports.score_figures import by_family, height_of, kind_of, parts_of, score_chart, wide
from dametric.reports.score_tables import csv_table

PLACE = 10


def chart(scores: Scores) -> Chart:
    """Values with 95 % intervals, families together, the best on top; of several strengths the best one."""
    rows = by_family(heads_of(scores, curves_of(scores)))
    parts = parts_of(rows)
    panels = tuple(_panel(scores, part, len(parts[0]), len(parts)) for part in parts)
    marks: dict[str, Mark] = {}
    for row in rows:
        label, colour, shape, _ = kind_of(scores, row)
        marks |= {} if label == "value" else {label: (shape, colour)}
    strengths = " Of an augmentation at several strengths the best one is shown." if len(rows) < len(scores) else ""
    note = (
        "Value ± standard error, with its 95 % interval; families stand together, that of the best row on top,"
        " every second one on a band. Intervals of two rows may overlap although the rows are distinguishable: both"
        " were shown the same images, and the errors that they share cancel in the difference (in the table)."
        f"{strengths}"
    )
    return Chart("ranking", f"{scores.metrics[0]} of every augmentation", note, panels, csv_table(scores), marks)


def _panel(scores: Scores, rows: Sequence[ScoreRow], length: int, parts: int) -> Panel:
    metric = scores.metrics[0]

    def draw(axes: Axes) -> Axes:
        score_chart(scores, axes, rows=rows, legend=False, values=parts == 1)
        axes.set_ylim(length - 0.4, -0.6)
        if parts > 1:
            axes.set_xlim(*wide(scores))
        return axes

    listed = "; ".join(f"{row.aug} {with_error(row.metrics[metric].value, row.metrics[metric].se)}" for row in rows)
    alt = f"Values of {metric} with 95 % intervals, {subject(scores)}, by family, that of the best first: {listed}."
    return Panel(alt, draw, (5.4 if parts == 1 else 7.0 / parts, height_of(length)))
