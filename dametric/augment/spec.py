"""Specifications of augmentations, as users type them.

A specification is operations joined by ``+``, each a name with parameters: ``crop+flip``, ``cutmix:alpha=0.5``,
``cutmixpick:by=kld:runs=3``, ``cutout+mixup``, or a user's callable: ``my_pkg.augs:snow``, ``./augs.py:snow:p=0.5``,
``torchvision.transforms.v2:ColorJitter:brightness=0.4``. A path that begins with a folder, as in
``./my+augs.py:snow``, may contain any character.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any, get_args, get_type_hints

from dametric.augment.base import Augmentation, Operation
from dametric.augment.callables import names_a_place, own_callable
from dametric.augment.catalogue import AUGS, NEUTRAL, ImageSpec
from dametric.augment.external import External
from dametric.augment.pick import CutMixPick
from dametric.base.arguments import argument
from dametric.base.user_code import split_spec
from dametric.errors import UsageError, shortened, unknown

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
        raise UsageError(f"augmentation '{spec}': only one of mixup, cutmix and cutmixpick at a time")
    if any(isinstance(operation, CutMixPick) for operation in operations[:-1]):
        raise UsageError(f"augmentation '{spec}': cutmixpick comes last, what it picks is what is scored")
    return Augmentation("+".join(parts), tuple(operations), "+".join(spelt) or "identity")


def versions(aug: Augmentation | str) -> dict[str, int]:
    """Versions of an augmentation's operations, or of those that a specification names, that are above the first."""
    spec = aug if isinstance(aug, str) else aug.canonical
    names = [part.partition(":")[0] for part in split_spec(spec)]
    names += ["cutmix"] if "cutmixpick" in names else []
    return {name: VERSIONS[name] for name in names if VERSIONS.get(name, 1) > 1}


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
    several = [word.strip() for word in part.split(",")]
    if len(several) > 1 and all(word.partition(":")[0] in {*AUGS, "paper"} for word in several):
        raise UsageError(
            f"'{part}' are {len(several)} augmentations: give each by itself, as "
            f"{' '.join(argument('augs', word) for word in several)}"
        )
    name, *words = part.split(":")
    if name not in AUGS and names_a_place(part):
        user_callable = own_callable(part)
        return External(user_callable.spelling, user_callable.function), user_callable.spelling
    if name in AUGS:
        builder = AUGS[name]
        parameters = _parameters(name, builder, [word for chunk in words for word in chunk.split(",")])
        operation = builder(images, **parameters)
        return operation, ":".join([name, *_spelt(name, operation, images)])
    if name == "paper":
        raise UsageError("'paper' is a group of nine augmentations: it stands alone, in a list of specifications")
    raise unknown("augmentation", name, [*AUGS, "crop+flip", "paper"])


def _spelt(name: str, operation: Operation | None, images: ImageSpec) -> list[str]:
    """Parameters of an operation in its builder's order, without those at their neutral value."""
    neutral = NEUTRAL.get(name, {})
    words = []
    for key in list(inspect.signature(AUGS[name]).parameters)[1:]:
        value, usual = getattr(operation, key), neutral.get(key)
        if value != (usual(images.size) if callable(usual) else usual):
            words.append(f"{key}={value}")
    return words


def _parameters(name: str, builder: Callable[..., Any], words: list[str]) -> dict[str, Any]:
    known = {key: kind for key, kind in get_type_hints(builder).items() if key not in ("images", "return")}
    if words and not known:
        raise UsageError(f"augmentation '{name}' takes no parameters, got '{':'.join(words)}'")
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
