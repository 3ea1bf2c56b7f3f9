"""Tables on stdout."""

from __future__ import annotations

from typing import Any, NoReturn

from rich.console import Console
from rich.text import Text

from dametric.base.terminal import printable

_NO_TABLE_IS_WIDER = 10_000  # characters
_ANY = 25  # lines; of a dumb terminal rich believes a width only beside a height


class _Plain(Console):
    """A console for which text is text: control characters of names in files do nothing."""

    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str(printable(text), **options)

    def on_broken_pipe(self) -> NoReturn:
        """Leave it to the command line, which ends quietly when the reader of stdout has gone."""
        raise


def wide_console() -> Console:
    """A console that never crops a number: a terminal too narrow for a table breaks its lines, which loses nothing.

    Names are printed as they are; of a folder ``runs[old]`` rich would take the brackets for a style.
    """
    return _Plain(width=_NO_TABLE_IS_WIDER, height=_ANY, highlight=False, markup=False, soft_wrap=True)
