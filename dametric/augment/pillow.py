"""Kernels whose results are Pillow's to the bit, on uint8 batches with one strength a row.

As those of :mod:`dametric.augment.colour`, they take images of shape (rows, channels, height, width) and strengths of
shape (rows,), float64. Pillow computes grey and means in whole numbers, truncates blends, and interpolates otherwise
than torch does.
"""

from __future__ import annotations

import torch
from torch import Tensor

from dametric.augment.base import per_row

_RED, _GREEN, _BLUE = 19595, 38470, 7471  # shares of grey in 65536ths


def grey(images: Tensor) -> Tensor:
    """Luma of each pixel: Tensor of shape (rows, 1, height, width), float32."""
    if images.shape[1] == 1:
        return images.float()
    red, green, blue = images.int().split(1, 1)
    sixteen_bits: Tensor = red * _RED + green * _GREEN + blue * _BLUE + 0x8000
    return (sixteen_bits >> 16).float()


def blend(images: Tensor, other: Tensor, factor: Tensor) -> Tensor:
    """``other`` at factor 0, the images at 1, beyond them above 1; clamped and truncated."""
    mixed = other + per_row(factor.float()) * (images.float() - other)
    return mixed.clamp_(0, 255).to(torch.uint8)


def brightness(images: Tensor, strength: Tensor) -> Tensor:
    """Blend with black."""
    return blend(images, torch.zeros((), device=images.device), strength)


def colour(images: Tensor, strength: Tensor) -> Tensor:
    """Blend with the image's grey version."""
    return images if images.shape[1] == 1 else blend(images, grey(images), strength)


def contrast(images: Tensor, strength: Tensor) -> Tensor:
    """Blend with the mean grey of the image, a whole number."""
    return blend(images, (grey(images).double().mean((1, 2, 3), keepdim=True) + 0.5).floor().float(), strength)


def sharpness(images: Tensor, strength: Tensor) -> Tensor:
    """Blend with a smoothed version; the outermost pixels stay."""
    if min(images.shape[2:]) <= 2:
        return images
    pixels = images.float()
    lines = pixels[..., :-2, :] + pixels[..., 1:-1, :] + pixels[..., 2:, :]
    nine = lines[..., :-2] + lines[..., 1:-1] + lines[..., 2:]
    smooth = pixels.clone()
    smooth[..., 1:-1, 1:-1] = ((nine + 4 * pixels[..., 1:-1, 1:-1]) / 13).round_()
    return blend(images, smooth, strength)


def autocontrast(images: Tensor, strength: Tensor) -> Tensor:
    """Stretch every channel to the full range."""
    low, high = (value[..., None, None].double() for value in images.flatten(2).aminmax(dim=2))
    scale = torch.full_like(low, 255) / (high - low).clamp(min=1)  # torch divides a number by way of the reciprocal
    stretched = (images * scale + -low * scale).clamp_(0, 255).to(torch.uint8)
    return torch.where(high > low, stretched, images)


def solarize_add(images: Tensor, strength: Tensor) -> Tensor:
    """Add a number to the pixels below 128."""
    brighter = (images + per_row(strength.int())).clamp_(max=255).to(torch.uint8)
    return torch.where(images < 128, brighter, images)


def posterize(images: Tensor, strength: Tensor) -> Tensor:
    """Keep the ``strength`` highest bits of every pixel; none below 1, all from 8 up."""
    drop = 8 - strength.long().clamp(0, 8)
    return images & per_row(((255 >> drop) << drop).to(torch.uint8))


def rotation(degrees: Tensor, height: int, width: int) -> Tensor:
    """Coefficients of :func:`transform` for a turn about the centre: Tensor of shape (rows, 6)."""
    angle = -torch.deg2rad(degrees.remainder(360))
    cosine, sine = torch.cos(angle).round(decimals=15), torch.sin(angle).round(decimals=15)
    x, y = width / 2, height / 2
    across, down = cosine * -x + sine * -y + x, -sine * -x + cosine * -y + y
    return torch.stack([cosine, sine, across, -sine, cosine, down], 1)


def transform(images: Tensor, matrix: Tensor, fill: tuple[int, ...], bicubic: bool) -> Tensor:
    """Show at (x, y) the pixel of (a x + b y + c, d x + e y + f); one colour outside.

    Parameters
    ----------
    images : Tensor of shape (rows, channels, height, width), uint8
    matrix : Tensor of shape (rows, 6), float64
        The coefficients a to f, of places in pixels from the upper left corner.
    fill : tuple of int
        The colour: one number, or one a channel.
    bicubic : bool
        Rather than bilinear.
    """
    rows, channels, height, width = images.shape
    x, y = (torch.arange(side, device=images.device, dtype=torch.float64) + 0.5 for side in (width, height))
    a, b, c, d, e, f = matrix.to(images.device)[:, :, None, None].unbind(1)
    from_x, from_y = a * x + b * y[:, None] + c, d * x + e * y[:, None] + f
    inside = (from_x >= 0) & (from_x < width) & (from_y >= 0) & (from_y < height)
    left, top = (from_x - 0.5).floor(), (from_y - 0.5).floor()
    across, down = (from_x - 0.5 - left)[:, None], (from_y - 0.5 - top)[:, None]
    flat, taps = images.flatten(2), range(-1, 3) if bicubic else range(2)

    def line(row: int) -> Tensor:
        place = (top + row).clamp(0, height - 1) * width
        columns = [(place + (left + column).clamp(0, width - 1)).long().view(rows, 1, -1) for column in taps]
        pixels = [flat.gather(2, column.expand(-1, channels, -1)).view(images.shape).double() for column in columns]
        return _between(pixels, across)

    values = _between([line(row) for row in taps], down).clamp_(0, 255).to(torch.uint8)
    colours = fill * channels if len(fill) == 1 else fill
    outside = torch.stack([torch.full((), value, dtype=torch.uint8, device=images.device) for value in colours])
    return torch.where(inside[:, None], values, outside.view(1, -1, 1, 1))


def _between(values: list[Tensor], share: Tensor) -> Tensor:
    """Values between the middle ones of two (linear) or four (cubic), in the order of Pillow's arithmetic."""
    if len(values) == 2:
        first, second = values
        return first + (second - first) * share
    before, first, second, after = values
    square = 2 * (before - first) + second - after
    cube = -before + first - second + after
    return first + share * (-before + second + share * (square + share * cube))
