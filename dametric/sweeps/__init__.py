"""Grids of runs: read from YAML, planned, carried out side by side, here or on a cluster, resumable at any moment."""

from __future__ import annotations

from dametric.sweeps.grid import Grid, RunSpec, read_grid

__all__ = ["Grid", "RunSpec", "read_grid"]
