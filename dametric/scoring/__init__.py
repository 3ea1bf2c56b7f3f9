"""Scoring: one pass over common batches gives every metric of every augmentation, with errors."""

from dametric.scoring.api import check_request, score

__all__ = ["check_request", "score"]
