"""`dametric sweep`."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from dametric.base import limits
from dametric.cli.options import Config, Device, Lockstep, Quiet, Records


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
    whole_runs: Annotated[
        bool,
        typer.Option("--whole-runs", help="With --time-budget: begin no run that cannot end in it, by runs like it."),
    ] = False,
    ray: Annotated[
        str | None,
        typer.Option(
            "--ray", metavar="[ADDRESS]", help="On a Ray cluster: auto (default), HOST:PORT, ray://..., local."
        ),
    ] = None,
    cpus_per_run: Annotated[float, typer.Option(min=0, help="With --ray: CPU cores of a run.")] = 1.0,
    gpus_per_run: Annotated[float, typer.Option(min=0, help="With --ray: GPUs of a run, 0.25 for four on each.")] = 0.0,
    device: Device = None,
    csv: Annotated[str | None, typer.Option(metavar="DIR", help="Write runs.csv and scores.csv there.")] = None,
    json: Records = False,
    quiet: Quiet = False,
    config: Config = None,
) -> None:
    """Carry out a grid of runs: teachers, students, scores. Exit code 0: all done; 3: work is left; 1: a run failed."""
    start = time.monotonic()
    from dametric.sweeps import api as command

    asked = command.SweepOptions(
        grid=grid,
        output=output,
        overrides=set_ or (),
        only=only or (),
        shard=shard,
        max_runs=max_runs,
        time_budget=time_budget,
        jobs=jobs,
        lockstep=lockstep,
        eval_every=eval_every,
        keep=keep,
        whole_runs=whole_runs,
        ray=ray,
        cpus_per_run=cpus_per_run,
        gpus_per_run=gpus_per_run,
        device=device,
        csv=csv,
        dry_run=dry_run,
        json=json,
        quiet=quiet,
    )
    code = command.run(asked, start)
    if code:
        raise typer.Exit(code)
