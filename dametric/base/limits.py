"""How much may be asked for at most: numbers beyond are refused before anything is made of them.

They are far above what anybody trains, and far below what a machine would choke on before it could say why.
"""

from __future__ import annotations

from typing import Any

from dametric.errors import UsageError

BATCH_SIZE = 65_536
"""Images of a batch."""
DRAW_BATCHES = 10_000
"""Batches of a draw."""
BATCHES = 10_000_000
"""Batches that are shown."""
ROWS = 2**24
"""Rows of a forward pass."""
EPOCHS = 1_000_000
STEPS = 10**9
CLASSES = 2**20
"""Of a network that is built."""
IMAGE_SIZE = 4096
"""Pixels, height and width."""
IMAGES = 10**9
"""That are taken of a set, or held out."""
PROCESSES = 1024
"""Runs side by side, or in lockstep."""
RUNS = 100_000
"""Of one grid."""
COMBINATIONS = 10_000
"""Of the options of one block of a grid: data, a teacher, training, an augmentation."""
LINES = 1_000
"""Of a grid's include and exclude."""
BROKEN_IMAGES = 100_000
"""Of a split, passed over: each is named in the record."""
MEMORY_GB = 8
"""Of a split's decoded images, in GB of 10^9 bytes: larger ones are decoded when they are drawn."""
YAML_BYTES = 2**20
YAML_VALUES = 100_000
"""Of a YAML file, with everything that its aliases stand for."""
STUDIES = {"augs": 1_000, "seeds": 10_000, "units": 1_000}
"""Of a study that is planned by simulation: augmentations, students for each, teacher-student pairs."""


def whole(name: str, value: Any, most: int) -> None:
    """Refuse what is not a whole number, or above a limit.

    Raises
    ------
    UsageError
    """
    if isinstance(value, bool) or not hasattr(type(value), "__index__"):
        raise UsageError(f"{name} is a whole number, not {value!r}")
    if value > most:
        raise UsageError(f"{name} is at most {most:,}, not {number(value)}")


def real(name: str, value: Any) -> None:
    """Refuse what is not a number.

    Raises
    ------
    UsageError
    """
    if isinstance(value, (bool, str)) or not hasattr(type(value), "__float__"):
        raise UsageError(f"{name} is a number, not {value!r}")


def read_whole(text: str, most: int) -> int | None:
    """A whole number from 1 up as a user writes it; None for anything else, and for one above a limit."""
    if not text.isdecimal() or len(text) > len(str(most)):
        return None
    value = int(text)
    return value if 1 <= value <= most else None


def number(value: int) -> str:
    """A whole number for a message, however long: ``str`` refuses one of 5,000 digits."""
    return f"{value:,}" if abs(value) < 10**18 else "a number of more than 18 digits"
