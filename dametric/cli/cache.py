"""`dametric cache`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from dametric.data.cache import Entry


def cache(
    clear: Annotated[bool, typer.Option("--clear", help="Remove all of it.")] = False,
    cache_dir: Annotated[
        str | None, typer.Option("--cache-dir", metavar="DIR", help="Another folder than the user's.")
    ] = None,
) -> None:
    """List what is kept of decoded images, last used first; what exceeds the limit is removed by itself.

    \b
    Examples:
      dametric cache
      dametric cache --clear
    """
    from datetime import datetime
    from pathlib import Path

    from dametric.base.files import default_cache_dir
    from dametric.data import cache as store

    where = (Path(cache_dir) if cache_dir is not None else default_cache_dir()) / store.FOLDER
    if clear:
        removed = store.clear(where)
        print(f"removed {len(removed)} entries, {_megabytes(removed)}, of {where}")
        return
    entries = store.entries(where)
    for entry in entries:
        used = datetime.fromtimestamp(entry.used).strftime("%Y-%m-%d %H:%M")
        print(f"{entry.size / 1e6:>10,.1f} MB  {used}  {entry.what}")
    print(f"{len(entries)} entries, {_megabytes(entries)} of at most {store.LIMIT / 1e6:,.0f} MB, in {where}")


def _megabytes(entries: list[Entry]) -> str:
    return f"{sum(entry.size for entry in entries) / 1e6:,.1f} MB"
