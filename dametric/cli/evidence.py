"""`dametric correlate`, `dametric report` and `dametric plan`."""

from __future__ import annotations

from typing import Annotated

import typer

from dametric.cli.options import Config, OnlyRuns, Quiet, Seed

Drop = Annotated[bool, typer.Option("--drop", help="Leave out rows without a score or a loss.")]
Better = Annotated[
    list[str] | None,
    typer.Option("--better", metavar="METRIC=lower|higher", help="Direction of a table's metric; repeat for several."),
]


def correlate(
    paths: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="SCORES.json... RUNS/...", help="Score files and folders of runs, or one CSV/JSON table."
        ),
    ] = None,
    published: Annotated[bool, typer.Option("--published", help="The points of the paper instead.")] = False,
    metric: Annotated[
        list[str] | None,
        typer.Option("--metric", "-m", help="Fixed in advance; repeat for several. [default: what orders the scores]"),
    ] = None,
    only: OnlyRuns = None,
    drop: Drop = False,
    better: Better = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout instead of the tables.")] = False,
    csv: Annotated[str | None, typer.Option(metavar="FILE", help="Write every coefficient as CSV.")] = None,
    latex: Annotated[bool, typer.Option("--latex", help="The units' coefficients as a LaTeX table.")] = False,
    config: Config = None,
) -> None:
    """Say how well scores predict students: coefficients, permutation p-values, and the answer in words."""
    from dametric.commands import correlate as command

    asked = {"as_json": json, "csv": csv, "latex": latex, "drop": drop, "better": better or ()}
    command.run(paths or [], published=published, metrics=metric or None, only=only or (), **asked)  # type: ignore[arg-type]


def report(
    paths: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="SCORES.json... RUNS/...", help="Score files and folders of runs, or one CSV/JSON table."
        ),
    ] = None,
    output: Annotated[
        str | None, typer.Option("--output", "-o", metavar="FILE", help="Page to write: .html, .md or .pdf.")
    ] = None,
    figures: Annotated[
        str | None,
        typer.Option("--figures", "-f", metavar="DIR", help="Figures alone: PNG, SVG, PDF for a paper, data as CSV."),
    ] = None,
    published: Annotated[bool, typer.Option("--published", help="The points of the paper instead.")] = False,
    metric: Annotated[
        list[str] | None,
        typer.Option("--metric", "-m", help="Fixed in advance; repeat for several. [default: what orders the scores]"),
    ] = None,
    only: OnlyRuns = None,
    drop: Drop = False,
    better: Better = None,
    format: Annotated[
        str | None, typer.Option(metavar="html|md|pdf", help="What to write. [default: by the file's ending]")
    ] = None,
    quiet: Quiet = False,
    config: Config = None,
) -> None:
    """Write a page that says which augmentation to take, how sure that is, and why."""
    from dametric.commands import report as command

    asked = {"format": format, "figures": figures, "drop": drop, "better": better or ()}
    command.run(paths or [], output, published=published, metrics=metric or None, only=only or (), quiet=quiet, **asked)  # type: ignore[arg-type]


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
    from dametric.commands import plan as command

    command.plan(rho, augs, seeds, units, seed_sd, spread, alpha, seed, json)
