"""Scores and students from elsewhere: one CSV or JSON table."""

from __future__ import annotations

import codecs
import csv
import io
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from dametric.analysis.joined import DIRECTIONS
from dametric.analysis.outcome import ERROR_RATE, TEST_LOSS, Outcome
from dametric.base.arguments import argument
from dametric.base.files import read_text
from dametric.errors import UsageError, unknown

MOST_BYTES = 64 * 2**20
_NAMES = {"augmentation": "aug", "accuracy": "test_top1", "accuracy_se": "test_top1_se"}
_TEXTS = ("aug", "unit", "teacher")
_OUTCOMES = ("test_loss", "test_top1")
_KNOWN = (*_TEXTS, "seeds", *_OUTCOMES, *(f"{name}_se" for name in _OUTCOMES))
_MOST_NAMES = 12  # of columns, in a message
_SEPARATORS = {",": "commas", "\t": "tabs", ";": "semicolons"}
_WRITTEN = re.compile(r"[+-]?\d[\d.,' ]*\s*%?")  # as people and spreadsheets write numbers, and computers do not
LAYOUT = "a column augmentation, one or more metrics, test_loss or accuracy (unit, seeds and errors METRIC_se optional)"
BY_ERROR_RATE = (
    "Take care: the table has no test losses. The error rate, 100 % less the accuracy, stands for them, in percent of"
    " the images; its differences are percentage points."
)


def is_table(path: str) -> bool:
    """Whether a file is such a table, and not a score file: a CSV or TSV file, or a JSON list."""
    if Path(path).suffix.lower() in (".csv", ".tsv"):
        return True
    try:
        with open(path, "rb") as file:
            return file.read(256).removeprefix(codecs.BOM_UTF8).lstrip().startswith(b"[")
    except OSError:
        return False


@dataclass(frozen=True)
class ForeignTable:
    """A table from elsewhere as an analysis takes it.

    Attributes
    ----------
    frame : pandas.DataFrame
        A row for each unit, metric and augmentation, with NaN for what is empty.
    outcome : Outcome
        What ``test_loss`` holds: without test losses the error rate (percent) stands for them.
    cautions, notes : tuple of str
        What the verdict has to say of it, and what was done in reading.
    """

    frame: pd.DataFrame
    outcome: Outcome
    cautions: tuple[str, ...]
    notes: tuple[str, ...]


def read_table(table: pd.DataFrame, path: str, better: Sequence[str] = ()) -> ForeignTable:
    """Bring a table of augmentations, metrics and students into the shape that an analysis takes.

    Parameters
    ----------
    table : pandas.DataFrame
        One row for each unit and augmentation. Columns ``augmentation`` (or ``aug``), ``test_loss`` (nats) and
        ``accuracy`` (or ``test_top1``; a fraction, or percent) or one of both; optional ``unit, teacher, seeds``, and
        errors: ``test_loss_se, accuracy_se`` and ``METRIC_se``. Every other column of numbers is a metric.
    path : str
        What to call it in messages.
    better : sequence of str
        "METRIC=lower" or "METRIC=higher", for metrics that are not this package's own.

    Returns
    -------
    ForeignTable

    Raises
    ------
    UsageError
        If it lacks what is needed.
    """
    table, notes = _columns(table, path), list[str]()
    metrics = _metrics(table, path, notes)
    directions = _directions(metrics, better, notes)
    for name in (*_KNOWN[len(_TEXTS) :], *metrics, *(f"{name}_se" for name in metrics)):
        if name in table:
            table[name] = _numbers(table[name], path)
    if "unit" not in table:
        table["unit"] = "all"
    for name in _KNOWN[len(_TEXTS) :]:
        if name not in table:
            table[name] = np.nan
    _check_unit(table.test_top1, path)
    if (table.test_top1 > 1).any():
        notes.append(f"{path}: accuracies above 1 are taken as percent")
        table = table.assign(test_top1=table.test_top1 / 100, test_top1_se=table.test_top1_se / 100)
    if not table.test_top1.dropna().between(0, 1).all():
        raise UsageError(f"{path} has accuracies that are neither fractions nor percent")
    cautions: tuple[str, ...] = ()
    outcome = TEST_LOSS
    if table.test_loss.isna().all():
        cautions, outcome = (BY_ERROR_RATE,), ERROR_RATE
        table = table.assign(test_loss=100 * (1 - table.test_top1), test_loss_se=100 * table.test_top1_se)
    common = [name for name in _KNOWN if name in table]
    parts = []
    for name in metrics:
        error = table.get(f"{name}_se", np.nan)
        about = {"metric": name, "direction": directions[name], "score": table[name], "score_se": error}
        parts.append(table[common].assign(**about))
    return ForeignTable(pd.concat(parts, ignore_index=True), outcome, cautions, tuple(notes))


