"""Which test executes which line: the map from a mutant to the tests that can notice it.

Every test file is run by itself on the unmutated copy under coverage.py, and what a test executes, fixtures included,
is noted test by test. Lines executed only while a module is imported belong to every test that executes some other
line of the module. Tests that already fail here, or that are told in ``LEFT_OUT``, take no part.
"""

from __future__ import annotations

import ast
import hashlib
import json
import sys
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import Any

from experiments.mutation.execute import Copy, Tests, run
from experiments.mutation.mutants import ROOT, Mutant, files, text_of, tree_of

LEFT_OUT = {
    "tests/analysis": "executes notebooks",
    "tests/experiments/test_study.py": "whole studies, in processes of their own",
    "tests/fuzz": "readers of foreign files",
    "tests/data": "image sets, which come before what is mutated",
    "tests/models": "networks, which come before what is mutated",
    "tests/sweep": "whole studies, mostly in processes of their own",
    "tests/report/test_browser.py": "needs a browser",
    "tests/test_interrupts.py": "signals, in processes of its own",
    "tests/test_terminal.py": "a terminal, in processes of its own",
    "tests/test_importing.py": "imports in processes of its own",
    "tests/test_architecture.py": "reads the source text, which a mutant changes",
    "tests/test_copies.py": "reads the source text, which a mutant changes",
    "tests/cli/test_process.py": "processes of its own",
}
LIMIT = 900.0  # seconds for a test file
ROOMS = ("tests/metrics", "tests/stats", "tests/augment", "tests/scoring", "tests/training/test_loss.py")
LAST = ("tests/scoring/test_ranks.py",)
"""Test files of those that start several processes for every test: only for what survives the near ones."""
NEAR, FAR = 15.0, 300.0
"""Seconds of tests, as they were measured without a mutant, for every mutant and for what survives those."""


def taking_part(near: bool = False) -> list[str]:
    """Test files that take part, those of the mutated parts first or alone."""
    paths = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "tests").rglob("test_*.py"))
    kept = [path for path in paths if not any(path.startswith(place) for place in LEFT_OUT)]
    beside = [path for room in ROOMS for path in kept if path.startswith(room) and _beside(path)]
    return beside if near else [*beside, *(path for path in kept if path not in beside)]


def _beside(test: str) -> bool:
    return test.startswith(ROOMS) and not test.startswith(LAST)


@dataclass
class Seen:
    """What the tests execute.

    Attributes
    ----------
    seconds : dict
        Of every test that passed on the unmutated copy.
    lines : dict
        For each source file and line the tests that execute it.
    broken : list of str
        Tests that fail without any mutant.
    """

    seconds: dict[str, float] = field(default_factory=dict)
    lines: dict[str, dict[int, set[str]]] = field(default_factory=lambda: defaultdict(lambda: defaultdict(set)))
    broken: list[str] = field(default_factory=list)

    def near(self, mutant: Mutant) -> list[str]:
        """The tests every mutant meets: of the parts that are mutated, the module's own first, until time is up."""
        return self._until(NEAR, [test for test in self._all(mutant) if _beside(test)])

    def rest(self, mutant: Mutant) -> list[str]:
        """The tests that are left to one that survived the near ones."""
        met = set(self.near(mutant))
        return self._until(FAR, [test for test in self._all(mutant) if test not in met])

    def _until(self, most: float, tests: list[str]) -> list[str]:
        spent = accumulate(self.seconds[test] for test in tests)
        return [test for test, so_far in zip(tests, spent, strict=True) if so_far <= most]

    def _all(self, mutant: Mutant) -> list[str]:
        known = self.lines.get(mutant.file, {})
        tests = set().union(*(known.get(line, ()) for line in _statement(mutant))) or set().union(*known.values())
        return self._ordered(tests, mutant.file)

    def _ordered(self, tests: Iterable[str], file: str) -> list[str]:
        whole: dict[str, float] = defaultdict(float)
        for test in tests:
            whole[test.partition("::")[0]] += self.seconds[test]

        def order(test: str) -> tuple[int, float, str, float]:
            path = test.partition("::")[0]
            return _distance(test, file), whole[path], path, self.seconds[test]

        return sorted(tests, key=order)


def _statement(mutant: Mutant) -> list[int]:
    """The line of a mutant; for what is executed with a ``def``, the body, which uses it."""
    for node in ast.walk(tree_of(mutant.file)):
        if isinstance(node, ast.FunctionDef):
            top = min([node.lineno, *(one.lineno for one in node.decorator_list)])
            if top <= mutant.line < node.body[0].lineno:
                return list(range(node.body[0].lineno, (node.end_lineno or 0) + 1))
    return [mutant.line]


