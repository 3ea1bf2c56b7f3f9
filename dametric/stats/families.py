"""Families of augmentations: what is varied within one is not an independent confirmation."""

from __future__ import annotations

from dametric.errors import UsageError
from dametric.importing import split_spec

# The weakest first: a combination belongs to what is added to the loader's usual geometry.
_FAMILIES = {
    "geometric": ("identity", "none", "flip", "crop", "rrc"),
    "erase": ("cutout",),
    "policy": ("autoaugment", "randaugment", "trivialaugment", "augmix"),
    "mixup": ("mixup",),
    "cutmix": ("cutmix", "cutmixpick", "cutmix_pick_S", "cutmix_pick_T"),
}
_OF = {name: family for family, names in _FAMILIES.items() for name in names}


def family(aug: str) -> str:
    """The family of an augmentation: settings and combinations of one idea.

    Parameters
    ----------
    aug : str
        Specification, such as "crop+flip" or "cutmix:alpha=0.5", or a published name.

    Returns
    -------
    str
        "geometric" (identity, flip, crop, rrc and their combinations), "erase" (cutout), "policy" (autoaugment,
        randaugment, trivialaugment, augmix), "mixup", or "cutmix" (with its picks). An operation of the user's own
        is its own family, by its name without parameters: "./augs.py:snow" of "./augs.py:snow:p=0.5". Geometry
        beside something else does not count ("crop+flip+cutmix" is "cutmix"); two other families are joined with
        "+" in alphabetical order ("cutout+mixup" is "erase+mixup").

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
