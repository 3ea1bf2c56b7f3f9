"""`dametric ls`, `dametric cache` and `dametric demo`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dametric.cli.options import Quiet, Seed


def ls(what: Annotated[str, typer.Argument(metavar="augs|metrics|models|data|grid")]) -> None:
    """List what there is, a line each."""
    from dametric.commands.listing import lines

    found = lines(what)
    width = max(len(name) for name, _ in found)
    for name, line in found:
        print(f"{name:<{width}}  {line}")


def cache(
    clear: Annotated[bool, typer.Option("--clear", help="Remove all of it.")] = False,
    cache_dir: Annotated[
        str | None, typer.Option("--cache-dir", metavar="DIR", help="Another folder than the user's.")
    ] = None,
) -> None:
    """List what is kept of decoded images, those used last first; what exceeds the limit is removed by itself."""
    from dametric.commands import cache as command

    command.run(cache_dir, clear)


def demo(
    output: Annotated[str, typer.Option("--output", "-o", metavar="DIR", help="Folder for what is made.")] = "demo",
    seed: Seed = 0,
    quiet: Quiet = False,
) -> None:
    """Train a small teacher on the bundled digits and score the paper's nine augmentations."""
    from dametric.commands import demo as command

    command.run(Path(output), seed, quiet)
