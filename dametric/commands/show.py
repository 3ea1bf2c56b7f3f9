"""`dametric show`: raw and augmented images side by side, to look at what is scored."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dametric.augment import PAPER, Images, Keys, base_augmentation, default_base, parse
from dametric.augment.examine import check_base, looked_at, sample
from dametric.augment.external import Findings
from dametric.augment.keys import Per
from dametric.base.files import check_writable, write_atomic
from dametric.commands.inputs import DataOptions, say
from dametric.errors import UsageError
from dametric.reports.figures import grid_figure, render


def run(
    augs: Sequence[str], options: DataOptions, output: str, *, images: int, per: Per, base_aug: str | None, seed: int
) -> Path:
    """Draw a grid: the raw images on top, a row for each augmentation below.

    Picks are shown as the pool they choose from, since choosing needs a teacher.
    """
    kind = Path(output).suffix[1:].lower()
    check_writable(Path(output))
    if kind not in ("png", "svg", "pdf"):
        raise UsageError(f"-o {output}: the ending says the kind, one of .png, .svg, .pdf")
    if not 1 <= images <= 64:
        raise UsageError(f"--images is a number from 1 to 64, not {images}")
    data = options.load("train")
    of = Images(data.image_size, data.mean)
    generator = torch.Generator().manual_seed(seed)
    index = torch.randperm(len(data), generator=generator)[:images]
    pixels = next(iter(data.stream([index], torch.device("cpu"))))
    keys = Keys(seed, 1, len(index), per=per)
    base_aug = base_aug or default_base(data.image_size)
    shown, known = sample(data, torch.device("cpu")), dict[tuple[str, str], Findings]()
    (base,) = looked_at([base_augmentation(base_aug, of)], shown, options.quiet, known)
    view = check_base(base)(pixels, Keys(seed, 1, len(index)).sub("base")).images
    rows = [("raw", _arrays(view))]
    for spec in (name for asked in augs for name in (PAPER if asked == "paper" else (asked,))):
        (aug,) = looked_at([parse(spec, of)], shown, options.quiet, known)
        label = f"{spec} (part of its pool)" if aug.pick else spec
        rows.append((label, _arrays(aug(view, keys).images[-len(index) :])))  # of a pool, the last run
    title = f"{Path(data.name).name}: raw ({base_aug}) and augmented, per {per}, seed {seed}"
    figure = grid_figure(rows, title)
    path = write_atomic(output, render(figure, kind))
    say(f"wrote {path}", options.quiet)
    return path


def _arrays(images: Tensor) -> NDArray[np.uint8]:
    pixels = images.round().clamp(0, 255).to(torch.uint8) if images.is_floating_point() else images
    array: NDArray[np.uint8] = pixels.permute(0, 2, 3, 1).numpy()
    return array
