"""A training step as one CUDA graph: the host asks for one launch a step instead of some hundred.

A graph repeats the same kernels on the same memory. Whatever differs between steps therefore lies in tensors that stay
where they are: images, labels, the learning rate, and the step's number, of which every random number is a hash. The
first steps are ordinary ones, so that libraries have chosen their algorithms; then one is recorded without being
carried out, and from there on replayed. Of networks in lockstep each learns on a stream of its own, which are branches
of one graph; the teacher is asked once for all of them.

What a graph would freeze that may change from step to step is not recorded, but run kernel by kernel, which one line
says: a user's functions, loss terms and networks, networks that draw random numbers (dropout), operations whose
parameters are drawn on the host.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

from dametric.base.terminal import note_once
from dametric.training.recipe import learning_rate

if TYPE_CHECKING:
    from dametric.training.trainer import Training

WARM_UP = 3  # ordinary steps before one is recorded
_MOST_GRAPHS = 32  # of a mixture of augmentations, each of which has its own
_KNOWN_CODE = ("dametric", "torch", "torchvision", "timm")  # packages whose networks do the same at every step

Step = Callable[[Tensor, Tensor], None]


@dataclass(frozen=True, eq=False)
class StepMemory:
    """What a network's step reads and writes, in memory that stays where it is.

    Attributes
    ----------
    number : Tensor of shape (), int64
        The step's number.
    rate : Tensor of shape ()
        The learning rate.
    terms : Tensor of shape (terms,), float64
        The total loss and its terms.
    broken : Tensor of shape (3,), bool
        Images and answers that are not finite.
    """

    number: Tensor
    rate: Tensor
    terms: Tensor
    broken: Tensor


class Recorder(Protocol):
    """What records a step, and how a device wants it."""

    rate_dtype: torch.dtype

    def has_drawn(self, device: torch.device) -> bool:
        """Whether random numbers were drawn since the device's generator was last seeded."""

    def streams(self, count: int) -> Sequence[torch.cuda.Stream]:
        """Streams for networks in lockstep; none where these learn one after the other."""

    def record(self, body: Callable[[], None]) -> Callable[[], None]:
        """Record what a function asks of the device, and return what repeats it."""


class CudaRecorder:
    """Records CUDA graphs."""

    rate_dtype = torch.float32  # which torch's fused optimizer asks for

    def has_drawn(self, device: torch.device) -> bool:
        index = torch.cuda.current_device() if device.index is None else device.index
        return int(torch.cuda.default_generators[index].get_offset()) > 0

    def streams(self, count: int) -> Sequence[torch.cuda.Stream]:
        return [torch.cuda.Stream() for _ in range(count)] if count > 1 else []

    def record(self, body: Callable[[], None]) -> Callable[[], None]:
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):  # images may be read in other threads
            body()
        return graph.replay


