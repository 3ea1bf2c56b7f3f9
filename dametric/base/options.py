"""What an option is: a dataclass field with range, unit and help, from which flags, YAML keys and docs come."""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import Field, dataclass, field, fields
from typing import Any, Literal, NamedTuple, TypeVar, Union, get_args, get_origin, get_type_hints

from dametric.base import limits
from dametric.base.arguments import argument
from dametric.errors import UsageError, unknown

R = TypeVar("R")
_KEY = "option"
UNSTATED = "unstated"
"""The neutral value of options that are no part of what a run is."""


@dataclass(frozen=True)
class Option:
    """What there is to say of an option besides its name, type and default.

    Attributes
    ----------
    help : str
        One sentence, with the unit where there is one.
    flags : tuple of str
        As typer takes them, where the flag is not spelt as the name is.
    metavar : str, optional
        What the command line shows for a value.
    low, high : float, optional
        The smallest and the largest value.
    above, below : float, optional
        Bounds that are not values themselves.
    without : str
        What happens where the option is not given and its default is None.
    source : str
        Where the default is from.
    neutral : object
        The value that leaves everything as it was before there was this option: it enters no run's id.
    in_grid, in_ledger : bool
        Whether a grid can set it, and whether the ledger's table has a column of it.
    """

    help: str
    flags: tuple[str, ...] = ()
    metavar: str | None = None
    low: float | None = None
    high: float | None = None
    above: float | None = None
    below: float | None = None
    without: str = ""
    source: str = ""
    neutral: Any = UNSTATED
    in_grid: bool = True
    in_ledger: bool = True


class OptionField(NamedTuple):
    """An option of a group."""

    name: str
    kind: type  # without None and words
    choices: tuple[str, ...]  # the only values, or words that may stand for a number
    optional: bool
    default: Any
    about: Option


def option(default: Any, help: str, **about: Any) -> Any:
    """A field of a group of options.

    Parameters
    ----------
    default : object
    help : str
        One sentence.
    **about
        The rest of :class:`Option`.

    Examples
    --------
    >>> @dataclass(frozen=True)
    ... class Optimizer:
    ...     momentum: float = option(0.9, "Momentum of SGD.", low=0, below=1)
    >>> [(each.name, each.kind, each.default) for each in options_of(Optimizer)]
    [('momentum', <class 'float'>, 0.9)]
    """
    return field(default=default, metadata={_KEY: Option(help, **about)})


def options_of(*groups: type) -> list[OptionField]:
    """The options of some groups, in order; fields that are no options are left out."""
    return [_described(group, each) for group in groups for each in fields(group) if _KEY in each.metadata]


@functools.lru_cache(maxsize=64)
def _hints(group: type) -> dict[str, Any]:
    return get_type_hints(group)


def _described(group: type, each: Field[Any]) -> OptionField:
    hint = _hints(group)[each.name]
    kinds = get_args(hint) if _is_union(hint) else (hint,)
    choices = tuple(word for kind in kinds if get_origin(kind) is Literal for word in get_args(kind))
    plain = [kind for kind in kinds if kind is not type(None) and get_origin(kind) is not Literal]
    optional = type(None) in kinds
    return OptionField(each.name, (plain or [str])[0], choices, optional, each.default, each.metadata[_KEY])


def _is_union(hint: Any) -> bool:
    return get_origin(hint) is Union or type(hint).__name__ == "UnionType"


def check_options(group: object) -> None:
    """Hold the values of a group against their types, ranges and choices; whole numbers become real where asked.

    Raises
    ------
    UsageError
        For the first value that cannot be.
    """
    for each in options_of(type(group)):
        value = getattr(group, each.name)
        if value is None and each.optional:
            continue
        object.__setattr__(group, each.name, checked(each, value))


