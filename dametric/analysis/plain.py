"""Typed results as the plain values of a JSON document."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any


def plain(value: Any) -> Any:
    """Values that JSON can hold, with None for what is not a finite number.

    Parameters
    ----------
    value : object
        Dataclasses become dicts of their fields in order, mappings dicts, tuples and lists lists. A field whose
        metadata say ``{"empty": {}}`` is that where it is None.

    Examples
    --------
    >>> from dametric.stats import Regret
    >>> plain((Regret(1, 0.5, math.nan, 0.0, 1.0),))
    [{'k': 1, 'loss': 0.5, 'seed_errors': None, 'points': 0.0, 'overlap': 1.0}]
    """
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if is_dataclass(value):
        return {
            field.name: field.metadata["empty"]
            if "empty" in field.metadata and getattr(value, field.name) is None
            else plain(getattr(value, field.name))
            for field in fields(value)
        }
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value
