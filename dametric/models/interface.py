"""Interface of a network: its memory layout and where its logits are, tried once on a few images."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from dametric.base.devices import out_of_memory
from dametric.base.user_code import one_line
from dametric.data import ImageSet
from dametric.errors import UsageError
from dametric.models.outputs import Answer, answer

FORWARD = "raised by the forward pass of a network"
"""Note on errors of a network's own code, which the images may cause."""

_ROUNDING = 1e-3  # of the largest logit: some kernels of GPUs add up in another order each time
_FEWER = (8, 1)  # images that are tried; fewer where memory is short


@dataclass(frozen=True)
class Interface:
    """How a network takes images and returns logits.

    Attributes
    ----------
    channels_last : bool
        Whether its code runs on images and weights in that layout, which is the faster one.
    evaluated, trained : Answer
        Where its logits are in evaluation mode and in training mode.
    guess : str
        What was guessed, in one line for the user; empty where nothing was.
    """

    channels_last: bool = True
    evaluated: Answer = field(default_factory=Answer)
    trained: Answer = field(default_factory=Answer)
    guess: str = ""

    def arrange(self, tensor: Tensor) -> Tensor:
        """Convert images or convolution weights, four dimensions, to the network's memory layout."""
        if self.channels_last:
            return tensor.contiguous(memory_format=torch.channels_last)
        # clone even contiguous tensors: with one channel both layouts are contiguous, and the strides decide
        return tensor.clone(memory_format=torch.contiguous_format)

    def arrange_weights(self, network: nn.Module) -> None:
        """Convert the weights of all convolutions, in place, to the network's memory layout."""
        for parameter in network.parameters():
            if parameter.dim() == 4:
                parameter.data = self.arrange(parameter.data)

    def logits(self, output: Any, *, training: bool = False) -> Tensor:
        """Logits of shape (rows, classes) in the network's output."""
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
    """Find out how a network takes images and returns logits, by running a copy of it on a few images.

    Parameters
    ----------
    model : nn.Module
        It is not changed, nor is any generator.
    data : ImageSet
    mean, std : sequence of float
        Normalisation, in units of 0..1.
    who : str
        Name of the network in messages ("teacher").
    classes : int, optional
        Number of classes, by which logits are distinguished from features; 0 counts as unknown.
    training : bool
        Try training mode too.

    Returns
    -------
    Interface

    Raises
    ------
    UsageError
        If the network fails on the images, or its output is ambiguous.
    """
    place = next((tensor.device for tensor in chain(model.parameters(), model.buffers())), torch.device("cpu"))
    rows = torch.linspace(0, len(data) - 1, _FEWER[0], dtype=torch.float64).long()
    pixels = next(iter(data.stream([rows], "cpu"))).to(place).float() / 255
    scale, shift = (torch.tensor(values, device=place).view(1, -1, 1, 1) for values in (std, mean))
    images = (pixels - shift) / scale
    with torch.no_grad(), torch.random.fork_rng([place] if place.type == "cuda" else []):
        for count in _FEWER[:-1]:
            try:
                return _look(model, images[:count], who, classes, training)
            except Exception as error:
                if not out_of_memory(error):
                    raise
        return _look(model, images[: _FEWER[-1]], who, classes, training)


def _look(model: nn.Module, images: Tensor, who: str, classes: int | None, training: bool) -> Interface:
    network = copy.deepcopy(model).float()
    network.eval()
    _check_evaluates(network, who)
    channels_last, output = _first_that_runs(network, images, who)
    evaluated, notes = answer(output, len(images), classes, who)
    show = partial(_logits, network, Answer(evaluated.path), channels_last, who)
    notes += _unsteady(show, images, Answer(evaluated.path).logits(output), who, training)
    trained = evaluated
    if training:
        output = _shown(network.train(), Interface(channels_last).arrange(images), who)
        trained, more = answer(output, len(images), classes, who)
        notes += [note for note in more if note not in notes]
    return Interface(channels_last, evaluated, trained, f"{who}: {'; '.join(notes)}" if notes else "")


