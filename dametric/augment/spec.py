"""Specifications of augmentations, as users type them.

A specification is operations joined by ``+``, each a name with parameters: ``crop+flip``, ``cutmix:alpha=0.5``,
``cutmixpick:by=kld:runs=3``, ``cutout+mixup``, or a user's callable: ``my_pkg.augs:snow``, ``./augs.py:snow:p=0.5``,
``torchvision.transforms.v2:ColorJitter:brightness=0.4``, or timm's ``rand-m9-n2-mstd0.5-inc1``. A path that begins
with a folder, as in ``./my+augs.py:snow``, may contain any character. ``p=0.5`` on any operation is the probability
that it happens to an image, ``oneof(cutout,crop+flip)`` is one of several, drawn for each, and
``pick(mixup:alpha=2):by=kld:runs=3`` (or ``pick:base=mixup,alpha=2,by=kld,runs=3``) picks from a pool as ``cutmixpick``
does. In lists of specifications, ``mixup:alpha=0.1..2/5`` is a curve, and ``paper`` or ``standard`` a group
(:func:`expand`).
"""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, get_args, get_type_hints

import torch
from torch import Tensor

from dametric.augment.base import Augmentation, Operation
from dametric.augment.branches import OneOf, Sometimes
from dametric.augment.callables import names_a_place, own_callable
from dametric.augment.catalogue import AUGS, LINEAR, NEUTRAL, SETS, WHOLE, WITHOUT_PROBABILITY, ImageSpec
from dametric.augment.external import External
from dametric.augment.keys import Keys
from dametric.augment.mix import CutMix
from dametric.augment.pick import CutMixPick, Pick
from dametric.augment.rand import of_string
from dametric.base.arguments import argument
from dametric.base.user_code import NUMBER, branches, in_full, split_spec
from dametric.errors import UsageError, shortened, unknown

_RANGE = re.compile(
    rf"(?<=[:,])\s*(?P<key>[^\W\d]\w*)=(?P<low>{NUMBER})\.\.(?P<high>{NUMBER})(?:/(?P<steps>[^:,+)]*))?(?=[:,+)\s]|$)"
)
_STEPS, _MOST_STEPS = 5, 50
_TRUTH = {"true": True, "false": False, "1": True, "0": False}
VERSIONS: dict[str, int] = {"rrc": 2}
"""Versions of operations' arithmetic above the first: raised when the same specification gives other images, so that
the runs that use it, and no others, get new ids."""


def parse(spec: str | Augmentation | Callable[..., Any], of: ImageSpec | None = None) -> Augmentation:
    """Build an augmentation from its specification.

    Parameters
    ----------
    spec : str, Augmentation or callable
        See the module's docstring. A callable takes uint8 images (rows, channels, height, width).
    of : ImageSpec, optional
        Image size and mean, for the defaults of crop, cutout and autoaugment.

    Returns
    -------
    Augmentation

    Raises
    ------
    UsageError
        For unknown names (with the nearest known ones), unknown or impossible parameters, more than one mixing
        operation, or anything after a pick.
    """
    if isinstance(spec, Augmentation):
        return spec
    if not isinstance(spec, str):
        if not callable(spec):
            raise UsageError(
                f"an augmentation is a specification or a callable, not {type(spec).__name__}: see dametric ls augs"
            )
        name = getattr(spec, "__qualname__", type(spec).__name__)
        return Augmentation(name, (External(name, spec),))
    of = of or ImageSpec()
    parts = split_spec(spec)
    built = [_operation(part, of) for part in parts]
    operations = [operation for operation, _ in built if operation is not None]
    spelt = [spelling for operation, spelling in built if operation is not None]
    mixing = [operation for operation in operations if operation.mixes]
    if len(mixing) > 1:
        raise UsageError(
            f"augmentation '{spec}': only one of mixup, cutmix and cutmixpick at a time, or of others that mix images"
        )
    if any(isinstance(operation, (CutMixPick, Pick)) for operation in operations[:-1]):
        name = next(name for name in ("cutmixpick", "pick") if name in spec)
        raise UsageError(f"augmentation '{spec}': {name} comes last, what it picks is what is scored")
    return Augmentation("+".join(parts), tuple(operations), "+".join(spelt) or "identity")


