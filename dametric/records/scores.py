"""Score files: what `dametric score` found, with everything the numbers depend on.

A score file is one JSON document (``dametric_scores`` is the version of its shape, now 1)::

    {
      "dametric_scores": 1,
      "scores": [                                  ordered best to worst by the first metric
        {
          "aug": "cutmix:alpha=1",                 the specification
          "aug_spelling": "cutmix",                the one way of writing it, where that is another
          "metrics": {
            "t_stddev": {
              "value": 0.0137,                     corrected for bias by the jackknife (default protocol)
              "se": 0.0001,                        standard error
              "low": 0.0135, "high": 0.0139,       95 % interval
              "direction": "lower",                better: "lower", "higher", or "open" where nothing was stated
              "plugin": 0.0137,                    the uncorrected value
              "blocks": 20,                        deleted samples behind the error
              "estimator": "images"                "images": per-image components; "units": means of batches or draws
                                                   "student": read with a warm student, and then also
                                                   "student" (hash of its weights), "cost" in student-steps, and where
                                                   the value is null the "reason"
            }, ...
          },
          "difference": {                          to the best row, by the first metric, on the same batches
            "to": "...", "value": 0.0, "se": 0.0, "low": 0.0, "high": 0.0
          },
          "differences": {"flip": {...}, ...},     the same to every row
          "tied_with_best": false,                 the 95 % interval of the difference holds zero
          "destroyed": false,                      hardly any information between images is left: no score speaks for it
          "same_as": "identity",                   where its images are those of another augmentation
          "parameters": [ ... ],                   every operation with its resolved parameters
          "batches": 20,                           batches that were shown under it
          "rows": 1280,                            augmented rows that were used
          "influence": { ... }                     of each block of batches on the first metric, for paired differences
          "group": "ab",                           letters of --resolve: no common one between rows told apart
          "cost": {                                with --cost
            "images_per_second": 9e4,              null where nothing is done
            "relative_step": 1.02,                 seconds of a training step, in units of one under identity
            "clock": "cpu"                         seconds of the CPU; "wall" on a GPU
          }
        }, ...
      ],
      "config": { ... },                           n, G, b, w, temperature, per, partner rule, base augmentation, ...
      "versions": { ... }                          package, libraries, machine
    }

A number that could not be known is null.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from dametric.base.files import MOST_TEXT, read_text, write_atomic
from dametric.errors import UsageError, unknown
from dametric.records import schema as shapes
from dametric.records.documents import Document
from dametric.records.score_rows import Difference, ScoreConfig, ScoreRow

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SCHEMA = 1


@dataclass(frozen=True)
class Scores:
    """Augmentations ordered best to worst, and how their scores were made.

    Attributes
    ----------
    scores : list of dict
        One for each augmentation; see the module's docstring.
    config : dict
        Every parameter that the numbers depend on.
    versions : dict
        Package, libraries and machine.
    """

    scores: list[dict[str, Any]]
    config: dict[str, Any]
    versions: dict[str, Any]

    @classmethod
    def of(cls, rows: Sequence[ScoreRow], settings: ScoreConfig, versions: dict[str, Any]) -> Scores:
        """From rows, best first, and what they depend on."""
        return cls([row.document() for row in rows], settings.document(), versions)

    @cached_property
    def rows(self) -> tuple[ScoreRow, ...]:
        """The scores, typed, as they are when first asked for."""
        return tuple(ScoreRow.of(score) for score in self.scores)

    @cached_property
    def settings(self) -> ScoreConfig:
        """The configuration, typed, as it is when first asked for."""
        return ScoreConfig.of(self.config)

    @property
    def metrics(self) -> list[str]:
        """Names of the metrics; the first orders the table."""
        return list(self.settings.metrics)

    @property
    def direction(self) -> str:
        """Which values of the first metric are good: "lower", "higher", or "open" where nobody has said it."""
        return self.rows[0].metrics[self.metrics[0]].direction

    @property
    def batches(self) -> str:
        """How many batches were shown, in words: "20", or "20 to 45" where augmentations differ."""
        everywhere = self.settings.batches or 0
        counts = sorted({everywhere if row.batches is None else row.batches for row in self.rows})
        return str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"

    @property
    def table(self) -> pd.DataFrame:
        """One row an augmentation: value and standard error of every metric, difference to the best row."""
        rows: list[dict[str, Any]] = []
        for row in self.rows:
            cells: dict[str, Any] = {"aug": row.aug}
            for name, metric in row.metrics.items():
                cells |= {name: metric.value, f"{name}_se": metric.se}
            cells |= {"difference": row.difference.value, "difference_se": row.difference.se}
            rows.append({**cells, "tied_with_best": row.tied_with_best, "rows": row.rows})
        return pd.DataFrame(rows)

    def to_dict(self) -> dict[str, Any]:
        """The document as plain Python objects, with None for what is not a finite number."""
        document = {"dametric_scores": SCHEMA, "scores": self.scores, "config": self.config}
        result: dict[str, Any] = finite({**document, "versions": self.versions})
        return result

    def to_json(self) -> str:
        """The document as JSON text."""
        return json.dumps(self.to_dict(), indent=1, allow_nan=False, ensure_ascii=False)

    def write(self, path: str | os.PathLike[str]) -> Path:
        """Write the document; a crash leaves the old file or the new one."""
        text = self.to_json() + "\n"
        return write_atomic(path, text.encode(errors="backslashreplace"))  # of paths that are not UTF-8

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Scores:
        """Read a score file; rows that were moved or left out by hand are put in order again.

        Raises
        ------
        UsageError
            If the file is missing, is not JSON, is not a score file of a version that is understood, or a field of it
            is missing, of the wrong kind, or cannot be beside the others.
        """
        hint = "; make one with dametric score -o"
        keys = ("scores", "config", "versions")
        document = read_document(path, "score file", "dametric_scores", SCHEMA, keys, shapes.SCORES, hint)
        file = _ScoreFile.of(document)
        _check_consistent(file, path)
        rows = _in_order(file)
        return cls([row.document() for row in rows], file.config.document(), file.versions)

    @property
    def best(self) -> dict[str, Any]:
        """The best augmentation whose images are not destroyed.

        Raises
        ------
        UsageError
            If nobody has said which values of the first metric are good, or all images are destroyed.
        """
        if self.direction == "open":
            raise UsageError(f"{self.metrics[0]} has no direction: no augmentation is best by it")
        for row, score in zip(self.rows, self.scores, strict=True):
            if not row.destroyed:
                return score
        raise UsageError("every augmentation destroys the images: none is best")

    def __getitem__(self, aug: str) -> dict[str, Any]:
        for row, score in zip(self.rows, self.scores, strict=True):
            if row.aug == aug:
                return score
        raise unknown("augmentation", aug, [row.aug for row in self.rows])

    def __len__(self) -> int:
        return len(self.scores)

    def plot(self) -> Figure:
        """The table as a figure: values with intervals, best on top."""
        figures = import_module("dametric.reports.figures")  # figures know scores; scores find them by name alone
        figure: Figure = figures.score_figure(self)
        return figure

    def __repr__(self) -> str:
        first = self.metrics[0]
        rows = ", ".join(f"{row.aug} {row.metrics[first].value:.4g}" for row in self.rows[:3])
        more = f", ... {len(self) - 3} more" if len(self) > 3 else ""
        return f"Scores({first}: {rows}{more})"

    def _repr_html_(self) -> str:
        text: str = import_module("dametric.reports.score_tables").notebook(self)
        return text


@dataclass(frozen=True)
class _ScoreFile(Document):
    scores: tuple[ScoreRow, ...]
    config: ScoreConfig
    versions: dict[str, Any]


def _check_consistent(file: _ScoreFile, path: object) -> None:
    """Refuse an augmentation twice, one without a metric that the file has, and a value outside of its interval."""
    seen = set()
    for number, row in enumerate(file.scores):
        if row.aug in seen:
            raise UsageError(f"{path}: 'scores[{number}].aug' is {row.aug} once more: each stands in one row")
        seen.add(row.aug)
        for name in file.config.metrics:
            if name not in row.metrics:
                raise UsageError(f"{path} is not a whole score file: 'scores[{number}].metrics.{name}' is missing")
            first, direction = file.scores[0].metrics[name].direction, row.metrics[name].direction
            if direction != first:
                raise UsageError(
                    f"{path}: 'scores[{number}].metrics.{name}.direction' is {direction}, the first {first}"
                )
            value = row.metrics[name]
            slack = 1e-9 * max(abs(value.low), abs(value.high))
            if value.value < value.low - slack or value.value > value.high + slack:
                raise UsageError(
                    f"{path}: 'scores[{number}].metrics.{name}' has a value of {value.value:g} outside of its interval"
                    f" from {value.low:g} to {value.high:g}: score again"
                )


def _in_order(file: _ScoreFile) -> list[ScoreRow]:
    """The rows best to worst, each with its difference to the first."""
    if not file.scores or not file.config.metrics:
        return list(file.scores)
    first = file.config.metrics[0]
    sign = -1 if file.scores[0].metrics[first].direction == "higher" else 1

    def place(row: ScoreRow) -> tuple[bool, float]:
        value = sign * row.metrics[first].value
        return row.destroyed, math.inf if math.isnan(value) else value

    rows = sorted(file.scores, key=place)
    best = rows[0].aug
    if all(row.difference.to in (None, best) for row in rows):
        return rows
    return [_compared(row, best) for row in rows]


def _compared(row: ScoreRow, best: str) -> ScoreRow:
    """With the difference to this row, which is not known where the file does not have it."""
    nothing = Difference(best, 0.0, 0.0, 0.0, 0.0) if row.aug == best else Difference()
    gap = row.differences.get(best, nothing)
    return replace(row, difference=replace(gap, to=best), tied_with_best=gap.low <= 0 <= gap.high)


_WHOLE: set[tuple[str, bytes]] = set()  # what was found whole: a sweep reads each of its records many times


def read_document(
    path: str | os.PathLike[str],
    kind: str,
    mark: str,
    schema: int,
    keys: Sequence[str],
    shape: dict[str, Any],
    hint: str = "",
) -> dict[str, Any]:
    """Read a JSON document of dametric's.

    Parameters
    ----------
    path : path-like
    kind : str
        What it is, as a user would say it ("score file").
    mark : str
        The key that holds the version of its shape.
    schema : int
        The version that is understood.
    keys : sequence of str
        What else it must hold.
    shape : dict
        See :mod:`dametric.records.schema`.
    hint : str
        Where to get one, for the error.

    Raises
    ------
    UsageError
        If the file cannot be read, or is anything else.
    """
    try:
        text = read_text(path, MOST_TEXT)
        document = json.loads(text, parse_constant=_refuse)
    except RecursionError as error:
        raise UsageError(f"{path} is not JSON of ours: lists within lists without end") from error
    except ValueError as error:
        if isinstance(error, UsageError):
            raise
        if isinstance(error, UnicodeDecodeError):
            raise UsageError(f"{path} is not JSON in UTF-8: save it in that encoding ({error})") from error
        raise UsageError(f"{path} is not JSON: {error}") from error
    if not isinstance(document, dict) or mark not in document:
        raise UsageError(f"{path} is not a {kind}: it has no '{mark}'{hint}")
    if document[mark] != schema:
        raise UsageError(f"{path} has version {document[mark]} of {kind}s, this reads {schema}")
    missing = [key for key in keys if key not in document]
    if missing:
        raise UsageError(f"{path} is not a whole {kind}: '{missing[0]}' is missing")
    digest = hashlib.sha256(text.encode()).digest()
    if (mark, digest) not in _WHOLE:
        shapes.check(document, shape, kind, path)
        _WHOLE.add((mark, digest))
    return document


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no number of JSON's: what is not known is null")


def finite(value: Any) -> Any:
    """Plain values for JSON, with None for what is not a finite number."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(item) for item in value]
    return value
