"""Families of augmentations: what is varied within one is not an independent confirmation."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence

from dametric.base.user_code import NUMBER, branches, in_full, split_spec
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
USUAL_SIZE = 32
# What a name without parameters stands for, where that is a strength; lengths and paddings are those for USUAL_SIZE.
DEFAULTS: dict[str, dict[str, float]] = {
    "flip": {"p": 0.5},
    "crop": {"padding": 4.0},
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
_BY_SIZE: dict[str, Callable[[int], dict[str, float]]] = {  # what grows with the image where it is not written
    "crop": lambda size: {"padding": round(size / 8)},
    "cutout": lambda size: {"length": size // 4},
}
_OF_PICKS = {"runs": 2.0}
_TIMM = re.compile(r"(?:timm:)?rand(?:-|$)")  # its strings
_SECTION = re.compile(r"(mstd|mmax|inc|m|n|p)(.*)")
_RAND = {"m": 10.0, "n": 2.0, "mstd": 0.0, "prob": 0.5, "inc": 0.0, "mmax": 10.0}
_PARAMETER = re.compile(rf"(?<=[:,])(?P<key>[^\W\d]\w*)=(?P<value>{NUMBER})(?=[:,+)]|$)")
_STRING = re.compile(r"(?:^|(?<=[+(,:]))rand(?:-[^-:,+)]+)+")
_OF_STRING = re.compile(r"(?<=-)(?P<key>mstd|mmax|m|n|p)(?P<value>\d+(?:\.\d*)?|\.\d+)(?=[-:,+)]|$)")
OPEN = "…"
_FALLING = {"threshold", "bits", "quality"}  # the less, the stronger
_NO_STRENGTHS = {"chain_depth", "all_ops", "patch", "ratio", "switch"}  # numbers of another kind


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

    Of timm's RandAugment it is the magnitude alone: its other numbers belong to the operation.

    Examples
    --------
    >>> strength("mixup:alpha=0.2"), strength("randaugment:n=2,m=9"), strength("rand-m9-n2-mstd0.5")
    (0.2, 18.0, 9.0)
    """
    parts = _counted(aug)
    return math.prod(_numbers(name, part) for name, part in zip(_names(parts), parts, strict=True))


def setting(aug: str, image_size: int = USUAL_SIZE) -> tuple[str, float]:
    """What an augmentation is a strength of, and how strong it is there.

    Two augmentations are strengths of one thing where they differ in numbers alone. A composition is a thing of its
    own: geometry counts, unlike in :func:`operations`, and so do choices by name. How strong is the product of all
    numbers, as in :func:`strength`; of timm's RandAugment of the magnitude, number and probability of its operations.

    Parameters
    ----------
    aug : str
    image_size : int
        Pixels, for what grows with the image where it is not written.

    Examples
    --------
    >>> setting("crop+flip+cutmix:alpha=0.2"), setting("rand-m9-n1-mstd0.5")
    (('crop+flip+cutmix', 0.4), ('rand', 4.5))
    """
    parts = [part for part in split_spec(aug) if part not in ("identity", "none")] or ["identity"]
    each = [_setting(part, image_size) for part in parts]
    return "+".join(name for name, _ in each), math.prod(number for _, number in each)


def _setting(part: str, image_size: int) -> tuple[str, float]:
    members = branches(part)
    if members is not None:
        part = in_full(part)
        end = part.rindex(")") + 1
        kind = part[: part.index("(")].strip()
        inner = [setting(member, image_size) for member in members]
        own = _numbers(kind, part[end:], image_size)
        name = f"{kind}({','.join(name for name, _ in inner)}){_words(part[end:])}"
        return name, own * math.prod(number for _, number in inner)
    sections = _rand(part)
    if sections is not None:
        numbers = {**_RAND, "p": 1.0, **{key: float(text) for key, text in sections.items()}}
        strong = math.prod(numbers[key] for key in ("m", "n", "prob", "p"))
        return ("rand:inc=1" if numbers["inc"] else "rand"), strong
    (name,) = _names([part])
    folder, slash, rest = part.rpartition("/")
    operation, colon, words = rest.partition(":")
    return f"{folder}{slash}{operation}{_words(colon + words)}", _numbers(name, part, image_size)


def _words(text: str) -> str:
    """What is written after an operation's name, without its numbers."""
    words = [word.strip() for word in text.replace(",", ":").split(":")]
    return ":".join(word for word in words if not re.fullmatch(rf".*=\s*{NUMBER}", word))


def with_one_open(aug: str) -> Iterator[tuple[str, str, float]]:
    """The specification with each of its numbers left open in turn, that number's name, and the number.

    Examples
    --------
    >>> list(with_one_open("crop+mixup:alpha=2")), [name for name, _, _ in with_one_open("rand-m9-n2")]
    ([('crop+mixup:alpha=…', 'alpha', 2.0)], ['rand-m…-n2', 'rand-m9-n…'])
    """
    for match in _PARAMETER.finditer(aug):
        yield f"{aug[: match.start()]}{match['key']}={OPEN}{aug[match.end() :]}", match["key"], float(match["value"])
    for string in _STRING.finditer(aug):
        for match in _OF_STRING.finditer(aug, string.start(), string.end()):
            yield f"{aug[: match.start()]}{match['key']}{OPEN}{aug[match.end() :]}", match["key"], float(match["value"])


