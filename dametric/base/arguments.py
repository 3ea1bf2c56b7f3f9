"""How messages name an argument: as Python has it, as a flag where the command line speaks, as a key of a grid."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

Voice = Literal["python", "command line", "grid"]

_SPEAKER = "DAMETRIC_SPEAKER"  # in the environment, so that processes that are started speak alike
_FLAGS = {
    "augs": "--aug",
    "charts": "--chart",
    "metrics": "--metric",
    "config": "--data-config",
    "root": "--data-root",
    "source": "--data",
    "overrides": "--set",
}
"""Flags that are not spelt as their argument is."""
_OF_DATA = {
    "source",
    "root",
    "download",
    "image_size",
    "label_column",
    "image_column",
    "config",
    "train_images",
    "held_out",
}


@contextmanager
def speaking(speaker: Voice) -> Iterator[None]:
    """Let messages name arguments as one kind of caller writes them, in this process and those it starts."""
    before = os.environ.get(_SPEAKER)
    os.environ[_SPEAKER] = speaker
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(_SPEAKER, None)
        else:
            os.environ[_SPEAKER] = before


def voice() -> Voice:
    """How whoever reads the messages of this process writes arguments."""
    spoken = os.environ.get(_SPEAKER, "python")
    return "grid" if spoken == "grid" else "command line" if spoken == "command line" else "python"


def argument(name: str, value: object = None) -> str:
    """An argument, or an argument with a value, as whoever reads the message writes it.

    Parameters
    ----------
    name : str
        As the functions of the package have it.
    value : object, optional
        What to give for it; True or False for a switch.

    Returns
    -------
    str
        ``label_column`` or ``label_column='fine'`` in Python, ``--label-column`` or ``--label-column fine`` on the
        command line, ``data.label_column`` or ``--set data.label_column=fine`` in a grid.

    Examples
    --------
    >>> argument("batch_size"), argument("batch_size", 32)
    ('batch_size', 'batch_size=32')
    >>> with speaking("command line"):
    ...     argument("batch_size"), argument("batch_size", 32), argument("download", True)
    ('--batch-size', '--batch-size 32', '--download')
    """
    speaker = voice()
    if speaker == "python":
        return name if value is None else f"{name}={value!r}"
    if speaker == "grid" and name in _OF_DATA:
        shown = "true" if value is True else value
        return f"data.{name}" if value is None else f"--set data.{name}={shown}"
    flag = _FLAGS.get(name, "--" + name.replace("_", "-"))
    if isinstance(value, bool):
        return flag if value else "--" + flag.replace("--", "no-", 1)
    return flag if value is None else f"{flag} {value}"
