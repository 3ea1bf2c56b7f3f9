"""What augmentations contribute, by one call for all whose rows have the same form: kernels cost a GPU by the call."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import fields, replace
from typing import NamedTuple

import torch
from torch import Tensor

from dametric.metrics import Contribution, Contributor, Observation

_NUMBERS = 1 << 26  # of rows that are laid side by side: bounds the memory

Key = tuple[str, Contributor]


class Task(NamedTuple):
    """Units of an augmentation, to be shown to what makes a contribution of them."""

    key: Key
    observation: Observation


def contributions(tasks: Sequence[Task], together: bool) -> dict[Key, Contribution]:
    """Contributions of tasks, in their order.

    Parameters
    ----------
    tasks : sequence of Task
    together : bool
        Lay units of augmentations side by side. Contributions of a unit depend on that unit alone, so that they are the
        same, but for the rounding of sums on devices that add in another order.
    """
    if not together:
        return {key: key[1][0](observation) for key, observation in tasks}
    groups: dict[Hashable, list[Task]] = defaultdict(list)
    for task in tasks:
        observe = task.key[1][0]
        groups[task.key[1], _form(task.observation, getattr(observe, "whatever_design", False))].append(task)
    results: dict[Key, Contribution] = {}
    stacked: dict[tuple[int, ...], Observation] = {}  # by those that are in it: most contributors ask for the same
    for group in groups.values():
        size = max(1, _NUMBERS // group[0].observation.aug.numel())
        for start in range(0, len(group), size):
            results |= _of_group(group[start : start + size], stacked)
    return {task.key: results[task.key] for task in tasks}


def _of_group(group: list[Task], stacked: dict[tuple[int, ...], Observation]) -> dict[Key, Contribution]:
    members = [task.observation for task in group]
    name = tuple(id(part) for member in members for part in (member.aug, *(view.aug for view in member.views)))
    if name not in stacked:
        stacked[name] = side_by_side(members)
    contribution = group[0].key[1][0](stacked[name])
    units = len(members[0].aug)
    parts = {part: values.split(units) for part, values in contribution.items()}
    return {task.key: {part: values[n] for part, values in parts.items()} for n, task in enumerate(group)}


def _form(observation: Observation, whatever_design: bool) -> Hashable:
    """What has to be the same of observations that are laid side by side."""
    design = observation.design.pooled if whatever_design else observation.design
    shapes = tuple(tuple(value.shape) if isinstance(value, Tensor) else None for value in _values(observation).values())
    return design, shapes, tuple(_form(view, whatever_design) for view in observation.views)


def _values(observation: Observation) -> dict[str, Tensor | None]:
    names = [field.name for field in fields(observation) if field.name not in ("design", "views")]
    return {name: getattr(observation, name) for name in names}


def side_by_side(members: Sequence[Observation]) -> Observation:
    """Units of several observations of one form as units of one."""
    if len(members) == 1:
        return members[0]
    values = {
        name: None if value is None else torch.cat([getattr(member, name) for member in members])
        for name, value in _values(members[0]).items()
    }
    views = tuple(side_by_side(views) for views in zip(*(member.views for member in members), strict=True))
    return replace(members[0], **values, views=views)  # type: ignore[arg-type]
