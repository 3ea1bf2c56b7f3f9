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
LIMIT = 300.0  # seconds for one test
FACTOR, EXTRA = 3.0, 30.0  # the time given to tests, times what they take without a mutant, plus seconds


def tried(mutant: Mutant, tests: Tests, copy: Copy) -> Outcome:
    """Put a mutant before tests."""
    copy.mutate(mutant)
    try:
        return run(copy.tree, tests)
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
    def work(cls, number: int, mutant: Mutant, what: str) -> Line:
        """One mutant, before the ``near`` tests, the ``rest`` of them, or the one that is named."""
        if "::" in what:
            file, _, name = what.partition("::")
            found = tried(mutant, Tests([file], None, LIMIT, extra=("-k", name)), cls.copy)
            return line_of(number, mutant, 1, found)
        wanted = cls.known.near(mutant) if what == "near" else cls.known.rest(mutant)
        files = list(dict.fromkeys(test.partition("::")[0] for test in wanted))
        limit = FACTOR * sum(cls.known.seconds[test] for test in wanted) + EXTRA
        found = tried(mutant, Tests(files, wanted, limit), cls.copy) if wanted else Outcome("passed")
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

    def results(self, todo: list[tuple[int, Mutant, str]]) -> Iterator[Line]:
        """Lines as they come, with progress and the time left on standard error."""
        waiting, running, begun, done = iter(todo), set[Future[Line]](), time.perf_counter(), 0
        with ProcessPoolExecutor(self.jobs, get_context("fork"), Worker.begin, (self.out / "seen.jsonl",)) as pool:
            while True:
                while len(running) < self.jobs and time.perf_counter() < self.deadline and (one := next(waiting, None)):
                    running.add(pool.submit(Worker.work, *one))
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
        todo = [(number, mutant, "near") for number, mutant in enumerate(mutants) if number not in self.lines]
        for line in self.results(todo):
            self.lines[line.number] = line

    def rest(self, far: bool) -> None:
        """What survived the near tests and has no reason to, before the others, of other parts too or not."""
        reach = "all" if far else "parts"
        alive = [line for line in self.possible() if line.reach not in ("all", reach) and not line.reason]
        for line in self.results([(line.number, line.mutant, "rest") for line in alive]):
            old = self.lines[line.number]
            count, seconds = old.tests + line.tests, round(old.seconds + line.seconds, 2)
            new = replace(old, outcome=line.outcome, test=line.test, tests=count, seconds=seconds, reach=reach)
            self.lines[line.number] = new

    def later(self) -> None:
        """What survived and has got a test of its own, before that one."""
        alive = [line for line in self.possible() if line.remedy]
        for line in self.results([(line.number, line.mutant, line.remedy) for line in alive]):
            self.lines[line.number] = replace(self.lines[line.number], later=line.outcome, later_test=line.test)


def said(line: Line) -> str:
    """A result for a reader who waits."""
    return f"{line.outcome} {line.file}:{line.line} {line.operator}, {line.seconds:.1f} s {line.test}"


def main(
    count: Annotated[int, typer.Option(min=1, help="Mutants.")] = 500,
    seed: Annotated[int, typer.Option(help="Of the draw.")] = 0,
    jobs: Annotated[int, typer.Option(min=1, help="Processes.")] = 1,
    survivors: Annotated[
        bool, typer.Option("--survivors", help="Only survivors, under the tests written for them.")
    ] = False,
    far: Annotated[bool, typer.Option("--far/--no-far", help="The tests of other parts too, for survivors.")] = True,
    time_budget: Annotated[float, typer.Option(min=0, help="Minutes after which no mutant is begun.")] = math.inf,
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder of the map and the tables.")] = FOLDER,
) -> None:
    """Run the mutants that have no result yet for their source text; the checkout is only read."""
    begun, known = time.perf_counter(), [line for line in table.read(out / "mutants.csv") if line.holds]
    study = Study(out, jobs, begun + 60 * time_budget, {line.number: line for line in known})
    preload()
    if survivors:
        study.later()
    else:
        mutants, at = drawn(count, seed), {line.mutant: line for line in known}
        study.lines = {number: replace(at[one], number=number) for number, one in enumerate(mutants) if one in at}
        seen.look(out / "seen.jsonl", near=True)
        study.near(mutants)
        if far:
            seen.look(out / "seen.jsonl")
        study.rest(far)
    minutes = round((time.perf_counter() - begun) / 60, 1)
    conclude(study, {"seed": seed, "drawn": count, "minutes": minutes})


def conclude(study: Study, settings: dict[str, Any]) -> None:
    """Write the table and its summary."""
    import torch

    from dametric.base.environment import machine

    study.lines = table.reasons(study.out / "reasons.csv", study.lines.values())
    table.write(study.out / "mutants.csv", study.lines.values())
    (study.out / "survivors.md").write_text(table.page(list(study.lines.values())), encoding="utf-8")
    command = " ".join(["python -m experiments.mutation", *sys.argv[1:]])
    about = {"command": command, **settings, **table.summary(list(study.lines.values()))}
    about["versions"] = machine(torch.device("cpu"))
    (study.out / "summary.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
