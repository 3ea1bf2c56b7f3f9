"""Operations of the policies by as many kernels whatever is drawn: one warp, one table look-up, one blend a stage.

Every row goes through all three. Where its operation is none of a kind, that kind leaves it as it is: the warp has the
matrix of the identity, the table holds every value at its own place, the blend has the share 1. The pixels are those of
the kernels in :mod:`dametric.augment.colour`, to the bit; the host needs to know nothing of the draw.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from dametric.augment import colour
from dametric.augment.base import per_row

NAMES = (
    *("ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate"),
    *("Brightness", "Color", "Contrast", "Sharpness"),
    *("Posterize", "Solarize", "AutoContrast", "Equalize", "Invert"),
)
"""Operations in the order of their numbers, as in :data:`dametric.augment.policy.OPERATIONS`."""
_FLAGS = ("Color", "Contrast", "Sharpness", "AutoContrast", "Equalize")
_NEVER = 256.0  # a threshold that no pixel reaches
_ALL_BITS = 8.0
_FEATURES = ("one", "strength", "whole", "cosine", "sine")  # of a strength
_PARAMETERS = ("xx", "xy", "x0", "yx", "yy", "y0", "share", "more", "threshold", "bits")


def _terms(name: str, channels: int, height: int, width: int) -> dict[tuple[str, str], float]:
    """What an operation's parameters are, where they are not those of nothing: factors of features."""
    if _does_nothing(name, channels, height, width):
        return {}
    return {
        "ShearX": {("xy", "strength"): 1.0, ("x0", "strength"): height / 2},
        "ShearY": {("yx", "strength"): 1.0, ("y0", "strength"): width / 2},
        "TranslateX": {("x0", "whole"): -1.0},
        "TranslateY": {("y0", "whole"): -1.0},
        "Rotate": {
            ("xx", "one"): 0.0,
            ("yy", "one"): 0.0,
            ("xx", "cosine"): 1.0,
            ("yy", "cosine"): 1.0,
            ("xy", "sine"): -1.0,
            ("yx", "sine"): 1.0,
        },
        "Brightness": {("share", "strength"): 1.0},
        "Color": {("share", "strength"): 1.0},
        "Contrast": {("share", "strength"): 1.0},
        "Sharpness": {("more", "strength"): -1.0},
        "Posterize": {("bits", "one"): 0.0, ("bits", "strength"): 1.0},
        "Solarize": {("threshold", "one"): 0.0, ("threshold", "strength"): 1.0},
        "Invert": {("threshold", "one"): 0.0},
    }.get(name, {})


def _does_nothing(name: str, channels: int, height: int, width: int) -> bool:
    """Whether images have no colour to change, or no pixels but the outermost."""
    return (name == "Color" and channels == 1) or (name == "Sharpness" and min(height, width) <= 2)


class _Constants(NamedTuple):
    """What does not depend on the draw."""

    factors: Tensor  # (1 + operations, features, parameters), float64; those of nothing come first
    flags: Tensor  # (1 + operations, flags)
    half_sides: Tensor  # (6,), in the order of a matrix
    place: Tensor  # (1, height * width, 3), of pixels from the centre, and 1
    values: Tensor  # (256,), 0..255
    kept: Tensor  # (9, 256), uint8: the values with so many of their bits
    one: Tensor  # (1, 1, 1), int32


@cache
def _constants(channels: int, height: int, width: int, device: torch.device) -> _Constants:
    neutral = {("xx", "one"): 1.0, ("yy", "one"): 1.0, ("share", "one"): 1.0}
    neutral |= {("threshold", "one"): _NEVER, ("bits", "one"): _ALL_BITS}
    factors = torch.zeros(1 + len(NAMES), len(_FEATURES), len(_PARAMETERS), dtype=torch.float64)
    for number, name in enumerate(("", *NAMES)):
        for (parameter, feature), factor in {**neutral, **_terms(name, channels, height, width)}.items():
            factors[number, _FEATURES.index(feature), _PARAMETERS.index(parameter)] = factor
    values, drop = torch.arange(256), 8 - torch.arange(9)[:, None]
    with torch.inference_mode(False):  # kept for whoever comes next
        constants = _Constants(
            factors=factors,
            flags=torch.tensor([[name == flag for flag in _FLAGS] for name in ("", *NAMES)]),
            half_sides=torch.tensor([width / 2] * 3 + [height / 2] * 3),
            place=colour.places(height, width, torch.device("cpu")),
            values=values.float(),
            kept=(((255 >> drop) << drop) & values).to(torch.uint8),
            one=torch.ones(1, 1, 1, dtype=torch.int32),
        )
        return _Constants(*(constant.to(device) for constant in constants))