def read_file(path: str) -> pd.DataFrame:
    """The cells of a CSV, TSV or JSON file.

    Raises
    ------
    UsageError
        If it cannot be read as a table.
    """
    try:
        if Path(path).stat().st_size > MOST_BYTES:
            raise UsageError(f"{path} is larger than {MOST_BYTES // 2**20} MB: that is no table of augmentations")
        text = read_text(path, MOST_BYTES)
        if "\0" in text:
            raise UsageError(_not_utf8(path))
        if Path(path).suffix.lower() in (".csv", ".tsv"):
            return _cells(text, path, "\t" if Path(path).suffix.lower() == ".tsv" else ",")
        rows = json.loads(text)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise UsageError(_not_utf8(path)) from error
    except (ValueError, RecursionError, csv.Error) as error:  # pandas' own errors among them
        if isinstance(error, UsageError):
            raise
        raise UsageError(f"{path} is no table: {str(error).splitlines()[0]}") from error
    if not isinstance(rows, list) or not all(isinstance(row, Mapping) for row in rows):
        raise UsageError(f"{path} is no table: a JSON table is a list of objects, one for each augmentation")
    return pd.DataFrame(rows)


def _not_utf8(path: str) -> str:
    return f"{path} is not UTF-8: save it in that encoding (in Excel as 'CSV UTF-8')"


def _cells(text: str, path: str, separator: str) -> pd.DataFrame:
    """The cells of a text, every row as long as the header; pandas would take surplus ones for names of rows."""
    rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True))
    places = [place for place, row in enumerate(rows) if any(cell.strip() for cell in row)]
    if not places:
        raise UsageError(f"{path} is no table: it is empty")
    header = _trimmed(rows[places[0]])
    other = next((mark for mark in _SEPARATORS if len(header) == 1 and mark in header[0]), None)
    if other is not None:
        raise UsageError(
            f"{path} is separated by {_SEPARATORS[other]}: separate its cells by {_SEPARATORS[separator]}, and write"
            " numbers with decimal points"
        )
    for place in places:
        filled, cells = len(_trimmed(rows[place])), len(rows[place])
        if filled > len(header) or cells < len(header):
            raise UsageError(
                f"{path}: row {place + 1} has {max(filled, min(cells, len(header)))} cells, the header {len(header)}:"
                f' quote what holds {_SEPARATORS[separator]}, as in "randaugment:n=2,m=9", and write numbers with'
                " decimal points"
            )
    whole = io.StringIO()
    csv.writer(whole).writerows(rows[place][: len(header)] for place in places)
    whole.seek(0)
    table = pd.read_csv(whole, index_col=False)
    for column, name in enumerate(header):  # an augmentation may be called "none", which pandas takes for missing
        if _NAMES.get(name.strip(), name.strip()) in _TEXTS:
            table[name] = [rows[place][column].strip() or None for place in places[1:]]
    return table


def _trimmed(row: list[str]) -> list[str]:
    """A row without the empty cells at its end."""
    return row[: max((place + 1 for place, cell in enumerate(row) if cell.strip()), default=0)]


