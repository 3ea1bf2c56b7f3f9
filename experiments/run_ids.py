"""The ids of all runs that the grids name, as a table: `python -m experiments.run_ids` prints it.

Ids last: a test holds them to `tests/run_ids.csv`, to which lines are only ever added. Images and teachers are stood in
for by fixed names, so that the table needs neither.
"""

from __future__ import annotations

import csv
import itertools
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch

from dametric.data import ImageSet
from dametric.records.identity import run_id
from dametric.sweeps.grid import Grid, RunSpec, read_grid
from dametric.sweeps.options import RunEnvironment, data_options, student_task, training_options
from dametric.training import Teacher, TrainingContext

ROOT = Path(__file__).resolve().parents[1]
MEAN, STD = (0.5, 0.45, 0.4), (0.25, 0.3, 0.2)
ENVIRONMENT = RunEnvironment(Path(), device="cpu", dtype="float32")


def ids() -> Iterator[tuple[str, str, str]]:
    """Grid, row, id; of grids that have changed also the rows that they had."""
    folder = ROOT / "experiments"
    seen = set()
    grids = [path for path in sorted(folder.glob("*.yaml")) if path.name != "study.yaml"]  # the study's fixed tests
    for path in [*grids, *sorted((folder / "former").glob("*.yaml"))]:
        for line in _of_grid(path):
            if line not in seen:
                yield line
            seen.add(line)


def _of_grid(path: Path) -> Iterator[tuple[str, str, str]]:
    grid = read_grid(str(path))
    for data, name in itertools.product(grid.data, grid.teachers):
        if grid.teachers[name].trained:
            yield path.name, f"{data}, teacher {name}", teacher_id(grid, data, name)
    for row in grid.rows:
        options = ", ".join(f"{name}={value}" for name, value in row.training)
        name = f"{row.data}, {row.teacher} -> {row.student}, {row.aug}, seed {row.seed}, {options}"
        yield path.name, name, row_id(grid, row)


def row_id(grid: Grid, row: RunSpec) -> str:
    """Id of a row of a grid, for images and a teacher that stand in for those that it names."""
    context = stand_in(grid, row.data, Teacher(torch.nn.Identity(), MEAN, STD, row.teacher, row.teacher))
    common = student_task(grid, row, ENVIRONMENT).common
    recipe = common.resolved(row.student, context.train, aug=row.aug, seed=row.seed)
    return run_id(context.work(row.student, recipe).config)


def teacher_id(grid: Grid, data: str, name: str) -> str:
    """Id of a teacher's training."""
    spec = grid.teachers[name]
    arch, seed = str(spec.arch), spec.seed or 0
    context = stand_in(grid, data, None)
    recipe = training_options(data_options(grid.data[data]), spec.recipe, ENVIRONMENT, teacher=True).resolved(
        arch, context.train, seed=seed
    )
    return run_id(context.work(arch, recipe).config)


def stand_in(grid: Grid, data: str, teacher: Teacher | None) -> TrainingContext:
    """Images and a teacher with names for fingerprints."""
    spec = grid.data[data]
    size = spec.options.get("image_size") or (64 if spec.source == "tinyimagenet" else 32)
    images = ImageSet.from_tensors(
        torch.zeros(2, 3, size, size, dtype=torch.uint8), [0, 1], mean=MEAN, std=STD, name=data
    )
    train, test = (replace(images, fingerprint=f"{data}, {split}") for split in ("train", "test"))
    held_out = replace(images, fingerprint=f"{data}, held out") if "held_out" in spec.options else None
    return TrainingContext(train, test, torch.device("cpu"), teacher, held_out)


if __name__ == "__main__":
    csv.writer(sys.stdout, lineterminator="\n").writerows([("grid", "run", "id"), *ids()])
