"""Kernels of the policy operations on uint8 batches, with one strength a row.

Each kernel takes images of shape (rows, channels, height, width) and strengths of shape (rows,), float64, and
returns uint8 images of the same shape. Results are those of torchvision's tensor kernels for the same strength;
blends are computed in float32 and truncated.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from dametric.augment.base import choose, per_row

Kernel = Callable[[Tensor, Tensor], Tensor]


def blend(images: Tensor, other: Tensor, share: Tensor) -> Tensor:
    """``share * images + (1 - share) * other``, clamped to 0..255 and truncated."""
    # rounded as torchvision's fused multiply-add does
    mixed = torch.addcmul(images * per_row(share.float()), other, per_row((1 - share).float()))
    return mixed.clamp_(0, 255).to(torch.uint8)


def grey(images: Tensor) -> Tensor:
    """Luma (ITU-R BT.601) of each pixel, rounded down: Tensor of shape (rows, 1, height, width), float32."""
    if images.shape[1] == 1:
        return images.float()
    red, green, blue = images.float().split(1, 1)
    result: Tensor = (0.2989 * red + 0.587 * green + 0.114 * blue).floor_()
    return result


def brightness(images: Tensor, strength: Tensor) -> Tensor:
    """Blend with black; 1 + strength is the share of the image."""
    return blend(images, torch.zeros((), device=images.device), 1 + strength)


def colour(images: Tensor, strength: Tensor) -> Tensor:
    """Blend with the image's grey version."""
    return images if images.shape[1] == 1 else blend(images, grey(images), 1 + strength)


def contrast(images: Tensor, strength: Tensor) -> Tensor:
    """Blend with the mean grey of the image."""
    return blend(images, grey(images).mean((1, 2, 3), keepdim=True), 1 + strength)


def grayscale(images: Tensor, strength: Tensor) -> Tensor:
    """Replace every colour by its grey."""
    return grey(images).to(torch.uint8).expand_as(images).contiguous()


def hue(images: Tensor, strength: Tensor) -> Tensor:
    """Turn the hue by the share ``strength`` (-0.5..0.5) of a whole turn, in the space of hue, saturation, value."""
    if images.shape[1] == 1:
        return images
    pixels = images.float() / 255
    low, high = pixels.aminmax(dim=1, keepdim=True)
    spread = torch.where(high == low, 1, high - low)
    red, green, blue = ((high - pixels) / spread).split(1, 1)  # distances from the highest channel
    is_red, is_green = pixels[:, :1] == high, pixels[:, 1:2] == high
    sixths = torch.where(is_red, blue - green, torch.where(is_green, 2 + red - blue, 4 + green - red))
    turned = sixths.mul_(1 / 6).add_(per_row(strength.float()))
    turned = turned.sub_(turned.floor()).mul_(6)
    chroma = (high - low) / torch.where(high == 0, 1, high)
    # channel c of the colour is high * (1 - chroma * clamp(min(k, 4 - k), 0, 1)), k = (offset of c + sixths) mod 6
    offsets = torch.stack([torch.full_like(turned[:, 0], offset) for offset in (5.0, 3.0, 1.0)], 1)
    k = offsets.add_(turned)
    k.sub_(6 * (k >= 6))
    changed = high * (1 - chroma * torch.minimum(k, 4 - k).clamp_(0, 1))
    return changed.clamp_(0, 1).mul_(256 - 1e-3).to(torch.uint8)


def sharpness(images: Tensor, strength: Tensor) -> Tensor:
    """Blend with a smoothed version; the outermost pixels stay."""
    height, width = images.shape[2:]
    if height <= 2 or width <= 2:
        return images
    pixels = images.float()
    result = images.clone()
    blended = torch.addcmul(pixels[..., 1:-1, 1:-1], smoothing(pixels), per_row(-strength.float()))
    result[..., 1:-1, 1:-1] = blended.clamp_(0, 255).to(torch.uint8)
    return result


def smoothing(pixels: Tensor) -> Tensor:
    """Difference to a smoothed version, of all but the outermost pixels: (rows, channels, height - 2, width - 2)."""
    lines = pixels[..., :-2, :] + pixels[..., 1:-1, :] + pixels[..., 2:, :]
    nine = lines[..., :-2] + lines[..., 1:-1] + lines[..., 2:]
    inner = pixels[..., 1:-1, 1:-1]
    smooth = ((nine + 4 * inner) / 13).round_()  # never ambiguous: no multiple of 1/13 is halfway between integers
    return smooth.sub_(inner)


