"""`dametric data`."""

from __future__ import annotations

from typing import Annotated

import typer

from dametric.cli.options import Quiet

app = typer.Typer(no_args_is_help=True, help="Look after image sets.")


@app.callback()
def _data() -> None:
    pass


@app.command()
def check(
    source: Annotated[str, typer.Argument(metavar="NAME|PATH", help="Image set: a name (dametric ls data) or a path.")],
    root: Annotated[
        str | None, typer.Option("--data-root", metavar="DIR", help="Folder where a named image set is.")
    ] = None,
    label_column: Annotated[str | None, typer.Option(metavar="NAME", help="Column of the labels of a table.")] = None,
    image_column: Annotated[str | None, typer.Option(metavar="NAME", help="Column of the images of a table.")] = None,
    config: Annotated[
        str | None, typer.Option("--data-config", metavar="NAME", help="Which configuration of a folder of several.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout instead of the list.")] = False,
    quiet: Quiet = False,
) -> None:
    """Read every image of all splits, and list those that cannot be. Exit code 0: all can; 1: some cannot.

    \b
    Examples:
      dametric data check path/to/imagenet
      dametric data check path/to/imagenet --json > broken.json
    """
    from json import dumps

    from dametric.base.terminal import printable
    from dametric.data.check import check_data

    result = check_data(
        source, root=root, label_column=label_column, image_column=image_column, config=config, quiet=quiet
    )
    print(dumps(result.to_dict(), indent=2) if json else printable(str(result)))
    if not result.ok:
        raise typer.Exit(1)
