"""Decoding of image files to RGB pixels."""

from __future__ import annotations

import io
import os

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from dametric.errors import UsageError

Pixels = npt.NDArray[np.uint8]
MOST_BYTES = 256 << 20  # of an encoded image: the largest that Pillow decodes is below
_MOST_PIXELS = 1 << 27  # of an image that is being resized
_PNG = b"\x89PNG\r\n\x1a\n"


def workers() -> int:
    """Number of decoding threads: the cores this process may use, at least two."""
    if hasattr(os, "sched_getaffinity"):
        return max(2, len(os.sched_getaffinity(0)))
    return max(2, os.cpu_count() or 2)


def decode(encoded: bytes, where: str, image_size: int | None = None, bits: int = 16) -> Pixels:
    """Decode one image file to RGB.

    Greyscale, palette and CMYK images become RGB; an alpha channel is dropped, as torchvision's ``ImageFolder``
    does. 16-bit images keep the high byte of the bits in use, where Pillow keeps that of all 16. The EXIF
    orientation is ignored, again as ``ImageFolder`` does, so that images look as in the teacher's training. Of an
    animation the first frame counts.

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
        with Image.open(io.BytesIO(encoded)) as image:
            plain = _scaled(image, bits) if bits != 16 and is_deep(encoded) else image
            return np.asarray(fit(to_rgb(plain), image_size)).transpose(2, 0, 1)
    except Exception as error:  # damaged files make Pillow's many readers raise almost anything
        raise UsageError(f"cannot decode {where}: {reason(error)}") from error


def size_of(encoded: bytes, where: str) -> tuple[int, int]:
    """Height and width of an encoded image in pixels, from its header alone.

    Raises
    ------
    UsageError
        If the header is not that of an image.
    """
    try:
        with Image.open(io.BytesIO(encoded)) as image:
            return image.height, image.width
    except Exception as error:
        raise UsageError(f"cannot decode {where}: {reason(error)}") from error


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


def fit(image: Image.Image, image_size: int | None) -> Image.Image:
    """Resize the shorter side to ``image_size`` and crop the centre, as torchvision's transforms do."""
    width, height = image.size
    if image_size is None or (width, height) == (image_size, image_size):
        return image
    if width <= height:
        width, height = image_size, int(image_size * height / width)
    else:
        width, height = int(image_size * width / height), image_size
    if width * height > _MOST_PIXELS:
        raise ValueError(f"its sides are too unequal for {image_size} pixels: it would be {width}x{height}")
    image = image.resize((width, height), Image.Resampling.BILINEAR)
    left, top = round((width - image_size) / 2), round((height - image_size) / 2)
    return image.crop((left, top, left + image_size, top + image_size))


def reason(error: Exception) -> str:
    """Reason why an image cannot be decoded, in one line."""
    if isinstance(error, UnidentifiedImageError):
        return "not an image, or one of a format that Pillow cannot read"
    return " ".join(str(error).split()) or type(error).__name__
