"""The ledger: one folder for each trained network, with everything that its result depends on.

A run's folder holds ``record.json`` (below), ``history.csv`` (one row an epoch, of which the last may be a part) and
``last.pt`` (the network, a checkpoint that ``load_checkpoint`` reads; while training goes on, also what is needed to go
on; at the end it is taken away where weights are not to be kept). Of a finished run that is trained again, since its
weights are gone, all three stand beside those of the finished one under names that begin with ``again-``, until they
take their place. A record is one
JSON document (``dametric_run`` is the version of its shape, now 1)::

    {
      "dametric_run": 1,
      "id": "0f3a...",                     hash of the frozen form of "config": see dametric.records.identity
      "status": "finished",                "running", "interrupted" or "failed" otherwise
      "error": null,                       why it failed
      "kept": "last",                      the weights in last.pt, or "none"
      "config": { ... },                   all that determines the result: recipe, fingerprints, hashes, seed
      "about": { ... },                    names for humans: teacher (with its clean accuracy), data, parameter counts
      "last": {"epoch", "step", "test_loss", "test_top1", "test_top5", "test_ece", "test_agreement", ...},
      "best": { ... },                     the same of the epoch with the highest top-1 of those that were looked at
      "code": {"version", "sha256"},       of the package's source
      "versions": { ... },                 libraries and machine
      "timing": {"seconds", ...}           the one part that differs when the same run is repeated
    }

"same_bits" of "timing" is false where a run went on that was interrupted, and its result is not, to the bit, that of
one that was not: on a GPU, unless it is deterministic throughout.

"held_out_loss" and the like are there where images were held out. Where test losses are of images that were held out of
the training split, as in the runs of `choose` or where data have no evaluation split, the "data" of "about" have
"tested_on": "held-out". Losses are in nats; accuracies, calibration error
and agreement are fractions; null is what was not looked at.
"""

from __future__ import annotations

import csv
import glob
import hashlib
import io
import json
import math
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from dametric.base.files import write_atomic
from dametric.base.locks import BusyError as BusyError
from dametric.base.locks import claimed, is_held
from dametric.errors import UsageError
from dametric.records.copies import first_of_each
from dametric.records.identity import run_id as run_id
from dametric.records.recipes import options, setting
from dametric.records.record import FINISHED, RUNNING, Measures, RunRecord, Timing
from dametric.records.schema import RECORD
from dametric.records.scores import finite, read_document

SCHEMA = 1
MEASURED = ("test_loss", "test_top1", "test_top5", "test_ece", "test_agreement")
HELD_OUT = ("held_out_loss", "held_out_top1")
_WHOLE = ("epoch", "step")
_NEEDED = ("epoch", "test_top1", "seconds")  # of a history's rows
Row = dict[str, float]


def code_version() -> dict[str, str]:
    """Version of the package and a hash of its source."""
    from dametric import __version__

    digest, root = hashlib.sha256(), Path(__file__).parents[1]
    for path in sorted(root.rglob("*.py")):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return {"version": __version__, "sha256": digest.hexdigest()}