def expand(specs: Iterable[str]) -> list[str]:
    """Specifications without groups and ranges.

    A group such as ``paper`` stands for its members, see :data:`~dametric.augment.catalogue.SETS`. A range of one
    parameter is a curve: ``mixup:alpha=0.1..2/5`` are five values from 0.1 to 2, of equal ratios, or of equal steps
    where the parameter is one of :data:`~dametric.augment.catalogue.LINEAR`; without a number of steps there are five.

    Parameters
    ----------
    specs : iterable of str

    Returns
    -------
    list of str
        Each once, in order. Nothing else is checked; see :func:`parse`.

    Raises
    ------
    UsageError
        For several ranges in one specification, and ranges without an end, a direction, or a possible number of steps.

    Examples
    --------
    >>> expand(["flip", "mixup:alpha=0.25..4/3", "rotate:degrees=0..30/4"])[:4]
    ['flip', 'mixup:alpha=0.25', 'mixup:alpha=1', 'mixup:alpha=4']
    """
    members = [member for spec in specs for member in SETS.get(spec.strip(), (spec,))]
    return list(dict.fromkeys(point for member in members for point in _curve(member)))


def _curve(spec: str) -> list[str]:
    """Specifications of the points of a range, in order; the specification itself where it has none."""
    ranges = list(_RANGE.finditer(spec))
    if not ranges:
        return [spec]
    if len(ranges) > 1:
        raise UsageError(f"augmentation '{spec}': one parameter at a time has a range, not {len(ranges)}")
    (found,) = ranges
    key, low, high, text = found["key"], float(found["low"]), float(found["high"]), found["steps"] or str(_STEPS)
    steps = int(text) if text.isdecimal() and len(text) < 4 else 0
    if not 2 <= steps <= _MOST_STEPS:
        raise UsageError(
            f"augmentation '{spec}': a range has from 2 to {_MOST_STEPS} steps, as {key}={found['low']}.."
            f"{found['high']}/{_STEPS}, not {shortened(text)}"
        )
    if not low < high < math.inf:
        raise UsageError(f"augmentation '{spec}': a range goes up, from {found['low']} to more than that")
    if key not in LINEAR and low <= 0:
        example = f"{key}={high / 20:g}..{found['high']}"
        raise UsageError(
            f"augmentation '{spec}': values of {key} have equal ratios, so that they begin above 0, as {example}"
        )
    shares = [step / (steps - 1) for step in range(1, steps - 1)]
    inner = [low + (high - low) * share if key in LINEAR else low * (high / low) ** share for share in shares]
    words = [str(round(value)) if key in WHOLE else _written(f"{float(f'{value:.3g}'):.10g}") for value in inner]
    points = dict.fromkeys([found["low"], *words, found["high"]])
    return [f"{spec[: found.start()]}{key}={word}{spec[found.end() :]}" for word in points]


def versions(aug: Augmentation | str) -> dict[str, int]:
    """Versions of an augmentation's operations, or of those that a specification names, that are above the first."""
    spec = aug if isinstance(aug, str) else aug.canonical
    names = _names(spec)
    names += ["cutmix"] if {"cutmixpick", "mixup-or-cutmix"} & {*names} else []
    names += ["mixup"] if "mixup-or-cutmix" in names else []
    raised = {name: VERSIONS[name] for name in names if VERSIONS.get(name, 1) > 1}
    return {**raised, "untouched rows": 2} if _rounds_untouched_rows(spec) else raised


def _rounds_untouched_rows(spec: str) -> bool:
    """Whether blended images come to an operation that leaves some of them out and returns bytes, of the others too.

    Those were truncated once.
    """
    if len(_names(spec)) < 2 or any(names_a_place(part) for part in split_spec(spec)):
        return False
    return _left_out_after_blending(parse(spec).operations, torch.zeros(2, 3, 32, 32, dtype=torch.uint8))


def _left_out_after_blending(operations: Iterable[Operation], images: Tensor) -> bool:
    for operation in operations:
        once = getattr(operation, "once", operation)
        group = once.operation if isinstance(once, Sometimes) else once
        if isinstance(group, OneOf) and any(
            _left_out_after_blending(each.operations, images) for each in group.branches
        ):
            return True
        result = once.apply(images, once.draw(Keys(0, 1, len(images)), images.shape)).images
        if isinstance(once, Sometimes) and images.is_floating_point() and result.dtype == torch.uint8:
            return True
        images = result
    return False


