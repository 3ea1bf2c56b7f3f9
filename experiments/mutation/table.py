"""The results: one line a mutant, written as it ends, and a summary."""

from __future__ import annotations

import csv
import io
import math
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from scipy.stats import norm

from experiments.mutation.mutants import Mutant, shared

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
        The tests it met: the ``near`` ones, all of the ``parts`` that are mutated, or ``all``.
    reason : str
        Why it survived, written by hand; begins with ``equivalent`` if no test can notice it.
    remedy : str
        The test written since that should notice it, ``file::name``, by hand as well.
    later, later_test : str
        Outcome and test for what survived at first, once there was that test.
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
    remedy: str = ""
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
    def equivalent(self) -> bool:
        """Whether no test can notice it."""
        return self.reason.startswith("equivalent")

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
        return [
            Line(*(numeric.get(name, str)(row.get(name) or "") for name in COLUMNS)) for row in csv.DictReader(file)
        ]


def reasons(path: Path, lines: Iterable[Line]) -> dict[int, Line]:
    """The lines by number, with what was written by hand: columns ``file, before, after, reason, remedy``."""
    with path.open(encoding="utf-8", newline="") if path.exists() else io.StringIO() as file:
        known = {(row["file"], row["before"], row["after"]): row for row in csv.DictReader(file)}
    found = {}
    for line in lines:
        row = {} if line.outcome in KILLED else known.get((line.file, line.before, line.after), {})
        found[line.number] = replace(line, reason=row.get("reason", ""), remedy=row.get("remedy", ""))
    return found


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
        "without_equivalent": share([line for line in lines if not line.equivalent], later=False),
        "without_equivalent_later": share([line for line in lines if not line.equivalent], later=True),
        "by_part": {name: share(some, later=False) for name, some in sorted(rooms.items())},
        "by_operator": {name: share(some, later=False) for name, some in sorted(families.items())},
        "seconds": {"median": slow[len(slow) // 2], "sum": round(sum(slow), 1)},
    }


def page(lines: list[Line]) -> str:
    """What no test noticed at first, in Markdown: the change, why, and the test that notices it now."""
    alive = [line for line in lines if line.outcome not in KILLED]
    possible = [line for line in lines if not line.equivalent]
    shares = (share(lines, later=False), share(possible, later=False), share(possible, later=True))
    drawn, before, now = ("{killed} of {of}, {share:.1%} ({low:.1%} to {high:.1%})".format(**one) for one in shares)
    text = [
        "# Mutants that survived",
        "",
        f"Killed: {drawn}. Without those that no test can notice: {before}; with the tests named here: {now}.",
        "In brackets Wilson's 95 % interval.",
        "",
        "| | where | before → after | why it survived | noticed by |",
        "|---|---|---|---|---|",
    ]
    for line in alive:
        old, new = (f"`` {piece.replace('|', chr(92) + '|')} ``" for piece in narrowed(line.before, line.after))
        test = line.later_test.rpartition("::")[2].partition("[")[0] if line.later in KILLED else ""
        place = f"{line.file.removeprefix('dametric/')}:{line.line}"
        text.append(f"| {line.number} | {place} | {old} → {new} | {line.reason} | {test} |")
    return "\n".join(text) + "\n"


def narrowed(before: str, after: str, around: int = 24) -> tuple[str, str]:
    """The changed place of two lines, with some characters around it."""
    start = shared(before, after)
    end = shared(before[start:][::-1], after[start:][::-1])
    left = max(0, start - around)
    pieces = [text[left : len(text) - max(0, end - around)] for text in (before, after)]
    return f"{'…' if left else ''}{pieces[0]}", f"{'…' if left else ''}{pieces[1]}"


def share(lines: list[Line], later: bool) -> dict[str, Any]:
    """How many were killed, of how many, and the share with its 95 % interval after Wilson."""
    killed = sum(line.outcome in KILLED or (later and line.later in KILLED) for line in lines)
    low, high = wilson(killed, len(lines))
    return {"killed": killed, "of": len(lines), "share": killed / len(lines), "low": low, "high": high}
