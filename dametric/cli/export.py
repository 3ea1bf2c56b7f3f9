"""`dametric export`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

import typer

LIBRARIES = ("torchvision", "timm", "albumentations", "kornia")


def export(
    context: typer.Context,
    aug: Annotated[str, typer.Argument(metavar="AUG", help="Augmentation; see dametric ls augs.")],
    library: Annotated[
        str | None,
        typer.Option("--for", metavar="|".join(LIBRARIES), help="Library that shall do the same. [required]"),
    ] = None,
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
    from dametric.base.terminal import note
    from dametric.errors import UsageError

    if library is None:
        *first, last = LIBRARIES
        raise UsageError(f"Missing option '--for': it takes {', '.join(first)} or {last}")
    try:
        colour = [float(value) for value in mean.split(",")]
    except ValueError:
        raise UsageError(f"{argument('mean', mean)}: numbers between commas are needed, as 0.5,0.5,0.5") from None
    code = dametric.export(aug, library, image_size, colour)
    others = {"image_size": ((2 * image_size, colour), (image_size + 7, colour)), "mean": ((image_size, [0.123]),)}
    for name, instead in others.items():
        source = context.get_parameter_source(name)
        if source is not None and source.name != "DEFAULT" and _same(code, aug, library, instead):
            note(f"{argument(name, mean if name == 'mean' else image_size)} changes nothing of {aug} for {library}")
    print(code)


def _same(code: str, aug: str, library: str, instead: Iterable[tuple[int, list[float]]]) -> bool:
    """Whether other images come to the same code."""
    import dametric
    from dametric.errors import UsageError

    try:
        return all(dametric.export(aug, library, size, mean) == code for size, mean in instead)
    except UsageError:  # of what only these images allow
        return False
