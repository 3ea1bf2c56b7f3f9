"""Text for a terminal, of which parts may come from files that somebody else has made."""

from __future__ import annotations

import re
import sys
from functools import lru_cache

# Control characters, of which a terminal makes colours, titles and cursor movements, and those that turn the direction
# of writing round; tabs and line ends stay.
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def printable(text: str) -> str:
    """Text that moves no cursor: control characters as Python spells them, ``\\x1b``."""
    return _CONTROL.sub(lambda found: found.group().encode("unicode_escape").decode(), text)


def note(line: str) -> None:
    """One line for the user, on stderr; nothing from a process that leaves talking to another."""
    from dametric.base.progress import speaks  # rich takes a while to load

    if speaks():
        print(printable(line), file=sys.stderr)


@lru_cache(maxsize=1000)
def note_once(line: str) -> None:
    """The same, once in a process: what is read several times is said once."""
    note(line)
