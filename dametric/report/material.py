"""Everything a report is made from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pandas as pd

from dametric.records.scores import Scores
from dametric.stats.joined import prepare
from dametric.stats.outcome import Outcome, outcome_of


@dataclass(frozen=True)
class Material:
    """Everything a report is made from.

    Attributes
    ----------
    frame : pandas.DataFrame
        What was analysed: score files joined with a ledger, a table from elsewhere, or the published points.
    found : mapping
        What :func:`dametric.stats.analyse` said of it.
    scores : tuple of Scores
        Empty for the published points and for a table.
    files : tuple of (str, str)
        Path and SHA-256 of every score file, or of the table.
    runs : pandas.DataFrame, optional
        From :func:`dametric.records.runs.load_runs`.
    command : str
        That makes the report.
    """

    frame: pd.DataFrame
    found: Mapping[str, Any]
    scores: tuple[Scores, ...] = ()
    files: tuple[tuple[str, str], ...] = ()
    runs: pd.DataFrame | None = None
    command: str = ""

    @cached_property
    def table(self) -> pd.DataFrame:
        """The frame with all columns."""
        return prepare(self.frame)

    @property
    def outcome(self) -> Outcome:
        """What tells how good a student is."""
        return outcome_of(self.found)

    @property
    def metric(self) -> str:
        """The one that the answer is about."""
        return str(self.found["confirmatory"][0]["metric"])