class GraphedSteps:
    """Steps of networks in lockstep, or of one: ordinary at first, replayed as soon as one is recorded.

    Parameters
    ----------
    members : sequence of Training
        See :func:`dametric.training.trainer.advance_together`.
    ordinary : callable
        Takes a step of these networks kernel by kernel.
    body : callable
        The same, on the streams given, with networks whose ``memory`` is set.
    recorder : Recorder
    """

    def __init__(
        self,
        members: Sequence[Training],
        ordinary: Step,
        body: Callable[[Tensor, Tensor, Sequence[torch.cuda.Stream]], None],
        recorder: Recorder,
    ) -> None:
        self.members, self._ordinary, self._body, self.recorder = tuple(members), ordinary, body, recorder
        self._taken: Counter[tuple[str, ...]] = Counter()
        self.graphs: dict[tuple[str, ...], Callable[[], None]] = {}
        self.refused: dict[tuple[str, ...], str] = {}
        self._images: tuple[Tensor, Tensor] | None = None
        self._memory: list[StepMemory] = []

    def __call__(self, pixels: Tensor, labels: Tensor) -> None:
        """Take a step.

        Parameters
        ----------
        pixels : Tensor of shape (rows, channels, height, width), uint8
        labels : Tensor of shape (rows,), int64
        """
        drawn = tuple(member.drawn.canonical for member in self.members)
        if drawn in self.refused or self._taken[drawn] < WARM_UP or not self._fits(pixels):
            self._taken[drawn] += 1
            self._ordinary(pixels, labels)
            if self._taken[drawn] == 1 and any(member.draws for member in self.members):
                self._refuse(drawn, "the network draws random numbers")
            return
        self._load(pixels, labels)
        if drawn not in self.graphs and not self._record(drawn):
            self._ordinary(pixels, labels)
            return
        self.graphs[drawn]()
        for member, memory in zip(self.members, self._memory, strict=True):
            member.finish(memory.terms, memory.broken)

    def _fits(self, pixels: Tensor) -> bool:
        return self._images is None or self._images[0].shape == pixels.shape

    def _load(self, pixels: Tensor, labels: Tensor) -> None:
        """Put what is special to this step where the graph reads it."""
        if self._images is None:
            self._images = torch.empty_like(pixels), torch.empty_like(labels)
            number = torch.zeros((), dtype=torch.int64, device=pixels.device)
            self._memory = [
                StepMemory(
                    number,
                    torch.zeros((), dtype=self.recorder.rate_dtype, device=pixels.device),
                    torch.zeros_like(member.terms[0]),
                    torch.zeros(3, dtype=torch.bool, device=pixels.device),
                )
                for member in self.members
            ]
        for place, value in zip(self._images, (pixels, labels), strict=True):
            place.copy_(value)
        self._memory[0].number.fill_(self.members[0].number)
        for member, memory in zip(self.members, self._memory, strict=True):
            memory.rate.fill_(learning_rate(member.recipe, member.number, member.steps))

    def _record(self, drawn: tuple[str, ...]) -> bool:
        """Record the step to come; tell where that cannot be."""
        assert self._images is not None
        images, streams = self._images, self.recorder.streams(len(self.members))
        if len(self.graphs) >= _MOST_GRAPHS:
            return self._refuse(drawn, f"there are {_MOST_GRAPHS} graphs of other augmentations")
        for member, memory in zip(self.members, self._memory, strict=True):
            member.before_recording()
            member.memory = memory
        try:
            self.graphs[drawn] = self.recorder.record(lambda: self._body(*images, streams))
        except Exception as error:  # whatever it is, the step can be taken kernel by kernel
            return self._refuse(drawn, (str(error) or type(error).__name__).splitlines()[0])
        finally:
            for member in self.members:
                member.memory = None
                member.optimizer.zero_grad(set_to_none=True)
        return True

    def _refuse(self, drawn: tuple[str, ...], why: str) -> bool:
        self.refused[drawn] = why
        _tell(why)
        return False


def why_not(member: Training) -> str | None:
    """Why a network's steps may differ in more than images, labels, step and learning rate; None where they do not."""
    for aug in (member.base, *member.aug.members):
        if aug.own:
            return f"augmentation {aug.name} is your own code"
    if member.own_term is not None:
        return "a loss term is your own code"
    for module in member.model.modules():
        if type(module).__module__.partition(".")[0] not in _KNOWN_CODE:
            return f"the network's {type(module).__name__} is your own code"
    return None


def graphed(
    members: Sequence[Training],
    ordinary: Step,
    body: Callable[[Tensor, Tensor, Sequence[torch.cuda.Stream]], None],
    recorder: Recorder | None = None,
) -> Step:
    """The steps of networks: on CUDA as graphs, which they keep, elsewhere kernel by kernel.

    Parameters
    ----------
    members, ordinary, body
        As of :class:`GraphedSteps`.
    recorder : Recorder, optional
        In place of that of the device.
    """
    first = members[0]
    if recorder is None and (first.device.type != "cuda" or any(member.compiled for member in members)):
        return ordinary
    if recorder is None and torch.are_deterministic_algorithms_enabled():
        _tell("torch's deterministic algorithms are on, and a graph rounds the learning rate in another place")
        return ordinary
    if why := next(filter(None, map(why_not, members)), None):
        _tell(why)
        return ordinary
    known = first.graphs
    if known is None or known.members != tuple(members) or any(member.graphs is not known for member in members):
        known = GraphedSteps(members, ordinary, body, recorder or CudaRecorder())
        for member in members:
            member.graphs = known
    return known


def _tell(why: str) -> None:
    note_once(f"training steps run kernel by kernel, not as one CUDA graph: {why}")
