"""What is asked of a sweep or of its plan, and what runs compute on."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dametric.base import limits
from dametric.base.arguments import argument
from dametric.base.option_groups import RunOptions
from dametric.base.progress import say
from dametric.errors import UsageError
from dametric.jobs.schedule import Task
from dametric.models.computing import chosen_device
from dametric.sweeps import tasks
from dametric.sweeps.grid import Grid, RunSpec, read_grid
from dametric.sweeps.options import RunEnvironment, read_images
from dametric.sweeps.study import Study, chosen, make_study

if TYPE_CHECKING:
    from dametric.jobs.cluster import Cluster

GridLike = str | os.PathLike[str] | Mapping[str, Any]
_MANY = 8  # processes by default, at most


@dataclass(frozen=True)
class Request:
    """A grid, which of its rows, and how and where its runs are carried out.

    Attributes
    ----------
    grid : Grid
    rows : sequence of RunSpec
    shard : (int, int) or None
        Which share of how many.
    environment : RunEnvironment
    """

    grid: Grid
    rows: Sequence[RunSpec]
    shard: tuple[int, int] | None
    environment: RunEnvironment

    def study(self, quiet: bool) -> tuple[Study, list[Task]]:
        """Everything that the grid names, checked, and the tasks that are asked for; reads images and teachers."""
        tasks.forget()
        read_images(self.grid, quiet)
        study = make_study(self.grid, self.environment, quiet)
        return study, chosen(study, self.rows, self.shard)

    def on(self, cluster: Cluster | None, stop: Callable[[], bool], quiet: bool) -> Request | None:
        """The same with what runs compute on at a cluster's nodes; None if ``stop`` said so before one answered."""
        environment = self.environment if cluster is None else _at_nodes(cluster, self.environment, stop, quiet)
        return None if environment is None else replace(self, environment=environment)


def read_request(
    grid: GridLike,
    output: str | os.PathLike[str] | None,
    overrides: Sequence[str],
    only: Sequence[str],
    shard: str | None,
    eval_every: int | str | None = None,
    keep: str | None = None,
    deterministic: bool | None = None,
    device: str | None = None,
) -> Request:
    """Read a grid, and everything that is asked beside it.

    Raises
    ------
    UsageError
        For anything that cannot be.
    """
    share = None if shard is None else shard_of(shard)
    whole = read_grid(grid, overrides)
    if output is None and isinstance(grid, Mapping):
        raise UsageError(f"a grid that is no file has no name for its folder: give {argument('output')}")
    given = {"eval_every": eval_every, "keep": keep, "deterministic": deterministic}
    known = {name: value if value is not None else getattr(whole, name) for name, value in given.items()}
    chosen: dict[str, Any] = {name: value for name, value in known.items() if value is not None}
    if str(chosen.get("eval_every")).isdecimal():
        chosen["eval_every"] = int(chosen["eval_every"])
    looks = RunOptions(**chosen)
    environment = RunEnvironment(
        Path(output or Path("runs") / Path(whole.path).stem),
        device,
        eval_every=looks.eval_every,
        keep=looks.keep,
        deterministic=looks.deterministic,
    )
    return Request(whole, whole.only(only).rows if only else whole.rows, share, environment)


def shard_of(text: str) -> tuple[int, int]:
    """``2/8``: the second of eight shares.

    Raises
    ------
    UsageError
        For anything else.
    """
    first, slash, second = text.partition("/")
    which, count = (limits.read_whole(part, limits.RUNS) for part in (first, second))
    if not slash or which is None or count is None or which > count:
        raise UsageError(f"{argument('shard')} is a share of how many, from 1/4 to 4/4 for example, not '{text}'")
    return which, count


def usual_jobs(jobs: int | None, device: str | None, count: int) -> int:
    """Processes on a CPU are best with a core each; a GPU is shared by those who ask for it."""
    if jobs is not None:
        return jobs
    if chosen_device(device).type == "cuda":
        return 1
    return max(1, min(os.cpu_count() or 1, _MANY, count))


@contextmanager
def ray_cluster(address: str | None, device: str | None, cpus: float, gpus: float) -> Iterator[Cluster | None]:
    """The Ray cluster that is asked for, if one is."""
    if address is None:
        chosen_device(device)  # what there is none of is refused before images are read
        yield None
        return
    from dametric.jobs.cluster import Cluster

    if device not in (None, "cpu", "cuda"):
        raise UsageError(
            f"{argument('ray')} hands out the GPUs: {argument('device', 'cpu')} or {argument('device', 'cuda')}, "
            f"not {device}"
        )
    with Cluster(address, cpus=cpus, gpus=gpus) as cluster:
        yield cluster


def _at_nodes(
    cluster: Cluster, environment: RunEnvironment, stop: Callable[[], bool], quiet: bool
) -> RunEnvironment | None:
    """What runs compute on at the nodes, which need not be what this machine has; None if no node answers in time.

    The dtype of a run is chosen by its device and is part of what names it: it is chosen once, for all nodes.
    """
    device = environment.device
    node = cluster.device(
        device, stop=stop, waiting=lambda: say("waiting for a node of the cluster to have a free place", quiet)
    )
    if node is None:
        return None
    if device == "cuda" and node.device == "cpu":
        raise UsageError(
            f"torch finds no CUDA device at the nodes for a run: see {argument('gpus_per_run')}, or use "
            f"{argument('device', 'cpu')}"
        )
    if device == "cpu":
        return replace(environment, dtype=node.dtype)
    if cluster.gpus and node.device == "cpu":
        say(
            f"runs get {cluster.gpus:g} GPUs each, but torch finds no CUDA device there: they compute on the CPU", quiet
        )
    elif cluster.has_gpus and not cluster.gpus:
        say(f"runs get none of the cluster's GPUs: {argument('gpus_per_run', 0.25)} would put four on each", quiet)
    elif node.name:
        say(f"runs compute on {node.name}, {cluster.places} at a time", quiet)
    # each node chooses its device, among the GPUs that runs get
    return replace(environment, device=None if cluster.gpus else "cpu", dtype=node.dtype)
