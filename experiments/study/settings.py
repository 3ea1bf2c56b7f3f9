"""Units, settings and strengths of the study, as its grids name them."""

from __future__ import annotations

from functools import lru_cache

from dametric.sweeps.grid import Grid, read_grid
from experiments.study.plan import ROOT

GRID = ROOT / "experiments" / "strengths.yaml"


@lru_cache(maxsize=1)
def _grid() -> Grid:
    return read_grid(str(GRID))


SETTINGS = tuple(dict.fromkeys(row.aug for row in _grid().rows))
"""The twelve settings, in the grid's order."""
UNITS = tuple(dict.fromkeys((row.teacher, row.student) for row in _grid().rows))
"""Teacher and student of the eight units, in the order in which they are finished."""
IDENTITY, CUTMIX = "identity", "cutmix"
STEPS, SHORT = 2000, (100, 400)
FAMILIES = {
    "cutout": ("cutout:length=8", "cutout:length=16", "cutout:length=24"),
    "mixup": ("mixup:alpha=0.2", "mixup"),
    "randaugment": ("randaugment:n=1,m=5", "randaugment:n=2,m=9", "randaugment:n=3,m=14"),
}
"""Families of several strengths, weak ones first."""
MIDDLE = {"cutout": "cutout:length=16", "mixup": "mixup", "randaugment": "randaugment:n=2,m=9"}
"""The fixed choice: the middle strength; of two, the one that the paper uses."""
