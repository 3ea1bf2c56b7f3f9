"""Tables on stdout."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from dametric.base.terminal import note, printable

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

_NO_TABLE_IS_WIDER = 10_000  # characters
_ANY = 25  # lines; of a dumb terminal rich believes a width only beside a height


def wide_console() -> Console:
    """A console that never crops a number: a terminal too narrow for a table breaks its lines, which loses nothing.

    Names are printed as they are: control characters do nothing, and the brackets of ``runs[old]`` are no style.
    """
    from rich.console import Console  # heavy

    class Plain(Console):
        def render_str(self, text: str, **options: Any) -> Text:
            return super().render_str(printable(text), **options)

        def on_broken_pipe(self) -> NoReturn:
            """Leave it to the command line, which ends quietly when the reader of stdout has gone."""
            raise

    return Plain(width=_NO_TABLE_IS_WIDER, height=_ANY, highlight=False, markup=False, emoji=False, soft_wrap=True)


def say_written(*files: str | None, quiet: bool = False) -> None:
    """One line on stderr of what was written and where; nothing where nothing was."""
    if (written := [file for file in files if file is not None]) and not quiet:
        *others, last = written
        note(f"wrote {', '.join(others)}{' and ' if others else ''}{last}")


def print_table(heads: Sequence[str], rows: Iterable[Sequence[str]], left: Sequence[str] = ()) -> None:
    """Print a plain table; its first column and those named in ``left`` stand at the left, the others at the right."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for place, name in enumerate(heads):
        table.add_column(name, justify="left" if place == 0 or name in left else "right", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    wide_console().print(table)
