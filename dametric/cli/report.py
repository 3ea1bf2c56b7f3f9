"""`dametric report`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from dametric.cli.options import Better, Config, Drop, Metrics, OnlyRuns, Paths, Published, Quiet


def report(
    paths: Paths = None,
    output: Annotated[
        str | None,
        typer.Option("--output", "-o", metavar="FILE", help="Page to write: .html, .md; scores alone: .csv."),
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
        str | None, typer.Option(metavar="html|md|csv", help="What to write. [default: by the file's ending]")
    ] = None,
    chart: Annotated[
        list[str] | None, typer.Option(metavar="./FILE.py:NAME", help="A chart of your own; repeat for several.")
    ] = None,
    quiet: Quiet = False,
    config: Config = None,
) -> None:
    """Write a page that says which augmentation to take, how sure that is, and why; without runs, what the scores say.

    \b
    Examples:
      dametric report scores.json runs -o report.html
      dametric report scores.json -o scores.html
      dametric report choice -o choice.html
      dametric report --published -f figures
    """
    import dametric
    from dametric.base.terminal import note
    from dametric.cli.console import say_written
    from dametric.errors import UsageError

    if output is None and figures is None:
        raise UsageError("nothing to write: give a file with -o (report.html), or a folder for the figures with -f")
    about = {"published": published, "metrics": metric, "only": only, "drop": drop, "better": better}
    options: dict[str, Any] = {name: value for name, value in about.items() if value}
    page = dametric.report(
        paths or (), output, figures=figures, format=format, charts=chart or (), quiet=quiet, **options
    )
    for line in page.notes:
        note(line)
    count = len(page.figures)
    drawn = f"{count} figure{'s' * (count != 1)} as PNG, SVG, PDF and CSV in {figures}"
    say_written(output, None if figures is None else drawn, quiet=quiet)
