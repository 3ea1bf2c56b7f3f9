"""An augmentation of one's own: ``dametric score --aug ./examples/augmentation.py:fog:strength=0.5 ...``.

A callable on uint8 images (B, 3, H, W); parameters after colons are its keyword arguments and part of its name. Of one
that mixes images of the batch set ``mixes = True`` on it, or it is shown images one by one.
"""

from __future__ import annotations

from torch import Tensor


def fog(images: Tensor, strength: float = 0.3) -> Tensor:
    """Blend images with white."""
    return (images * (1 - strength) + 255 * strength).round().to(images.dtype)
