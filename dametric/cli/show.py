"""`dametric show`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from dametric.base.option_groups import ImageOptions
from dametric.cli.options import Quiet, Seed, with_options


@with_options(ImageOptions)
def show(
    chosen: dict[str, Any],
    aug: Annotated[list[str], typer.Option("--aug", "-a", metavar="SPEC", help="Augmentation; repeat for several.")],
    output: Annotated[
        str, typer.Option("--output", "-o", metavar="FILE", help="Picture to write: .png, .svg or .pdf.")
    ],
    data: Annotated[
        str, typer.Option("--data", metavar="NAME|PATH", help="Image set: a name (dametric ls data) or a path.")
    ] = "digits",
    images: Annotated[int, typer.Option(help="Images in a row.")] = 10,
    per: Annotated[
        str, typer.Option(metavar="sample|batch", help="Draw random parameters for each image, or once a batch.")
    ] = "sample",
    base_aug: Annotated[
        str | None, typer.Option(metavar="SPEC", help="The loader's own augmentation, or none.")
    ] = None,
    seed: Seed = 0,
    quiet: Quiet = False,
) -> None:
    """Draw base and augmented views side by side, to look at what is scored.

    \b
    Examples:
      dametric show --aug cutmix -o views.png
      dametric show --aug paper --data cifar100 --data-root data -o views.pdf
    """
    from dametric.base.progress import say
    from dametric.pictures import show

    path = show(aug, output, data, columns=images, per=per, base_aug=base_aug, seed=seed, quiet=quiet, **chosen)
    say(f"wrote {path}", quiet)