def applied(images: Tensor, operations: Tensor, strengths: Tensor, mode: str = "nearest") -> Tensor:
    """Apply drawn operations stage after stage, each to all rows.

    Parameters
    ----------
    images : Tensor of shape (rows, channels, height, width), uint8
        Of 1 or 3 channels.
    operations : Tensor of shape (rows, stages), int64
        Numbers in :data:`NAMES`, or -1 for none.
    strengths : Tensor of shape (rows, stages), float64
    mode : {"nearest", "bilinear"}
        Interpolation of warps.

    Returns
    -------
    Tensor of the images' shape, uint8
    """
    channels, height, width = images.shape[1:]
    constants, number = _constants(channels, height, width, images.device), operations + 1
    angle = torch.deg2rad(strengths)
    features = [torch.ones_like(strengths), strengths, strengths.trunc(), torch.cos(angle), torch.sin(angle)]
    # one term of a parameter at most is not a whole number, so that their sum is as exact as that term
    numbers = (torch.stack(features, -1)[..., None, :] @ constants.factors[number])[..., 0, :]
    thetas = (numbers[..., :6].float() / constants.half_sides).unflatten(-1, (2, 3)).mT
    shares, more, thresholds, bits = numbers[..., 6:].unbind(-1)
    others = (1 - shares + more).float()
    tables = _tables(constants, thresholds.float(), bits.long())
    shares, flags = shares.float(), constants.flags[number]
    pixels = images.float()
    for stage in range(operations.shape[1]):
        colours, contrast, sharp, stretched, equalized = (per_row(flag) for flag in flags[:, stage].unbind(-1))
        grid = constants.place.expand(len(images), -1, -1).bmm(thetas[:, stage]).view(-1, height, width, 2)
        pixels = F.grid_sample(pixels, grid, mode=mode, align_corners=False)
        pixels = pixels if mode == "nearest" else pixels.round_()
        pixels = _looked_up(pixels, tables[:, stage, None], stretched[..., 0], equalized[..., 0], constants)
        other = _other(pixels, colours, contrast, sharp)
        blended = torch.addcmul(pixels * per_row(shares[:, stage]), other, per_row(others[:, stage]))
        pixels = blended.clamp_(0, 255).trunc_()
    return pixels.to(torch.uint8)


def _tables(constants: _Constants, thresholds: Tensor, bits: Tensor) -> Tensor:
    """What posterize, solarize and invert make of each of 256 values: (rows, stages, 256), float32."""
    kept = constants.kept[bits].float()
    return torch.where(kept >= thresholds[..., None], 255 - kept, kept)


def _looked_up(pixels: Tensor, table: Tensor, stretched: Tensor, equalized: Tensor, constants: _Constants) -> Tensor:
    """Each pixel's entry in the table of its row, or in that by which a channel is stretched or equalized.

    The tables are of shape (rows, 1, 256), the conditions (rows, 1, 1).
    """
    flat = pixels.flatten(2)
    index = flat.long()
    table = torch.where(stretched, _stretching(flat, constants.values), table)
    steps, table_of_steps = _equalizing(index, constants.one)
    table = torch.where(equalized & (steps > 0), table_of_steps, table)
    return table.gather(2, index).view(pixels.shape)


def _stretching(flat: Tensor, values: Tensor) -> Tensor:
    """Table that stretches each channel to the full range, as torchvision does: (rows, channels, 256)."""
    low, high = flat.aminmax(dim=2, keepdim=True)
    plain = low == high
    scale = torch.where(plain, 1, (high - low) * (1 / 255))
    return ((values - torch.where(plain, 0, low)) / scale).clamp_(0, 255).trunc_()


def _equalizing(index: Tensor, one: Tensor) -> tuple[Tensor, Tensor]:
    """Pixels of a step, 0 where there is nothing to equalize, and the table, as Pillow and torchvision have it.

    Of shapes (rows, channels, 1) and (rows, channels, 256).
    """
    count = torch.zeros(*index.shape[:2], 256, dtype=torch.int32, device=index.device)
    count.scatter_add_(2, index, one.expand_as(index))
    up_to = count.cumsum(2)
    brightest = count.gather(2, up_to.argmax(2, keepdim=True))
    steps = (index.shape[2] - brightest).div_(255, rounding_mode="floor")
    table = (up_to - count + steps // 2).div_(steps.clamp(min=1), rounding_mode="floor")
    return steps, table.clamp_(0, 255).float()


def _other(pixels: Tensor, colours: Tensor, contrast: Tensor, sharp: Tensor) -> Tensor:
    """What each row is blended with: grey, its mean, the difference to a smoothed version, or black."""
    grey = colour.grey(pixels)
    other = torch.where(contrast, grey.mean((1, 2, 3), keepdim=True), 0)
    if pixels.shape[1] == 3:
        other = torch.where(colours, grey, other)
    if min(pixels.shape[2:]) > 2:
        other = torch.where(sharp, F.pad(colour.smoothing(pixels), (1, 1, 1, 1)), other)
    return other
