"""`dametric distill`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from dametric.base import limits
from dametric.base.option_groups import (
    AccuracyOptions,
    ImageOptions,
    LossOptions,
    OptimizerOptions,
    PrecisionOptions,
    RunOptions,
    TeacherOptions,
    ViewOptions,
)
from dametric.cli.options import (
    Data,
    Device,
    HeldOut,
    Lockstep,
    Quiet,
    Records,
    TensorBoard,
    with_options,
)


@with_options(
    *(OptimizerOptions, LossOptions, ViewOptions, TeacherOptions, AccuracyOptions),
    *(ImageOptions, RunOptions, PrecisionOptions),
)
def distill(
    chosen: dict[str, Any],
    teacher: Annotated[str, typer.Option("--teacher", "-t", metavar="FILE", help="Checkpoint of the teacher.")],
    student: Annotated[str, typer.Option("--student", "-s", metavar="ARCH", help="Architecture of the student.")],
    aug: Annotated[
        list[str],
        typer.Option("--aug", "-a", metavar="SPEC", help="Augmentation; repeat for several, 'paper' for the nine."),
    ],
    output: Annotated[str, typer.Option("--output", "-o", metavar="DIR", help="The ledger: a folder for runs.")],
    data: Data = None,
    seeds: Annotated[str, typer.Option(metavar="0-2", help="A training run for each: 0-2, or 0,3,7.")] = "0",
    jobs: Annotated[
        int, typer.Option("--jobs", "-j", min=1, max=limits.PROCESSES, help="Runs side by side, sharing the cores.")
    ] = 1,
    lockstep: Lockstep = None,
    held_out: HeldOut = None,
    device: Device = None,
    tensorboard: TensorBoard = False,
    json: Records = False,
    quiet: Quiet = False,
) -> None:
    """Distil students, one for each augmentation and seed, into a ledger; what is done there is not repeated.

    \b
    Examples:
      dametric distill --teacher teacher.pth --student resnet8 --aug cutmix --seeds 0-2 -o runs
      dametric distill -t teacher.pth -s resnet8 --aug paper --jobs 2 -o runs
    """
    from dametric.cli.runs import deliver
    from dametric.errors import RunFailed
    from dametric.sweeps.reading import whole_numbers
    from dametric.training import distill_all

    own: dict[str, Any] = {
        "jobs": jobs,
        "lockstep": lockstep or 1,
        "held_out": held_out,
    }
    own |= {"device": device, "tensorboard": tensorboard, "quiet": quiet, "seeds": whole_numbers(seeds, "--seeds")}
    ledger = distill_all(teacher, student, data, aug, out=output, **own, **chosen)
    deliver(ledger, json)
    if ledger.failed:
        raise RunFailed("; ".join(ledger.failed))
