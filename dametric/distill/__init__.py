"""Training: teachers by labels, students by distillation, each into the ledger; never imports metrics or scoring.

The room is also the public function of its name: ``dametric.distill(...)`` is :func:`dametric.distill.api.distill`.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

from dametric.distill.api import Trained, distill, train, watched, watched_together
from dametric.distill.recipe import LABELS, Objective, Recipe, default_rate, learning_rate
from dametric.distill.setting import Setting, Teacher, Work
from dametric.distill.trainer import Training

__all__ = [
    "LABELS",
    "Objective",
    "Recipe",
    "Setting",
    "Teacher",
    "Trained",
    "Training",
    "Work",
    "default_rate",
    "distill",
    "learning_rate",
    "train",
    "watched",
    "watched_together",
]


class _Room(ModuleType):
    """Python binds ``dametric.distill`` to this module once it is imported; calling it must go on working."""

    def __call__(self, *args: Any, **kwargs: Any) -> Trained:
        return distill(*args, **kwargs)


sys.modules[__name__].__class__ = _Room