@dataclass(frozen=True)
class Run:
    """One folder of the ledger.

    Attributes
    ----------
    folder : Path
    prefix : str
        Of the names of its files.
    """

    folder: Path
    prefix: str = ""

    @classmethod
    def of(cls, root: str | os.PathLike[str], config: Mapping[str, Any], name: str) -> Run:
        """The folder of a run below ``root``: named for humans, and by its id.

        One that is there under another name, since an augmentation can be spelt in several ways, is this run's; so is
        one under an id of former times, if its record says that it is this run.
        """
        word, own = re.sub(r"[^A-Za-z0-9.+=-]+", "_", name).strip("_")[:80], run_id(config)
        folder = Path(root) / f"{word}-{own}"
        if not folder.exists():
            for same in sorted(Path(root).glob(f"*-{own}")):
                return cls(same)
            for path in sorted(Path(root).glob(f"{glob.escape(word)}-{'?' * len(own)}/record.json")):
                if run_id(RunRecord.of(read_record(path)).config.document()) == own:
                    return cls(path.parent)
        return cls(folder)

    @property
    def again(self) -> Run:
        """The same run while it is trained again, which leaves the files of the finished one as they are."""
        return replace(self, prefix="again-")

    @property
    def files(self) -> list[Path]:
        """Record, history and network."""
        return [self.folder / f"{self.prefix}{name}" for name in ("record.json", "history.csv", "last.pt")]

    @property
    def checkpoint(self) -> Path:
        """The network."""
        return self.files[2]

    @property
    def record(self) -> dict[str, Any] | None:
        """The record, or None where there is none yet."""
        path = self.files[0]
        return read_record(path) if path.exists() else None

    @property
    def written(self) -> RunRecord | None:
        """The same, typed."""
        record = self.record
        return None if record is None else RunRecord.of(record)

    @property
    def current(self) -> RunRecord | None:
        """The record as things stand: of a run that is not finished, with the epochs done and what became of it."""
        record = self.written
        if record is None or record.status != RUNNING:
            return record
        rows = self.history()
        last, best = summary_of(rows)
        timing = replace(record.timing or Timing.of({}), seconds=seconds_of(rows))
        return replace(record, status=RUNNING if self.held else "interrupted", last=last, best=best, timing=timing)

    @property
    def now(self) -> dict[str, Any] | None:
        """The record as things stand, as a JSON object."""
        record = self.current
        return None if record is None else record.document()

    @contextmanager
    def claimed(self) -> Iterator[str | None]:
        """Hold the run for this process; the claim ends with the process, however it ends.

        Yields
        ------
        str or None
            Who was working on it and died; see :func:`dametric.base.locks.claimed`.

        Raises
        ------
        BusyError
            If another process holds it.
        """
        with claimed(self._lock, str(self.folder)) as before:
            for left in self.folder.glob(".*.*"):  # by a process that was killed while it wrote
                left.unlink(missing_ok=True)
            yield before

    @property
    def held(self) -> bool:
        """Whether a process is working on it."""
        return is_held(self._lock)

    @property
    def _lock(self) -> Path:
        return self.folder / ".lock"

    def history(self) -> list[Row]:
        """The rows of the epochs that are done."""
        path = self.files[1]
        if not path.exists():
            return []
        try:
            with open(path, encoding="utf-8", newline="") as file:
                rows = [{key: _read(value) for key, value in row.items()} for row in csv.DictReader(file)]
            if any(name not in row for row in rows for name in _NEEDED):
                raise ValueError(f"a row without {' or '.join(_NEEDED)}")
            return rows
        except (OSError, ValueError, TypeError, csv.Error) as error:
            raise UsageError(f"cannot read {path}: remove its folder to start over") from error

    def write_history(self, rows: Sequence[Row]) -> None:
        """Write all rows; floats in the shortest form that reads back as the same number, nothing for NaN."""
        text = io.StringIO(newline="")
        names = dict.fromkeys(key for row in reversed(rows) for key in row)  # an older version's rows have fewer
        writer = csv.DictWriter(text, list(names), lineterminator="\n")
        writer.writeheader()
        writer.writerows({key: _written(key, value) for key, value in row.items()} for row in rows)
        write_atomic(self.files[1], text.getvalue())

    def write_record(self, record: Mapping[str, Any]) -> None:
        """Write the record, whole or not at all."""
        text = json.dumps(finite({"dametric_run": SCHEMA, **record}), indent=1, allow_nan=False, ensure_ascii=False)
        write_atomic(self.files[0], (text + "\n").encode(errors="backslashreplace"))


def _read(value: str) -> float:
    return math.nan if value == "" else float(value)


def _written(key: str, value: float) -> int | str:
    if math.isnan(value):
        return ""
    return int(value) if key in _WHOLE else repr(value)


def seconds_of(rows: Iterable[Row]) -> float:
    """How long the epochs took."""
    return round(sum(row["seconds"] for row in rows), 3)


def summary_of(rows: Sequence[Row]) -> tuple[Measures | None, Measures | None]:
    """Last epoch, and the best of those that were looked at, without how long they took."""

    def measures(row: Row) -> Measures:
        kept = {key: value for key, value in row.items() if key != "seconds"}
        whole = {key: int(value) for key, value in kept.items() if key in _WHOLE and math.isfinite(value)}
        return Measures.of({**kept, **whole})

    every = [measures(row) for row in rows]
    best = max((row for row in every if row.test_top1 >= 0), key=lambda row: row.test_top1, default=None)
    return every[-1] if every else None, best


