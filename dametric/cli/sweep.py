"""`dametric sweep`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dametric.base import limits
from dametric.cli.options import Config, CpusPerRun, Device, GpusPerRun, Lockstep, OwnExecutor, Quiet, Ray, Records
from dametric.errors import RunFailed

if TYPE_CHECKING:
    from rich.table import Table

    from dametric.sweeps.plan import Line, Plan
    from dametric.sweeps.results import Swept


def sweep(
    grid: Annotated[str, typer.Argument(metavar="GRID.yaml", help="What to run; see experiments/ for examples.")],
    output: Annotated[
        str | None,
        typer.Option("--output", "-o", metavar="DIR", help="Where all of it goes. [default: runs/NAME of the grid]"),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="In place of what the grid says: training.epochs=2; repeat."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan and the time left.")] = False,
    only: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=PATTERN", help="Only such runs: student=resnet8, aug=cutmix*, seed=0; repeat."),
    ] = None,
    max_runs: Annotated[
        int | None, typer.Option(min=1, max=limits.RUNS, help="Begin no more students than so many.")
    ] = None,
    shard: Annotated[str | None, typer.Option(metavar="I/N", help="Every N-th run from the I-th on.")] = None,
    time_budget: Annotated[
        str | None, typer.Option(metavar="9m", help="Save everything and stop before so much time has passed.")
    ] = None,
    jobs: Annotated[
        int | None,
        typer.Option(
            "--jobs", "-j", min=1, max=limits.PROCESSES, help="Runs side by side. [default: one a core; 1 on a GPU]"
        ),
    ] = None,
    lockstep: Lockstep = None,
    eval_every: Annotated[
        str | None,
        typer.Option(metavar="N|last", help="As of dametric distill, in place of the grid's. [default: 1]"),
    ] = None,
    keep: Annotated[
        str | None,
        typer.Option(metavar="last|none", help="As of dametric distill, in place of the grid's. [default: last]"),
    ] = None,
    deterministic: Annotated[
        bool | None,
        typer.Option("--deterministic", help="As of dametric distill, in place of the grid's."),
    ] = None,
    whole_runs: Annotated[
        bool,
        typer.Option("--whole-runs", help="With --time-budget: begin no run that cannot end in it, by runs like it."),
    ] = False,
    ray: Ray = None,
    executor: OwnExecutor = None,
    cpus_per_run: CpusPerRun = 1.0,
    gpus_per_run: GpusPerRun = 0.0,
    device: Device = None,
    csv: Annotated[str | None, typer.Option(metavar="DIR", help="Write runs.csv and scores.csv there.")] = None,
    json: Records = False,
    quiet: Quiet = False,
    config: Config = None,
) -> None:
    """Carry out a grid of runs: teachers, students, scores. Exit code 0: all done; 3: work is left; 1: a run failed.

    \b
    Examples:
      dametric sweep grid.yaml --dry-run
      dametric sweep grid.yaml -o runs --jobs 2 --time-budget 30m
    """
    start = time.monotonic()
    from dametric.base.files import check_writable
    from dametric.base.progress import say
    from dametric.cli.runs import deliver
    from dametric.jobs.budget import seconds_of
    from dametric.records.ledger import Ledger
    from dametric.sweeps import api

    common: dict[str, Any] = {
        "overrides": set_ or (),
        "only": only or (),
        "shard": shard,
        "jobs": jobs,
        "eval_every": eval_every,
        "keep": keep,
        "deterministic": deterministic,
        "ray": ray,
        "cpus_per_run": cpus_per_run,
        "gpus_per_run": gpus_per_run,
        "device": device,
        "quiet": quiet,
    }
    if dry_run:
        print_plan(api.plan(grid, output, **common))
        return
    if csv is not None:
        check_writable(Path(csv) / "runs.csv")
    swept = api.sweep(
        grid,
        output,
        max_runs=max_runs,
        # loading what this command needs is a part of the time
        time_budget=None if time_budget is None else max(1e-3, seconds_of(time_budget) - (time.monotonic() - start)),
        lockstep=lockstep,
        whole_runs=whole_runs,
        executor=executor,
        **common,
    )
    if csv is not None:
        write_tables(swept, Path(csv))
    deliver(Ledger(tuple(swept.runs)), json)
    if swept.held:
        say(f"{len(swept.held)} runs are held by another process", quiet)
    if swept.left:
        say(f"{len(swept.left)} runs are left; the same command goes on", quiet)
    if swept.failed:
        raise RunFailed("; ".join(f"{title}: {reason}" for title, reason in swept.failed.items()))
    if swept.exit_status:
        raise typer.Exit(swept.exit_status)
    if swept.scores and swept.students:
        folder = swept.folder
        say(f"to see what the scores are worth: dametric correlate {folder}/scores/*.json {folder}", quiet)


def write_tables(swept: Swept, folder: Path) -> None:
    """``runs.csv`` and ``scores.csv``, as far as there is anything to write."""
    from dametric.base.files import write_atomic
    from dametric.base.spreadsheet import csv_text

    if swept.runs:
        write_atomic(folder / "runs.csv", csv_text(swept.table))
        if swept.scores:
            write_atomic(folder / "scores.csv", csv_text(swept.score_table))


def print_plan(plan: Plan) -> None:
    """The plan on stdout."""
    from dametric.cli.console import wide_console

    console = wide_console()
    console.print(plan_table(plan))
    beside = f"{plan.jobs} at a time" if plan.jobs > 1 else "one after the other"
    if plan.recorded:
        console.print(f"times: {beside}, by the epochs recorded in {plan.folder}; scores are not counted")
    else:
        console.print("times show once there are epochs to go by: --max-runs 1 makes some and keeps them")


def plan_table(plan: Plan) -> Table:
    """The plan's lines; the time is "?" where no run so far is like what is left, "-" for scores."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("", no_wrap=True)
    for name in ("runs", "finished", "begun", "left", "time left"):
        table.add_column(name, justify="right", no_wrap=True)
    for line in plan.lines:
        numbers = (line.count, line.finished, line.begun, line.count - line.finished)
        table.add_row(line.name, *map(str, numbers), _time_left(line, plan.jobs))
    return table


def _time_left(line: Line, jobs: int) -> str:
    from dametric.sweeps.plan import duration

    if line.count == line.finished:
        return "0 s"
    if line.known == 0:
        return "?" if line.unknown else "-"
    return ("more than " if line.unknown else "") + duration(line.seconds_left(jobs))