def checked(each: OptionField, value: Any) -> Any:
    """A value that an option may have.

    Raises
    ------
    UsageError
        If it is of another type, out of range, or not one of the choices.
    """
    name, about = argument(each.name), each.about
    if value in each.choices:
        return value
    if each.kind is bool:
        if not isinstance(value, bool):
            raise UsageError(f"{name} is true or false, not {value!r}")
        return value
    if each.kind is int:
        if each.choices and not isinstance(value, int):
            raise UsageError(
                f"{name} is a whole number from {about.low} up, or {', '.join(each.choices)}, not {value!r}"
            )
        limits.whole(name, value, int(about.high if about.high is not None else 2**63))
        if about.low is not None and value < about.low:
            raise UsageError(f"{name} is a whole number from {about.low} up, not {limits.number(int(value))}")
        return int(value)
    if each.kind is float:
        limits.real(name, value)
        if not _within(float(value), about):
            raise UsageError(f"{name} is a number {range_of(about)}, not {value}")
        return float(value)
    if each.choices:
        raise unknown(f"value of {name}", str(value), each.choices)
    return value


def _within(value: float, about: Option) -> bool:
    return (
        math.isfinite(value)
        and (about.low is None or value >= about.low)
        and (about.high is None or value <= about.high)
        and (about.above is None or value > about.above)
        and (about.below is None or value < about.below)
    )


def range_of(about: Option) -> str:
    """The range of an option in words; empty where it has none."""
    parts = [
        f"from {about.low:g} up"
        if about.low is not None
        else f"above {about.above:g}"
        if about.above is not None
        else ""
    ]
    parts += [
        f"to {about.high:,.15g}"
        if about.high is not None
        else f"below {about.below:g}"
        if about.below is not None
        else ""
    ]
    return " and ".join(filter(None, parts)).replace(" up and to", " to")


def takes(**groups: type) -> Callable[[Callable[..., R]], Callable[..., R]]:
    """Let a function be called with the options of some groups as keywords; it gets the groups themselves.

    The signature and the docstring's list of parameters are completed from the groups.

    Parameters
    ----------
    **groups : type
        A group for each parameter of the function that is one.

    Examples
    --------
    >>> @dataclass(frozen=True)
    ... class Optimizer:
    ...     momentum: float = option(0.9, "Momentum of SGD.", low=0, below=1)
    >>> @takes(optimizer=Optimizer)
    ... def train(arch: str, *, optimizer: Optimizer) -> float:
    ...     return optimizer.momentum
    >>> train("resnet8", momentum=0.5)
    0.5
    >>> inspect.signature(train)
    <Signature (arch: 'str', *, momentum: float = 0.9) -> 'float'>
    """

    def decorate(function: Callable[..., R]) -> Callable[..., R]:
        own = inspect.signature(function)
        names = {each.name: key for key, group in groups.items() for each in options_of(group)}
        accepted = {*names, *own.parameters} - groups.keys()

        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> R:
            for name in kwargs:
                if name not in accepted:
                    raise unknown("argument", name, accepted)
            parts: dict[str, dict[str, Any]] = {key: {} for key in groups}
            for name in names.keys() & kwargs.keys():
                parts[names[name]][name] = kwargs.pop(name)
            return function(*args, **kwargs, **{key: groups[key](**given) for key, given in parts.items()})

        call.__signature__ = _flat_signature(own, groups)  # type: ignore[attr-defined]
        call.__doc__ = _completed(inspect.getdoc(function) or "", groups)
        return call

    return decorate


def _flat_signature(own: inspect.Signature, groups: Mapping[str, type]) -> inspect.Signature:
    kept = [each for name, each in own.parameters.items() if name not in groups]
    keyword = inspect.Parameter.KEYWORD_ONLY
    added = [
        inspect.Parameter(each.name, keyword, default=each.default, annotation=_hints(group)[each.name])
        for group in groups.values()
        for each in options_of(group)
    ]
    return own.replace(parameters=[*kept, *added])


def _completed(text: str, groups: Mapping[str, type]) -> str:
    """A docstring whose list of parameters ends with the options: they stand where it says ``**options``."""
    described = "\n".join(line for group in groups.values() for each in options_of(group) for line in _entry(each))
    return text.replace("**options", described) if "**options" in text else text


def _entry(each: OptionField) -> Iterator[str]:
    kind = (
        f"{{{', '.join(map(repr, each.choices))}}}" if each.choices else getattr(each.kind, "__name__", str(each.kind))
    )
    yield f"{each.name} : {kind}, default {each.default!r}"
    yield f"    {each.about.help}{f' By default: {each.about.without}.' if each.about.without else ''}"