def _distance(test: str, file: str) -> int:
    """0 for the test file of a module, 1 for its neighbours, 2 for any other."""
    folder, room = Path(test.partition("::")[0]).parent.name, Path(file).parent.name
    if folder != room:
        return 2
    return 0 if Path(file).stem in Path(test.partition("::")[0]).stem else 1


def read(path: Path) -> Seen:
    """The map as it was written."""
    found = Seen()
    for part in _parts(path):
        found.broken += part["broken"]
        found.seconds |= part["seconds"]
        names = list(part["seconds"])
        for file, groups in part["lines"].items():
            for tests, lines in groups.items():
                for line in _numbers(lines):
                    found.lines[file][line] |= {names[int(index)] for index in tests.split()}
    return found


def missing(path: Path, near: bool = False) -> list[str]:
    """Test files the map does not hold, or holds for another text of them or of the sources."""
    known = {part["file"]: part["hash"] for part in _parts(path)}
    return [file for file in taking_part(near) if known.get(file) != _hash(file)]


def look(path: Path, near: bool = False) -> None:
    """Run the test files the map lacks, and add what they execute to it, file by file."""
    todo = missing(path, near)
    with Copy() as copy:
        for number, file in enumerate(todo, 1):
            part = _one(copy, file)
            kept = [line for line in _parts(path) if line["file"] != file]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("".join(json.dumps(line) + "\n" for line in [*kept, part]), encoding="utf-8")
            spent, broken = sum(part["seconds"].values()), part["broken"] or ""
            print(f"{number}/{len(todo)} {file}: {len(part['seconds'])} tests, {spent:.0f} s {broken}", file=sys.stderr)


def _parts(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def _one(copy: Copy, file: str) -> dict[str, Any]:
    """One test file's line of the map."""
    tracer = Tracer(copy.tree)
    around = (tracer.begin, tracer.at, tracer.found)
    found = run(copy.tree, Tests([file], None, LIMIT, around, extra=("--maxfail=100000",)))
    lines: dict[str, dict[str, list[str]]] = found.more or {}
    passed = {name: round(seconds, 3) for name, seconds in found.ran.items() if name not in found.failures}
    names = list(passed)
    groups: dict[str, dict[str, list[int]]] = {}
    for source, executed in lines.items():
        for line, tests in executed.items():
            some = sorted(names.index(test) for test in tests if test in passed)
            groups.setdefault(source, {}).setdefault(" ".join(map(str, some)), []).append(int(line))
    broken = found.failures or ([] if found.word == "passed" else [f"{file}: {found.word} {found.log}"])
    return {
        "file": file,
        "hash": _hash(file),
        "broken": broken,
        "seconds": passed,
        "lines": {
            source: {tests: _ranges(some) for tests, some in parts.items() if tests} for source, parts in groups.items()
        },
    }


class Tracer:
    """Coverage in the child, with the running test as the context."""

    def __init__(self, tree: Path) -> None:
        self.tree = tree

    def begin(self) -> None:
        """Start before the package is imported."""
        import coverage

        include = [str(self.tree / file) for file in files()]
        self.coverage = coverage.Coverage(data_file=None, config_file=False, include=include)
        self.coverage.start()

    def at(self, test: str) -> None:
        """A test begins, or has ended."""
        self.coverage.switch_context(test)

    def found(self) -> dict[str, dict[int, list[str]]]:
        """Source files, lines, tests."""
        self.coverage.stop()
        data = self.coverage.get_data()
        found: dict[str, dict[int, list[str]]] = {}
        for path in data.measured_files():
            lines = {line: sorted(filter(None, tests)) for line, tests in data.contexts_by_lineno(path).items()}
            found[str(Path(path).relative_to(self.tree))] = {line: tests for line, tests in lines.items() if tests}
        return found


def _hash(file: str) -> str:
    """Of a test file with everything that can be mutated."""
    text = "".join(map(text_of, files())) + (ROOT / file).read_text(encoding="utf-8")
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _ranges(numbers: list[int]) -> str:
    """``1-3,7`` for 1, 2, 3 and 7."""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ",".join(f"{a}-{b}" if b > a else f"{a}" for a, b in runs)


def _numbers(text: str) -> Iterable[int]:
    for piece in text.split(","):
        first, _, last = piece.partition("-")
        yield from range(int(first), int(last or first) + 1)
