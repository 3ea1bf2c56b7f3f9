"""What tells how good a student is, in words: the one place that names it and its unit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Outcome:
    """What stands in the column ``test_loss``.

    Attributes
    ----------
    name : str
        Of one student's number; lower is better.
    plural : str
        Of several.
    unit : str
        Of differences.
    """

    name: str
    plural: str
    unit: str

    @property
    def short(self) -> str:
        """Where it is clear whose it is."""
        return self.name.removeprefix("test ")

    @property
    def title(self) -> str:
        """At the head of a column."""
        return self.name.capitalize()


TEST_LOSS = Outcome("test loss", "test losses", "nats")
ERROR_RATE = Outcome("error rate", "error rates", "points")
"""Of students of which only the accuracy is known: percent of the test images, differences in percent points."""


def outcome_of(found: Mapping[str, Any]) -> Outcome:
    """What an analysis is about: see :func:`dametric.stats.analyse`."""
    named = found["settings"].get("outcome")
    return TEST_LOSS if named is None else next(known for known in (TEST_LOSS, ERROR_RATE) if known.name == named)
