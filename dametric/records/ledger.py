"""Training runs of one folder or one command, as an object that shows itself."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pandas as pd

from dametric.records.runs import Run, distinct, find_runs, load_runs
from dametric.records.scores import finite

_SHOWN = ("teacher", "student", "aug", "seed", "status", "test_loss", "test_top1", "seconds")


@dataclass(frozen=True)
class Ledger:
    """Training runs, each once.

    Attributes
    ----------
    runs : tuple of Run
    failed : tuple of str
        What went wrong, a line for each run that failed just now.

    Examples
    --------
    >>> Ledger(())
    Ledger(0 runs, 0 finished)
    >>> len(Ledger(())), Ledger(()).to_json()
    (0, '[]')
    """

    runs: tuple[Run, ...]
    failed: tuple[str, ...] = ()

    @classmethod
    def read(cls, folder: str | os.PathLike[str]) -> Ledger:
        """All runs at or below a folder; of copies of a run one counts, which is said.

        Raises
        ------
        UsageError
            If there are none, or a record cannot be read.
        """
        return cls(tuple(distinct(find_runs(folder))))

    @property
    def table(self) -> pd.DataFrame:
        """A row a run: see :func:`dametric.records.runs.load_runs`."""
        return load_runs(self.runs)

    @property
    def records(self) -> list[dict[str, Any] | None]:
        """The record of every run as things stand."""
        return [run.now for run in self.runs]

    def to_json(self) -> str:
        """The records as a JSON document."""
        return json.dumps(finite(self.records), indent=1, ensure_ascii=False)

    def __len__(self) -> int:
        return len(self.runs)

    def __iter__(self) -> Iterator[Run]:
        return iter(self.runs)

    def __repr__(self) -> str:
        records = [run.current for run in self.runs]
        finished = sum(record is not None and record.finished for record in records)
        return f"Ledger({len(self)} runs, {finished} finished{f', {len(self.failed)} failed' if self.failed else ''})"

    def _repr_html_(self) -> str:
        return self.table[list(_SHOWN)].to_html(index=False, na_rep="") if self.runs else repr(self)
