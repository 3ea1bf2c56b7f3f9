"""Compiling in a process that trains one network after another."""

from __future__ import annotations

import weakref

import torch

_VARIANTS = 8  # of one function, for one network: what dynamo allows by default
_OWNERS: weakref.WeakSet[object] = weakref.WeakSet()


def about_to_compile(owner: object) -> None:
    """Make room for what is compiled for an object, as if it were the first of its process.

    Dynamo keeps what it compiles with the function, whatever the object that it is for, and from the ninth on it would
    no longer compile, and not say so. What was compiled for objects that are gone is forgotten; too many variants of
    one function are an error, so that what is recorded as compiled was.
    """
    config = torch._dynamo.config
    if not _OWNERS:
        torch._dynamo.reset()
    _OWNERS.add(owner)
    for name in ("recompile_limit", "cache_size_limit"):  # the latter of torch < 2.7
        if hasattr(config, name):
            setattr(config, name, _VARIANTS * len(_OWNERS))
    for name in ("fail_on_recompile_limit_hit", "fail_on_cache_limit_hit"):
        if hasattr(config, name):
            setattr(config, name, True)
