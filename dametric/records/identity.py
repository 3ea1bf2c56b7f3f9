"""What names a run: a hash of the frozen form of its configuration.

The form is frozen: what was hashed once is hashed alike by all later code. So an option enters only where it is not
what it always was before there was such an option, and a change of arithmetic raises the version of the
augmentation or term whose arithmetic it is (`dametric.augment.spec.VERSIONS`, `dametric.training.recipe.VERSIONS`).
How often a network is looked at, what is kept of it, and the machine are not part of a configuration.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from dametric.base.option_groups import LossOptions, OptimizerOptions, ViewOptions
from dametric.base.options import UNSTATED, options_of

_OBJECTIVE = {"ce_weight": "ce", "raw_weight": "raw", "aug_weight": "aug", "temperature": "temperature"}
_STATED = {each.name: each.about.neutral for each in options_of(OptimizerOptions, LossOptions, ViewOptions)}
NEUTRAL: dict[str, Any] = {
    **{name: value for name, value in _STATED.items() if name not in _OBJECTIVE and value != UNSTATED},
    **{f"objective.{short}": _STATED[name] for name, short in _OBJECTIVE.items()},
    "dtype": "float32",
    "aug": "identity",
    "seed": 0,
}
"""Values of options that do not enter. They never change, whatever defaults become; an option that is new comes with
the value that is what happened before there was one."""


def frozen(config: Mapping[str, Any]) -> dict[str, Any]:
    """What of a configuration is hashed.

    Parameters
    ----------
    config : dict
        A record's "config"; records of former times have a "law" too, which says nothing.

    Returns
    -------
    dict
        Options of the recipe that are not at their neutral value, with augmentations in the one way of writing them;
        and all else that is not empty: kind, student, teacher, fingerprints and normalisation of the images, versions,
        hashes of the user's own code.
    """
    recipe = {**config.get("recipe", {}), **config.get("operations", {})}
    objective = recipe.pop("objective", None) or {}
    options = {**recipe, **{f"objective.{name}": value for name, value in objective.items()}}
    changed = {name: value for name, value in options.items() if value is not None and value != NEUTRAL.get(name)}
    rest = {name: value for name, value in config.items() if name not in ("law", "recipe", "operations")}
    return {name: value for name, value in {**rest, "options": changed}.items() if value not in (None, {})}


def run_id(config: Mapping[str, Any]) -> str:
    """Hash of what determines a result: 16 hexadecimal digits."""
    text = json.dumps(frozen(config), sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
