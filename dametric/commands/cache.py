"""`dametric cache`: what is kept of decoded images, and how much."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from dametric.base.files import default_cache_dir
from dametric.data.cache import FOLDER, LIMIT, Entry, clear, entries


def run(folder: str | None, clear_it: bool) -> list[Entry]:
    """Print a line for each entry, or remove them all; returns them."""
    where = (Path(folder) if folder is not None else default_cache_dir()) / FOLDER
    if clear_it:
        found = clear(where)
        print(f"removed {len(found)} entries, {_megabytes(found)}, of {where}")
        return found
    found = entries(where)
    for entry in found:
        used = datetime.fromtimestamp(entry.used).strftime("%Y-%m-%d %H:%M")
        print(f"{entry.size / 1e6:>10,.1f} MB  {used}  {entry.what}")
    print(f"{len(found)} entries, {_megabytes(found)} of at most {LIMIT / 1e6:,.0f} MB, in {where}")
    return found


def _megabytes(found: list[Entry]) -> str:
    return f"{sum(entry.size for entry in found) / 1e6:,.1f} MB"
