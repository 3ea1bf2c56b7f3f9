"""Architectures, checkpoints, and networks prepared for running."""

from dametric.models.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from dametric.models.inference import inference_copy, preferred_dtype
from dametric.models.registry import MODELS, build

__all__ = [
    "MODELS",
    "Checkpoint",
    "build",
    "inference_copy",
    "load_checkpoint",
    "preferred_dtype",
    "save_checkpoint",
]
