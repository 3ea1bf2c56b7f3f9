"""Scoring: one pass over common batches gives every metric of every augmentation, with errors."""

from __future__ import annotations

from dametric.scoring.api import score
from dametric.scoring.request import check_request

__all__ = ["check_request", "score"]