def strength_curves(
    augs: Sequence[str],
    least: int = 3,
    usual: Callable[[int, str], float | None] | None = None,
    image_size: int = USUAL_SIZE,
) -> list[tuple[str, str, dict[float, int]]]:
    """Augmentations that differ in one number alone, the rest of a composition being the same.

    Parameters
    ----------
    augs : sequence of str
    least : int
        Strengths that make a curve.
    usual : callable, optional
        The number that the augmentation at a place has without naming it; by default what the name stands for.
    image_size : int
        Pixels, for what a name stands for.

    Returns
    -------
    list of (str, str, dict of float to int)
        Specification with the strength left open, what that is called, and the places of the strengths; in the order
        of their first places. An augmentation is on one curve at most, the longest that it could be on.

    Examples
    --------
    >>> strength_curves(["cutmix", "cutmix:alpha=2", "crop+cutmix:alpha=1", "crop+cutmix:alpha=2", "mixup"], least=2)
    [('cutmix:alpha=…', 'alpha', {2.0: 1, 1.0: 0}), ('crop+cutmix:alpha=…', 'alpha', {1.0: 2, 2.0: 3})]
    """
    members: dict[tuple[str, str], dict[float, int]] = {}
    for place, aug in enumerate(augs):
        for name, key, value in with_one_open(aug):
            members.setdefault((name, key), {}).setdefault(value, place)
    for (name, key), places in members.items():
        bare = name.replace(f":{key}={OPEN}", "", 1).replace(f"-{key}{OPEN}", "", 1)
        for place, aug in enumerate(augs):
            omitted = (usual(place, key) if usual else _by_default(name, key, image_size)) if aug == bare else None
            if omitted is not None:
                places.setdefault(omitted, place)
    found, taken = [], set[int]()
    for (name, key), places in sorted(members.items(), key=lambda item: -len(item[1])):  # sorting is stable
        free = {value: place for value, place in places.items() if place not in taken}
        if len(free) >= least:
            taken |= set(free.values())
            found.append((name, key, free))
    return sorted(found, key=lambda curve: min(curve[2].values()))


def _by_default(name: str, key: str, image_size: int) -> float | None:
    """What the number that is left open is where it is not written."""
    for part in split_spec(name):
        if OPEN in part:
            kind = "rand" if _TIMM.match(part) else part.partition(":")[0]
            return _defaults(kind, image_size).get({"p": "prob"}.get(key, key) if kind == "rand" else key)
    return None


def _defaults(kind: str, image_size: int) -> dict[str, float]:
    """What a name without parameters stands for on images of this size."""
    return _BY_SIZE[kind](image_size) if kind in _BY_SIZE else dict(DEFAULTS.get(kind, {}))


def _counted(aug: str) -> list[str]:
    """The operations that say what an augmentation is: geometry beside something else does not count."""
    parts = split_spec(aug)
    return [part for part in parts if _operation(part) != "geometric"] or parts


def _names(parts: Sequence[str]) -> list[str]:
    return ["rand" if _TIMM.match(part) else part.rpartition("/")[2].partition(":")[0] for part in parts]


def _kind(part: str) -> str:
    """An operation without its numbers: of a group all that is in it, of a function of the user's own its name too."""
    if branches(part) is not None:
        return re.sub(r"(?<=[=:])[-+.\de]+", "", part)
    sections = _rand(part)
    if sections is not None:
        return ":".join(["rand", *(f"{key}={text}" for key, text in sections.items() if key != "m")])
    words = part.rpartition("/")[2].split(":")
    named = len(words) > 1 and "=" not in words[1]  # a place and the name in it
    return ":".join(words[: 1 + named])


def _rand(part: str) -> dict[str, str] | None:
    """What timm's RandAugment is written with, as a string of its or as `rand:m=9`, without what it has by default."""
    name, *words = part.replace(",", ":").removeprefix("timm:").split(":")
    if not _TIMM.match(name):
        return None
    matches = [match for section in name.split("-")[1:] if (match := _SECTION.match(section))]
    written = {"prob" if match[1] == "p" else match[1]: match[2] for match in matches}
    written |= {key: text for key, _, text in (word.partition("=") for word in words)}
    numbers = {
        key: _value({"true": "1", "false": "0"}.get(text.lower(), text)) for key, text in sorted(written.items())
    }
    return {key: f"{number:g}" for key, number in numbers.items() if number != _RAND.get(key)}


def _value(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _strength(aug: str) -> tuple[int, float, str]:
    named = _names(_counted(aug))
    ranks = (_PLACES.get(name, len(_PLACES) if name.startswith(("cutmix", "pick")) else 0) for name in named)
    return sum(ranks), strength(aug), aug


def _numbers(name: str, part: str, image_size: int = USUAL_SIZE) -> float:
    """The product of an operation's numbers, written or by default."""
    sections = _rand(part)
    if sections is not None:
        return float(sections.get("m", _RAND["m"]))
    members = branches(part)
    if members is not None:
        part = in_full(part)
        own = _numbers("pick" if part.startswith("pick") else "oneof", part[part.rindex(")") + 1 :])
        return math.prod(map(strength, members)) * own
    numbers = dict(_OF_PICKS) if name == "pick" else _defaults(name, image_size)
    for word in part.replace(":", ",").split(","):
        key, equals, value = word.partition("=")
        try:
            numbers |= {key.strip(): float(value)} if equals else {}
        except ValueError:
            continue  # a choice by name, not a strength
    if name in _OF:
        numbers = {key: value for key, value in numbers.items() if key not in _NO_STRENGTHS}
        numbers = {key: 1 / (1 + abs(value)) if key in _FALLING else value for key, value in numbers.items()}
        if name == "rrc" and numbers["scale"]:  # of the image that is left at least
            numbers["scale"] = 1 / numbers["scale"]
    return math.prod(value for value in numbers.values() if math.isfinite(value))
