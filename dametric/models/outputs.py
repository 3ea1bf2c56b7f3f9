"""Logits in a network's output: alone, in a tuple, a dict or an object, or as probabilities."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dametric.errors import UsageError

_NAMES = ("logits", "logit", "out", "output", "pred", "preds", "prediction", "predictions")
PROBABILITIES = "these are probabilities (rows that sum to one), of which the logarithm is taken"
SIGMOIDS = (
    "WARNING: all that it returns lies from 0 to 1, and rows do not sum to one, as sigmoids do: taken as logits, of "
    "which softmax makes nearly equal probabilities; wrap it in a module that returns its logits (torch.logit of these)"
)
_TOLERANCE = 1e-3  # of probabilities and their sum, in float32
_SHORTER = {torch.float16: 2e-3, torch.bfloat16: 1.6e-2}  # the same where they were rounded to these
_DEEPEST = 3  # containers in containers

Path = tuple[str | int, ...]


@dataclass(frozen=True)
class Answer:
    """Position of the logits in a network's output.

    Attributes
    ----------
    path : tuple of str and int
        Keys, attributes and positions that lead to them; empty where the network returns them alone.
    probabilities : bool
        Whether they are probabilities, whose logarithm serves as logits.
    """

    path: Path = ()
    probabilities: bool = False

    def logits(self, output: Any) -> Tensor:
        """Logits of shape (rows, classes), of at least float32 where they are computed from probabilities."""
        for key in self.path:
            output = _inside(output, key)
        if not isinstance(output, Tensor):
            raise UsageError(f"the network returns a {type(output).__name__}, not logits of shape (batch, classes)")
        if output.ndim > 2 and output.shape[2:].numel() == 1:
            output = output.flatten(1)
        if not self.probabilities:
            logits: Tensor = output
            return logits
        exact = output.float() if output.dtype.itemsize < 4 else output
        logarithms: Tensor = exact.clamp_min(torch.finfo(exact.dtype).tiny).log()
        return logarithms


def answer(output: Any, rows: int, classes: int | None, who: str) -> tuple[Answer, list[str]]:
    """Find the logits in a network's output.

    Parameters
    ----------
    output : object
    rows : int
        Number of images in the batch.
    classes : int or None
        Number of classes, by which logits are distinguished from features.
    who : str
        Name of the network in messages ("teacher").

    Returns
    -------
    Answer
    list of str
        What was guessed.

    Raises
    ------
    UsageError
        If the output holds no logits, or is ambiguous.
    """
    path, notes = _path(output, rows, classes, who)
    logits = Answer(path).logits(output)
    if not logits.shape[1]:  # which is refused where classes are counted
        return Answer(path), notes
    if logits.shape[1] == 1:
        raise UsageError(
            f"the {who} returns one number for each image, not logits of two classes or more: for a binary classifier "
            "wrap it in a module that returns torch.cat([-z, z], 1) / 2 for its z"
        )
    if not _are_probabilities(logits):
        inside = bool(((logits >= 0) & (logits <= 1)).all()) and bool(logits.amin() < logits.amax())
        return Answer(path), [*notes, SIGMOIDS] if inside else notes
    return Answer(path, probabilities=True), [*notes, PROBABILITIES]


def _are_probabilities(values: Tensor) -> bool:
    exact = values.double()
    rounded = (size for dtype, size in _SHORTER.items() if torch.equal(values.to(dtype).double(), exact))
    tolerance = max((_TOLERANCE, *rounded))  # values tell what they were rounded to, also where they are float32 again
    inside = ((exact >= 0) & (exact <= 1 + tolerance)).all()  # False for NaN
    whole = ((exact.sum(1) - 1).abs() < tolerance).all()
    return bool(inside & whole)


def _path(output: Any, rows: int, classes: int | None, who: str) -> tuple[Path, list[str]]:
    """Path of the logits in a network's output, and notes on what was guessed."""
    tensors = dict(_tensors(output, ()))
    fitting = [path for path, tensor in tensors.items() if _may_be_logits(tensor, rows)]
    if output is None or not fitting:
        raise UsageError(f"the {who} returns {_described(output)}, not logits of shape (batch, classes)")
    of_width = [path for path in fitting if tensors[path].shape[1] == classes]
    chosen = _clear(of_width) or _clear(fitting)
    if chosen is None:
        raise UsageError(
            f"the {who} returns {_described(output)}, and which of them are its logits is not clear: "
            "wrap it in a module that returns them alone"
        )
    if isinstance(output, Tensor):
        same = output.ndim == 2
        return chosen, [] if same else [f"of its output of shape {_size(output)} the dimensions of 1 are left out"]
    place = " of ".join(repr(key) if isinstance(key, str) else f"item {key + 1}" for key in reversed(chosen))
    return chosen, [f"returns {_described(output)}: {place} is taken as logits, of shape {_size(tensors[chosen])}"]


def _clear(paths: list[Path]) -> Path | None:
    """The only path, or the only one of the likeliest name; None where there is neither."""
    if len(paths) == 1:
        return paths[0]
    for name in _NAMES:
        named = [path for path in paths if path and str(path[-1]).lower() == name]
        if len(named) == 1:
            return named[0]
    return None


def _may_be_logits(tensor: Tensor, rows: int) -> bool:
    shape = tensor.shape
    return len(shape) > 1 and shape[0] == rows and shape[2:].numel() == 1 and tensor.is_floating_point()


def _tensors(value: Any, path: Path) -> Iterator[tuple[Path, Tensor]]:
    """Every tensor in a network's output, with its path."""
    if isinstance(value, Tensor):
        yield path, value
    elif len(path) < _DEEPEST:
        for key, item in _items(value):
            yield from _tensors(item, (*path, key))


def _items(value: Any) -> list[tuple[str | int, Any]]:
    """Items of a container, by key, field name or position."""
    if isinstance(value, Mapping):  # the outputs of transformers too
        return [(key, item) for key, item in value.items() if isinstance(key, (str, int))]
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return list(zip(value._fields, value, strict=True))
    if isinstance(value, (tuple, list)):
        return list(enumerate(value))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return [(field.name, getattr(value, field.name)) for field in dataclasses.fields(value)]
    return []


def _inside(value: Any, key: str | int) -> Any:
    try:
        return value[key] if isinstance(value, Mapping) or isinstance(key, int) else getattr(value, key)
    except (LookupError, TypeError, AttributeError) as error:
        raise UsageError(
            f"the network returns {_described(value)} now, and at first something that holds {key!r}"
        ) from error


def _described(value: Any) -> str:
    """Type of a value and its items: "a tuple of (8, 64), (8, 10)"."""
    if isinstance(value, Tensor):
        return f"a tensor of shape {_size(value)}"
    parts = [
        (f"'{key}' " if isinstance(key, str) else "") + (_size(item) if isinstance(item, Tensor) else _kind(item))
        for key, item in _items(value)
    ]
    return f"a {_kind(value)}" + (f" of {', '.join(parts[:6])}{', ...' if len(parts) > 6 else ''}" if parts else "")


def _kind(value: Any) -> str:
    return type(value).__name__


def _size(tensor: Tensor) -> str:
    return str(tuple(tensor.shape))