def _names(spec: str) -> list[str]:
    """Names of the operations of a specification, and of those within groups."""
    inner = {part: branches(part) for part in split_spec(spec)}
    return [name for part, found in inner.items() for name in _within(part, found)]


def _within(part: str, found: list[str] | None) -> list[str]:
    return [part.partition(":")[0]] if found is None else [name for branch in found for name in _names(branch)]


def base_augmentation(spec: str, of: ImageSpec, *, mixes: bool = False) -> Augmentation:
    """Build the base augmentation, which the loader applies; ``"none"`` is a synonym of the identity.

    Raises
    ------
    UsageError
        As :func:`parse`, and if it picks images, or mixes them where ``mixes`` is False.
    """
    base = parse("identity" if spec == "none" else spec, of)
    if base.pick is not None:
        raise UsageError(f"{spec} cannot be the base augmentation, the loader's own: there is nothing yet to pick by")
    if base.mixes and not mixes:
        raise UsageError(f"{argument('base_aug', spec)}: the loader's own augmentation cannot mix images")
    return base


def default_base(image_size: int) -> str:
    """Usual base augmentation of loaders for images of this size."""
    return "crop+flip" if image_size <= 96 else "rrc+flip"


def _operation(part: str, images: ImageSpec) -> tuple[Operation | None, str]:
    """Parse one operation, and return its canonical specification too."""
    if part.startswith("oneof("):
        return _one_of(part, images)
    if part.startswith("pick(") or re.split("[:,]", part)[0] == "pick":
        return _pick(in_full(part), images)
    several = [word.strip() for word in part.split(",")]
    if len(several) > 1 and all(word.partition(":")[0] in {*AUGS, *SETS} for word in several):
        raise UsageError(
            f"'{part}' are {len(several)} augmentations: give each by itself, as "
            f"{' '.join(argument('augs', word) for word in several)}"
        )
    part = of_string(part) or part
    name, *words = part.split(":")
    if name not in AUGS and names_a_place(part):
        user_callable = own_callable(part)
        return External(user_callable.spelling, user_callable.function), user_callable.spelling
    if name in AUGS:
        builder = AUGS[name]
        parameters = _parameters(name, builder, [word for chunk in words for word in chunk.split(",")])
        p = 1.0 if "p" in inspect.signature(builder).parameters else parameters.pop("p", 1.0)
        operation = builder(images, **parameters)
        if operation is not None and p != 1:
            operation = Sometimes(operation, p)
        return operation, ":".join([name, *_spelt(name, operation, images)])
    if name in SETS:
        raise UsageError(
            f"'{name}' is a group of {len(expand([name]))} augmentations: it stands alone, in a list of specifications"
        )
    first = ", ".join(list(AUGS)[: list(AUGS).index("cutmixpick") + 1])
    some = f"known: {first} and {len(AUGS) - first.count(',') - 1} more, see dametric ls augs"
    raise unknown("augmentation", name, [*AUGS, "crop+flip", *SETS], some)


def _one_of(part: str, images: ImageSpec) -> tuple[Operation, str]:
    """Parse ``oneof(a,b)``, or ``oneof(a,b):p=0.5``."""
    specs = branches(part)
    if specs is None or len(specs) < 2:
        raise UsageError(f"augmentation '{part}': write oneof(a,b), with two augmentations or more between commas")
    chosen = [parse(spec, images) for spec in specs]
    for branch in chosen:
        if branch.pick is not None or branch.own:
            raise UsageError(f"augmentation '{part}': {branch.name} cannot be one of several, it stands by itself")
    group = OneOf(tuple(replace(branch, name=branch.canonical) for branch in chosen))
    words = part[part.rindex(")") + 1 :].split(":")
    if words[0]:
        raise UsageError(f"augmentation '{part}': after oneof(...) comes :p=, or + and the next operation")
    p = _parameters("oneof(...)", _probability, words[1:]).get("p", 1.0)
    spelling = f"oneof({','.join(branch.canonical for branch in chosen)})"
    return (group, spelling) if p == 1 else (Sometimes(group, p), f"{spelling}:p={p}")


