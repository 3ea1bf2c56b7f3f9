"""What to type next: the whole schedule with the augmentation that was chosen, and its code for other libraries."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from dametric.augment.export import LIBRARIES, export
from dametric.base.options import OptionField, options_of
from dametric.data.given import source_of
from dametric.errors import UsageError

AUG = "{aug}"
"""Stands for the augmentation in a command that is kept."""


def distill_command(teacher: Any, student: Any, data: Any, device: Any, groups: Sequence[object]) -> str | None:
    """How the whole schedule is trained with an augmentation, as a user would type it.

    Parameters
    ----------
    teacher, student, data, device
        As :func:`dametric.choose` was given them.
    groups : sequence of groups of options
        Of :mod:`dametric.base.option_groups`, as they were given: what is not the default enters.

    Returns
    -------
    str or None
        With :data:`AUG` in the place of the augmentation; None where something is not named, but in memory.

    Examples
    --------
    >>> from dametric.base.option_groups import OptimizerOptions
    >>> distill_command("teacher.pth", "resnet8", "digits", None, [OptimizerOptions(weight_decay=0)])
    'dametric distill --teacher teacher.pth --student resnet8 --aug {aug} --data digits --weight-decay 0.0 -o runs'
    """
    if not isinstance(teacher, (str, os.PathLike)) or not isinstance(student, str):
        return None
    if data is not None and not isinstance(data, (str, os.PathLike)):
        return None
    words = ["dametric", "distill", "--teacher", str(teacher), "--student", student, "--aug", AUG]
    words += [] if data is None else ["--data", str(source_of(data))]
    words += [] if device is None else ["--device", str(device)]
    for group in groups:
        for each in options_of(type(group)):
            words += _typed(each, getattr(group, each.name))
    return shlex.join([*words, "-o", "runs"]).replace(f"'{AUG}'", AUG)


def _typed(each: OptionField, value: Any) -> list[str]:
    """An option as the command line takes it; nothing of one that has its default."""
    if value is None or (value == each.default and isinstance(value, bool) == isinstance(each.default, bool)):
        return []
    flags = each.about.flags or (f"--{each.name.replace('_', '-')}",)
    flag = next(flag for flag in flags if flag.startswith("--"))
    if isinstance(value, bool):
        yes, _, no = flag.partition("/")
        return [yes if value else no or f"{yes[:2]}no-{yes[2:]}"]
    return [flag, ",".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)]


def with_augmentation(command: str, aug: str) -> str:
    """The command with the augmentation, quoted where a shell would read it otherwise.

    Examples
    --------
    >>> with_augmentation("dametric distill --aug {aug}", "oneof(cutmix,cutout)")
    "dametric distill --aug 'oneof(cutmix,cutout)'"
    """
    return command.replace(AUG, shlex.quote(aug))


@lru_cache(maxsize=64)
def export_command(aug: str, image_size: int | None = None, mean: tuple[float, ...] | None = None) -> str | None:
    """The command that writes an augmentation for the first library that can do the same; None where none can.

    Examples
    --------
    >>> export_command("cutmix", 32), export_command("./augs.py:snow")
    ('dametric export cutmix --for torchvision --image-size 32', None)
    """
    size, colour = image_size or 32, mean or (0.5, 0.5, 0.5)
    for library in LIBRARIES:
        try:
            export(aug, library, size, colour)
        except UsageError:
            continue
        words = ["dametric", "export", aug, "--for", library]
        words += [] if image_size is None else ["--image-size", str(image_size)]
        words += [] if mean is None else ["--mean", ",".join(f"{value:.4g}" for value in mean)]
        return shlex.join(words)
    return None
