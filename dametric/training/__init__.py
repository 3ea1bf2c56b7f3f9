"""Training: teachers by labels, students by distillation, each into the ledger; never imports metrics or scoring."""

from __future__ import annotations

from dametric.training.api import Trained, distill, distill_all, train
from dametric.training.context import Teacher, TrainingContext, TrainingRun
from dametric.training.recipe import LABELS, Objective, Recipe, default_rate, learning_rate
from dametric.training.trainer import Training
from dametric.training.watched import watched

__all__ = [
    "LABELS",
    "Objective",
    "Recipe",
    "TrainingContext",
    "Teacher",
    "Trained",
    "Training",
    "TrainingRun",
    "default_rate",
    "distill",
    "distill_all",
    "learning_rate",
    "train",
    "watched",
]
