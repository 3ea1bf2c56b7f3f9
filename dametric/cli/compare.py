"""`dametric compare`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from dametric.cli.options import Quiet

if TYPE_CHECKING:
    from dametric.analysis.comparing import Comparison

PAGES = {"html": "html", "htm": "html", "md": "md", "markdown": "md"}
KINDS = ("csv", "json", "png", "svg", "pdf", *PAGES)


def compare(
    a: Annotated[str, typer.Argument(metavar="A.json", help="A score file.")],
    b: Annotated[str, typer.Argument(metavar="B.json", help="Another one.")],
    metric: Annotated[
        str | None,
        typer.Option("--metric", "-m", metavar="NAME", help="One that both have. [default: the first of both]"),
    ] = None,
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="Write a page (.html, .md), the picture (.png, .svg, .pdf), .csv, .json.",
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout instead of the table.")] = False,
    quiet: Quiet = False,
) -> None:
    """Compare two score files: two teachers, two sets of images, or two strengths.

    \b
    Examples:
      dametric compare resnet20.json wrn_40_2.json
      dametric compare weak.json strong.json -o ranks.svg
      dametric compare a.json b.json -o page.html
    """
    from pathlib import Path

    import dametric
    from dametric.base.files import check_writable, write_atomic
    from dametric.cli.console import say_written
    from dametric.errors import UsageError

    kind = "" if output is None else output.rpartition(".")[2].lower()
    if output is not None:
        if kind not in KINDS:
            raise UsageError(f"--output {output}: the ending says the kind, one of .{', .'.join(KINDS)}")
        check_writable(Path(output))
    comparison = dametric.compare(a, b, metric=metric)
    if kind in PAGES:
        dametric.report(comparison, output, format=PAGES[kind], quiet=True)
    elif output is not None:
        write_atomic(output, _content(comparison, kind))
    if json:
        print(comparison.to_json())
    else:
        _print(comparison)
    say_written(output, quiet=quiet)


def _content(comparison: Comparison, kind: str) -> bytes | str:
    from dametric.base.spreadsheet import csv_text

    if kind == "json":
        return comparison.to_json() + "\n"
    if kind == "csv":
        return csv_text(comparison.table)
    from dametric.reports.figures import render

    return render(comparison.plot(), kind)


def _print(comparison: Comparison) -> None:
    from dametric.base.numbers import Number, aligned
    from dametric.cli.console import print_table, wide_console

    pairs, console = comparison.pairs, wide_console()
    columns = [aligned([Number(pair.values[side], pair.errors[side]) for pair in pairs]) for side in (0, 1)]
    columns.append(aligned([Number(pair.difference.value, pair.difference.se) for pair in pairs]))
    heads = ["augmentation", "rank a", "rank b", "", "a", "b", "b - a"]
    rows = []
    for pair, *values in zip(pairs, *columns, strict=True):
        name = pair.aug if pair.aug == pair.other else f"{pair.aug} / {pair.other}"
        moved = f"{pair.change:+d}" if pair.change else ""
        rows.append([name, str(pair.ranks[0]), str(pair.ranks[1]), moved, *values])
    print_table(heads, rows)
    console.print(f"a: {comparison.names[0]}; b: {comparison.names[1]}; {comparison.metric} ± standard error")
    for line in comparison.answer:
        console.print(line)
