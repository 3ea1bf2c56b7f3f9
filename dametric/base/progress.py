"""Progress on stderr, for anything that takes more than a moment."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from dametric.base.interrupts import raise_lost_ctrl_c, remember_ctrl_c
from dametric.base.terminal import may_print, printable


class Advance(Protocol):
    """Tell a progress bar that ``steps`` more are done, optionally with a word on how it goes."""

    def __call__(self, steps: float = 1, note: str = "") -> None: ...


def say(line: str, quiet: bool = False) -> None:
    """One line for the user, on stderr."""
    if not quiet and may_print():
        print(printable(line), file=sys.stderr)


@contextmanager
def progress(
    description: str, total: float | None, *, quiet: bool = False, time_left: bool = True
) -> Iterator[Advance]:
    """Show a bar on stderr while the block runs; it goes away when the block ends.

    A bar that is refreshed four times a second costs nothing next to the work; in a log file, where a bar
    cannot move, one line is written at the start and one at the end. Every step also asks whether a Ctrl-C got lost.

    Parameters
    ----------
    description : str
        What is being done, for the left of the bar.
    total : float or None
        Number of steps; None where it is not known.
    quiet : bool
        Show nothing at all.
    time_left : bool
        Whether the bar says it, from the pace of its last half minute; False where notes know better.

    Yields
    ------
    Advance
        To be called with the number of steps done since the last call.
    """
    with remember_ctrl_c(), _bar(description, total, quiet or not may_print(), time_left) as advance:

        def step(steps: float = 1, note: str = "") -> None:
            raise_lost_ctrl_c()
            advance(steps, note=note)

        yield step


@contextmanager
def _bar(description: str, total: float | None, quiet: bool, time_left: bool) -> Iterator[Advance]:
    console, description = Console(stderr=True, quiet=quiet, emoji=False), printable(description)
    if not console.is_terminal:
        start = time.monotonic()
        if not quiet:
            console.print(f"{description} ...", highlight=False)
        yield lambda steps=1, note="": None
        if not quiet and time.monotonic() - start > 2:
            console.print(f"{description}: {time.monotonic() - start:.1f} s", highlight=False)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f}%"))
    with Progress(
        *columns,
        TimeElapsedColumn(),
        *([TimeRemainingColumn()] if time_left else []),
        TextColumn("{task.fields[note]}"),
        console=console,
        transient=True,
        refresh_per_second=4,
    ) as bar:
        task = bar.add_task(description, total=total, note="")
        yield lambda steps=1, note="": bar.update(task, advance=steps, **({"note": note} if note else {}))
