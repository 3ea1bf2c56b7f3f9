"""Warps by one matrix an image: rotation, translation, shear, scale (nearest pixel), perspective (bilinear).

Interpolation is the default of torchvision's classes; what comes from outside of the image is black.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from dametric.augment import colour
from dametric.augment.base import Augmented, Draw, parameters, whole
from dametric.augment.keys import Keys
from dametric.augment.photometric import check_between


def _centred(keys: Keys, name: str) -> Tensor:
    """Uniform numbers on [-1, 1)."""
    return 2 * keys.uniform(name) - 1


class _Matrix(NamedTuple):
    """Where a pixel (x, y), counted from the centre, comes from: (xx x + xy y + x0, yx x + yy y + y0)."""

    xx: Tensor
    xy: Tensor
    x0: Tensor
    yx: Tensor
    yy: Tensor
    y0: Tensor


@dataclass(frozen=True)
class Rotate:
    """Turn about the centre by an angle uniform between ``-degrees`` and ``degrees`` (nearest pixel, black outside)."""

    degrees: float = 15.0
    stream = "rotate"
    mixes = False
    random = True

    def __post_init__(self) -> None:
        check_between("rotate: degrees", self.degrees, 0, 180)

    def draw(self, keys: Keys, shape: torch.Size) -> Draw:
        return {"angle": self.degrees * _centred(keys, "angle")}

    def apply(self, images: Tensor, draw: Draw) -> Augmented:
        return Augmented(colour.rotate(whole(images), *parameters(draw, "angle")))


@dataclass(frozen=True)
class Translate:
    """Move by whole pixels, each way uniform up to the share ``share`` of the image's side (black outside)."""

    share: float = 0.1
    stream = "translate"
    mixes = False
    random = True

    def __post_init__(self) -> None:
        check_between("translate: share", self.share, 0, 1)

    def draw(self, keys: Keys, shape: torch.Size) -> Draw:
        return {
            name: (self.share * side * _centred(keys, name)).round()
            for name, side in (("right", shape[-1]), ("down", shape[-2]))
        }

    def apply(self, images: Tensor, draw: Draw) -> Augmented:
        right, down = parameters(draw, "right", "down")
        ones, zeros = torch.ones_like(right), torch.zeros_like(right)
        return Augmented(colour.warp(whole(images), *_Matrix(ones, zeros, -right, zeros, ones, -down)))


@dataclass(frozen=True)
class Shear:
    """Shear along both axes, by angles uniform between ``-degrees`` and ``degrees`` (nearest pixel, black outside)."""

    degrees: float = 10.0
    stream = "shear"
    mixes = False
    random = True

    def __post_init__(self) -> None:
        check_between("shear: degrees", self.degrees, 0, 80)

    def draw(self, keys: Keys, shape: torch.Size) -> Draw:
        return {name: self.degrees * _centred(keys, name) for name in ("x", "y")}

    def apply(self, images: Tensor, draw: Draw) -> Augmented:
        x, y = (torch.tan(torch.deg2rad(angle)) for angle in parameters(draw, "x", "y"))
        ones, zeros = torch.ones_like(x), torch.zeros_like(x)
        return Augmented(colour.warp(whole(images), *_Matrix(ones + x * y, x, zeros, y, ones, zeros)))


@dataclass(frozen=True)
class Scale:
    """Enlarge or shrink about the centre by a factor uniform on 1 +- ``change`` (nearest pixel, black outside)."""

    change: float = 0.2
    stream = "scale"
    mixes = False
    random = True

    def __post_init__(self) -> None:
        check_between("scale: change", self.change, 0, 0.99)

    def draw(self, keys: Keys, shape: torch.Size) -> Draw:
        return {"factor": 1 + self.change * _centred(keys, "factor")}

    def apply(self, images: Tensor, draw: Draw) -> Augmented:
        (factor,) = parameters(draw, "factor")
        inverse = 1 / factor
        zeros = torch.zeros_like(inverse)
        return Augmented(colour.warp(whole(images), *_Matrix(inverse, zeros, zeros, zeros, inverse, zeros)))


@dataclass(frozen=True)
class Perspective:
    """Move the four corners inwards by whole pixels: torchvision's ``RandomPerspective`` (bilinear, black outside).

    Attributes
    ----------
    distortion : float
        Largest move as a share of half the side.
    """

    distortion: float = 0.5
    stream = "perspective"
    mixes = False
    random = True

    def __post_init__(self) -> None:
        check_between("perspective: distortion", self.distortion, 0, 1)

    def draw(self, keys: Keys, shape: torch.Size) -> Draw:
        """Moves of the corners (top left, top right, bottom right, bottom left) across and down: (rows, 4) each."""
        return {
            name: torch.stack(
                [keys.integer(f"{name}.{corner}", int(self.distortion * (side // 2)) + 1) for corner in range(4)], 1
            )
            for name, side in (("across", shape[-1]), ("down", shape[-2]))
        }

    def apply(self, images: Tensor, draw: Draw) -> Augmented:
        height, width = images.shape[-2:]
        if not self.distortion or height == 1 or width == 1:  # a line has no corners
            return Augmented(whole(images))
        number = torch.arange(4, device=images.device)  # what is listed in Python would have to be copied to a device
        corners = torch.stack([(number == 1) | (number == 2), number > 1], 1).double()
        start = torch.stack([corners[:, 0] * (width - 1), corners[:, 1] * (height - 1)], 1)
        moves = torch.stack(parameters(draw, "across", "down"), 2) * (1 - 2 * corners)
        numbers = _projection(start + moves, start.expand(moves.shape))
        y = torch.arange(height, device=images.device) + 0.5
        x = torch.arange(width, device=images.device) + 0.5
        points = torch.stack(torch.broadcast_tensors(x[None, :], y[:, None], x.new_ones(())), -1).view(1, -1, 3)
        mapped = points @ numbers.float().view(-1, 3, 3).mT  # homogeneous coordinates
        side = torch.stack([torch.full((), length / 2, device=images.device) for length in (width, height)])
        grid = (mapped[..., :2] / side / mapped[..., 2:] - 1).view(-1, height, width, 2)
        warped = F.grid_sample(whole(images).float(), grid, mode="bilinear", align_corners=False)
        return Augmented(warped.round_().to(torch.uint8))


def _projection(points: Tensor, images: Tensor) -> Tensor:
    """Numbers of the projective maps of four points each: Tensor of shape (rows, 9), float64, the last of which is 1.

    Where there is none, since corners coincide, they are those of the identity.

    Parameters
    ----------
    points, images : Tensor of shape (rows, 4, 2)
        The points, and where they are mapped to.
    """
    x, y = points.double().unbind(2)
    to_x, to_y = images.double().unbind(2)
    ones, zeros = torch.ones_like(x), torch.zeros_like(x)
    upper = torch.stack([x, y, ones, zeros, zeros, zeros, -to_x * x, -to_x * y], 2)
    lower = torch.stack([zeros, zeros, zeros, x, y, ones, -to_y * x, -to_y * y], 2)
    solved, _ = torch.linalg.solve_ex(torch.cat([upper, lower], 1), torch.cat([to_x, to_y], 1))
    numbers = torch.cat([solved, ones[:, :1]], 1)
    identity = torch.eye(3, dtype=torch.float64, device=points.device).flatten()
    return torch.where(numbers.isfinite().all(1, keepdim=True), numbers, identity)
