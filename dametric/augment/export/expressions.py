"""What the tables of all libraries share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dametric.augment.catalogue import ImageSpec
from dametric.augment.pick import CutMixPick, Pick

Table = dict[type, Callable[[Any, ImageSpec], str]]
"""Expressions of operations by their classes."""

PICKS = dict.fromkeys((CutMixPick, Pick), "picking asks the teacher, or the student, for every batch")


class Inexpressible(Exception):
    """A library cannot do this with the same law; the message says why."""


def span(change: float) -> str:
    """Factors between ``1 - change``, or 0, and ``1 + change``."""
    return f"({round(max(1 - change, 0), 9)!r}, {round(1 + change, 9)!r})"


def rolls(operation: Any, rule: str, words: str) -> None:
    """Refuse partners by another rule than the library's.

    Raises
    ------
    Inexpressible
    """
    if operation.partner != rule:
        raise Inexpressible(f"its partner is {words}")
