"""The results: one line a mutant, written as it ends, and a summary."""

from __future__ import annotations

import csv
import math
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from scipy.stats import norm

from experiments.mutation.mutants import Mutant

KILLED = ("killed", "timeout")
_BITWISE = {"BitOr", "BitAnd", "BitXor", "LShift", "RShift"}


@dataclass
class Line:
    """What became of a mutant.

    Attributes
    ----------
    number : int
        Its place in the draw, from 0.
    file, line, column, operator, occurrence
        See `Mutant`.
    before, after : str
        The changed source line.
    source : str
        Of the file's text; see `Mutant.source`.
    outcome : str
        ``killed``, ``timeout``, which counts as killed, or ``survived``.
    test : str
        The first test that failed.
    seconds : float
        Taken by the runs.
    tests : int
        How many it met at most.
    reach : str
        ``near`` or ``all``: the tests it met.
    reason : str
        Why it survived, written by hand; begins with ``equivalent`` if no test can notice it.
    later, later_test : str
        Outcome and test for what survived at first, once there were more tests.
    """

    number: int
    file: str
    line: int
    column: int
    operator: str
    occurrence: int
    before: str
    after: str
    source: str
    outcome: str
    test: str
    seconds: float
    tests: int
    reach: str
    reason: str = ""
    later: str = ""
    later_test: str = ""

    @property
    def mutant(self) -> Mutant:
        """What it is about."""
        return Mutant(self.file, self.line, self.column, self.operator, self.occurrence)

    @property
    def alive(self) -> bool:
        """Whether nothing has killed it so far."""
        return self.outcome not in KILLED and self.later not in KILLED

    @property
    def holds(self) -> bool:
        """Whether it is about the text as it is now."""
        return self.source == self.mutant.source


COLUMNS = [one.name for one in fields(Line)]


def read(path: Path) -> list[Line]:
    """The lines of a table, none if there is no file."""
    if not path.exists():
        return []
    numeric = {"number": int, "line": int, "column": int, "occurrence": int, "seconds": float, "tests": int}
    with path.open(encoding="utf-8", newline="") as file:
        return [Line(*(numeric.get(name, str)(row[name]) for name in COLUMNS)) for row in csv.DictReader(file)]


def write(path: Path, lines: Iterable[Line]) -> None:
    """Put the table, in the order of the draw, in place of the old one.

    It is written after every mutant, so that a run ended at any moment goes on from there. (The package's own
    ``write_atomic`` is not used: the process that forks must not have imported the package.)
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(".new")
    with beside.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(line) for line in sorted(lines, key=lambda line: line.number))
    beside.replace(path)


def wilson(hits: int, count: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's interval of a proportion."""
    z = float(norm.ppf((1 + confidence) / 2))
    share = hits / count
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return middle - half, middle + half


def kind(operator: str) -> str:
    """The family of an operator; sums and products turned into operations on bits are a family of their own."""
    family, _, change = operator.partition("_")
    first, _, second = change.partition("_")
    if family == "ReplaceBinaryOperator" and second in _BITWISE and first not in _BITWISE:
        return "ReplaceBinaryOperator, by one on bits"
    return family


def summary(lines: list[Line]) -> dict[str, Any]:
    """Counts, and shares killed with intervals: as drawn, and with the tests written since."""
    families: dict[str, list[Line]] = defaultdict(list)
    rooms: dict[str, list[Line]] = defaultdict(list)
    for line in lines:
        families[kind(line.operator)].append(line)
        rooms[line.file.split("/")[1]].append(line)
    slow = sorted(line.seconds for line in lines)
    return {
        "mutants": len(lines),
        "outcomes": dict(Counter(line.outcome for line in lines)),
        **share(lines, later=False),
        "later": share(lines, later=True),
        "by_part": {name: share(some, later=False) for name, some in sorted(rooms.items())},
        "by_operator": {name: share(some, later=False) for name, some in sorted(families.items())},
        "seconds": {"median": slow[len(slow) // 2], "sum": round(sum(slow), 1)},
    }


def share(lines: list[Line], later: bool) -> dict[str, Any]:
    """How many were killed, of how many, and the share with its 95 % interval after Wilson."""
    killed = sum(line.outcome in KILLED or (later and line.later in KILLED) for line in lines)
    low, high = wilson(killed, len(lines))
    return {"killed": killed, "of": len(lines), "share": killed / len(lines), "low": low, "high": high}
