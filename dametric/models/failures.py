"""Errors of a network's forward pass as messages of one line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from dametric.base.arguments import argument
from dametric.base.devices import out_of_memory
from dametric.base.user_code import one_line
from dametric.errors import UsageError
from dametric.models.interface import FORWARD, failure


@contextmanager
def network_errors() -> Iterator[None]:
    """Turn errors of a network's forward pass into `UsageError` with one line."""
    try:
        yield
    except Exception as error:
        if out_of_memory(error):
            raise UsageError(
                f"the GPU has too little memory for the network: use a smaller {argument('batch_size')}, or "
                f"{argument('device', 'cpu')}"
            ) from error
        if FORWARD not in getattr(error, "__notes__", ()) or isinstance(error, UsageError):
            raise
        if type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
            raise UsageError(
                f"compiling a network failed, leave out {argument('compile')}: {one_line(error)}"
            ) from error
        raise UsageError(failure(error)) from error
