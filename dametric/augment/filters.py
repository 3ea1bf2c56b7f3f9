"""Loss of detail: Gaussian blur, Gaussian noise, and compression as JPEG."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from dametric.augment.base import Augmented, Draw, parameters, whole
from dametric.augment.keys import Keys, field_of
from dametric.augment.photometric import check_between, check_channels

_LEAST_SIGMA = 0.1


@dataclass(frozen=True)
class Blur:
    """Gaussian blur, with edges mirrored.

    Attributes
    ----------
    sigma : float
        Largest standard deviation of the kernel in pixels; it is uniform between 0.1, or ``sigma`` where that is less,
        and this. The kernel reaches three standard deviations, within the image.
    """

    sigma: float = 2.0
    stream = "blur"
    mixes = False
    random = True

    def __post_init__(self) -> None:
        check_between("blur: sigma", self.sigma, 0, 100)

    def draw(self, keys: Keys, shape: torch.Size) -> Draw:
        low = min(self.sigma, _LEAST_SIGMA)
        return {"sigma": low + (self.sigma - low) * keys.uniform("sigma")}

    def radius(self, height: int, width: int) -> int:
        """Pixels of the kernel on each side of its centre."""
        return min(math.ceil(3 * self.sigma), height - 1, width - 1)

    def apply(self, images: Tensor, draw: Draw) -> Augmented:
        images = whole(images)
        radius = self.radius(*images.shape[-2:])
        if not radius:
            return Augmented(images)
        # each row has a kernel of its own: as products of matrices this is several times as fast as convolutions
        (sigma,) = parameters(draw, "sigma")
        down, across = (_smoothing(sigma, radius, side)[:, None] for side in images.shape[-2:])
        return Augmented(whole(down @ images.float() @ across.mT))


def _smoothing(sigma: Tensor, radius: int, size: int) -> Tensor:
    """Matrices that smooth a line of pixels, mirrored at its ends, by Gaussian kernels of these standard deviations.

    Parameters
    ----------
    sigma : Tensor of shape (rows,)
    radius : int
        Less than ``size``.
    size : int
        Pixels of a line.

    Returns
    -------
    Tensor of shape (rows, size, size), float32
        The weight of every pixel for every smoothed one.
    """
    reach = torch.arange(-radius, radius + 1, device=sigma.device)
    weights = torch.softmax(-0.5 * (reach / sigma[:, None]).square(), 1).float()
    place = (torch.arange(size, device=sigma.device)[:, None] + reach).abs()
    place = torch.where(place < size, place, 2 * (size - 1) - place)
    shape = (len(sigma), size, len(reach))
    matrices = torch.zeros(len(sigma), size, size, device=sigma.device)
    return matrices.scatter_add_(2, place.expand(shape), weights[:, None].expand(shape))


@dataclass(frozen=True)
class Noise:
    """Add Gaussian noise to every pixel of every channel, clipped to the range and rounded.

    Attributes
    ----------
    std : float
        Standard deviation as a share of the range of pixels.
    """

    std: float = 0.1
    stream = "noise"
    mixes = False
    random = True

    def __post_init__(self) -> None:
        check_between("noise: std", self.std, 0, 10)

    def draw(self, keys: Keys, shape: torch.Size) -> Draw:
        """Bits of which the noise is made: (rows,), since the noise itself is as large as the images."""
        return {"bits": keys.bits("noise")}

    def apply(self, images: Tensor, draw: Draw) -> Augmented:
        (bits,) = parameters(draw, "bits")
        noise = normal(bits, images[0].numel()).view(images.shape)
        return Augmented(whole(images.float().add_(noise, alpha=255 * self.std)))


def normal(bits: Tensor, count: int) -> Tensor:
    """Standard normal numbers, ``count`` for each row's bits: Tensor of shape (rows, count), float32."""
    result: Tensor = torch.special.ndtri(field_of(bits, count)).float()
    return result


@dataclass(frozen=True)
class Jpeg:
    """Compress as JPEG and decode again, image by image and on the CPU, whatever the device.

    Attributes
    ----------
    quality : int
        Least quality, 1 to 100; it is uniform on the whole numbers from this to 100.
    """

    quality: int = 50
    stream = "jpeg"
    mixes = False
    random = True

    def __post_init__(self) -> None:
        check_between("jpeg: quality", self.quality, 1, 100)

    def draw(self, keys: Keys, shape: torch.Size) -> Draw:
        return {"quality": self.quality + keys.on("cpu").integer("quality", 101 - self.quality)}

    def apply(self, images: Tensor, draw: Draw) -> Augmented:
        check_channels("jpeg", images)
        import torchvision.transforms.v2.functional as tvf  # takes seconds to load

        on_cpu, qualities = whole(images).cpu(), draw["quality"].tolist()
        # by way of Pillow, since torchvision's own codecs are on their way out
        pictures = (tvf.to_pil_image(image) for image in on_cpu)
        coded = [tvf.jpeg(picture, quality) for picture, quality in zip(pictures, qualities, strict=True)]
        return Augmented(torch.stack([tvf.pil_to_tensor(picture) for picture in coded]).to(images.device))
