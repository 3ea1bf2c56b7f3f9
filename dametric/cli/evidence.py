"""`dametric correlate`, `dametric report` and `dametric plan`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from dametric.cli.options import Config, OnlyRuns, Quiet, Seed

POWER = 0.8
Paths = Annotated[
    list[str] | None,
    typer.Argument(metavar="SCORES.json... RUNS/...", help="Score files and folders of runs, or one CSV/JSON table."),
]
Published = Annotated[bool, typer.Option("--published", help="The points of the paper instead.")]
Metrics = Annotated[
    list[str] | None,
    typer.Option("--metric", "-m", help="Fixed in advance; repeat for several. [default: what orders the scores]"),
]
Drop = Annotated[bool, typer.Option("--drop", help="Leave out rows without a score or a loss.")]
Better = Annotated[
    list[str] | None,
    typer.Option("--better", metavar="METRIC=lower|higher", help="Direction of a table's metric; repeat for several."),
]


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
    """Say how well scores predict students: the answer in words, regressions, permutation p-values."""
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


def report(
    paths: Paths = None,
    output: Annotated[
        str | None, typer.Option("--output", "-o", metavar="FILE", help="Page to write: .html or .md.")
    ] = None,
    figures: Annotated[
        str | None,
        typer.Option("--figures", "-f", metavar="DIR", help="Figures alone: PNG, SVG, PDF for a paper, data as CSV."),
    ] = None,
    published: Published = False,
    metric: Metrics = None,
    only: OnlyRuns = None,
    drop: Drop = False,
    better: Better = None,
    format: Annotated[
        str | None, typer.Option(metavar="html|md", help="What to write. [default: by the file's ending]")
    ] = None,
    chart: Annotated[
        list[str] | None, typer.Option(metavar="./FILE.py:NAME", help="A chart of your own; repeat for several.")
    ] = None,
    quiet: Quiet = False,
    config: Config = None,
) -> None:
    """Write a page that says which augmentation to take, how sure that is, and why."""
    import dametric
    from dametric.base.terminal import note
    from dametric.errors import UsageError

    if output is None and figures is None:
        raise UsageError("nothing to write: give a file with -o (report.html), or a folder for the figures with -f")
    about = {"published": published, "metrics": metric, "only": only, "drop": drop, "better": better}
    options: dict[str, Any] = {name: value for name, value in about.items() if value}
    page = dametric.report(
        paths or (), output, figures=figures, format=format, charts=chart or (), quiet=quiet, **options
    )
    for line in page.analysis.notes:
        note(line)


def plan(
    rho: Annotated[float, typer.Option(help="True correlation of score and loss.")],
    augs: Annotated[int, typer.Option(help="Augmentations.")],
    seeds: Annotated[int, typer.Option(help="Students for each augmentation.")] = 3,
    units: Annotated[int, typer.Option(help="Teacher-student pairs.")] = 1,
    seed_sd: Annotated[float, typer.Option(help="Standard deviation of the test loss over seeds.")] = 0.02,
    spread: Annotated[float, typer.Option(help="Standard deviation of the loss over augmentations.")] = 0.04,
    alpha: Annotated[float, typer.Option(help="Level of the test.")] = 0.05,
    json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
    seed: Seed = 0,
) -> None:
    """Say what a study of a given size can detect, by simulation."""
    from json import dumps

    import dametric
    from dametric.analysis.plain import plain
    from dametric.cli.correlation import print_power
    from dametric.stats import detectable

    found = dametric.power(rho, augs, seeds, units, seed_sd, spread, alpha, seed=seed)
    least = detectable(augs, seeds, units, seed_sd=seed_sd, spread=spread, alpha=alpha, least=POWER, seed=seed)
    if json:
        print(dumps({**plain(found), "detectable": plain(least), "at_power": POWER}, indent=1))
        return
    pairs = "" if units == 1 else f" in {units} units"
    study = f"{augs} augmentations, {seeds} seeds each{pairs}; true correlation {rho:g}, seed noise {seed_sd:g},\n"
    print_power(found, least, POWER, f"{study}spread of the losses {spread:g}")
