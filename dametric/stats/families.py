"""Families of augmentations: what is varied within one is not an independent confirmation."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from dametric.base.user_code import branches, split_spec
from dametric.errors import UsageError

# The weakest first: a combination belongs to what is added to the loader's usual geometry.
_FAMILIES = {
    "geometric": ("identity", "none", "flip", "crop"),
    "resize": ("rrc",),
    "warp": ("translate", "rotate", "shear", "scale", "perspective"),
    "colour": (
        *("grayscale", "brightness", "contrast", "saturation", "hue", "jitter", "sharpness"),
        *("autocontrast", "equalize", "posterize", "solarize", "invert"),
    ),
    "filter": ("jpeg", "blur", "noise"),
    "erase": ("cutout", "erasing", "gridmask", "mask"),
    "policy": ("autoaugment", "randaugment", "trivialaugment", "augmix", "rand"),
    "mixup": ("mixup",),
    "cutmix": ("cutmix", "resizemix", "fmix", "cutmixpick", "cutmix_pick_S", "cutmix_pick_T"),
}
_OF = {name: family for family, names in _FAMILIES.items() for name in names}
_PLACES = {name: place for names in _FAMILIES.values() for place, name in enumerate(names)}
# What a name without parameters stands for, where that is a strength; cutout's length is that for 32 pixels.
DEFAULTS: dict[str, dict[str, float]] = {
    "rrc": {"scale": 0.08},
    "cutout": {"length": 8.0},
    "randaugment": {"n": 2.0, "m": 9.0},
    "augmix": {"severity": 3.0, "mixture_width": 3.0, "alpha": 1.0},
    "rand": {"m": 10.0, "n": 2.0, "prob": 0.5},
    "mixup": {"alpha": 1.0},
    "cutmix": {"alpha": 1.0},
    "cutmixpick": {"runs": 2.0},
    "brightness": {"strength": 0.4},
    "contrast": {"strength": 0.4},
    "saturation": {"strength": 0.4},
    "hue": {"strength": 0.1},
    "jitter": {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1},
    "grayscale": {"p": 0.1},
    "solarize": {"threshold": 128.0, "p": 0.5},
    "posterize": {"bits": 4.0, "p": 0.5},
    "equalize": {"p": 0.5},
    "autocontrast": {"p": 0.5},
    "sharpness": {"factor": 2.0, "p": 0.5},
    "invert": {"p": 0.5},
    "blur": {"sigma": 2.0},
    "noise": {"std": 0.1},
    "jpeg": {"quality": 50.0},
    "rotate": {"degrees": 15.0},
    "translate": {"share": 0.1},
    "shear": {"degrees": 10.0},
    "scale": {"change": 0.2},
    "perspective": {"distortion": 0.5, "p": 0.5},
    "erasing": {"area": 0.33, "p": 0.5},
    "gridmask": {"drop": 0.4},
    "mask": {"share": 0.5},
    "mixup-or-cutmix": {"mixup": 0.8, "cutmix": 1.0},
    "resizemix": {"scale": 0.8},
    "fmix": {"alpha": 1.0},
}
_TIMM = re.compile(r"(?:timm:)?rand(?:-|$)")  # its strings
_FALLING = {"threshold", "bits", "quality"}  # the less, the stronger


def family(aug: str) -> str:
    """The family of an augmentation: settings and combinations of one idea.

    Parameters
    ----------
    aug : str
        Specification, such as "crop+flip" or "cutmix:alpha=0.5", or a published name.

    Returns
    -------
    str
        "geometric" (identity, flip, crop and their combinations), "resize" (rrc), "warp" (rotate and its like),
        "colour", "filter" (jpeg, blur, noise), "erase" (cutout, erasing, gridmask, mask), "policy" (autoaugment,
        randaugment, trivialaugment, augmix, rand), "mixup", or "cutmix" (with resizemix, fmix and the picks). A group
        such as "oneof(cutmix,cutout)" is what its members are, and "pick(mixup)" what it picks from. An operation of
        the user's own is its own family, by its name without parameters: "./augs.py:snow" of "./augs.py:snow:p=0.5".
        Geometry beside something else does not count ("crop+flip+cutmix" is "cutmix"); two other families are joined
        with "+" in alphabetical order ("cutout+mixup" is "erase+mixup").

    Raises
    ------
    UsageError
        If it is not a string or empty.
    """
    if not isinstance(aug, str) or not aug.strip():
        raise UsageError(f"an augmentation is named by a specification such as crop+flip, not {aug!r}")
    found = _families(aug)
    return "+".join(sorted(found - {"geometric"})) or "geometric"


def _families(aug: str) -> set[str]:
    """Families of the operations of a specification, and of those within groups."""
    found: set[str] = set()
    for part in split_spec(aug):
        inner = ["mixup", "cutmix"] if _operation(part) == "mixup-or-cutmix" else branches(part)
        found |= {_operation(part)} if inner is None else set().union(*map(_families, inner))
    return found


def _operation(part: str) -> str:
    folder, slash, rest = part.rpartition("/")
    name, *words = rest.split(":")
    name = folder + slash + name
    if name in _OF:
        return _OF[name]
    if _TIMM.match(part):
        return "policy"
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


def operations(aug: str) -> str:
    """What the strengths of an augmentation have in common: its operations without their parameters.

    Geometry beside something else does not count, as in :func:`family`.

    Examples
    --------
    >>> operations("crop+flip+randaugment:n=2,m=9"), operations("cutmix")
    ('randaugment', 'cutmix')
    """
    return "+".join(map(_kind, _counted(aug)))


def strength(aug: str) -> float:
    """The product of an augmentation's numbers, written or by default: comparable within :func:`operations` only.

    Examples
    --------
    >>> strength("mixup:alpha=0.2"), strength("randaugment:n=2,m=9")
    (0.2, 18.0)
    """
    parts = _counted(aug)
    return math.prod(_numbers(name, part) for name, part in zip(_names(parts), parts, strict=True))


def _counted(aug: str) -> list[str]:
    """The operations that say what an augmentation is: geometry beside something else does not count."""
    parts = split_spec(aug)
    return [part for part in parts if _operation(part) != "geometric"] or parts


def _names(parts: Sequence[str]) -> list[str]:
    return [part.rpartition("/")[2].partition(":")[0] for part in parts]


def _kind(part: str) -> str:
    """An operation without its numbers: of a group all that is in it, of a function of the user's own its name too."""
    if branches(part) is not None:
        return re.sub(r"(?<=[=:])[-+.\de]+", "", part)
    words = part.rpartition("/")[2].split(":")
    named = len(words) > 1 and "=" not in words[1]  # a place and the name in it
    return ":".join(words[: 1 + named])


def _strength(aug: str) -> tuple[int, float, str]:
    named = _names(_counted(aug))
    ranks = (_PLACES.get(name, len(_PLACES) if name.startswith(("cutmix", "pick")) else 0) for name in named)
    return sum(ranks), strength(aug), aug


def _numbers(name: str, part: str) -> float:
    """The product of an operation's numbers, written or by default."""
    numbers = dict(DEFAULTS.get(name, {}))
    for word in part.replace(":", ",").split(","):
        key, equals, value = word.partition("=")
        try:
            numbers |= {key.strip(): float(value)} if equals else {}
        except ValueError:
            continue  # a choice by name, not a strength
    falling = _FALLING if name in _OF else ()
    numbers = {key: 1 / (1 + abs(value)) if key in falling else value for key, value in numbers.items()}
    return math.prod(value for value in numbers.values() if math.isfinite(value))
