"""Architectures of torchvision and timm, by name and with their arguments: ``timm:NAME,img_size=64``."""

from __future__ import annotations

import ast
import difflib
import math
import re
import warnings
from collections.abc import Mapping
from types import ModuleType
from typing import Any

from torch import Tensor, nn

from dametric.base.user_code import one_line
from dametric.errors import UsageError, unknown

LIBRARIES = ("torchvision", "timm")

# arguments that would download or read weights, or that have an option of their own
_REFUSED = re.compile(r"weights.*|pretrained.*|checkpoint.*|cache_dir|progress|num_classes|features_only|scriptable")
_WORD = re.compile(r"[\w.-]+")
_TABLES = (("encoder.pos_embedding", "conv_proj.weight"), ("pos_embed", "patch_embed.proj.weight"))
_MOST_TOKENS = 5  # of a transformer besides patches: class, distillation, registers


def from_library(library: str, spec: str, num_classes: int, image_size: int) -> nn.Module:
    """Build a network of a library with fresh weights; nothing is downloaded.

    Parameters
    ----------
    library : {"torchvision", "timm"}
    spec : str
        ``NAME`` or ``NAME,argument=value,...``; names are matched regardless of case where that is unambiguous.
    num_classes : int
    image_size : int
        Height and width in pixels, for vision transformers and other networks of a fixed size.

    Returns
    -------
    nn.Module

    Raises
    ------
    UsageError
        If the name is not known, the library is missing, or it refuses the arguments.
    """
    name, *pairs = spec.split(",")
    arguments = dict(_argument(f"{library}:{spec}", pair) for pair in pairs)
    make = _from_torchvision if library == "torchvision" else _from_timm
    try:
        return make(name, num_classes, image_size, arguments)
    except UsageError:
        raise
    except Exception as error:
        if not arguments and not isinstance(error, AssertionError):
            raise
        size = f" for {image_size}-pixel images"
        raise UsageError(f"{library}:{spec} cannot be made{size}: {one_line(error)}") from error


def check_library_name(library: str, spec: str) -> None:
    """Refuse a name that torchvision does not have; timm, which takes seconds to load, is asked on building only.

    Raises
    ------
    UsageError
    """
    name = spec.partition(",")[0]
    if library == "torchvision" and name.lower() not in (known := _torchvisions()):
        raise _unknown_in("torchvision", name, known)


def elsewhere(name: str) -> str | None:
    """Full name of an architecture that a library knows, ``timm:NAME``; None where neither does."""
    if name.lower() in _torchvisions():
        return f"torchvision:{name.lower()}"
    timm = _timm()
    if timm is None or not _WORD.fullmatch(name):
        return None
    spelt = _spelt(timm, name)
    return f"timm:{spelt}" if spelt else None


def trained_size(weights: Mapping[str, Tensor]) -> int | None:
    """Image size for which a vision transformer's position embedding was made: height and width in pixels.

    Parameters
    ----------
    weights : mapping of str to Tensor
        Weights by name, with or without prefixes.

    Returns
    -------
    int or None
        None for other networks.
    """
    for position, patches in _TABLES:
        table = next((w for name, w in weights.items() if f".{name}".endswith(f".{position}")), None)
        kernel = next((w for name, w in weights.items() if f".{name}".endswith(f".{patches}")), None)
        if table is None or kernel is None or table.ndim != 3 or kernel.ndim != 4:
            continue
        side = math.isqrt(table.shape[1])
        if side and table.shape[1] - side**2 <= _MOST_TOKENS:
            return side * kernel.shape[-1]
    return None


def _argument(spec: str, pair: str) -> tuple[str, Any]:
    """Parse one ``name=value``: numbers, True, False, None, tuples of them, and words."""
    key, equals, text = (part.strip() for part in pair.partition("="))
    if not equals or not key.isidentifier() or _REFUSED.fullmatch(key):
        raise UsageError(f"architecture '{spec}': '{pair}' is not an argument=value pair for the network")
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        value = text
    if isinstance(value, str) and not _WORD.fullmatch(value):
        raise UsageError(f"architecture '{spec}': {key} takes a number, True, False or a word, not '{text}'")
    return key, value


def _torchvisions() -> list[str]:
    import torchvision  # takes seconds to load

    known: list[str] = torchvision.models.list_models(module=torchvision.models)
    return known


def _from_torchvision(name: str, num_classes: int, image_size: int, arguments: dict[str, Any]) -> nn.Module:
    # classification networks only: detection and segmentation ones download backbone weights by default
    if name.lower() not in (known := _torchvisions()):
        raise _unknown_in("torchvision", name, known)
    import torchvision

    sized = {"image_size": image_size} if name.lower().startswith("vit_") else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # on the initialisation of googlenet and inception
        result: nn.Module = torchvision.models.get_model(
            name, weights=None, num_classes=num_classes, **{**sized, **arguments}
        )
        return result


def _from_timm(name: str, num_classes: int, image_size: int, arguments: dict[str, Any]) -> nn.Module:
    timm = _timm()
    if timm is None:
        raise UsageError(f"timm:{name} needs the package timm: pip install timm")
    if ":" in name or "/" in name:
        raise UsageError(f"timm:{name} would be fetched from the network: name an architecture that timm brings")
    spelt = _spelt(timm, name)
    if spelt is None:
        raise _unknown_in("timm", name, timm.list_models())
    config = getattr(timm, "get_pretrained_cfg", lambda name: None)(spelt)
    sized = {"img_size": image_size} if getattr(config, "fixed_input_size", False) else {}
    result: nn.Module = timm.create_model(spelt, pretrained=False, num_classes=num_classes, **{**sized, **arguments})
    return result


def _timm() -> ModuleType | None:
    try:
        import timm
    except ImportError:
        return None
    result: ModuleType | None = timm
    return result


def _spelt(timm: ModuleType, name: str) -> str | None:
    """The name in timm's spelling."""
    return next((word for word in dict.fromkeys((name, name.lower())) if timm.is_model(word)), None)


def _unknown_in(library: str, name: str, known: list[str]) -> UsageError:
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    kind = f"{library} architecture"
    if near:
        return unknown(kind, name, near)
    lister = {"torchvision": "torchvision.models.list_models()", "timm": "timm.list_models()"}[library]
    return UsageError(f"unknown {kind} '{name}': {lister} names them all")
