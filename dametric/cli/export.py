"""`dametric export`."""

from __future__ import annotations

from typing import Annotated

import typer

LIBRARIES = "torchvision|timm|albumentations|kornia"


def export(
    aug: Annotated[str, typer.Argument(metavar="AUG", help="Augmentation; see dametric ls augs.")],
    library: Annotated[str, typer.Option("--for", metavar=LIBRARIES, help="Library that shall do the same.")],
    image_size: Annotated[int, typer.Option(help="Height and width of the images, in pixels.")] = 32,
    mean: Annotated[str, typer.Option(help="Mean colour of the data, from 0 to 1, between commas.")] = "0.5,0.5,0.5",
) -> None:
    """Print the code of another library that augments as a specification does.

    \b
    Examples:
      dametric export crop+flip+cutmix --for torchvision
      dametric export rand-m9-n2-mstd0.5 --for timm --image-size 224
    """
    import dametric
    from dametric.base.arguments import argument
    from dametric.errors import UsageError

    try:
        colour = [float(value) for value in mean.split(",")]
    except ValueError:
        raise UsageError(f"{argument('mean', mean)}: numbers between commas are needed, as 0.5,0.5,0.5") from None
    print(dametric.export(aug, library, image_size, colour))
