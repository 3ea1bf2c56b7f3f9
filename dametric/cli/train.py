"""`dametric train`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from dametric.base.option_groups import ImageOptions, OptimizerOptions, PrecisionOptions, RunOptions
from dametric.cli.options import Data, Device, HeldOut, Quiet, Records, Seed, TensorBoard, with_options


@with_options(OptimizerOptions, ImageOptions, RunOptions, PrecisionOptions)
def train(
    chosen: dict[str, Any],
    arch: Annotated[str, typer.Option(help="Architecture (dametric ls models), torchvision:NAME, ./nets.py:fn, ...")],
    output: Annotated[str, typer.Option("--output", "-o", metavar="FILE", help="Checkpoint to write.")],
    data: Data = None,
    aug: Annotated[
        str | None,
        typer.Option(
            "--aug", "-a", metavar="SPEC", help="Of all images. [default: crop+flip; rrc+flip above 96 pixels]"
        ),
    ] = None,
    held_out: HeldOut = None,
    device: Device = None,
    tensorboard: TensorBoard = False,
    json: Records = False,
    seed: Seed = 0,
    quiet: Quiet = False,
) -> None:
    """Train a teacher by labels; interrupted, the same command goes on.

    \b
    Examples:
      dametric train --arch resnet20 --data cifar100 --data-root data -o teacher.pth
      dametric train --arch resnet8 --data digits --epochs 20 --schedule onecycle -o teacher.pth
    """
    from dametric.base.progress import say
    from dametric.cli.runs import deliver
    from dametric.records.ledger import Ledger
    from dametric.records.runs import Run
    from dametric.training import train

    own = {"aug": aug, "held_out": held_out, "seed": seed, "device": device, "tensorboard": tensorboard}
    trained = train(arch, data, output=output, quiet=quiet, **own, **chosen)
    deliver(Ledger((Run(trained.folder),)), json)
    say(f"wrote {output}; to score augmentations: dametric score --aug paper --teacher {output}", quiet)
