"""Scoring in several processes: each rank shows its share of the batches, and all ranks gather all contributions.

Groups of batches are formed as one process forms them and dealt to the ranks in turn. Their contributions are gathered
in the order of batches, so merging, errors, stopping and the table are those of one process. All communication goes
through one exchange, which also carries the error of a rank that failed: the others receive it in place of the value
that they wait for, and all ranks end.
"""

from __future__ import annotations

import os
import signal
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import nn

from dametric.base.arguments import argument
from dametric.base.terminal import launched
from dametric.base.user_code import one_line
from dametric.errors import UsageError

T = TypeVar("T")
E = TypeVar("E", bound=Exception)
_PATIENCE = timedelta(days=1)  # a rank may have images to decode; one that dies is noticed by the launcher


@dataclass(frozen=True)
class Ranks:
    """The processes that score together; by default this one alone.

    Attributes
    ----------
    rank : int
        Number of this process, from 0.
    world : int
        How many there are.
    joined : bool
        Whether they are a process group of ``torch.distributed``.
    """

    rank: int = 0
    world: int = 1
    joined: bool = False

    @classmethod
    def current(cls) -> Ranks:
        """The default process group, where somebody has initialised one."""
        if dist.is_available() and dist.is_initialized():
            return cls(dist.get_rank(), dist.get_world_size(), True)
        return cls()

    @property
    def first(self) -> bool:
        """Whether this rank prints and writes."""
        return self.rank == 0

    def shows(self, group: int) -> bool:
        """Whether this rank shows the group of batches with this number."""
        return group % self.world == self.rank

    def gather(self, value: T) -> list[T]:
        """The values of all ranks, in the order of ranks.

        Raises
        ------
        UsageError
            If a rank has failed meanwhile, with its reason.
        """
        return [value] if not self.joined else self._exchange(value, None)

    def agree(self, value: T) -> T:
        """The first rank's value."""
        return self.gather(value if self.first else None)[0]  # type: ignore[return-value]

    @contextmanager
    def unison(self) -> Iterator[None]:
        """End the block together: an error on one rank is an error on all. Blocks may be nested.

        Raises
        ------
        UsageError
            On the other ranks, with the reason of the first that failed; that one goes on with its own error.
        """
        try:
            yield
        except Exception as error:
            if self.joined and not _is_known(error):
                message = str(error) if isinstance(error, UsageError) else f"rank {self.rank}: {one_line(error)}"
                self._exchange(None, message)
                _know(error)
            raise
        self.gather(None)

    def in_turn(self, work: Callable[[], T]) -> T:
        """Do the same on every rank, after the first rank of each host has done it and left it in the cache."""
        waits = self.joined and _local_rank() > 0
        if waits:
            self.gather(None)
        try:
            return work()
        finally:
            if not waits:
                self.gather(None)

    def _exchange(self, value: Any, trouble: str | None) -> list[Any]:
        answers: list[Any] = [None] * self.world
        try:
            dist.all_gather_object(answers, (value, trouble))
        except RuntimeError as error:
            raise _know(UsageError(f"the connection to another rank broke: {one_line(error)}")) from error
        for _, reason in answers:
            if reason is not None and trouble is None:
                raise _know(UsageError(reason))
        return [answer for answer, _ in answers]


def _know(error: E) -> E:
    """Mark an error as one that all ranks know of."""
    error.known_to_all_ranks = True  # type: ignore[attr-defined]
    return error


def _is_known(error: Exception) -> bool:
    return getattr(error, "known_to_all_ranks", False)


def same_everywhere(ranks: Ranks, request: dict[str, Any]) -> None:
    """Refuse to add up contributions of ranks whose requests differ.

    Raises
    ------
    UsageError
        Naming the first difference.
    """
    requests = ranks.gather(request)
    for rank, other in enumerate(requests):
        for name, value in requests[0].items():
            if other[name] != value:
                raise UsageError(
                    f"all ranks must score the same; {name}: {value} on rank 0, {other[name]} on rank {rank}"
                )


def weights(module: nn.Module) -> int:
    """Checksum of a network's parameters and buffers."""
    total = 0
    for tensor in module.state_dict().values():
        plain = tensor.detach().cpu().contiguous().reshape(-1)
        total = zlib.crc32(plain.view(torch.uint8).numpy(), total)
    return total


def own_device(device: torch.device) -> torch.device:
    """The device of this process: under torchrun every process of a host has a CUDA device of its own.

    Raises
    ------
    UsageError
        If there are fewer devices than processes, or all were sent to one.
    """
    if not launched() or device.type != "cuda":
        return device
    here, devices = int(os.environ["LOCAL_WORLD_SIZE"]), torch.cuda.device_count()
    if device.index is not None and here > 1:
        raise UsageError(
            f"{argument('device', str(device))} is one device for {here} processes: "
            f"{argument('device', 'cuda')} gives each its own"
        )
    if here > devices:
        raise UsageError(
            f"there are {devices} CUDA devices here for {here} processes: torchrun --nproc-per-node {devices}, or "
            f"{argument('device', 'cpu')}"
        )
    return torch.device("cuda", _local_rank()) if device.index is None else device


@contextmanager
def under_torchrun(device: torch.device) -> Iterator[Ranks]:
    """Join the other processes that torchrun has started; without torchrun this one stays alone.

    Parameters
    ----------
    device : torch.device
        As :func:`own_device` says; CUDA devices talk through NCCL, the CPU through gloo.

    Raises
    ------
    UsageError
        If the others cannot be reached.
    """
    if not launched() or dist.is_initialized():
        yield Ranks.current()
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    else:
        _share_cores()
    try:
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=_PATIENCE)
    except (RuntimeError, ValueError) as error:
        raise UsageError(f"cannot reach the other ranks: {one_line(error)}") from error
    try:
        yield Ranks.current()
    except Exception:
        # the launcher ends all as soon as one has ended: let this one say why first
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        dist.destroy_process_group()
        raise
    dist.destroy_process_group()


def _local_rank() -> int:
    """Number of this process among those of its host."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def _share_cores() -> None:
    """Give the processes of a host an equal share of its cores, unless the user has said how many threads."""
    if not _threads_were_chosen():
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        torch.set_num_threads(max(1, cores // int(os.environ["LOCAL_WORLD_SIZE"])))


def _threads_were_chosen() -> bool:
    """Whether OMP_NUM_THREADS is the user's: torchrun sets it to 1 where the user has not set it."""
    if os.environ.get("OMP_NUM_THREADS") is None:
        return False
    try:
        before = Path(f"/proc/{os.getppid()}/environ").read_bytes()  # what the launcher was started with
    except OSError:
        return os.environ["OMP_NUM_THREADS"] != "1"
    return any(line.startswith(b"OMP_NUM_THREADS=") for line in before.split(b"\0"))
