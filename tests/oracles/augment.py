"""Slow, plain re-implementations of the augmentations: one image, one pixel, one number at a time.

Written from the papers and from torchvision's per-image functions. Images are numpy arrays of shape
(rows, channels, height, width); parameters have one entry a row.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
import torch
from torchvision.transforms import AutoAugmentPolicy, v2
from torchvision.transforms.v2 import functional as tvf

SIGNED = ("ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate", "Brightness", "Color", "Contrast", "Sharpness")
GEOMETRIC = ("ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate")


def splitmix64(seed: int, count: int) -> list[int]:
    """First outputs of SplitMix64 (Steele, Lea & Flood 2014), as unsigned numbers."""
    mask = (1 << 64) - 1
    state, outputs = seed & mask, []
    for _ in range(count):
        state = (state + 0x9E3779B97F4A7C15) & mask
        z = state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
        outputs.append(z ^ (z >> 31))
    return outputs


def derangements(size: int) -> list[tuple[int, ...]]:
    """All permutations without a fixed point."""
    return [p for p in itertools.permutations(range(size)) if all(p[i] != i for i in range(size))]


def flip(images: np.ndarray, flipped: Sequence[bool]) -> np.ndarray:
    """Mirror left-right the rows that are said to be flipped."""
    out = np.empty_like(images)
    rows, _, height, width = images.shape
    for r in range(rows):
        for y in range(height):
            for x in range(width):
                out[r, :, y, x] = images[r, :, y, width - 1 - x if flipped[r] else x]
    return out


def crop(images: np.ndarray, top: Sequence[int], left: Sequence[int], padding: int) -> np.ndarray:
    """Pad with black, cut out at (top, left) of the padded image."""
    out = np.zeros_like(images)
    rows, _, height, width = images.shape
    for r in range(rows):
        for y in range(height):
            for x in range(width):
                from_y, from_x = y + top[r] - padding, x + left[r] - padding
                if 0 <= from_y < height and 0 <= from_x < width:
                    out[r, :, y, x] = images[r, :, from_y, from_x]
    return out


def cutout(images: np.ndarray, y: Sequence[int], x: Sequence[int], length: int, fill: Sequence[float]) -> np.ndarray:
    """Fill ``length`` x ``length`` pixels from (y - length // 2, x - length // 2) on; outside the image is lost."""
    out = images.astype(np.float64)
    rows, channels, height, width = images.shape
    for r in range(rows):
        for row in range(y[r] - length // 2, y[r] - length // 2 + length):
            for column in range(x[r] - length // 2, x[r] - length // 2 + length):
                if 0 <= row < height and 0 <= column < width:
                    for c in range(channels):
                        out[r, c, row, column] = fill[c]
    return out


def mixup(images: np.ndarray, lam: Sequence[float], partner: Sequence[int]) -> np.ndarray:
    """``lam x_i + (1 - lam) x_partner(i)`` in float64."""
    x = images.astype(np.float64)
    return np.stack([lam[r] * x[r] + (1 - lam[r]) * x[partner[r]] for r in range(len(x))])


def yun_box(height: int, width: int, lam: float, centre_y: int, centre_x: int) -> tuple[int, int, int, int]:
    """Top, bottom, left, right of the box of Yun et al. 2019 (``rand_bbox`` of their released code)."""
    share = math.sqrt(1.0 - lam)
    cut_h, cut_w = int(height * share), int(width * share)
    return (
        min(max(centre_y - cut_h // 2, 0), height),
        min(max(centre_y + cut_h // 2, 0), height),
        min(max(centre_x - cut_w // 2, 0), width),
        min(max(centre_x + cut_w // 2, 0), width),
    )


def yun_boxes(height: int, width: int) -> set[tuple[int, int, int, int]]:
    """Every box that can be drawn at an image size."""
    sides = set()
    for step in range(200_001):
        share = math.sqrt(1.0 - step / 200_000)
        sides.add((int(height * share) // 2, int(width * share) // 2))
    return {
        (max(cy - h, 0), min(cy + h, height), max(cx - w, 0), min(cx + w, width))
        for h, w in sides
        for cy in range(height)
        for cx in range(width)
    }


def cutmix(
    images: np.ndarray,
    top: Sequence[int],
    bottom: Sequence[int],
    left: Sequence[int],
    right: Sequence[int],
    partner: Sequence[int],
) -> tuple[np.ndarray, list[float]]:
    """Paste the partner's pixels inside the box; with the share of pixels that stay the row's own."""
    out, lam = images.copy(), []
    rows, _, height, width = images.shape
    for r in range(rows):
        pasted = 0
        for y in range(top[r], bottom[r]):
            for x in range(left[r], right[r]):
                out[r, :, y, x] = images[partner[r], :, y, x]
                pasted += 1
        lam.append(1 - pasted / (height * width))
    return out, lam


def published_policy(policy: str) -> list[list[tuple[str, float, int]]]:
    """torchvision's table of a learned policy, with level 0 where an operation has none."""
    table = v2.AutoAugment()._get_policies(AutoAugmentPolicy(policy))
    return [[(name, p, level or 0) for name, p, level in pair] for pair in table]


def published_strength(name: str, level: int, height: int, width: int) -> float:
    """What torchvision takes a level 0..9 to mean; solarize's threshold in grey levels."""
    magnitudes, signed = v2.AutoAugment._AUGMENTATION_SPACE[name]
    assert signed == (name in SIGNED)
    values = magnitudes(10, height, width)
    if values is None:
        return 0.0
    return float(values[level]) * (255.0 if name == "Solarize" else 1.0)


def policy_operation(image: torch.Tensor, name: str, strength: float) -> torch.Tensor:
    """One policy operation on one image (channels, height, width) as torchvision's AutoAugment calls it."""
    still: dict = {"angle": 0.0, "translate": [0, 0], "scale": 1.0, "shear": [0.0, 0.0]}
    degrees = math.degrees(math.atan(strength))
    calls = {
        "ShearX": lambda: tvf.affine(image, **{**still, "shear": [degrees, 0.0]}, center=[0, 0]),
        "ShearY": lambda: tvf.affine(image, **{**still, "shear": [0.0, degrees]}, center=[0, 0]),
        "TranslateX": lambda: tvf.affine(image, **{**still, "translate": [int(strength), 0]}),
        "TranslateY": lambda: tvf.affine(image, **{**still, "translate": [0, int(strength)]}),
        "Rotate": lambda: tvf.rotate(image, angle=strength),
        "Brightness": lambda: tvf.adjust_brightness(image, 1.0 + strength),
        "Color": lambda: tvf.adjust_saturation(image, 1.0 + strength),
        "Contrast": lambda: tvf.adjust_contrast(image, 1.0 + strength),
        "Sharpness": lambda: tvf.adjust_sharpness(image, 1.0 + strength),
        "Posterize": lambda: tvf.posterize(image, int(strength)),
        "Solarize": lambda: tvf.solarize(image, strength),
        "AutoContrast": lambda: tvf.autocontrast(image),
        "Equalize": lambda: tvf.equalize(image),
        "Invert": lambda: tvf.invert(image),
    }
    return calls[name]()


def pick(values: Sequence[float], runs: int, batches: int, keep: int) -> list[set[int]]:
    """For each batch the positions in the pool of its highest values."""
    size = len(values) // (runs * batches)
    chosen = []
    for batch in range(batches):
        pool = [
            run * batches * size + batch * size + row  # run after run, each batch after batch
            for run in range(runs)
            for row in range(size)
        ]
        pool.sort(key=lambda position: -values[position])
        chosen.append(set(pool[:keep]))
    return chosen
