"""Fuzzing: a short pass in the ordinary suite, a long one in the slow suite."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis.strategies import SearchStrategy

SHORT, LONG = 50, 2_000
Fuzz = Callable[[SearchStrategy[Any], Callable[[Any], object]], None]


@pytest.fixture(params=[SHORT, pytest.param(LONG, marks=pytest.mark.slow)])
def fuzz(request: pytest.FixtureRequest) -> Fuzz:
    """Show a function so many examples of a strategy, the same ones each time."""

    def fuzz(examples: SearchStrategy[Any], function: Callable[[Any], object]) -> None:
        checks = list(HealthCheck)
        options = settings(
            max_examples=request.param, deadline=None, derandomize=True, database=None, suppress_health_check=checks
        )
        options(given(examples)(lambda example: function(example) and None))()

    return fuzz
