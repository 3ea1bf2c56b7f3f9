"""Augmentations that come to the same: operations that change no image, and one augmentation under two names."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

from dametric.augment.base import Augmentation, Operation
from dametric.augment.branches import OneOf, Sometimes
from dametric.augment.callables import names_a_place
from dametric.augment.catalogue import NO_EFFECT
from dametric.augment.external import External


def changes_nothing(operation: Operation) -> bool:
    """Whether an operation leaves every image as it is, by its parameters.

    Examples
    --------
    >>> from dametric.augment import parse
    >>> [changes_nothing(*parse(spec).operations) for spec in ("rotate:degrees=0", "rotate", "invert:p=0")]
    [True, False, True]
    """
    if isinstance(operation, Sometimes):
        return operation.p == 0 or changes_nothing(operation.operation)
    if isinstance(operation, OneOf):
        return not any(map(effective, operation.branches))
    if isinstance(operation, External) or getattr(operation, "by", None):  # a pick repeats some images, omits others
        return False
    values = NO_EFFECT.get(operation.stream)
    return values is not None and all(getattr(operation, name) == value for name, value in values.items())


def effective(aug: Augmentation) -> tuple[Operation, ...]:
    """The operations that change images; none where the augmentation comes to identity.

    Images are those of all operations, up to the rounding to whole pixel values of what another one blended. Beside a
    function of the user's own, which sees whether images are rounded, all operations count.
    """
    if aug.own:
        return aug.operations
    return tuple(operation for operation in aug.operations if not changes_nothing(operation))


def same_operations(one: Sequence[Operation], other: Sequence[Operation]) -> bool:
    """Whether operations do the same; of functions that were given as objects only the same object is sure to."""
    return list(map(_known_by, one)) == list(map(_known_by, other))


def _known_by(operation: Operation) -> Any:
    if not isinstance(operation, External):
        return operation
    if names_a_place(operation.name):
        return operation.name
    function = operation.function
    # every look at a method makes an object of its own, equal to others of the same method of the same object
    return operation.name, function if inspect.ismethod(function) else id(function)


def repeated(augs: Sequence[Augmentation]) -> dict[str, str]:
    """Augmentations that come to the same as another one, by name, and the name of that.

    That is the first of those that are alike, or identity, be it among them or not, where no image is changed.

    Examples
    --------
    >>> from dametric.augment import parse
    >>> repeated([parse(spec) for spec in ("cutmixpick", "pick(cutmix)", "crop", "crop+flip:p=0", "blur:sigma=0")])
    {'pick(cutmix)': 'cutmixpick', 'crop+flip:p=0': 'crop', 'blur:sigma=0': 'identity'}
    """
    first: list[Augmentation] = [Augmentation("identity")]
    same: dict[str, str] = {}
    for aug in augs:
        other = next((each for each in first if same_operations(effective(aug), effective(each))), None)
        if other is None:
            first.append(aug)
        elif aug.name != other.name:
            same[aug.name] = other.name
    return same
