"""What tells how good a student is, in words: the one place that names it and its unit."""

from __future__ import annotations

from dataclasses import dataclass


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
"""Of students of which only the accuracy is known: percent of the test images, differences in percentage points."""
