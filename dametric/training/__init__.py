"""Training: teachers by labels, students by distillation, each into the ledger; never imports metrics or scoring."""

from __future__ import annotations

from dametric.training.api import Trained, distill, train, watched, watched_together
from dametric.training.recipe import LABELS, Objective, Recipe, default_rate, learning_rate
from dametric.training.setting import Setting, Teacher, Work
from dametric.training.trainer import Training

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