def read_record(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a run's record.

    Raises
    ------
    UsageError
        If the file cannot be read, is not a record of a version that is understood, or a field of it is missing or of
        the wrong kind.
    """
    keys = ("id", "status", "config", "about", "last", "best")
    record = read_document(path, "run record", "dametric_run", SCHEMA, keys, RECORD)
    recipe = RunRecord.of(record).config.recipe
    if recipe.epochs is None and recipe.steps is None:
        raise UsageError(f"{path} is not a whole run record: 'config.recipe.epochs' is missing")
    return record


def find_runs(root: str | os.PathLike[str]) -> list[Run]:
    """All runs at or below a folder, by name of their folder.

    Raises
    ------
    UsageError
        If there is no such folder, or no run in it.
    """
    if not Path(root).is_dir():
        raise UsageError(f"there is no folder {root}: dametric distill -o makes one")
    runs = [Run(path.parent) for path in sorted(Path(root).rglob("record.json"))]
    if not runs:
        raise UsageError(f"there is no run in {root}: dametric distill -o makes them")
    return runs


def distinct(runs: Iterable[Run]) -> list[Run]:
    """Runs, each once: a ledger may have been copied below itself. What is left out is said on stderr.

    Raises
    ------
    UsageError
        If a record cannot be read.
    """
    every = list(runs)
    entries = [(run.folder, RunRecord.of(read_record(run.folder / "record.json"))) for run in every]
    return [every[position] for position in first_of_each(entries)]


@dataclass(frozen=True)
class LedgerRow:
    """A row of the ledger's table, as far as it is printed; see :func:`load_runs`."""

    status: str
    teacher: str | None
    student: str
    aug: str
    seed: int
    epochs: float | None
    epoch: int
    step: float
    test_loss: float
    test_top1: float
    test_ece: float
    test_agreement: float
    best_test_top1: float
    seconds: float
    steps: float | None

    @property
    def finished(self) -> bool:
        """Whether training came to its end."""
        return self.status == FINISHED


def load_runs(root: str | os.PathLike[str] | Iterable[Run]) -> pd.DataFrame:
    """The ledger as a table, one row a run.

    Parameters
    ----------
    root : path-like or iterable of Run
        Folder with runs at any depth, or the runs themselves. One id is one run, in however many folders it lies.

    Returns
    -------
    pandas.DataFrame
        Columns ``id, status, kind, teacher, teacher_sha256, student, data, aug, seed, epochs`` (NaN where steps were
        asked for), ``epoch`` and ``step`` (done), ``test_loss, test_top1, test_top5, test_ece, test_agreement`` of the
        last epoch, the same with ``best_`` before, ``held_out_loss, held_out_top1``, and ``seconds, folder``; then the
        other options, ``steps, batch_size, lr, schedule, momentum, nesterov, weight_decay, label_smoothing, ce_weight,
        raw_weight, aug_weight, temperature, loss_term, per, base_aug, joint_batch,
        dtype, train_images, image_size``; then what else tells settings apart: ``mean, std`` of the teacher's images,
        the beginnings of the fingerprints ``train_data, test_data``, hashes ``code`` (of what all augmentations call)
        and ``other``; ``aug_spelling`` (the one way of writing it) and ``aug_code`` (a hash of what it calls). NaN or
        None where a run has no such value; sorted by teacher, student, augmentation and seed.

    Raises
    ------
    UsageError
        If there is no run, or a record cannot be read.

    Examples
    --------
    >>> import tempfile
    >>> import dametric
    >>> short = {"steps": 2, "image_size": 8, "train_images": 100, "eval_every": "last", "quiet": True}
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     trained = dametric.train("resnet8", "digits", out=folder, device="cpu", dtype="float32", **short)
    ...     runs = load_runs(folder)
    >>> runs[["kind", "student", "steps", "status"]].values.tolist()
    [['train', 'resnet8', 2, 'finished']]
    """
    runs = find_runs(root) if isinstance(root, (str, os.PathLike)) else list(root)
    if not runs:
        raise UsageError("there is no run to make a table of")
    table = pd.DataFrame([_row(run) for run in distinct(runs)])
    return table.sort_values(["teacher", "student", "aug", "seed", "id"], ignore_index=True, na_position="first")


def _row(run: Run) -> dict[str, Any]:
    record = run.current
    assert record is not None
    last, best = record.result, record.best or Measures()
    row = {
        "id": record.id,
        "status": record.status,
        "kind": record.config.kind,
        "teacher": record.teacher.arch,
        "teacher_sha256": record.teacher.sha256,
        "student": record.about.student.arch,
        "data": record.about.data.name,
        "aug": record.config.aug,
        "seed": record.config.recipe.seed,
        "epochs": record.config.recipe.epochs,
        "epoch": last.epoch,
        "step": float(last.step),
    }
    row |= {name: float(getattr(last, name)) for name in MEASURED}
    row |= {"best_epoch": best.epoch} | {f"best_{name}": float(getattr(best, name)) for name in MEASURED}
    row |= {name: float(getattr(last, name)) for name in HELD_OUT}
    more = {name: value for name, value in options(record.config.recipe, record.about.data).items() if name not in row}
    more |= setting(record.config.document())
    return row | {"seconds": float(record.seconds), "folder": str(run.folder), **more}
