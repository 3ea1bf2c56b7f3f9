"""The time that a sweep may take, with a reserve for saving everything."""

from __future__ import annotations

import re
import time

from dametric.base.arguments import argument
from dametric.errors import UsageError


class Budget:
    """A time by which everything must be saved.

    Parameters
    ----------
    seconds : float
        From ``start`` on.
    start : float
        On the monotonic clock.
    """

    def __init__(self, seconds: float, start: float) -> None:
        self.end, self.most = start + seconds, seconds / 2
        self.reserve = min(max(2.0, 0.05 * seconds), 20.0)
        self._last: dict[int, float] = {}

    def record_message(self, number: int, over: bool = False) -> None:
        """Keep 1.5 times the longest time between messages of a task in reserve: stopping may take as long."""
        now = time.monotonic()
        self.reserve = max(self.reserve, 1.5 * (now - self._last.get(number, now)))
        self._last[number] = now
        if over:
            del self._last[number]

    @property
    def left(self) -> float:
        """Seconds until everything must be saved."""
        return self.end - min(self.reserve, self.most) - time.monotonic()

    @property
    def over(self) -> bool:
        """Whether to save and stop now."""
        return self.left < 0


def seconds_of(text: str, name: str = "time_budget") -> float:
    """A time as a user writes it for the argument ``name``: ``9m``, ``1h30m``, ``90s`` or ``90``.

    Raises
    ------
    UsageError
        For anything else.
    """
    match = re.fullmatch(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s?)?", text.strip())
    seconds = sum(float(n) * unit for n, unit in zip(match.groups(), (3600, 60, 1), strict=True) if n) if match else 0
    if seconds <= 0:
        raise UsageError(f"{argument(name)} is a time such as 9m, 1h30m or 90s, not '{text}'")
    return seconds
