"""From the name of an architecture to a network."""

from __future__ import annotations

import difflib
import inspect
import warnings
from collections.abc import Callable

import torchvision
from torch import nn

from dametric import limits
from dametric.errors import UsageError, unknown
from dametric.importing import load_object, one_line
from dametric.models.mobilenet import MOBILENETS
from dametric.models.resnet import RESNETS
from dametric.models.shufflenet import SHUFFLENETS
from dametric.models.vgg import VGGS
from dametric.models.wrn import WIDE_RESNETS

MODELS: dict[str, Callable[..., nn.Module]] = {**RESNETS, **WIDE_RESNETS, **VGGS, **MOBILENETS, **SHUFFLENETS}
"""Built-in architectures: name to builder, called with ``num_classes=100, image_size=32``."""

SMALLEST = 8  # pixels; below, some network has nothing left to pool


def build(arch: str, num_classes: int = 100, image_size: int = 32) -> nn.Module:
    """Make a network with fresh weights.

    Parameters
    ----------
    arch : str
        A name in ``MODELS``, ``torchvision:NAME``, ``timm:NAME``, ``pkg.mod:fn`` or ``./file.py:fn``; the
        last two run the user's code and call the function with ``num_classes=`` (and ``image_size=`` if it
        has a parameter of that name).
    num_classes : int
        Number of logits.
    image_size : int
        Height and width of the images in pixels. VGG networks pool once more from 64 on.

    Returns
    -------
    nn.Module
        Network from images (batch, 3, image_size, image_size) to logits (batch, num_classes). Nothing is
        downloaded.

    Raises
    ------
    UsageError
        If the name is not known, the network does not exist at this size, or the user's code fails.
    """
    limits.whole("the number of classes", num_classes, limits.CLASSES)
    limits.whole("the image size", image_size, limits.IMAGE_SIZE)
    if num_classes < 1:
        raise UsageError(f"a network needs at least one class, not {num_classes}")
    if image_size < SMALLEST:
        raise UsageError(f"images of {image_size} pixels are too small: the networks need at least {SMALLEST}")
    if arch in MODELS:
        return MODELS[arch](num_classes=num_classes, image_size=image_size)
    library, _, name = arch.partition(":")
    if library == "torchvision":
        return _from_torchvision(name, num_classes)
    if library == "timm":
        return _from_timm(name, num_classes)
    if is_user_code(arch):
        return _from_user(arch, num_classes, image_size)
    raise unknown("architecture", arch, MODELS)


def check_architecture(arch: str) -> None:
    """Refuse an architecture that does not exist, before anything is read for its sake.

    Raises
    ------
    UsageError
        As :func:`build` does for such a name.
    """
    library, _, name = arch.partition(":")
    if arch in MODELS or library == "timm":
        return
    if library == "torchvision":
        known = torchvision.models.list_models(module=torchvision.models)
        if name.lower() not in known:
            raise _unknown_in("torchvision", name, known)
    elif is_user_code(arch):
        load_object(arch, "architecture")
    else:
        raise unknown("architecture", arch, MODELS)


def is_user_code(arch: str) -> bool:
    """Whether building ``arch`` imports code that is neither dametric's nor a library's."""
    return ":" in arch and arch.partition(":")[0] not in ("torchvision", "timm")


def _from_torchvision(name: str, num_classes: int) -> nn.Module:
    # Classification networks only: detection and segmentation ones fetch backbone weights by default.
    known = torchvision.models.list_models(module=torchvision.models)
    if name.lower() not in known:
        raise _unknown_in("torchvision", name, known)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # on how googlenet and inception draw their weights
        return torchvision.models.get_model(name, weights=None, num_classes=num_classes)


def _from_timm(name: str, num_classes: int) -> nn.Module:
    try:
        import timm
    except ImportError:
        raise UsageError(f"timm:{name} needs the package timm: pip install timm") from None
    if ":" in name or "/" in name:
        raise UsageError(f"timm:{name} would be fetched from the network: name an architecture that timm brings")
    if not timm.is_model(name):
        raise _unknown_in("timm", name, timm.list_models())
    return timm.create_model(name, pretrained=False, num_classes=num_classes)


def _unknown_in(library: str, name: str, known: list[str]) -> UsageError:
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    kind = f"{library} architecture"
    if near:
        return unknown(kind, name, near)
    lister = {"torchvision": "torchvision.models.list_models()", "timm": "timm.list_models()"}[library]
    return UsageError(f"unknown {kind} '{name}': {lister} names them all")


def _from_user(spec: str, num_classes: int, image_size: int) -> nn.Module:
    function = load_object(spec, "architecture")
    arguments = {"num_classes": num_classes}
    try:
        if "image_size" in inspect.signature(function).parameters:
            arguments["image_size"] = image_size
        network = function(**arguments)
    except UsageError:
        raise
    except Exception as error:
        call = ", ".join(f"{key}={value}" for key, value in arguments.items())
        raise UsageError(f"architecture '{spec}': calling it with {call} failed with {one_line(error)}") from error
    if not isinstance(network, nn.Module):
        raise UsageError(f"architecture '{spec}' returned a {type(network).__name__}, not a torch.nn.Module")
    return network
