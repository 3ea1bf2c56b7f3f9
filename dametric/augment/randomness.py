"""Seeding of a user's callable: global generators, its own generators, and seed arguments."""

from __future__ import annotations

import functools
import inspect
import random
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import CodeType, MappingProxyType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dametric.base.devices import seed_generators
from dametric.data.known import Statistics

_MOST_PARTS = 2000  # parts of a callable that are searched
# their functions draw from global generators or from arguments, and searching them would not end
_LIBRARIES = {"torch", "torchvision", "numpy", "scipy", "PIL", "cv2", "kornia", "albumentations", "timm", "skimage"}
_LIBRARIES |= sys.stdlib_module_names - {"__main__"}
SEED_NAMES = ("seed", "generator", "rng")

Seed = Callable[[int], None]


@contextmanager
def lent_generators(device: torch.device) -> Iterator[Seed]:
    """Seed the global generators of torch, numpy and random by the function returned; restore their state on exit."""
    python, array = random.getstate(), np.random.get_state()  # noqa: NPY002 - a user's function may draw from it

    def seed(value: int) -> None:
        random.seed(value)
        np.random.seed(value % 2**32)  # noqa: NPY002
        seed_generators(value, device)

    try:
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            yield seed
    finally:
        random.setstate(python)
        np.random.set_state(array)  # noqa: NPY002


def own_generators(function: Any) -> tuple[Seed, ...]:
    """Seeding functions of every generator that a callable holds, captures, or names as a global variable."""
    return tuple(seed for part in parts(function) if (seed := _seed_of(part)) is not None)


def own_normalisations(function: Any) -> tuple[Statistics, ...]:
    """Constants of the parts of a callable whose class is called Normalize."""
    constants = []
    for part in parts(function):
        if type(part).__name__ == "Normalize":
            mean, std = (_numbers(getattr(part, name, None)) for name in ("mean", "std"))
            if mean and std and 0 not in std:
                constants.append(Statistics(mean, std))
    return tuple(constants)


def seed_arguments(function: Any) -> tuple[str, ...]:
    """Parameters of a callable called ``seed``, ``generator`` or ``rng`` that have no value."""
    try:
        known = inspect.signature(function).parameters
    except (TypeError, ValueError):
        return ()
    return tuple(
        name
        for name in SEED_NAMES
        if name in known
        and known[name].kind in (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
        and known[name].default in (None, inspect.Parameter.empty)
        and name != next(iter(known))
    )


def seeded_arguments(names: tuple[str, ...], seed: int) -> dict[str, Any]:
    """Values of :func:`seed_arguments`; generators are on the CPU, so that draws are the same on every device."""
    makers: dict[str, Callable[[], Any]] = {
        "seed": lambda: seed % 2**32,
        "generator": lambda: torch.Generator().manual_seed(seed),
        "rng": lambda: np.random.default_rng(seed),
    }
    return {name: makers[name]() for name in names}


def parts(function: Any) -> Iterator[Any]:
    """A callable and, recursively, all objects that it captures, names, holds or contains."""
    seen: dict[int, Any] = {}
    queue = [function]
    while queue and len(seen) < _MOST_PARTS:
        part = queue.pop(0)
        if id(part) in seen or isinstance(part, (ModuleType, type, Tensor, np.ndarray, str, bytes, int, float)):
            continue
        seen[id(part)] = part
        yield part
        if _seed_of(part) is None:  # seeding an object seeds its parts
            queue.extend(_below(part))


def _below(part: Any) -> list[Any]:
    if inspect.ismethod(part):
        return [part.__func__, part.__self__]
    if isinstance(part, functools.partial):
        return [part.func, *part.args, *part.keywords.values()]
    if inspect.isfunction(part):
        return _of_function(part)
    if isinstance(part, (list, tuple, set, frozenset)):
        return list(part)
    if isinstance(part, (dict, MappingProxyType)):
        return list(part.values())
    calls = [vars(kind).get(name) for kind in type(part).__mro__ for name in ("__call__", "forward")]
    return [*getattr(part, "__dict__", {}).values(), *filter(inspect.isfunction, calls)]


def _of_function(function: Any) -> list[Any]:
    if (function.__module__ or "").partition(".")[0] in _LIBRARIES:
        return []
    captured = [cell.cell_contents for cell in function.__closure__ or () if _is_full(cell)]
    variables: Mapping[str, Any] = function.__globals__
    named = [variables[name] for name in _names(function.__code__) if name in variables]
    return [*captured, *named, *(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()]


def _names(code: CodeType) -> list[str]:
    """Global variables that code, and functions defined in it, name."""
    inner = [name for constant in code.co_consts if isinstance(constant, CodeType) for name in _names(constant)]
    return [*code.co_names, *inner]


def _is_full(cell: Any) -> bool:
    try:
        _ = cell.cell_contents
    except ValueError:
        return False
    return True


def _seed_of(part: Any) -> Seed | None:
    if isinstance(part, np.random.Generator):
        bits = part.bit_generator

        def renew(value: int) -> None:
            bits.state = type(bits)(value).state

        return renew
    if isinstance(part, np.random.RandomState):
        return lambda value: part.seed(value % 2**32)
    if isinstance(part, random.Random):
        return part.seed
    if isinstance(part, torch.Generator):
        return lambda value: void(part.manual_seed(value))
    whole = getattr(part, "set_random_seed", None)  # of albumentations
    return (lambda value: void(whole(value % 2**32))) if callable(whole) else None


def void(_: object) -> None:
    """Discard a value."""


def _numbers(values: Any) -> tuple[float, ...]:
    try:
        return tuple(float(value) for value in torch.as_tensor(values).flatten().tolist())
    except (TypeError, ValueError, RuntimeError):
        return ()
