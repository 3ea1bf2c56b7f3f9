"""`dametric init`."""

from __future__ import annotations

from importlib.resources import files
from typing import Annotated

import typer

from dametric.cli.options import Quiet


def init(
    output: Annotated[str, typer.Argument(metavar="FILE.yaml", help="The grid to write.")] = "grid.yaml",
    quiet: Quiet = False,
) -> None:
    """Write a commented grid to begin with: a small study on the bundled digits.

    \b
    Examples:
      dametric init
      dametric init study.yaml
    """
    from pathlib import Path

    from dametric.base.files import check_writable, write_atomic
    from dametric.base.progress import say
    from dametric.errors import UsageError

    path = Path(output)
    if path.exists():
        raise UsageError(f"{path} is there already: give another name")
    check_writable(path)
    write_atomic(path, (files("dametric.cli") / "grid.yaml").read_bytes())
    say(f"wrote {path}; next: dametric sweep {path} --dry-run", quiet)
