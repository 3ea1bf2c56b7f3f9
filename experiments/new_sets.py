"""Do the errors of few images, shown many times, hold for other images? `python -m experiments.new_sets`.

New sets of images are drawn from one kind, scored by T. stddev with several passes over each, and the intervals held
against the value of 200,000 images: with the error that is printed, and with the one of deleted batches alone, which
speaks of the same images only. The augmentation either draws nothing (identity), or much.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import torch
import typer

from dametric import __version__
from dametric.base.environment import machine
from dametric.base.files import write_atomic
from dametric.metrics import METRICS, Design
from dametric.scoring.jackknife import Blocks, measured
from dametric.scoring.population import Passes

OUT = Path(__file__).parent / "results" / "statistics" / "new_sets.csv"
SETS = ((200, 2), (200, 5), (200, 20), (400, 5), (1500, 2))
"""Images, and passes over them."""
_CLASSES, _BATCH, _MANY = 10, 64, 200_000


def drawn(rng: np.random.Generator, images: int, passes: int, noise: float) -> tuple[Blocks, Passes]:
    """Contributions of all batches of a new set of images."""
    label, own = rng.integers(0, _CLASSES, images), rng.normal(size=(images, _CLASSES))
    own[np.arange(images), label] += 3
    order = np.concatenate([rng.permutation(images)[: images // _BATCH * _BATCH] for _ in range(passes)])
    seen = (1 - noise / 4) * own[order] + noise * rng.normal(size=(len(order), _CLASSES))
    rows = (torch.tensor(own[order]).softmax(1) + torch.tensor(seen).softmax(1)) / 2
    rows = rows.view(-1, _BATCH, _CLASSES)
    square = (rows - rows.mean(1, keepdim=True)).square().sum(1)
    one = torch.ones(len(rows), dtype=torch.int64)
    epoch = torch.arange(passes).repeat_interleave(images // _BATCH)
    made = Blocks({"square": square, "dof": one.double() * (_BATCH - 1)}, one, epoch)
    return made, Passes(epoch, one, images // _BATCH)


def line(images: int, passes: int, noise: float, repeats: int, seed: int) -> dict[str, Any]:
    """A line of the table: coverage by the printed error and by that of deleted batches, sizes in per cent."""
    metric, design = METRICS["t_stddev"], Design(images=1)
    rng = np.random.default_rng([seed, images, passes, int(noise)])
    truth = measured(drawn(rng, _MANY, 1, noise)[0], metric, design)[0].value
    found = []
    for _ in range(repeats):
        made, of = drawn(rng, images, passes, noise)
        ours, same = measured(made, metric, design, passes=of)[0], measured(made, metric, design)[0]
        held = [one.low <= truth <= one.high for one in (ours, same)]
        found.append((ours.value / truth, ours.se / truth, same.se / truth, *held))
    value, stated, batches, covered, without = np.array(found).T
    sizes = {
        "bias": value.mean() - 1,
        "deviation": value.std(ddof=1),
        "stated": stated.mean(),
        "batches": batches.mean(),
    }
    about = {"augmentation": "draws much" if noise else "identity", "images": images, "passes": passes}
    percent = {name: 100 * float(size) for name, size in sizes.items()}
    shares = {"covered": float(covered.mean()), "covered_by_batches": float(without.mean())}
    return {**about, "repeats": repeats, **percent, **shares}


def main(
    repeats: Annotated[int, typer.Option(min=2, help="New sets for each line.")] = 500,
    seed: Annotated[int, typer.Option(help="Random seed.")] = 0,
    out: Annotated[Path, typer.Option("-o", "--out", help="Table, with a .json of the machine beside it.")] = OUT,
) -> None:
    """Make the table."""
    torch.set_num_threads(1)
    lines = []
    for noise in (0.0, 2.0):
        for images, passes in SETS:
            lines.append(line(images, passes, noise, repeats, seed))
            print(lines[-1], file=sys.stderr)
    write_atomic(out, pd.DataFrame(lines).to_csv(index=False, float_format="%.4g").encode())
    about = {"command": "python -m experiments.new_sets", "repeats": repeats, "seed": seed, "dametric": __version__}
    write_atomic(out.with_suffix(".json"), json.dumps({**about, **machine(torch.device("cpu"))}, indent=1).encode())


if __name__ == "__main__":
    typer.run(main)
