"""Pictures of augmentations: base and augmented views side by side, to look at what is scored."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dametric.augment import ImageSpec, Keys, base_augmentation, default_base, expand, parse
from dametric.augment.base_view import BaseView
from dametric.augment.examine import check_base, looked_at, sample
from dametric.augment.external import Findings
from dametric.base.arguments import argument
from dametric.base.files import check_writable, write_atomic
from dametric.base.option_groups import ImageOptions, Per
from dametric.base.options import takes
from dametric.data.given import as_image_set, is_source, source_of
from dametric.data.request import ImageRequest
from dametric.errors import UsageError, unknown
from dametric.reports.figures import grid_figure, render

KINDS = ("png", "svg", "pdf")


@takes(images=ImageOptions)
def show(
    augs: str | Sequence[str],
    output: str | os.PathLike[str],
    data: Any = "digits",
    *,
    columns: int = 10,
    per: Per = "sample",
    base_aug: str | None = None,
    seed: int = 0,
    quiet: bool = False,
    images: ImageOptions,
) -> Path:
    """Draw base views on top, and a row for each augmentation below.

    Picks are shown as the pool they choose from, since choosing needs a teacher.

    Parameters
    ----------
    augs : str or sequence of str
        Specifications; ``"paper"`` stands for the paper's nine, ``"rotate:degrees=0..90/5"`` for a curve.
    output : path-like
        File to write; its ending, .png, .svg or .pdf, says the kind.
    data : str, path-like, ImageSet, Tensor, tuple or data set
        As :func:`dametric.score` takes it.
    columns : int
        Images in a row, from 1 to 64.
    per : {"sample", "batch"}
        Draw random parameters for each image, or once a batch.
    base_aug : str, optional
        The loader's own augmentation, or none.
    seed : int
        Random seed.
    quiet : bool
        No progress on stderr.
    **options

    Returns
    -------
    Path
        The file.

    Raises
    ------
    UsageError
        For anything that cannot be.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     show(["cutmix", "flip"], f"{folder}/views.png", columns=2, quiet=True).name
    'views.png'
    """
    kind = Path(output).suffix[1:].lower()
    check_writable(Path(output))
    if kind not in KINDS:
        raise UsageError(f"{argument('output', str(output))}: the ending says the kind, one of .png, .svg, .pdf")
    if not 1 <= columns <= 64:
        raise UsageError(f"{argument('images')} is a number of images in a row from 1 to 64, not {columns}")
    if per not in ("sample", "batch"):
        raise unknown(f"value of {argument('per')}", per, ("sample", "batch"))
    request = ImageRequest(**vars(images), source=source_of(data), quiet=quiet)
    image_set = request.load("train") if is_source(data) else as_image_set(data)
    of = ImageSpec(image_set.image_size, image_set.mean)
    index = torch.randperm(len(image_set), generator=torch.Generator().manual_seed(seed))[:columns]
    keys = Keys(seed, 1, len(index), per=per)
    base_aug = base_aug or default_base(image_set.image_size)
    seen, known = sample(image_set, torch.device("cpu")), dict[tuple[str, str], Findings]()
    (base,) = looked_at([base_augmentation(base_aug, of)], seen, quiet, known)
    base_view, base_keys = BaseView.of(check_base(base), image_set), Keys(seed, 1, len(index)).sub("base")
    view = base_view(next(base_view.stream([(index, [base_keys])], "cpu")), base_keys).images
    rows = [("base view", _arrays(view))]
    for spec in expand([augs] if isinstance(augs, str) else augs):
        (aug,) = looked_at([parse(spec, of)], seen, quiet, known)
        label = f"{spec} (part of its pool)" if aug.pick else spec
        rows.append((label, _arrays(aug(view, keys).images[-len(index) :])))  # of a pool, the last run
    title = f"{Path(image_set.name).name}: base view ({base_aug}) and augmented, per {per}, seed {seed}"
    return write_atomic(output, render(grid_figure(rows, title), kind))


def _arrays(images: Tensor) -> NDArray[np.uint8]:
    pixels = images.round().clamp(0, 255).to(torch.uint8) if images.is_floating_point() else images
    array: NDArray[np.uint8] = pixels.permute(0, 2, 3, 1).numpy()
    return array
