"""What is to be analysed: score files joined with ledgers, one table from elsewhere, or the published points."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from dametric.analysis.foreign_table import is_table, read_file, read_table
from dametric.analysis.outcome import TEST_LOSS, Outcome
from dametric.base.arguments import argument
from dametric.base.files import sha256
from dametric.errors import UsageError
from dametric.records.joining import left_out, study
from dametric.records.ledger import Ledger
from dametric.records.recipes import chosen, differences
from dametric.records.runs import find_runs, load_runs
from dametric.records.scores import Scores
from dametric.stats.published import published_frame

Source = str | os.PathLike[str] | Scores | Ledger | pd.DataFrame
"""A score file or a folder of runs by its path, or what was read from one; a table from elsewhere; a joined table."""
_LEDGER = {"status", "kind", "student"}
_JOINED = {"aug", "score", "test_loss"}


@dataclass(frozen=True)
class Study:
    """What is analysed, and where it is from.

    Attributes
    ----------
    frame : pandas.DataFrame
        One row for each unit, metric and augmentation: see :func:`dametric.analysis.joined.prepare`.
    outcome : Outcome
        What its column ``test_loss`` holds.
    scores : tuple of Scores
        The files that its column ``file`` counts; empty for the published points and for a table.
    runs : pandas.DataFrame, optional
        The ledger.
    files : tuple of (str, str)
        Name and SHA-256 of every score file, or of the table.
    cautions : tuple of str
        Sentences that the verdict begins with.
    notes : tuple of str
        What was done in reading.
    """

    frame: pd.DataFrame
    outcome: Outcome = TEST_LOSS
    scores: tuple[Scores, ...] = ()
    runs: pd.DataFrame | None = None
    files: tuple[tuple[str, str], ...] = ()
    cautions: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def read_study(
    sources: Iterable[Source],
    *,
    published: bool = False,
    only: Sequence[str] = (),
    drop: bool = False,
    better: Sequence[str] = (),
) -> Study:
    """Read and join what is to be analysed.

    Parameters
    ----------
    sources : iterable of Source
        Score files and ledgers in any order, or one table.
    published, only, drop, better
        As for :func:`dametric.correlate`.

    Returns
    -------
    Study

    Raises
    ------
    UsageError
        If there is nothing of the one or of the other, or something is neither.
    """
    given = [_plain(source) for source in sources]
    if published:
        if given:
            raise UsageError(f"{argument('published', True)} brings its own points: give no files with it")
        if only:
            raise UsageError(f"{argument('only')} chooses among runs, and the published points have none")
        return Study(published_frame())
    tables = [source for source in given if _is_table(source)]
    if tables:
        if len(given) > 1:
            raise UsageError(f"{_named(tables[0])} is a table with everything in it: give no other files with it")
        if only:
            raise UsageError(f"{argument('only')} chooses among runs, and a table has none")
        return _without_null(_read_table(tables[0], better), drop)
    if better:
        raise UsageError(f"{argument('better')} is for metrics of a table: score files state the direction of theirs")
    return _without_null(_joined(given, only), drop)


def read_scores(sources: Iterable[Source]) -> tuple[list[Scores], list[tuple[str, str]]] | None:
    """Score files with name and SHA-256 of each, where nothing else is among the sources; else None."""
    given = [_plain(source) for source in sources]
    for source in given:
        if not isinstance(source, Scores) and (
            not isinstance(source, str) or not Path(source).is_file() or is_table(source)
        ):
            return None
    scores = [source if isinstance(source, Scores) else Scores.read(str(source)) for source in given]
    return (scores, named_files(given, scores)) if scores else None


def named_files(sources: Sequence[Source], scores: Sequence[Scores]) -> list[tuple[str, str]]:
    """Path and SHA-256 of each source; of scores that are no file, "scores" and that of their document."""
    return [
        (source, sha256(source)) if isinstance(source, str) else ("scores", _digest(each))
        for source, each in zip(sources, scores, strict=True)
    ]


def _plain(source: Source) -> str | Scores | pd.DataFrame:
    if isinstance(source, Ledger):
        return source.table
    return os.fspath(source) if isinstance(source, os.PathLike) else source


def _is_table(source: Source) -> bool:
    if isinstance(source, pd.DataFrame):
        return not set(source.columns) >= _LEDGER
    return isinstance(source, str) and Path(source).is_file() and is_table(source)


def _named(source: Source) -> str:
    return source if isinstance(source, str) else f"a {type(source).__name__}"


def _read_table(source: Source, better: Sequence[str]) -> Study:
    files: tuple[tuple[str, str], ...] = ()
    if isinstance(source, str):
        table, files = read_file(source), ((source, sha256(source)),)
    else:
        assert isinstance(source, pd.DataFrame)
        if set(source.columns) >= _JOINED:
            if better:
                raise UsageError(
                    f"{argument('better')} is for a table from elsewhere: this one has a column 'direction'"
                )
            return Study(source)
        table = source
    foreign = read_table(table, _named(source), better)
    return Study(foreign.frame, foreign.outcome, files=files, cautions=foreign.cautions, notes=foreign.notes)


def _joined(given: Sequence[Source], only: Sequence[str]) -> Study:
    missing = [source for source in given if isinstance(source, str) and not Path(source).exists()]
    if missing:
        raise UsageError(f"there is no {missing[0]}: give score files (dametric score -o) and folders of runs")
    ledgers = [source for source in given if isinstance(source, pd.DataFrame) or _is_folder(source)]
    files = [
        source for source in given if isinstance(source, Scores) or (isinstance(source, str) and not _is_folder(source))
    ]
    if not ledgers or not files:
        what = "a folder of runs (dametric distill -o makes one)" if files else "a score file (dametric score -o)"
        raise UsageError(f"this needs {what} too, or {argument('published', True)} for the published points")
    runs, notes = chosen(_runs(ledgers), only), []
    differ = differences(runs)
    if differ:
        listed = ", ".join(f"{name} ({', '.join(values)})" for name, values in differ.items())
        choice = next(f"{name}={values[0]}" for name, values in differ.items())
        example = argument("only", choice)
        notes.append(f"runs of one student differ in {listed}: kept apart; to choose, for example: {example}")
    scores = tuple(source if isinstance(source, Scores) else Scores.read(str(source)) for source in files)
    frame, notes = study(scores, runs), [*notes, *left_out(scores, runs)]
    return Study(frame, scores=scores, runs=runs, files=tuple(named_files(files, scores)), notes=tuple(notes))


def _is_folder(source: Source) -> bool:
    return isinstance(source, str) and Path(source).is_dir()


def _digest(scores: Scores) -> str:
    return hashlib.sha256(scores.to_json().encode(errors="backslashreplace")).hexdigest()


def _runs(ledgers: Sequence[Source]) -> pd.DataFrame:
    """The runs of all ledgers, each once."""
    folders = [ledger for ledger in ledgers if isinstance(ledger, str)]
    tables = [ledger for ledger in ledgers if isinstance(ledger, pd.DataFrame)]
    if folders:
        tables.append(load_runs(run for folder in folders for run in find_runs(folder)))
    table = tables[0] if len(tables) == 1 else pd.concat(tables, ignore_index=True)
    return table.drop_duplicates("id", ignore_index=True) if len(tables) > 1 and "id" in table else table


def _without_null(read: Study, drop: bool) -> Study:
    """The rows that have a score and a loss; what lacks one is dropped if that was asked for, and said."""
    frame = read.frame
    numbers = frame[["score", "test_loss"]].astype(float).replace([np.inf, -np.inf], np.nan)
    null = numbers.isna().any(axis=1)
    if not null.any():
        return read
    metric, aug, unit = frame[null].reindex(columns=["metric", "aug", "unit"]).iloc[0]
    outcome, missing = read.outcome.name, f"{int(null.sum())} of {len(frame)} rows"
    where = f"{missing} have no score or no {outcome} (the first: {metric} of {aug}, {unit})"
    if not drop:
        raise UsageError(f"{where}: {argument('drop', True)} leaves them out")
    if null.all():
        raise UsageError(f"no row has both a score and its {outcome}")
    return replace(read, frame=frame[~null].reset_index(drop=True), notes=(*read.notes, f"dropped: {where}"))
