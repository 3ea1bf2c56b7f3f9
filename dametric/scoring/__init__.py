"""Scoring: one pass over common batches gives every metric of every augmentation, with errors."""

from dametric.scoring.api import score

__all__ = ["score"]
