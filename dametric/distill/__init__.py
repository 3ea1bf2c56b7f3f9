"""Training: teachers now, students and the ledger next; never imports metrics or scoring."""

from dametric.distill.trainer import TrainOptions, train

__all__ = ["TrainOptions", "train"]