def _pick(part: str, images: ImageSpec) -> tuple[Operation, str]:
    """Parse ``pick(a)``, or ``pick(a):by=kld:runs=3``; of cutmix it is ``cutmixpick``, with the same draws."""
    specs = branches(part)
    if specs is None or len(specs) != 1 or not specs[0]:
        raise UsageError(
            f"augmentation '{part}': write pick(mixup:alpha=2):by=kld:runs=2, or pick:base=mixup,by=kld,runs=2"
        )
    base = parse(specs[0], images)
    if base.pick is not None or base.own or not base.random:
        why = "calls your own function" if base.own else "picks itself" if base.pick else "draws nothing at random"
        raise UsageError(f"augmentation '{part}': there is nothing to pick from, since {base.name} {why}")
    words = part[part.rindex(")") + 1 :].replace(",", ":").split(":")
    if words[0]:
        raise UsageError(f"augmentation '{part}': after pick(...) come :by= and :runs=, and nothing else")
    parameters = _parameters("pick", _picking, words[1:])
    # several operations are drawn anew in every run, as one
    once = base.operations[0] if len(base.operations) == 1 else OneOf((replace(base, name=base.canonical),))
    if isinstance(once, CutMix):
        of_cutmix = CutMixPick(**parameters, alpha=once.alpha, partner=once.partner)
        return of_cutmix, ":".join(["cutmixpick", *_spelt("cutmixpick", of_cutmix, images)])
    operation = Pick(once, **parameters)
    usual = {"by": "teacher_entropy", "runs": 2}  # as of cutmixpick: it never changes
    words = [f"{key}={getattr(operation, key)}" for key in usual if getattr(operation, key) != usual[key]]
    return operation, ":".join([f"pick({base.canonical})", *words])


def _picking(images: ImageSpec, by: str = "teacher_entropy", runs: int = 2) -> None:
    """Parameters of a pick."""


def _probability(images: ImageSpec, p: float = 1.0) -> None:
    """Parameters that a group has."""


def _spelt(name: str, operation: Operation | None, images: ImageSpec) -> list[str]:
    """Parameters of an operation in its builder's order, without those at their neutral value."""
    if operation is None:
        return []
    neutral = {"p": 1.0, **NEUTRAL.get(name, {})}
    values = {"p": getattr(operation, "p", 1.0)}
    inner = operation.operation if isinstance(operation, Sometimes) else operation
    words = []
    for key in dict.fromkeys([*list(inspect.signature(AUGS[name]).parameters)[1:], "p"]):
        value, usual = values[key] if key in values else getattr(inner, key), neutral.get(key)
        if value != (usual(images.size) if callable(usual) else usual):
            words.append(_written(f"{key}={value}"))
    return words


def _written(number: str) -> str:
    """A number as it can be read again: without a plus, which joins operations."""
    return number.replace("e+", "e")


def _parameters(name: str, builder: Callable[..., Any], words: list[str]) -> dict[str, Any]:
    known = {key: kind for key, kind in get_type_hints(builder).items() if key not in ("images", "return")}
    if words and not known and (name in WITHOUT_PROBABILITY or not words[0].startswith("p=")):
        but = "" if name in WITHOUT_PROBABILITY else " but p"
        raise UsageError(f"augmentation '{name}' takes no parameters{but}, got '{':'.join(words)}'")
    if name not in {*WITHOUT_PROBABILITY, "pick"}:
        known.setdefault("p", float)
    parameters = {}
    for word in words:
        key, equals, text = word.partition("=")
        if not equals:
            raise UsageError(f"augmentation '{name}': parameters are written key=value, not '{word}'")
        if key not in known:
            raise unknown(f"parameter of {name}", key, known)
        if key in parameters:
            raise UsageError(f"augmentation '{name}': {key} is given twice")
        parameters[key] = _value(f"{name}:{key}", text, known[key])
    return parameters


def _value(what: str, text: str, kind: Any) -> Any:
    kind = next((k for k in get_args(kind) if k is not type(None)), kind) if get_args(kind) else kind
    if kind is bool:
        if text.lower() not in _TRUTH:
            raise UsageError(f"{what} is true or false, not '{shortened(text)}'")
        return _TRUTH[text.lower()]
    try:
        value = kind(text)
    except ValueError:
        wanted = {int: "a whole number", float: "a number"}[kind]
        if text.isdecimal():  # Python refuses whole numbers of that many digits
            wanted = f"a number of fewer than {len(text)} digits"
        raise UsageError(f"{what} is {wanted}, not '{shortened(text)}'") from None
    if isinstance(value, float) and not math.isfinite(value):
        raise UsageError(f"{what} is a finite number, not '{shortened(text)}'")
    return value
