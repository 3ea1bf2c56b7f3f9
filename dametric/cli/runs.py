"""`dametric runs`: the ledger as a table, which `train`, `distill` and `sweep` end with too."""

from __future__ import annotations

import math
import shutil
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from dametric.cli.options import Records

if TYPE_CHECKING:
    from rich.table import Table

    from dametric.records.ledger import Ledger
    from dametric.records.runs import LedgerRow

_MEASURES = ("seed", "epochs", "test loss", "top-1 %", "best %", "agree %", "ece %", "seconds")
_SPARED = ("ece %", "best %", "agree %", "seconds", "seed")  # where a terminal is too narrow for all, in this order


def runs(
    folder: Annotated[str, typer.Argument(metavar="DIR", help="Folder with runs at any depth.")],
    json: Records = False,
    csv: Annotated[str | None, typer.Option(metavar="FILE", help="Write the table as CSV.")] = None,
) -> None:
    """Print the ledger of trained networks as a table.

    \b
    Examples:
      dametric runs runs/
      dametric runs runs/ --csv runs.csv
    """
    from pathlib import Path

    from dametric.base.files import check_writable, write_atomic
    from dametric.base.spreadsheet import csv_text
    from dametric.records.ledger import Ledger

    if csv is not None:
        check_writable(Path(csv))
    ledger = Ledger.read(folder)
    if csv is not None:
        write_atomic(csv, csv_text(ledger.table))
    deliver(ledger, json)


def deliver(ledger: Ledger, as_json: bool) -> None:
    """Print runs, as a table or as their records."""
    if as_json:
        print(ledger.to_json())
    elif len(ledger):
        print_runs(ledger)


def print_runs(ledger: Ledger) -> None:
    """The ledger as a table on stdout; a terminal that is too narrow for it gets fewer columns."""
    import pandas as pd

    from dametric.cli.console import wide_console
    from dametric.records.recipes import label_by_recipe
    from dametric.records.runs import LedgerRow
    from dametric.records.tables import records_of

    runs = ledger.table
    teachers = runs.drop(columns="epochs").groupby(["kind", "teacher_sha256"], dropna=False)  # epochs have a column
    named = pd.concat([label_by_recipe(group).student for _, group in teachers])
    rows = [_cells(row) for row in records_of(LedgerRow, runs.assign(student=named))]
    console, shown = wide_console(), list(_MEASURES)
    table = _runs_table(rows, shown)
    for name in _SPARED:
        if not sys.stdout.isatty() or console.measure(table).maximum <= shutil.get_terminal_size().columns:
            break
        shown.remove(name)
        table = _runs_table(rows, shown)
    console.print(table)


def _runs_table(rows: Sequence[dict[str, str]], shown: Sequence[str]) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("teacher", "student", "augmentation"):
        table.add_column(name, no_wrap=True)
    for name in shown:
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for row in rows:
        table.add_row(*(row[name] for name in ("teacher", "student", "augmentation", *shown, "")))
    return table


def _cells(row: LedgerRow) -> dict[str, str]:
    """What the table says of a run, by column."""
    return {
        "teacher": row.teacher if isinstance(row.teacher, str) else "labels",
        "student": row.student,
        "augmentation": row.aug,
        "seed": str(row.seed),
        "epochs": _length(row),
        "test loss": _number(row.test_loss, "{:.4f}"),
        "top-1 %": _number(100 * row.test_top1, "{:.2f}"),
        "best %": _number(100 * row.best_test_top1, "{:.2f}"),
        "agree %": _number(100 * row.test_agreement, "{:.2f}"),
        "ece %": _number(100 * row.test_ece, "{:.2f}"),
        "seconds": _number(row.seconds, "{:.0f}"),
        "": "" if row.finished else row.status,
    }


def _length(row: LedgerRow) -> str:
    if row.epochs is None or math.isnan(row.epochs):
        done = "" if row.finished else f"{_number(row.step, '{:g}') or 0}/"
        return f"{done}{row.steps:g} steps"
    return f"{row.epochs:g}" if row.finished else f"{row.epoch}/{row.epochs:g}"


def _number(value: float, form: str) -> str:
    return form.format(value) if math.isfinite(value) else ""
