"""Forms of images in calls of a user's callable, and conversion of its results."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dametric.base.user_code import line_of, one_line
from dametric.errors import UsageError

Function = Callable[..., Any]


class CallFailed(UsageError):
    """A callable raised an error, perhaps because it takes images in another form."""


@dataclass(frozen=True)
class Form:
    """One form of a call.

    Attributes
    ----------
    words : str
        Form of the input, in words.
    call : callable
        Takes the function, uint8 images (rows, channels, height, width) and keyword arguments; returns a tensor.
    single : bool
        Whether it takes one image at a time, even where a batch shares parameters.
    """

    words: str
    call: Callable[[Function, Tensor, dict[str, Any]], Any]
    single: bool = False


def _bytes(function: Function, images: Tensor, more: dict[str, Any]) -> Any:
    return function(images, **more)


def _shares(function: Function, images: Tensor, more: dict[str, Any]) -> Any:
    return function(images.float() / 255, **more)


def _image(function: Function, images: Tensor, more: dict[str, Any]) -> Any:
    return _back(function(images[0], **more), images)


def _picture(function: Function, images: Tensor, more: dict[str, Any]) -> Any:
    from torchvision.transforms.functional import to_pil_image

    return _back(function(to_pil_image(images[0].cpu()), **more), images)


def _array(function: Function, images: Tensor, more: dict[str, Any]) -> Any:
    pixels = images[0].permute(1, 2, 0).cpu().numpy().copy()
    result = function(image=pixels, **more)
    return _back(result["image"] if isinstance(result, dict) else result, images)


def _back(result: Any, images: Tensor) -> Any:
    """Convert one returned image, in any form, to a tensor on the input's device."""
    if not isinstance(result, (Tensor, np.ndarray)):
        if not hasattr(result, "getbands"):  # PIL pictures have it
            return result
        result = np.array(result)
    if isinstance(result, np.ndarray):
        result = torch.from_numpy(np.array(result))
        result = result[None] if result.ndim == 2 else result.movedim(-1, 0)
    return result[None].to(images.device) if result.ndim == 3 else result


def _with_labels(share: bool, probabilities: bool) -> Callable[[Function, Tensor, dict[str, Any]], Any]:
    """Call with batches and dummy labels, for mixing functions that require labels."""

    def call(function: Function, images: Tensor, more: dict[str, Any]) -> Any:
        shape = (len(images), 1) if probabilities else (len(images),)
        labels = torch.zeros(shape, dtype=torch.float32 if probabilities else torch.int64, device=images.device)
        result = function(images.float() / 255 if share else images, labels, **more)
        return result[0] if isinstance(result, (tuple, list)) and result else result

    return call


ONE_BY_ONE = {
    "bytes": Form("uint8 tensors", _bytes),
    "shares": Form("float tensors from 0 to 1", _shares),
    "image": Form("uint8 tensors of one image (channels, height, width)", _image, single=True),
    "picture": Form("PIL pictures", _picture, single=True),
    "array": Form("uint8 arrays (height, width, channels) as image=", _array, single=True),
}
BY_BATCH = {
    "bytes": ONE_BY_ONE["bytes"],
    "shares": ONE_BY_ONE["shares"],
    "bytes with labels": Form("uint8 tensors with labels", _with_labels(False, False)),
    "bytes with one-hot labels": Form("uint8 tensors with one-hot labels", _with_labels(False, True)),
    "shares with labels": Form("float tensors from 0 to 1 with labels", _with_labels(True, False)),
    "shares with one-hot labels": Form("float tensors from 0 to 1 with one-hot labels", _with_labels(True, True)),
}
FORMS = {**ONE_BY_ONE, **BY_BATCH}


@contextlib.contextmanager
def not_on_stdout() -> Iterator[None]:
    """Redirect what the user's code prints to stderr, since stdout is for results."""
    with contextlib.redirect_stdout(sys.stderr):
        yield


def called(name: str, form: Form, function: Function, images: Tensor, more: dict[str, Any]) -> Tensor:
    """Call a callable on images, and check that its result has their shape.

    Raises
    ------
    CallFailed
        If it raises anything, or exits.
    UsageError
        If it returns no images of this shape.
    """
    try:
        result = form.call(function, images, more)
    except (Exception, SystemExit) as error:
        raise CallFailed(f"augmentation {name} failed: {one_line(error)}{line_of(error)}") from error
    if not isinstance(result, Tensor) or result.shape != images.shape:
        got = f"a tensor of shape {tuple(result.shape)}" if isinstance(result, Tensor) else type(result).__name__
        raise UsageError(f"augmentation {name}: expected images of shape {tuple(images.shape)}, got {got}")
    if not (result.is_floating_point() or result.dtype == torch.uint8):
        raise UsageError(f"augmentation {name}: expected uint8 or floating-point images, got {result.dtype}")
    result = result.as_subclass(Tensor)
    return result.float() if result.is_floating_point() else result
