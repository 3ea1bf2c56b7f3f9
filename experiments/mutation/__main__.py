"""`python -m experiments.mutation`: draw, run, write; a second call goes on where the first ended."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import dataclass, replace
from multiprocessing import get_context
from multiprocessing.util import Finalize
from pathlib import Path
from typing import Annotated, Any

import typer

from experiments.mutation import seen, table
from experiments.mutation.execute import Copy, Outcome, Tests, preload, run
from experiments.mutation.mutants import Mutant, drawn
from experiments.mutation.table import Line

FOLDER = Path(__file__).resolve().parents[1] / "results" / "mutation"
FACTOR, EXTRA = 3.0, 30.0  # the time given to tests, times what they take without a mutant, plus seconds


def tried(mutant: Mutant, wanted: list[str], known: seen.Seen, copy: Copy) -> Outcome:
    """Put a mutant before tests, given by name."""
    limit = FACTOR * sum(known.seconds[test] for test in wanted) + EXTRA
    copy.mutate(mutant)
    try:
        return run(copy.tree, Tests(list(dict.fromkeys(test.partition("::")[0] for test in wanted)), wanted, limit))
    finally:
        copy.restore(mutant)


def line_of(number: int, mutant: Mutant, count: int, found: Outcome) -> Line:
    """The table's line of a mutant that was run."""
    before, after = mutant.change()
    outcome = {"passed": "survived", "timeout": "timeout"}.get(found.word, "killed")
    test = next(iter(found.failures), found.word if found.word in ("crashed", "timeout") else "")
    place = (mutant.file, mutant.line, mutant.column, mutant.operator, mutant.occurrence, before, after, mutant.source)
    return Line(number, *place, outcome, test, round(found.seconds, 2), count, "near")


class Worker:
    """A process with a copy of its own."""

    known: seen.Seen
    copy: Copy
    leaving: ExitStack

    @classmethod
    def begin(cls, map_file: Path) -> None:
        """Once for each process."""
        cls.known, cls.leaving = seen.read(map_file), ExitStack()
        cls.copy = cls.leaving.enter_context(Copy())
        Finalize(None, cls.leaving.close, exitpriority=1)  # a process of a pool ends without atexit

    @classmethod
    def work(cls, number: int, mutant: Mutant, near: bool) -> Line:
        """One mutant, before the near tests or the others."""
        wanted = cls.known.near(mutant) if near else cls.known.rest(mutant)
        found = tried(mutant, wanted, cls.known, cls.copy) if wanted else Outcome("passed")
        return line_of(number, mutant, len(wanted), found)


@dataclass
class Study:
    """The table and how to fill it.

    Attributes
    ----------
    out : Path
        Folder of the map and the tables.
    jobs : int
        Processes.
    deadline : float
        When no further mutant is begun, on the clock of ``time.perf_counter``.
    lines : dict
        By number in the draw.
    """

    out: Path
    jobs: int
    deadline: float
    lines: dict[int, Line]

    def results(self, todo: list[tuple[int, Mutant]], near: bool) -> Iterator[Line]:
        """Lines as they come, with progress and the time left on standard error."""
        waiting, running, begun, done = iter(todo), set[Future[Line]](), time.perf_counter(), 0
        with ProcessPoolExecutor(self.jobs, get_context("fork"), Worker.begin, (self.out / "seen.jsonl",)) as pool:
            while True:
                while len(running) < self.jobs and time.perf_counter() < self.deadline and (one := next(waiting, None)):
                    running.add(pool.submit(Worker.work, *one, near))
                if not running:
                    return
                ended, running = wait(running, return_when=FIRST_COMPLETED)
                for future in ended:
                    done += 1
                    left = (time.perf_counter() - begun) / done * (len(todo) - done) / 60
                    print(
                        f"{done}/{len(todo)}, {left:.0f} min left: {said(future.result())}", file=sys.stderr, flush=True
                    )
                    yield future.result()
                table.write(self.out / "mutants.csv", self.lines.values())

    def possible(self) -> list[Line]:
        """What is alive and not known to be equivalent."""
        self.lines = table.reasons(self.out / "reasons.csv", self.lines.values())
        return [line for line in self.lines.values() if line.alive and not line.equivalent]

    def near(self, mutants: list[Mutant]) -> None:
        """Every mutant without a line, before the near tests."""
        for line in self.results([one for one in enumerate(mutants) if one[0] not in self.lines], near=True):
            self.lines[line.number] = line

    def rest(self) -> None:
        """What survived the near tests, before the others."""
        alive = [line for line in self.possible() if line.reach == "near"]
        for line in self.results([(line.number, line.mutant) for line in alive], near=False):
            old = self.lines[line.number]
            count, seconds = old.tests + line.tests, round(old.seconds + line.seconds, 2)
            new = replace(old, outcome=line.outcome, test=line.test, tests=count, seconds=seconds, reach="all")
            self.lines[line.number] = new

    def later(self) -> None:
        """What survived and can be killed, before the tests as they are now."""
        for near in (True, False):
            for line in self.results([(line.number, line.mutant) for line in self.possible()], near=near):
                self.lines[line.number] = replace(self.lines[line.number], later=line.outcome, later_test=line.test)


def said(line: Line) -> str:
    """A result for a reader who waits."""
    return f"{line.outcome} {line.file}:{line.line} {line.operator}, {line.seconds:.1f} s {line.test}"


def main(
    count: Annotated[int, typer.Option(min=1, help="Mutants.")] = 500,
    seed: Annotated[int, typer.Option(help="Of the draw.")] = 0,
    jobs: Annotated[int, typer.Option(min=1, help="Processes.")] = 1,
    survivors: Annotated[bool, typer.Option("--survivors", help="Only survivors, under the tests of today.")] = False,
    time_budget: Annotated[float, typer.Option(min=0, help="Minutes after which no mutant is begun.")] = math.inf,
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder of the map and the tables.")] = FOLDER,
) -> None:
    """Run the mutants that have no result yet for their source text; the checkout is only read."""
    begun, mutants = time.perf_counter(), drawn(count, seed)
    preload()
    known = {line.mutant: line for line in table.read(out / "mutants.csv") if line.holds}
    lines = {number: replace(known[one], number=number) for number, one in enumerate(mutants) if one in known}
    study = Study(out, jobs, begun + 60 * time_budget, lines)
    seen.look(out / "seen.jsonl", near=True)
    if not survivors:
        study.near(mutants)
    seen.look(out / "seen.jsonl")
    study.later() if survivors else study.rest()
    minutes = round((time.perf_counter() - begun) / 60, 1)
    conclude(study, {"seed": seed, "drawn": count, "minutes": minutes})


def conclude(study: Study, settings: dict[str, Any]) -> None:
    """Write the table and its summary."""
    import torch

    from dametric.machine import machine

    study.lines = table.reasons(study.out / "reasons.csv", study.lines.values())
    table.write(study.out / "mutants.csv", study.lines.values())
    (study.out / "survivors.md").write_text(table.page(list(study.lines.values())), encoding="utf-8")
    command = " ".join(["python -m experiments.mutation", *sys.argv[1:]])
    about = {"command": command, **settings, **table.summary(list(study.lines.values()))}
    about["versions"] = machine(torch.device("cpu"))
    (study.out / "summary.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
