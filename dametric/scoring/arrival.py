"""Contributions on their way from a device to the host."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from dametric.scoring.jackknife import Blocks


def on_the_way_to_the_host(blocks: Sequence[Blocks]) -> list[Blocks]:
    """The same with contributions on the CPU, which come there in one copy a dtype, for which nothing waits.

    They are valid when the device is drained, and share memory.
    """
    tensors = [values for each in blocks for values in each.contribution.values()]
    parts: dict[torch.dtype, Iterator[Tensor]] = {}
    for dtype in dict.fromkeys(values.dtype for values in tensors):
        own = [values for values in tensors if values.dtype == dtype]
        together = torch.cat([values.flatten() for values in own]).to("cpu", non_blocking=True)
        parts[dtype] = iter(together.split([values.numel() for values in own]))

    def arriving(values: Tensor) -> Tensor:
        return next(parts[values.dtype]).view(values.shape)

    return [
        replace(each, contribution={name: arriving(values) for name, values in each.contribution.items()})
        for each in blocks
    ]


def arrived(blocks: Sequence[Blocks]) -> list[Blocks]:
    """Copies in memory of their own: a part of another's would be pickled with the whole."""
    return [
        replace(each, contribution={name: values.clone() for name, values in each.contribution.items()})
        for each in blocks
    ]
