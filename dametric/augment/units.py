"""Units of the images that a user's callable returns, inferred from its results for known images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dametric.data.known import KNOWN, Statistics

_GREY_LEVEL = 1 / 255
_SLACK = 0.05  # share of the range by which filters and noise may leave it

NORMALISATIONS: Mapping[str, Statistics] = {
    **KNOWN,
    "half": Statistics((0.5,), (0.5,)),
    "mnist": Statistics((0.1307,), (0.3081,)),
    "cifar10 (deviation within images)": Statistics((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)),
    "clip": Statistics((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)),
}
"""Constants of common pipelines, which are tried after those that a callable holds itself."""


@dataclass(frozen=True)
class Units:
    """Units of floating-point images.

    Attributes
    ----------
    name : str
        Name of the units, for messages.
    mean, std : tuple of float
        A value v is the pixel ``255 (v std + mean)``, channel by channel; empty where values are pixels.
    """

    name: str = "pixels"
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()

    def to_pixels(self, images: Tensor) -> Tensor:
        """Convert images to pixel units, black at 0 and white at 255; bytes are pixels in any case."""
        if not self.mean or not images.is_floating_point():
            return images
        mean, std = (torch.tensor(values, device=images.device).view(1, -1, 1, 1) for values in (self.mean, self.std))
        return (images.float() * std + mean).mul_(255)


PIXELS = Units()
SHARES = Units("values from 0 to 1", (0.0,), (1.0,))


def decide(flat: Sequence[Tensor], natural: Sequence[Tensor], constants: Sequence[Statistics]) -> Units | None:
    """Infer the units of a callable's results.

    Parameters
    ----------
    flat : sequence of Tensor of shape (rows, channels, height, width)
        Results for images of one colour, black and white among them.
    natural : sequence of such Tensor
        Results for images of the data.
    constants : sequence of Statistics
        Normalisations that the callable holds.

    Returns
    -------
    Units or None
        None if they are ambiguous. Bytes are pixels; so are floats that are all zero.
    """
    floats, plain = ([t.float() for t in some if t.is_floating_point()] for some in (natural, flat))
    seen = [image for t in (*floats, *plain) for image in t if bool(image.isfinite().all())]
    if not seen:
        return PIXELS
    images = torch.stack(seen)
    values = images.transpose(0, 1).flatten(1)
    low, high = float(values.min()), float(values.max())
    if low == high == 0:
        return PIXELS
    colours = images.flatten(2).median(2).values  # (images, channels); medians are robust to noise in single pixels
    for statistics in constants:
        if _fits(statistics, values, colours):
            return _normalised("images normalised by its own constants", statistics)
    if float(colours.min()) >= -_SLACK and float(colours.max()) <= 1 + _SLACK and low > -0.5 and high < 1.5:
        return SHARES
    if low < 0:
        fitting = {name: s for name, s in NORMALISATIONS.items() if _fits(s, values, colours)}
        if fitting:
            name = min(fitting, key=lambda name: _distance(fitting[name], colours))
            return _normalised(f"images normalised by the constants of {name}", fitting[name])
    if float(colours.min()) >= -255 * _SLACK and float(colours.max()) <= 255 * (1 + _SLACK) and high > 10:
        return PIXELS
    return None


def _normalised(name: str, statistics: Statistics) -> Units:
    return Units(name, tuple(map(float, statistics.mean)), tuple(map(float, statistics.std)))


def _ends(statistics: Statistics, device: torch.device) -> tuple[Tensor, Tensor]:
    """Values of normalised black and white in every channel."""
    mean, std = (torch.tensor(values, device=device) for values in statistics)
    return -mean / std, (1 - mean) / std


def _fits(statistics: Statistics, values: Tensor, colours: Tensor) -> bool:
    """Whether values lie between normalised black and white, and reach one of them."""
    if len(statistics.mean) not in (1, len(values)) or len(statistics.std) not in (1, len(values)):
        return False
    black, white = _ends(statistics, values.device)
    slack = _SLACK * (white - black)
    inside = bool(((values.amin(1) >= black - slack) & (values.amax(1) <= white + slack)).all())
    return inside and _distance(statistics, colours) < _GREY_LEVEL


def _distance(statistics: Statistics, colours: Tensor) -> float:
    """Distance of the darkest colours from normalised black or the lightest from white, as a share of the range."""
    black, white = _ends(statistics, colours.device)
    darkest = ((colours.amin(0) - black) / (white - black)).abs().max()
    lightest = ((colours.amax(0) - white) / (white - black)).abs().max()
    return float(torch.minimum(darkest, lightest))
