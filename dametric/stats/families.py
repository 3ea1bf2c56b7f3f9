"""Families of augmentations: what is varied within one is not an independent confirmation."""

from __future__ import annotations

import math
from collections.abc import Sequence

from dametric.base.user_code import split_spec
from dametric.errors import UsageError

# The weakest first: a combination belongs to what is added to the loader's usual geometry.
_FAMILIES = {
    "geometric": ("identity", "none", "flip", "crop"),
    "resize": ("rrc",),
    "erase": ("cutout",),
    "policy": ("autoaugment", "randaugment", "trivialaugment", "augmix"),
    "mixup": ("mixup",),
    "cutmix": ("cutmix", "cutmixpick", "cutmix_pick_S", "cutmix_pick_T"),
}
_OF = {name: family for family, names in _FAMILIES.items() for name in names}
_PLACES = {name: place for names in _FAMILIES.values() for place, name in enumerate(names)}
# What a name without parameters stands for, where that is a strength; cutout's length is that for 32 pixels.
DEFAULTS: dict[str, dict[str, float]] = {
    "rrc": {"scale": 0.08},
    "cutout": {"length": 8.0},
    "randaugment": {"n": 2.0, "m": 9.0},
    "mixup": {"alpha": 1.0},
    "cutmix": {"alpha": 1.0},
    "cutmixpick": {"runs": 2.0},
}


def family(aug: str) -> str:
    """The family of an augmentation: settings and combinations of one idea.

    Parameters
    ----------
    aug : str
        Specification, such as "crop+flip" or "cutmix:alpha=0.5", or a published name.

    Returns
    -------
    str
        "geometric" (identity, flip, crop and their combinations), "resize" (rrc), "erase" (cutout), "policy"
        (autoaugment, randaugment, trivialaugment, augmix), "mixup", or "cutmix" (with its picks). An operation of the
        user's own is its own family, by its name without parameters: "./augs.py:snow" of "./augs.py:snow:p=0.5".
        Geometry beside something else does not count ("crop+flip+cutmix" is "cutmix"); two other families are joined
        with "+" in alphabetical order ("cutout+mixup" is "erase+mixup").

    Raises
    ------
    UsageError
        If it is not a string or empty.
    """
    if not isinstance(aug, str) or not aug.strip():
        raise UsageError(f"an augmentation is named by a specification such as crop+flip, not {aug!r}")
    found = {_operation(part) for part in split_spec(aug)}
    return "+".join(sorted(found - {"geometric"})) or "geometric"


def _operation(part: str) -> str:
    folder, slash, rest = part.rpartition("/")
    name, *words = rest.split(":")
    name = folder + slash + name
    if name in _OF:
        return _OF[name]
    if name.startswith(("cutmixpick", "cutmix_pick")):
        return "cutmix"
    if words and "=" not in words[0]:  # a place and the name in it
        name = f"{name}:{words[0]}"
    return name


def by_strength(augs: Sequence[str]) -> dict[str, list[int]]:
    """The places of every family's augmentations, the weakest first.

    Inside a family: by operation (identity, flip, crop, crop+flip; cutmix before its picks), then by the product of an
    operation's numbers, then by name.

    Parameters
    ----------
    augs : sequence of str

    Returns
    -------
    dict of str to list of int
        Families in order of appearance.
    """
    found: dict[str, list[int]] = {}
    for place, aug in enumerate(augs):
        found.setdefault(family(aug), []).append(place)
    return {name: sorted(places, key=lambda place: _strength(augs[place])) for name, places in found.items()}


def _strength(aug: str) -> tuple[int, float, str]:
    parts = split_spec(aug)
    parts = [part for part in parts if _operation(part) != "geometric"] or parts  # geometry beside it does not count
    named = [part.rpartition("/")[2].partition(":")[0] for part in parts]
    rank = sum(_PLACES.get(name, len(_PLACES) if name.startswith("cutmix") else 0) for name in named)
    return rank, math.prod(_numbers(name, part) for name, part in zip(named, parts, strict=True)), aug


def _numbers(name: str, part: str) -> float:
    """The product of an operation's numbers, written or by default."""
    numbers = dict(DEFAULTS.get(name, {}))
    for word in part.replace(":", ",").split(","):
        key, equals, value = word.partition("=")
        try:
            numbers |= {key.strip(): float(value)} if equals else {}
        except ValueError:
            continue  # a choice by name, not a strength
    return math.prod(value for value in numbers.values() if math.isfinite(value))
