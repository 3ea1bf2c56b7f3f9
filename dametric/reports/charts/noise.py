"""What measurement noise does to the correlation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from dametric.analysis import Analysis
from dametric.reports.cells import NO_RESULT, Cell, Table, chance, ends, number, table_of, word
from dametric.reports.chart import Chart

PLACE = 50
NOTE = (
    "Reliability: share of the variance between augmentations that is not measurement noise. Disattenuated: Pearson's r"
    " as it would be without noise; an estimate above 1 says that the noise is over-stated, or is chance. Expected"
    " tau-b: mean and range if everything were measured once more. Noise as ties: differences within their 95 %"
    " interval count as ties. York: line with errors on both axes; scatter above 1 is more than those errors say."
)
_COLUMNS: tuple[str, ...] = (
    "Reliability of the score",
    "of the loss",
    "Pearson",
    "Disattenuated",
    "low",
    "high",
    "tau-b",
)
_COLUMNS += ("Expected tau-b", "low", "high", "tau-b, noise as ties", "p", "York slope", "±", "Scatter", "Note")


def chart(analysis: Analysis) -> Chart | None:
    """A table; None where no error is known."""
    table = noise_table(analysis)
    return Chart("noise", "What measurement noise does", NOTE, tables=(table,)) if table else None


def noise_table(analysis: Analysis) -> Table | None:
    """What the errors of both axes do to the correlation; None where no error is known."""

    def rows() -> Iterator[Sequence[Cell]]:
        for unit, about in analysis.of_metric.items():
            noise, york, coefficients = about.noise, about.york, about.coefficients.loss
            plain, expected, tied = noise.disattenuated, noise.expected_tau, noise.tied_tau
            estimate, low, high = ends(plain or NO_RESULT, ".2f")
            yield (
                word(unit),
                number(noise.reliability_score and noise.reliability_score.statistic, ".2f"),
                number(noise.reliability_loss and noise.reliability_loss.statistic, ".2f"),
                number(coefficients.pearson.statistic, ".2f"),
                within_one(estimate),
                low,
                high,
                number(coefficients.kendall.statistic, ".2f"),
                *ends(expected or NO_RESULT, ".2f"),
                number(tied and tied.statistic, ".2f"),
                chance(tied.pvalue if tied else None),
                number(york and york.slope.statistic, "#.4g"),
                number(york and york.slope_se, "#.2g"),
                number(york and york.scale, ".1f"),
                word("; ".join(result.note for result in (plain, tied) if result and result.note)),
            )

    table = table_of("noise", "The noise of both axes, and what it does", ("Unit", *_COLUMNS), rows())
    return table if any(name in table.columns for name in _COLUMNS[:2]) else None


def within_one(cell: Cell) -> Cell:
    """A disattenuated correlation; no correlation is above 1 in size, and its interval ends there."""
    if not isinstance(cell.value, float) or abs(cell.value) <= 1:
        return cell
    return cell._replace(text="above 1" if cell.value > 1 else "below -1")
