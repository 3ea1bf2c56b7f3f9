"""Tables of scores alone: as cells of a page, and as CSV."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

import pandas as pd

from dametric.analysis.score_words import answer, standing
from dametric.base.numbers import Number, aligned
from dametric.records.scores import Scores
from dametric.reports.cells import Cell, Table, number, table_of, word
from dametric.stats.families import family


def csv_table(scores: Scores) -> pd.DataFrame:
    """One row an augmentation: rank, family, standing, and every metric with standard error and 95 % interval."""
    rows = []
    for rank, row in enumerate(scores.rows, 1):
        about = {"rank": rank, "aug": row.aug, "family": family(row.aug), "standing": standing(scores, row)}
        about |= {} if row.group is None else {"group": row.group}
        gap = row.difference
        about |= {
            "difference": gap.value,
            "difference_se": gap.se,
            "difference_low": gap.low,
            "difference_high": gap.high,
        }
        for name, value in row.metrics.items():
            about |= {name: value.value, f"{name}_se": value.se, f"{name}_low": value.low, f"{name}_high": value.high}
        rows.append({**about, "batches": row.batches, "rows": row.rows})
    return pd.DataFrame(rows)


def main_table(scores: Scores) -> Table:
    """Value, paired difference to the best, what that says, family and rank."""
    first, sign = scores.metrics[0], -1 if scores.direction == "higher" else 1
    gaps = column([(sign * row.difference.value, row.difference.se) for row in scores.rows])
    rows = [
        (
            word(row.aug),
            value,
            gap,
            word(standing(scores, row)),
            word(family(row.aug)),
            word(row.group),
            number(rank, "d"),
        )
        for rank, (row, value, gap) in enumerate(zip(scores.rows, _metric(scores, first), gaps, strict=True), 1)
    ]
    heads = ("Augmentation", first, "Difference to best", "Standing", "Family", "Group", "Rank")
    caption = "Value ± standard error, best first; differences are paired: the same images under both"
    return table_of("scores", caption, heads, rows)


def every_metric(scores: Scores) -> Table | None:
    """Every other metric with its standard error; None where the main table has all."""
    shown = scores.metrics[1:]
    if not shown:
        return None
    columns = [[word(row.aug) for row in scores.rows], *(_metric(scores, name) for name in shown)]
    words = {"lower": "lower is better", "higher": "higher is better", "open": "no direction stated"}
    stated: dict[str, list[str]] = {}
    for name in shown:
        stated.setdefault(words[scores.rows[0].metrics[name].direction], []).append(name)
    listed = "; ".join(f"{said}: {', '.join(names)}" for said, names in stated.items())
    caption = f"Value ± standard error. {listed[:1].upper()}{listed[1:]}"
    return table_of("metrics", caption, ("Augmentation", *shown), zip(*columns, strict=True))


def notebook(scores: Scores) -> str:
    """What a notebook shows: the answer, and the main table."""
    table = main_table(scores)
    cells = pd.DataFrame([[cell.text for cell in row] for row in table.rows], columns=list(table.columns))
    lines = "".join(f"<p>{escape(line)}</p>" for line in answer(scores))
    return f"{lines}{cells.to_html(index=False)}"


def _metric(scores: Scores, name: str) -> list[Cell]:
    return column([(row.metrics[name].value, row.metrics[name].se) for row in scores.rows])


def column(values: Sequence[tuple[float, float]]) -> list[Cell]:
    """Values with standard errors, all to the same digit, that are sorted by the value."""
    texts = aligned([Number(*pair) for pair in values])
    return [
        Cell(text, value) if math.isfinite(value) else number(None)
        for text, (value, _) in zip(texts, values, strict=True)
    ]
