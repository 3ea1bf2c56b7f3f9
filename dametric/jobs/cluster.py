"""A Ray cluster, and the devices that its nodes have."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from dametric.base.arguments import argument
from dametric.errors import UsageError

_PATIENCE = 20.0  # seconds that the start of a process on a node may take unremarked


@dataclass(frozen=True)
class NodeDevice:
    """What a run computes on at a node, with the needs it has.

    Attributes
    ----------
    device : {"cpu", "cuda"}
    name : str
        Name of the GPU, empty for a CPU.
    dtype : str
        The fastest there.
    """

    device: str
    name: str
    dtype: str


def node_device(device: str | None = None) -> NodeDevice:
    """The device of this process, CUDA by default where there is one, as everywhere in the package."""
    import torch

    from dametric.models import preferred_dtype

    device = "cuda" if device != "cpu" and torch.cuda.is_available() else "cpu"
    name = torch.cuda.get_device_name() if device == "cuda" else ""
    return NodeDevice(device, name, str(preferred_dtype(device)).removeprefix("torch."))


class Cluster:
    """A connection to a Ray cluster; a context manager.

    Parameters
    ----------
    address : str
        "auto", "HOST:PORT", "ray://...", or "local" to start one here.
    cpus, gpus : float
        Needs of a run.

    Raises
    ------
    UsageError
        If ray is not installed, there is no cluster, or no node can ever hold a run.
    """

    def __init__(self, address: str, *, cpus: float = 1.0, gpus: float = 0.0) -> None:
        self.ray, self.address, self.cpus, self.gpus = _ray(), address, cpus, gpus
        self._started = False

    def __enter__(self) -> Cluster:
        if not self.ray.is_initialized():
            try:
                self.ray.init(address=self.address, log_to_driver=False, logging_level=logging.ERROR)
            except (ConnectionError, RuntimeError, ValueError, TimeoutError, self.ray.exceptions.RayError) as error:
                raise UsageError(
                    f"there is no Ray cluster at '{self.address}': start one with 'ray start --head', or give "
                    f"{argument('ray', 'local')} ({' '.join(str(error).split())[:200]})"
                ) from error
            self._started = True
        try:
            self._check_needs()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        if self._started:
            self.ray.shutdown()

    def _check_needs(self) -> None:
        nodes = [node["Resources"] for node in self.ray.nodes() if node["Alive"]]
        if not any(node.get("CPU", 0) >= self.cpus and node.get("GPU", 0) >= self.gpus for node in nodes):
            has = max(((node.get("CPU", 0), node.get("GPU", 0)) for node in nodes), default=(0, 0))
            raise UsageError(
                f"no node has {self.cpus:g} cores and {self.gpus:g} GPUs for a run: the largest has {has[0]:g} and "
                f"{has[1]:g}; see {argument('cpus_per_run')} and {argument('gpus_per_run')}"
            )

    @property
    def places(self) -> int:
        """How many runs the cluster holds at once."""
        total = self.ray.cluster_resources()
        room = [total.get(name, 0) / need for name, need in (("CPU", self.cpus), ("GPU", self.gpus)) if need]
        return int(min(room, default=64) + 1e-9)

    @property
    def has_gpus(self) -> bool:
        """Whether any node has a GPU."""
        return bool(self.ray.cluster_resources().get("GPU", 0))

    def device(
        self,
        device: str | None = None,
        *,
        stop: Callable[[], bool] = lambda: False,
        waiting: Callable[[], None] = lambda: None,
    ) -> NodeDevice | None:
        """Ask a node for the device of its runs.

        Parameters
        ----------
        device : {"cpu", "cuda"}, optional
            The one that is wanted; runs that get no GPU use none, even where a node shows them its own.
        stop : callable
            Asked meanwhile whether to give up.
        waiting : callable
            Called once if no node answers soon, because all are at work for others for example.

        Returns
        -------
        NodeDevice or None
            None if ``stop`` said so.
        """
        request = (
            self.ray.remote(node_device)
            .options(num_cpus=self.cpus, num_gpus=self.gpus)
            .remote(device if self.gpus else "cpu")
        )
        announced = False
        while not self.ray.wait([request], timeout=1.0 if announced else _PATIENCE)[0]:
            if stop():
                self.ray.cancel(request)
                return None
            if not announced:
                waiting()
            announced = True
        answer: NodeDevice = self.ray.get(request)
        return answer


def _ray() -> Any:
    try:
        import ray
        import ray.exceptions
        import ray.util.scheduling_strategies
    except ImportError:
        raise UsageError(f"{argument('ray')} needs the package ray: pip install 'dametric[ray]'") from None
    return ray
