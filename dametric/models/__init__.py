"""Architectures, checkpoints, and networks prepared for running."""

from dametric.models.checkpoint import Checkpoint, load_checkpoint, load_state, save_checkpoint
from dametric.models.inference import inference_copy, preferred_dtype
from dametric.models.registry import MODELS, build

__all__ = [
    "MODELS",
    "Checkpoint",
    "build",
    "inference_copy",
    "load_checkpoint",
    "load_state",
    "preferred_dtype",
    "save_checkpoint",
]
