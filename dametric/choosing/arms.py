"""Candidates of a choice, and how alike two of them are before any student is trained."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dametric.errors import UsageError
from dametric.stats.families import USUAL_SIZE, family, setting

Floats = NDArray[np.float64]
BASELINE = "identity"


@dataclass(frozen=True)
class Arm:
    """An augmentation that may be chosen.

    Attributes
    ----------
    name : str
        Specification.
    family : str
        See :func:`dametric.stats.families.family`; "" for identity, which is every family's zero strength.
    operation : str
        What it is a strength of: see :func:`dametric.stats.families.setting`. A composition is one of its own, which
        shares with its parts what their family shares, and lies on none of their curves.
    position : float
        Place on the axis of log strength: 0 for identity, 1 for the weakest setting of an operation, and half a unit
        more for every doubling.
    """

    name: str
    family: str = ""
    operation: str = ""
    position: float = 0.0


def arms_of(specs: Sequence[str], image_size: int = USUAL_SIZE) -> tuple[Arm, ...]:
    """Arms for augmentations, identity first; identity is added where it is not among them.

    Parameters
    ----------
    specs : sequence of str
    image_size : int
        Pixels, for strengths that are not written and grow with the image.

    Returns
    -------
    tuple of Arm
        In the order given.

    Raises
    ------
    UsageError
        If there is nothing to choose from.

    Examples
    --------
    >>> [(arm.name, arm.position) for arm in arms_of(["cutout:length=4", "cutout:length=16"])]
    [('identity', 0.0), ('cutout:length=4', 1.0), ('cutout:length=16', 2.0)]
    """
    others = [spec for spec in dict.fromkeys(specs) if spec != BASELINE]
    if not others:
        raise UsageError("there is nothing to choose from: identity is always a candidate, so name another one")
    settings = {spec: setting(spec, image_size) for spec in others}
    weakest: dict[str, float] = {}
    for operation, strong in settings.values():
        weakest[operation] = min(weakest.get(operation, math.inf), strong)
    arms = [Arm(BASELINE)]
    for spec, (operation, strong) in settings.items():
        arms.append(Arm(spec, family(spec), operation, _position(strong, weakest[operation])))
    return tuple(arms)


def _position(strong: float, weakest: float) -> float:
    """Doublings from the weakest; there is no ratio to a strength of 0."""
    return 1.0 + (math.log2(strong / weakest) / 2 if weakest > 0 else float(strong > 0))


def likeness(arms: Sequence[Arm], share: float, length: float) -> Floats:
    r"""Prior covariance of the arms' effects in units of their variance: a family kernel and an independent part.

    With u the position, f(u) a Gaussian process whose correlation is exp(-(u - v)^2 / (2 length^2)), an operation's
    curve is f(u) - f(0), which is 0 at identity; half of the family's part is such a curve, the other half an effect
    that all settings of the family share.

    Parameters
    ----------
    arms : sequence of Arm
    share : float
        Part of the variance that families explain, from 0 up to below 1.
    length : float
        Above 0: positions that far apart are still alike.

    Returns
    -------
    ndarray
        Shape (arms, arms), positive definite.

    Examples
    --------
    >>> arms = arms_of(["mixup:alpha=0.5", "mixup:alpha=1", "cutmix"])
    >>> likeness(arms, share=0.6, length=1.0).round(2).tolist()[1]
    [0.0, 0.82, 0.44, 0.0]
    """
    places = np.array([arm.position for arm in arms])
    near = np.exp(-(np.subtract.outer(places, places) ** 2) / (2 * length**2))
    zero = np.exp(-(places**2) / (2 * length**2))
    curve = (near - zero[:, None] - zero[None, :] + 1) / 2
    families = np.array([arm.family for arm in arms])
    named = families != ""
    same_family = (families[:, None] == families) & named[:, None]
    same_operation = np.array([arm.operation for arm in arms])[:, None] == [arm.operation for arm in arms]
    family_part = same_family * 0.5 + (same_family & same_operation) * 0.5 * curve
    result: Floats = share * family_part + (1 - share) * np.eye(len(arms))
    return result
