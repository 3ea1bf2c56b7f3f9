"""The one error a user can cause, and the help that goes with it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UsageError(ValueError):
    """The user asked for something that cannot be.

    The message is one line that says what is wrong and what would be right; the command line prints it on
    stderr and exits with 2.

    Examples
    --------
    >>> raise unknown("augmentation", "cutmx", ["cutmix", "mixup"])
    Traceback (most recent call last):
    dametric.errors.UsageError: unknown augmentation 'cutmx': did you mean cutmix?
    """


class Interrupted(KeyboardInterrupt):
    """The user asked to stop; the message says what was saved and how to go on."""


class RunFailed(Exception):
    """A run went wrong in a way that no one typed: the command line prints it and exits with 1."""


def unknown(kind: str, name: str, known: Iterable[str], otherwise: str = "") -> UsageError:
    """Build the error for a name that is not known, with the nearest known names.

    Parameters
    ----------
    kind : str
        What was asked for, as a user would say it ("augmentation", "data set").
    name : str
        What the user typed.
    known : iterable of str
        Every name that would have been accepted.
    otherwise : str, optional
        What to say where none of many names is near, instead of all of them.

    Returns
    -------
    UsageError
        To be raised by the caller.
    """
    names = sorted(known)
    near = difflib.get_close_matches(name[:200], names, n=2, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else otherwise or f"known: {', '.join(names)}"
    return UsageError(f"unknown {kind} '{shortened(name)}': {hint}")


def shortened(text: object, limit: int = 60) -> str:
    """What a user typed, as a message repeats it: no more than so many characters."""
    try:
        words = str(text)
    except ValueError:  # Python writes no whole number of so many digits
        return "a number of thousands of digits"
    return words if len(words) <= limit else f"{words[: limit - 3]}..."
