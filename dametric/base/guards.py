"""What no score speaks for: known to scores, statistics and reports alike."""

from __future__ import annotations

KEPT = "information_kept"
"""The metric that guards: the information between images that is left to the teacher, as a fraction of raw images'."""
DESTROYED = 0.25
"""Fraction below which images count as destroyed: with a CIFAR-100 teacher black images keep .00, static .02, heavy
noise .14, cutout of a whole image's width .37, cutmix .74."""
