"""Text for a terminal, of which parts may come from files that somebody else has made."""

from __future__ import annotations

import os
import re
import sys
import threading
from functools import lru_cache

# Control characters, of which a terminal makes colours, titles and cursor movements, and those that turn the direction
# of writing round; tabs and line ends stay.
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def printable(text: str) -> str:
    """Text that moves no cursor: control characters as Python spells them, ``\\x1b``."""
    return _CONTROL.sub(lambda found: found.group().encode("unicode_escape").decode(), text)


def launched() -> bool:
    """Whether torchrun has started this process."""
    return "TORCHELASTIC_RUN_ID" in os.environ


_muted = threading.Event()


def mute() -> None:
    """Leave printing to the process that started this one: two would write into each other's progress bars."""
    _muted.set()


def may_print() -> bool:
    """Whether this process prints: of those that torchrun has started the first, and no worker."""
    return not _muted.is_set() and (not launched() or os.environ.get("RANK", "0") == "0")


def note(line: str) -> None:
    """One line for the user, on stderr; nothing from a process that leaves printing to another."""
    if may_print():
        print(printable(line), file=sys.stderr)


@lru_cache(maxsize=1000)
def note_once(line: str) -> None:
    """The same, once in a process: what is read several times is said once."""
    note(line)
