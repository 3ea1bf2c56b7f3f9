"""Many cases in one test."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Sequence
from functools import wraps
from typing import Any


def each(names: str | Sequence[str], values: Iterable[Any]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """As ``pytest.mark.parametrize``, but one test that names the case which fails: collecting thousands takes time."""
    keys, cases = [names] if isinstance(names, str) else list(names), list(values)

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        signature = inspect.signature(function)

        @wraps(function)
        def looped(**given: Any) -> None:
            for value in cases:
                case = dict(zip(keys, (value,) if len(keys) == 1 else value, strict=True))
                try:
                    function(**given, **case)
                except Exception as error:
                    raise AssertionError(f"{case}: {error}") from error

        rest = [parameter for name, parameter in signature.parameters.items() if name not in keys]
        looped.__signature__ = signature.replace(parameters=rest)  # type: ignore[attr-defined]
        del looped.__wrapped__  # type: ignore[attr-defined]
        return looped

    return decorate