def _logits(network: nn.Module, place: Answer, channels_last: bool, who: str, images: Tensor) -> Tensor:
    return place.logits(_shown(network, Interface(channels_last).arrange(images), who))


def _unsteady(show: Callable[[Tensor], Tensor], images: Tensor, logits: Tensor, who: str, training: bool) -> list[str]:
    """Look again, at half of the images beside themselves: notes on answers that depend on more than the image.

    Raises
    ------
    UsageError
        If a network that is not to be trained gives another answer each time.
    """
    half = (len(images) + 1) // 2
    others = _change(show(images[:half].repeat(2, 1, 1, 1)[: len(images)])[:half], logits[:half])
    if not others:
        return []
    change = _change(show(images), logits)
    if not change:
        return [
            f"WARNING: its answer to an image depends on the other images beside it (by {others}, in evaluation mode), "
            "as where a normalisation keeps no running statistics: what it says depends on how many are shown at once"
        ]
    note = f"gives another answer each time for the same images ({change} apart, in evaluation mode)"
    if training:
        return [note]
    raise UsageError(
        f"the {who} {note}: what is random in it, such as F.dropout, must be so in training alone "
        "(training=self.training)"
    )


def _check_evaluates(network: nn.Module, who: str) -> None:
    """Refuse a network that evaluation mode does not reach everywhere."""
    left = [(name, module) for name, module in network.named_modules() if getattr(module, "training", False)]
    if left:
        name, module = left[-1]
        raise UsageError(
            f"the eval() of the {who} leaves {type(module).__name__} {name!r} in training mode: its own eval() or "
            "train() must call the one that it overrides"
        )


def _change(first: Tensor, second: Tensor) -> str:
    """How far two answers are apart, in units of their largest number; empty where that is rounding."""
    if first.shape != second.shape:
        return "of another shape, not"
    if not first.numel():  # of no classes, which is refused where they are counted
        return ""
    rounding = max(_ROUNDING, torch.finfo(first.dtype).eps ** 0.5)
    first, second = (logits.double().nan_to_num(0, 0, 0) for logits in (first, second))
    scale, apart = float(first.abs().max()), float((first - second).abs().max())
    return f"{100 * apart / scale:.2g} %" if apart > rounding * scale > 0 else ""


def input_channels(model: nn.Module, image_size: int) -> int | None:
    """Channels of a network's images, by its first layer with weights; None where that does not tell.

    Parameters
    ----------
    model : nn.Module
    image_size : int
        Height and width in pixels, by which a first linear layer is interpreted.
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
    # Module.to also sets the strides of weights with one channel
    network = network.to(memory_format=torch.channels_last)
    try:
        return True, network(fast.arrange(images).clone())
    except Exception as error:  # code that views memory in another shape takes one layout; other errors recur below
        if out_of_memory(error):
            raise
        plain.arrange_weights(network)
        return False, _shown(network, plain.arrange(images), who)


def _shown(network: nn.Module, images: Tensor, who: str) -> Any:
    try:
        return network(images.clone(memory_format=torch.preserve_format))  # networks may write into their input
    except Exception as error:
        if out_of_memory(error):
            raise
        raise UsageError(failure(error, who, tuple(images.shape[1:]))) from error


def failure(error: Exception, who: str = "a network", shape: tuple[int, ...] | None = None) -> str:
    """Message of one line on an error that a network's own code raised on images (of this shape)."""
    subject = "these images" if shape is None else f"images of shape {shape}"
    by_shape = isinstance(error, (RuntimeError, AssertionError, ValueError))  # which networks raise for unfit shapes
    question = ", do they have the size and channels it takes?" if by_shape else ":"
    return f"{who} failed on {subject}{question} {one_line(error)}"
