"""Architectures, checkpoints, and networks prepared for running."""

from __future__ import annotations

from dametric.models.checkpoint import Checkpoint, load_checkpoint
from dametric.models.inference import inference_copy, preferred_dtype
from dametric.models.loaded import LoadedNetwork
from dametric.models.registry import MODELS, build
from dametric.models.saving import load_state, save_checkpoint

__all__ = [
    "MODELS",
    "Checkpoint",
    "LoadedNetwork",
    "build",
    "inference_copy",
    "load_checkpoint",
    "load_state",
    "preferred_dtype",
    "save_checkpoint",
]
