"""Decoding of image files to RGB pixels."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import PIL
import torch
import torch.nn.functional as F
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from dametric.errors import UsageError

Pixels = npt.NDArray[np.uint8]
MOST_BYTES = 256 << 20  # of an encoded image: the largest that Pillow decodes is below
_MOST_PIXELS = 1 << 27  # of an image that is being resized
_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8\xff"
_RGB = 3  # torchvision's name for the mode
_FRAMES = (0xC0, 0xC1, 0xC2)  # baseline, extended and progressive, which every decoder reads
_PILLOWS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


class Resize(NamedTuple):
    """What an image is brought to before its centre is cropped: the shorter side in pixels, and the interpolation."""

    size: int
    interpolation: str = "bilinear"


def workers() -> int:
    """Number of decoding threads: the cores this process may use, at least two."""
    if hasattr(os, "sched_getaffinity"):
        return max(2, len(os.sched_getaffinity(0)))
    return max(2, os.cpu_count() or 2)


def decode(
    encoded: bytes, where: str, image_size: int | None = None, bits: int = 16, resize: Resize | None = None
) -> Pixels:
    """Decode one image file to RGB.

    Greyscale, palette and CMYK images become RGB; an alpha channel is dropped, as torchvision's ``ImageFolder``
    does. 16-bit images keep the high byte of the bits in use, where Pillow keeps that of all 16. The EXIF
    orientation is ignored, again as ``ImageFolder`` does, so that images look as in the teacher's training. Of an
    animation the first frame counts. JPEGs of one or three components are decoded and resized by torchvision, which
    takes two thirds of Pillow's time; everything else by Pillow, which also has the last word on damaged files.

    Parameters
    ----------
    encoded : bytes
        The content of an image file.
    where : str
        Name of the image in error messages.
    image_size : int, optional
        Resize the shorter side to this many pixels (bilinear, antialiased) and crop the square in the centre.
    bits : int
        Bits in use of a 16-bit image, from 8 to 16: see :func:`dametric.data.depth.bits_in_use`.
    resize : Resize, optional
        Resize the shorter side to this instead, before the square of ``image_size`` pixels is cropped.

    Returns
    -------
    ndarray of shape (3, H, W), uint8
        The pixels; a view, not necessarily contiguous.

    Raises
    ------
    UsageError
        If it is no image, is damaged, or is so large that Pillow takes it for a decompression bomb.
    """
    try:
        pixels = _torchvisions(encoded)
        if pixels is not None:
            result: Pixels = fitted(pixels, image_size, resize).numpy()
            return result
        with Image.open(io.BytesIO(encoded)) as image:
            plain = _scaled(image, bits) if bits != 16 and is_deep(encoded) else image
            return np.asarray(fit(to_rgb(plain), image_size, resize)).transpose(2, 0, 1)
    except Exception as error:  # damaged files make Pillow's many readers raise almost anything
        raise UsageError(f"cannot decode {where}: {reason(error)}") from error


def size_of(encoded: bytes, where: str) -> tuple[int, int]:
    """Height and width of an encoded image in pixels, from its header alone.

    Raises
    ------
    UsageError
        If the header is not that of an image.
    """
    frame = _jpeg_frame(encoded)
    if frame is not None:
        return frame[:2]
    try:
        with Image.open(io.BytesIO(encoded)) as image:
            return image.height, image.width
    except Exception as error:
        raise UsageError(f"cannot decode {where}: {reason(error)}") from error


def is_jpeg(encoded: bytes) -> bool:
    """Whether a file is a JPEG, by how it begins."""
    return encoded.startswith(_JPEG)


def is_deep(encoded: bytes) -> bool:
    """Whether an image has 16 bits a channel; False for what is no image."""
    if encoded.startswith(_PNG):
        return encoded[24:25] == b"\x10"  # the bit depth stands in the first chunk of every PNG
    try:
        with Image.open(io.BytesIO(encoded)) as image:
            return _deep_grey(image)
    except Exception:
        return False


def deep_values(image: Image.Image) -> np.ndarray:
    """Values of a 16-bit image, uint16; of colour their upper bounds, since Pillow returns the high bytes alone."""
    if _deep_grey(image):
        return np.asarray(image).astype(np.uint16)
    return np.asarray(image.convert("RGB")).astype(np.uint16) << 8 | 0xFF


def _deep_grey(image: Image.Image) -> bool:
    # Pillow 10 opens 16-bit PNG and PPM files in mode "I", with values up to 65535
    return image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM"))


def _scaled(image: Image.Image, bits: int) -> Image.Image:
    if not _deep_grey(image):
        raise ValueError(f"16-bit colour that uses {bits} bits cannot be scaled; convert the images to 8 bits")
    values = deep_values(image)
    if values.max(initial=0) >> bits:
        raise ValueError(f"it uses more than the {bits} bits that the other images do; convert the images to 8 bits")
    return Image.fromarray((values >> (bits - 8)).astype(np.uint8))


def to_rgb(image: Image.Image) -> Image.Image:
    """Turn an image of any of Pillow's modes with a defined range into 8-bit RGB.

    Raises
    ------
    ValueError
        For modes whose values have no defined range (32-bit integer and floating-point images).
    """
    if _deep_grey(image):  # Pillow's own conversion clips at 255, which makes almost every 16-bit image white
        return Image.fromarray((np.asarray(image).astype(np.uint32) >> 8).astype(np.uint8)).convert("RGB")
    if image.mode in ("I", "F"):
        raise ValueError(f"pixels of mode {image.mode} have no defined range; convert them to 8 or 16 bits")
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")  # direct conversion to RGB warns about the transparency it drops
    return image if image.mode == "RGB" else image.convert("RGB")


def fit(image: Image.Image, image_size: int | None, resize: Resize | None = None) -> Image.Image:
    """Resize the shorter side to ``image_size``, or to ``resize``, and crop the centre, as torchvision's transforms do.

    Parameters
    ----------
    image : Image
    image_size : int, optional
        Height and width of the result; without it the image stays as it is.
    resize : Resize, optional
        At least ``image_size``.
    """
    if image_size is None:
        return image
    resize = resize or Resize(image_size)
    height, width = _resized(image.height, image.width, resize.size)
    if (height, width) != (image.height, image.width):
        image = image.resize((width, height), _PILLOWS[resize.interpolation])
    top, left = _centre(height, width, image_size)
    return image.crop((left, top, left + image_size, top + image_size))


def fitted(image: Tensor, image_size: int | None, resize: Resize | None) -> Tensor:
    """What :func:`fit` does, of a tensor (3, H, W); pixels differ by one at most."""
    if image_size is None:
        return image
    resize = resize or Resize(image_size)
    size = _resized(image.shape[1], image.shape[2], resize.size)
    if size != image.shape[1:]:
        image = F.interpolate(image[None], size, mode=resize.interpolation, antialias=True)[0]
    top, left = _centre(*size, image_size)
    return image[:, top : top + image_size, left : left + image_size]


def _resized(height: int, width: int, shorter: int) -> tuple[int, int]:
    """Height and width of an image whose shorter side is resized."""
    size = (int(shorter * height / width), shorter) if width <= height else (shorter, int(shorter * width / height))
    if size[0] * size[1] > _MOST_PIXELS:
        raise ValueError(f"its sides are too unequal for {shorter} pixels: it would be {size[1]}x{size[0]}")
    return size


def _centre(height: int, width: int, size: int) -> tuple[int, int]:
    return round((height - size) / 2), round((width - size) / 2)


def _torchvisions(encoded: bytes) -> Tensor | None:
    """RGB pixels (3, H, W) of a JPEG by torchvision; None for what Pillow should decode, or refuse."""
    frame = _jpeg_frame(encoded)
    if frame is None or frame[0] * frame[1] > (Image.MAX_IMAGE_PIXELS or frame[0] * frame[1]):
        return None
    try:
        pixels: Tensor = _operator()(torch.frombuffer(bytearray(encoded), dtype=torch.uint8), _RGB, False)
    except (RuntimeError, AttributeError):  # damaged, or no such operator
        return None
    return pixels


@cache
def _operator() -> Callable[[Tensor, int, bool], Tensor]:
    """The operator of torchvision that decodes JPEGs; its function warns that a later release will be without."""
    import torchvision  # noqa: F401  which registers it, and takes seconds to load

    operator: Callable[[Tensor, int, bool], Tensor] = torch.ops.image.decode_jpeg
    return operator


def _jpeg_frame(encoded: bytes) -> tuple[int, int] | None:
    """Height and width of a JPEG of 8 bits and one or three components, from its header; None for anything else."""
    at = 2
    while encoded.startswith(_JPEG) and at + 10 <= len(encoded) and encoded[at] == 0xFF:
        marker, length = encoded[at + 1], int.from_bytes(encoded[at + 2 : at + 4], "big")
        if marker in _FRAMES:
            height, width = (int.from_bytes(encoded[at + n : at + n + 2], "big") for n in (5, 7))
            fits = encoded[at + 4] == 8 and encoded[at + 9] in (1, 3) and height and width
            return (height, width) if fits else None
        if marker == 0xFF:  # padding
            at += 1
        elif (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xCC)) or marker == 0xDA or length < 2:
            return None
        else:
            at += 2 + length
    return None


@cache
def decoder() -> str:
    """Name of what decodes JPEGs here, for records."""
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, "JPEG")
    if _torchvisions(file.getvalue()) is not None:
        import torchvision

        return f"torchvision {torchvision.__version__}"
    return f"Pillow {PIL.__version__}"


def reason(error: Exception) -> str:
    """Reason why an image cannot be decoded, in one line."""
    if isinstance(error, UnidentifiedImageError):
        return "not an image, or one of a format that Pillow cannot read"
    return " ".join(str(error).split()) or type(error).__name__