def _check_unit(accuracies: pd.Series, path: str) -> None:
    """Refuse accuracies of which some are percent, and others may be fractions."""
    percent, fractions = accuracies[accuracies > 1], accuracies[(accuracies > 0) & (accuracies <= 1)]
    if len(percent) and len(fractions):
        raise UsageError(
            f"{path} has accuracies of {fractions.iloc[0]:g} and {percent.iloc[0]:g}: write all as fractions (0 to 1)"
        )


def _columns(table: pd.DataFrame, path: str) -> pd.DataFrame:
    names = [str(name).strip() for name in table.columns]
    table = table.set_axis([_NAMES.get(name, name) for name in names], axis=1)
    twice = table.columns[table.columns.duplicated()]
    if len(twice):
        raise UsageError(f"{path} has two columns for {twice[0]}: give one")
    if "aug" not in table or not set(_OUTCOMES) & set(table.columns):
        lacking = "augmentation" if "aug" not in table else "test_loss and accuracy"
        present = ", ".join(names[:_MOST_NAMES]) + (", ..." if len(names) > _MOST_NAMES else "")
        raise UsageError(f"{path} lacks {lacking}, and has the columns {present}: give {LAYOUT}")
    if table.empty:
        raise UsageError(f"{path} has no rows")
    for name in _TEXTS:
        if name in table:
            if table[name].isna().any():
                raise UsageError(f"{path} has a row without '{name}'")
            table[name] = table[name].astype(str)
    return table


def _metrics(table: pd.DataFrame, path: str, notes: list[str]) -> list[str]:
    """Columns of numbers that are nothing else; what holds text is left out, and said."""
    rest = [name for name in table.columns if name not in _KNOWN]
    errors = {f"{name}_se" for name in rest} & set(rest)
    texts = [name for name in rest if not _has_numbers(table[name])]
    for name in texts:
        cells = table[name].dropna().astype(str).str.strip()
        if len(cells) and cells.map(lambda cell: bool(_WRITTEN.fullmatch(cell))).all():
            raise UsageError(
                f"{path} has {cells.iloc[0]!r} in column {name}: write numbers with a decimal point and nothing else"
            )
    if texts:
        notes.append(f"{path}: no numbers in {', '.join(texts)}, left out")
    metrics = [name for name in rest if name not in errors and name not in texts]
    if not metrics:
        raise UsageError(f"{path} has no metric: {LAYOUT}")
    return metrics


def _has_numbers(column: pd.Series) -> bool:
    return bool(pd.to_numeric(column, errors="coerce").notna().any())


def _numbers(column: pd.Series, path: str) -> pd.Series:
    numbers = pd.to_numeric(column, errors="coerce").astype(float).replace([np.inf, -np.inf], np.nan)
    wrong = (
        numbers.isna() & column.notna() & ~column.astype(str).str.strip().str.lower().isin(["", "nan", "inf", "-inf"])
    )
    if wrong.any():
        raise UsageError(f"{path} has {column[wrong].iloc[0]!r} in column {column.name}: a number, or nothing")
    return numbers


def _directions(metrics: Sequence[str], better: Sequence[str], notes: list[str]) -> dict[str, str]:
    from dametric.metrics import METRICS  # torch

    directions = {name: str(METRICS[name].direction) if name in METRICS else "open" for name in metrics}
    for choice in better:
        name, _, direction = choice.rpartition("=")
        if name not in metrics:
            raise unknown("metric", name, metrics) if name else UsageError(f"'{choice}': write METRIC=lower or =higher")
        if direction not in DIRECTIONS[:2]:
            raise unknown("direction", direction, DIRECTIONS[:2])
        directions[name] = direction
    unstated = [name for name in metrics if directions[name] == "open" and name not in METRICS]
    if unstated:
        listed = ", ".join(unstated)
        hint = f"for example {argument('better', f'{unstated[0]}=lower')}"
        notes.append(f"no direction is known for {listed}: two-sided, and no best score; {hint}")
    return directions
