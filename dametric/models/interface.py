"""What stands between any network and logits of shape (batch, classes): found out once, by a look at a few images."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from dametric.base.user_code import one_line
from dametric.data import ImageSet
from dametric.errors import UsageError
from dametric.models.outputs import Answer, answer

FORWARD = "raised by the forward pass of a network"
"""Note on errors that a network's own code raised, which the images may be to blame for."""

_FEWER = (8, 1)  # images that are looked at, as far as there is memory for them


@dataclass(frozen=True)
class Interface:
    """How a network takes images and gives logits.

    Attributes
    ----------
    channels_last : bool
        Whether its code runs on images and weights in that layout, which is the faster one.
    evaluated, trained : Answer
        What it returns in evaluation mode and in training mode.
    guess : str
        What was guessed, in one line for a human; empty where nothing was.
    """

    channels_last: bool = True
    evaluated: Answer = field(default_factory=Answer)
    trained: Answer = field(default_factory=Answer)
    guess: str = ""

    def arrange(self, tensor: Tensor) -> Tensor:
        """Images or the weights of a convolution, four dimensions, in the layout that the network runs in."""
        if self.channels_last:
            return tensor.contiguous(memory_format=torch.channels_last)
        # a copy even of what is contiguous: of one channel it may be of either layout, and its strides choose
        return tensor.clone(memory_format=torch.contiguous_format)

    def arrange_weights(self, network: nn.Module) -> None:
        """Bring the weights of all convolutions, in place, into the layout that the network runs in."""
        for parameter in network.parameters():
            if parameter.dim() == 4:
                parameter.data = self.arrange(parameter.data)

    def logits(self, output: Any, *, training: bool = False) -> Tensor:
        """Logits of shape (rows, classes) from what the network returned."""
        return (self.trained if training else self.evaluated).logits(output)


@contextmanager
def forward_pass() -> Iterator[None]:
    """Mark errors of a network's own code with :data:`FORWARD`."""
    try:
        yield
    except Exception as error:
        if not isinstance(error, UsageError) and FORWARD not in getattr(error, "__notes__", ()):
            error.add_note(FORWARD)
        raise


def interface(
    model: nn.Module,
    data: ImageSet,
    mean: Sequence[float],
    std: Sequence[float],
    *,
    who: str,
    classes: int | None = None,
    training: bool = False,
) -> Interface:
    """Find out how a network takes images and gives logits, by showing a copy of it a few.

    Parameters
    ----------
    model : nn.Module
        It is not changed, nor is any generator.
    data : ImageSet
    mean, std : sequence of float
        Normalisation, in units of 0..1.
    who : str
        What to call it ("teacher").
    classes : int, optional
        Their number, where it is known (0 is not): by it logits are told from features.
    training : bool
        Look at training mode too.

    Returns
    -------
    Interface

    Raises
    ------
    UsageError
        If the network fails on the images, or where its logits are is not clear.
    """
    place = next((tensor.device for tensor in chain(model.parameters(), model.buffers())), torch.device("cpu"))
    rows = torch.linspace(0, len(data) - 1, _FEWER[0], dtype=torch.float64).long()
    pixels = next(iter(data.stream([rows], "cpu"))).to(place).float() / 255
    scale, shift = (torch.tensor(values, device=place).view(1, -1, 1, 1) for values in (std, mean))
    images = (pixels - shift) / scale
    with torch.no_grad(), torch.random.fork_rng([place] if place.type == "cuda" else []):
        for count in _FEWER[:-1]:
            with suppress(torch.cuda.OutOfMemoryError):
                return _look(model, images[:count], who, classes, training)
        return _look(model, images[: _FEWER[-1]], who, classes, training)


def _look(model: nn.Module, images: Tensor, who: str, classes: int | None, training: bool) -> Interface:
    network = copy.deepcopy(model).float()
    channels_last, output = _first_that_runs(network.eval(), images, who)
    evaluated, notes = answer(output, len(images), classes, who)
    trained = evaluated
    if training:
        output = _shown(network.train(), Interface(channels_last).arrange(images), who)
        trained, more = answer(output, len(images), classes, who)
        notes += [note for note in more if note not in notes]
    return Interface(channels_last, evaluated, trained, f"{who}: {'; '.join(notes)}" if notes else "")


def input_channels(model: nn.Module, image_size: int) -> int | None:
    """Channels of the images that a network takes, by its first layer with weights; None where that does not tell.

    Parameters
    ----------
    model : nn.Module
    image_size : int
        Height and width in pixels, by which a first linear layer is understood.
    """
    first = next((module for module in model.modules() if isinstance(module, (nn.Conv2d, nn.Linear))), None)
    if isinstance(first, nn.Conv2d):
        return first.in_channels
    if isinstance(first, nn.Linear) and first.in_features in (image_size**2, 3 * image_size**2):
        return first.in_features // image_size**2
    return None


def _first_that_runs(network: nn.Module, images: Tensor, who: str) -> tuple[bool, Any]:
    """Whether the network runs in the faster of two memory layouts, and what it returns."""
    fast, plain = Interface(channels_last=True), Interface(channels_last=False)
    # by its module's own method, which also tells weights of one channel that they are channels last
    network = network.to(memory_format=torch.channels_last)
    try:
        return True, network(fast.arrange(images).clone())
    except torch.cuda.OutOfMemoryError:
        raise
    except Exception:  # code that views memory in another shape takes one layout only; what else it is shows below
        plain.arrange_weights(network)
        return False, _shown(network, plain.arrange(images), who)


def _shown(network: nn.Module, images: Tensor, who: str) -> Any:
    try:
        return network(images.clone(memory_format=torch.preserve_format))  # networks may write into their input
    except torch.cuda.OutOfMemoryError:
        raise
    except Exception as error:
        raise UsageError(failure(error, who, tuple(images.shape[1:]))) from error


def failure(error: Exception, who: str = "a network", shape: tuple[int, ...] | None = None) -> str:
    """What to say of an error that a network's own code raised on images (of this shape), in one line."""
    of = "these images" if shape is None else f"images of shape {shape}"
    asks = isinstance(error, (RuntimeError, AssertionError, ValueError))  # as networks say that a size is not theirs
    question = ", do they have the size and channels it takes?" if asks else ":"
    return f"{who} failed on {of}{question} {one_line(error)}"
