"""Architectures by name."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable

import torch
from torch import nn

from dametric.base import limits
from dametric.base.user_code import load_object, one_line
from dametric.errors import UsageError, unknown
from dametric.models.interface import input_channels
from dametric.models.library import LIBRARIES, check_library_name, elsewhere, from_library
from dametric.models.mobilenet import MOBILENETS
from dametric.models.outputs import answer
from dametric.models.resnet import RESNETS
from dametric.models.shufflenet import SHUFFLENETS
from dametric.models.vgg import VGGS
from dametric.models.wrn import WIDE_RESNETS

MODELS: dict[str, Callable[..., nn.Module]] = {**RESNETS, **WIDE_RESNETS, **VGGS, **MOBILENETS, **SHUFFLENETS}
"""Built-in architectures: name to builder, called with ``num_classes=100, image_size=32``."""

SMALLEST = 8  # pixels; smaller feature maps cannot be pooled by all networks


def build(arch: str, num_classes: int = 100, image_size: int = 32) -> nn.Module:
    """Build a network with fresh weights.

    Parameters
    ----------
    arch : str
        A name in ``MODELS``, ``torchvision:NAME``, ``timm:NAME``, ``pkg.mod:fn`` or ``./file.py:fn``; the
        last two run the user's code and call the function with ``num_classes=`` and ``image_size=``, if it
        has parameters of these names. ``NAME`` of a library may be followed by arguments:
        ``timm:NAME,img_size=64``.
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
        If the name is unknown, the network does not exist at this size, or the user's code fails.
    """
    limits.whole("the number of classes", num_classes, limits.CLASSES)
    limits.whole("the image size", image_size, limits.IMAGE_SIZE)
    if num_classes < 1:
        raise UsageError(f"a network needs at least one class, not {num_classes}")
    if image_size < SMALLEST:
        raise UsageError(f"images of {image_size} pixels are too small: the networks need at least {SMALLEST}")
    arch = canonical(arch)
    if arch in MODELS:
        return MODELS[arch](num_classes=num_classes, image_size=image_size)
    library, _, name = arch.partition(":")
    if library in LIBRARIES:
        return from_library(library, name, num_classes, image_size)
    if is_user_architecture(arch):
        return _from_user(arch, num_classes, image_size)
    raise _no_such(arch)


def canonical(arch: str) -> str:
    """Name of an architecture in records: a built-in one in its canonical case."""
    if arch in MODELS:
        return arch
    same = [name for name in MODELS if name.casefold() == arch.casefold()]
    return same[0] if len(same) == 1 else arch


def check_architecture(arch: str) -> None:
    """Refuse an architecture that does not exist, without building it.

    Raises
    ------
    UsageError
        As :func:`build` does for such a name.
    """
    library, _, name = arch.partition(":")
    if canonical(arch) in MODELS:
        return
    if library in LIBRARIES:
        check_library_name(library, name)
    elif is_user_architecture(arch):
        load_object(arch, "architecture")
    else:
        raise _no_such(arch)


def _no_such(arch: str) -> UsageError:
    there = elsewhere(arch)
    if there is not None:
        return UsageError(f"unknown architecture '{arch}': did you mean {there}?")
    return unknown("architecture", arch, MODELS)


def is_user_architecture(arch: str) -> bool:
    """Whether building ``arch`` imports code that is neither dametric's nor a library's."""
    return ":" in arch and arch.partition(":")[0] not in LIBRARIES


def _from_user(spec: str, num_classes: int, image_size: int) -> nn.Module:
    function = load_object(spec, "architecture")
    takes = _parameters(function)
    arguments = {"num_classes": num_classes}
    if "image_size" in takes:
        arguments["image_size"] = image_size
    try:
        network = function(**arguments)
    except UsageError:
        raise
    except Exception as error:
        call = ", ".join(f"{key}={value}" for key, value in arguments.items())
        failed = f"architecture '{spec}': calling it with {call} failed with {one_line(error)}"
        if not isinstance(error, TypeError) or "num_classes" in takes or None in takes:
            raise UsageError(failed) from error
        return _with_own_class_count(spec, function, num_classes, image_size, failed)
    return _module(spec, network)


def _parameters(function: Callable[..., object]) -> set[str | None]:
    """Names of a function's parameters, with None among them where it takes any keyword."""
    parameters = inspect.signature(function).parameters.values()
    return {None if parameter.kind is inspect.Parameter.VAR_KEYWORD else parameter.name for parameter in parameters}


def _module(spec: str, network: object) -> nn.Module:
    if not isinstance(network, nn.Module):
        raise UsageError(f"architecture '{spec}' returned a {type(network).__name__}, not a torch.nn.Module")
    return network


def _with_own_class_count(
    spec: str, function: Callable[..., object], num_classes: int, image_size: int, failed: str
) -> nn.Module:
    """Build a network whose function takes no number of classes; its output must have the requested number."""
    arguments = {"image_size": image_size} if "image_size" in _parameters(function) else {}
    try:
        network = _module(spec, function(**arguments))
        count = _classes(network, image_size)
    except Exception as error:
        raise UsageError(f"{failed}, and without it with {one_line(error)}") from error
    if count != num_classes:
        raise UsageError(f"{failed}, and without it makes a network of {count} classes, not {num_classes}")
    return network


def _classes(network: nn.Module, image_size: int) -> int:
    """Number of logits, by running a copy of the network on two black images."""
    images = torch.zeros(2, input_channels(network, image_size) or 3, image_size, image_size)
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        output = copy.deepcopy(network).eval()(images)
    return answer(output, len(images), None, "network")[0].logits(output).shape[1]
