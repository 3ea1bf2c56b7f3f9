"""`dametric correlate`."""

from __future__ import annotations

from typing import Annotated

import typer

from dametric.cli.options import Better, Config, Drop, Metrics, OnlyRuns, Paths, Published


def correlate(
    paths: Paths = None,
    published: Published = False,
    metric: Metrics = None,
    only: OnlyRuns = None,
    drop: Drop = False,
    better: Better = None,
    everything: Annotated[bool, typer.Option("--all", help="Every table after the answer.")] = False,
    json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout instead of the tables.")] = False,
    csv: Annotated[str | None, typer.Option(metavar="FILE", help="Write every coefficient as CSV.")] = None,
    latex: Annotated[bool, typer.Option("--latex", help="The units' coefficients as a LaTeX table.")] = False,
    config: Config = None,
) -> None:
    """Say how well scores predict students: the answer in words, regressions, permutation p-values.

    \b
    Examples:
      dametric correlate scores.json runs
      dametric correlate --published --all
    """
    from pathlib import Path

    import dametric
    from dametric.analysis import export
    from dametric.base.files import check_writable, write_atomic
    from dametric.base.spreadsheet import csv_text
    from dametric.base.terminal import note
    from dametric.cli.correlation import print_all, print_answer
    from dametric.errors import UsageError

    if csv is not None:
        check_writable(Path(csv))
    if json and latex:
        raise UsageError("--json and --latex both want stdout: choose one")
    analysis = dametric.correlate(
        paths or (), published=published, metrics=metric or (), only=only or (), drop=drop, better=better or ()
    )
    for line in analysis.notes:
        note(line)
    if csv is not None:
        write_atomic(csv, csv_text(export.coefficients(analysis)))
    if json:
        print(analysis.to_json())
    elif latex:
        print(export.latex(analysis))
    else:
        print_answer(analysis)
        if everything:
            print_all(analysis)
