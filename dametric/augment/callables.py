"""User functions and classes in a specification, with parameters: ``./augs.py:snow:p=0.5``."""

from __future__ import annotations

import ast
import functools
import inspect
import re
from collections.abc import Callable
from typing import Any, NamedTuple

from dametric.augment.forms import not_on_stdout
from dametric.base.user_code import load_object, one_line
from dametric.errors import UsageError, shortened, unknown

_LONGEST = 1000  # characters of an operation
_PARAMETER = re.compile(r"\s*[^\W\d]\w*\s*=")
_CONSTANTS = {"true": True, "false": False, "none": None}


class Named(NamedTuple):
    """A callable and its canonical specification."""

    function: Callable[..., Any]
    spelling: str


def names_a_place(part: str) -> bool:
    """Whether an operation names a user's callable: a module or file, and a name in it."""
    place, _ = _split(part)
    name, *words = place.split(":")
    return bool(words) and ("." in name or "/" in name or "=" not in place)


def own_callable(part: str) -> Named:
    """Import the callable that an operation names and bind its parameters; a class, as of torchvision, is instantiated.

    Raises
    ------
    UsageError
        If it does not exist, does not take these parameters, or cannot be instantiated.
    """
    if len(part) > _LONGEST:
        raise UsageError(f"augmentation '{part[:40]}...' has {len(part)} characters: {_LONGEST} at most")
    place, words = _split(part)
    with not_on_stdout():
        target = load_object(place, "augmentation")
        parameters = _parameters(place, words)
        _check(place, target, parameters)
        spelling = ":".join([place, *(f"{key}={_written(parameters[key])}" for key in sorted(parameters))])
        if isinstance(target, type):
            return Named(_instance(part, target, parameters), spelling)
    return Named(functools.partial(target, **parameters) if parameters else target, spelling)


def _split(part: str) -> tuple[str, list[str]]:
    """Split an operation into the callable's place and its parameters."""
    words: list[str] = []
    while True:
        place, _, last = part.rpartition(":")
        if ":" not in place or not _PARAMETER.match(last):
            return part, words
        part, words = place, [last, *words]


def _parameters(place: str, words: list[str]) -> dict[str, Any]:
    """Parse parameters in Python's notation; strings need no quotes."""
    text = f"_({','.join(words)})"
    try:
        call = ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        call = None
    if not isinstance(call, ast.Call) or call.args or any(word.arg is None for word in call.keywords):
        raise UsageError(
            f"augmentation '{place}': parameters are written key=value, not '{shortened(':'.join(words))}'"
        )
    parameters: dict[str, Any] = {}
    for word in call.keywords:
        assert word.arg is not None
        if word.arg in parameters:
            raise UsageError(f"augmentation '{place}': {word.arg} is given twice")
        parameters[word.arg] = _value(word.value, text)
    return parameters


def _value(node: ast.expr, text: str) -> Any:
    if isinstance(node, ast.Name):
        return _CONSTANTS.get(node.id, node.id)
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError, MemoryError, RecursionError):
        return ast.get_source_segment(text, node)


def _written(value: Any) -> str:
    text = value if isinstance(value, str) else repr(value)
    return re.sub(r"[\s+]", "", text)


def _check(place: str, target: Any, parameters: dict[str, Any]) -> None:
    """Refuse parameters that the callable does not have, where its signature is known."""
    try:
        known = inspect.signature(target).parameters.values()
    except (TypeError, ValueError):  # written in C
        return
    if any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in known):
        return
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.VAR_POSITIONAL)
    names = [parameter.name for parameter in known if parameter.kind not in positional]
    names = names if isinstance(target, type) else names[1:]  # the first parameter of a function takes the images
    for key in parameters:
        if not names:
            raise UsageError(f"augmentation '{place}' takes no parameters, got {key}")
        if key not in names:
            raise unknown(f"parameter of {place}", key, names)


def _instance(part: str, kind: type, parameters: dict[str, Any]) -> Any:
    try:
        return kind(**parameters)
    except TypeError as error:
        raise UsageError(
            f"augmentation '{part}' is a class that needs arguments: write {part}:key=value, or name a function or an "
            f"object that has them ({one_line(error)})"
        ) from error
    except (Exception, SystemExit) as error:
        raise UsageError(f"augmentation '{part}' cannot be made: {one_line(error)}") from error
