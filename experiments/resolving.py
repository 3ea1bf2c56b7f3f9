"""Does `--resolve` find what brute force finds? `python -m experiments.resolving`.

A linear teacher of the digits (least squares, 8 x 8 pixels), eight augmentations, batches of 32. For each seed,
elimination may show an augmentation 151 batches; brute force shows all of them as often, and looks once, at the end, at
the same level. The table says for each seed whether both leave the same augmentations as possible best ones, and which
share of brute force's forwards elimination needed.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import torch
import typer
from torch import nn

import dametric
from dametric import ImageSet
from dametric.base.environment import machine
from dametric.base.files import write_atomic
from dametric.scoring.paired import Paired
from dametric.scoring.resolving import Elimination

FILE = Path(__file__).parent / "results" / "statistics" / "resolving.csv"
AUGS = ("identity", "flip", "rotate:degrees=15", "rotate:degrees=30", "cutout", "erasing", "translate", "cutmix")
MOST = 151  # batches, a number of them at which elimination looks
_OPTIONS: dict[str, Any] = {"batch_size": 32, "chunk": 32, "device": "cpu", "dtype": "float32", "quiet": True}
_OPTIONS |= {"metrics": ["t_stddev"], "base_aug": "none"}


def linear_teacher() -> tuple[nn.Module, ImageSet]:
    """A teacher fitted to the digits by least squares, and the images that it takes as they are."""
    digits = dametric.load_data("digits", "train", image_size=8, quiet=True)
    assert isinstance(digits.images, torch.Tensor)
    pixels = (digits.images.float() / 255).flatten(1)
    linear = nn.Linear(pixels.shape[1], 10)
    with torch.no_grad():
        fit = torch.linalg.lstsq(nn.functional.pad(pixels, (0, 1), value=1.0), 8 * torch.eye(10)[digits.labels])
        linear.weight.copy_(fit.solution[:-1].T)
        linear.bias.copy_(fit.solution[-1])
    images = ImageSet.from_tensors(digits.images, digits.labels, mean=(0, 0, 0), std=(1, 1, 1))
    return nn.Sequential(nn.Flatten(), linear), images


def lines(seeds: Sequence[int]) -> list[dict[str, Any]]:
    """For each seed ``same`` (whether the same can be best) and ``forwards`` (share of brute force's).

    Returns
    -------
    list of dict
        ``seed, same, forwards, best``.
    """
    teacher, images = linear_teacher()
    table = []
    for seed in seeds:
        quick = dametric.score(teacher, images, AUGS, resolve=True, max_batches=MOST, seed=seed, **_OPTIONS)
        whole = dametric.score(teacher, images, AUGS, batches=MOST, seed=seed, **_OPTIONS)
        resolution = quick.settings.resolution
        assert resolution is not None
        compared = Elimination([row.aug for row in whole.rows], resolution.looks)
        known = {row.aug: Paired.read(row, "t_stddev") for row in whole.rows}
        compared.look(known, [row.aug for row in whole.rows if row.destroyed])
        forwards = sum(row.batches or 0 for row in quick.rows) / len(AUGS) / MOST
        best = sorted(resolution.best)
        table.append(
            {"seed": seed, "same": best == sorted(compared.active), "forwards": forwards, "best": " ".join(best)}
        )
    return table


def main(
    repeats: Annotated[int, typer.Option(min=1, help="Seeds, from 0 up.")] = 200,
    out: Annotated[Path, typer.Option(help="The table.")] = FILE,
) -> None:
    """Write the table anew, and print what it comes to."""
    torch.set_num_threads(1)
    table = pd.DataFrame(lines(range(repeats)))
    write_atomic(out, table.to_csv(index=False, float_format="%.4f").encode())
    same, forwards = float(table.same.mean()), float(table.forwards.mean())
    command = " ".join(["python -m experiments.resolving", *sys.argv[1:]])
    about = {"command": command, "repeats": repeats, "same": same, "forwards": round(forwards, 4)}
    write_atomic(out.with_suffix(".json"), json.dumps({**about, **machine(torch.device("cpu"))}, indent=1).encode())
    print(f"the same result in {same:.1%} of {repeats} seeds, for {forwards:.0%} of the forwards")


if __name__ == "__main__":
    typer.run(main)