def posterize(images: Tensor, strength: Tensor) -> Tensor:
    """Keep the ``strength`` highest bits of every pixel."""
    drop = 8 - strength.long()
    mask = ((255 >> drop) << drop).to(torch.uint8)
    return images & per_row(mask)


def solarize(images: Tensor, strength: Tensor) -> Tensor:
    """Invert the pixels from the threshold ``strength`` (0..255) up."""
    return choose(images >= per_row(strength.float()), ~images, images)


def autocontrast(images: Tensor, strength: Tensor) -> Tensor:
    """Stretch every channel to the full range."""
    import torchvision.transforms.v2.functional as tvf  # takes seconds to load

    result: Tensor = tvf.autocontrast(images)
    return result


def equalize(images: Tensor, strength: Tensor) -> Tensor:
    """Flatten the histogram of every channel."""
    import torchvision.transforms.v2.functional as tvf

    result: Tensor = tvf.equalize(images)
    return result


def invert(images: Tensor, strength: Tensor) -> Tensor:
    """Replace every pixel by its negative."""
    return 255 - images


Matrix = tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]


def warp(
    images: Tensor, xx: Tensor, xy: Tensor, x0: Tensor, yx: Tensor, yy: Tensor, y0: Tensor, mode: str = "nearest"
) -> Tensor:
    """Show at (x, y), in pixels from the centre, the pixel of (xx x + xy y + x0, yx x + yy y + y0); black outside.

    Nearest pixel, or "bilinear"; coefficients have shape (rows,), float64.
    """
    rows, _, height, width = images.shape
    theta = torch.stack(
        [torch.stack([xx, xy, x0], 1).float() / (width / 2), torch.stack([yx, yy, y0], 1).float() / (height / 2)], 2
    )
    grid = places(height, width, images.device).expand(rows, -1, -1).bmm(theta).view(rows, height, width, 2)
    return F.grid_sample(images.float(), grid, mode=mode, align_corners=False).round_().to(torch.uint8)


def places(height: int, width: int, device: torch.device) -> Tensor:
    """Each pixel's x and y from the centre, and 1: Tensor of shape (1, height * width, 3), float32."""
    y = torch.arange(height, device=device, dtype=torch.float32) - (height - 1) / 2
    x = torch.arange(width, device=device, dtype=torch.float32) - (width - 1) / 2
    sides = [x.expand(height, width), y[:, None].expand(height, width), torch.ones_like(x).expand(height, width)]
    return torch.stack(sides, -1).view(1, -1, 3)


def _constants(strength: Tensor) -> tuple[Tensor, Tensor]:
    return torch.ones_like(strength), torch.zeros_like(strength)


def _shear_x(strength: Tensor, height: int, width: int) -> Matrix:
    """Move every line right by ``strength`` times its height below the upper edge."""
    ones, zeros = _constants(strength)
    return ones, strength, strength * height / 2, zeros, ones, zeros


def _shear_y(strength: Tensor, height: int, width: int) -> Matrix:
    """Move every column down by ``strength`` times its distance from the left edge."""
    ones, zeros = _constants(strength)
    return ones, zeros, zeros, strength, ones, strength * width / 2


def _translate_x(strength: Tensor, height: int, width: int) -> Matrix:
    """Move right by whole pixels."""
    ones, zeros = _constants(strength)
    return ones, zeros, -strength.trunc(), zeros, ones, zeros


def _translate_y(strength: Tensor, height: int, width: int) -> Matrix:
    """Move down by whole pixels."""
    ones, zeros = _constants(strength)
    return ones, zeros, zeros, zeros, ones, -strength.trunc()


def _rotate(strength: Tensor, height: int, width: int) -> Matrix:
    """Turn by ``strength`` degrees counter-clockwise about the centre."""
    angle, zeros = torch.deg2rad(strength), torch.zeros_like(strength)
    cosine, sine = torch.cos(angle), torch.sin(angle)
    return cosine, -sine, zeros, sine, cosine, zeros


MATRICES: dict[str, Callable[[Tensor, int, int], Matrix]] = {
    "ShearX": _shear_x,
    "ShearY": _shear_y,
    "TranslateX": _translate_x,
    "TranslateY": _translate_y,
    "Rotate": _rotate,
}
"""Coefficients of :func:`warp` by the names of operations, for their strengths, heights and widths of images."""


def warping(name: str, mode: str = "nearest") -> Kernel:
    """The kernel of one of :data:`MATRICES`."""

    def kernel(images: Tensor, strength: Tensor) -> Tensor:
        return warp(images, *MATRICES[name](strength, images.shape[-2], images.shape[-1]), mode=mode)

    return kernel


shear_x, shear_y, translate_x, translate_y, rotate = (warping(name) for name in MATRICES)
