"""Writing of checkpoints with their description, and of training states to resume from."""

from __future__ import annotations

import json
import os
import pickle
import zipfile
from collections.abc import Iterable, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from torch import nn

from dametric.base.files import write_atomic
from dametric.base.user_code import one_line
from dametric.errors import UsageError
from dametric.models.reading import FORMAT, damaged


def save_checkpoint(
    path: str | os.PathLike[str],
    model: nn.Module,
    *,
    arch: str,
    classes: Iterable[str] | None = None,
    mean: Iterable[float] | None = None,
    std: Iterable[float] | None = None,
    data: str | None = None,
    image_size: int | None = None,
    extra: Mapping[str, Any] | None = None,
    state: Mapping[str, Any] | None = None,
) -> Path:
    """Write a network with its description, so that ``load_checkpoint`` needs nothing but the file.

    Parameters
    ----------
    path : path-like
        The file, written atomically. A name that ends in ``.safetensors`` gives that format, with the description as
        JSON in its header; any other a ``torch.save`` file.
    model : nn.Module
        The network; its state_dict is written, its device and mode do not matter.
    arch : str
        As ``build`` takes it.
    classes : iterable of str, optional
        Class names in the order of the logits.
    mean, std : iterable of float, optional
        Normalisation per channel, in units of the pixel range [0, 1].
    data : str, optional
        Data source of the training.
    image_size : int, optional
        Height and width in pixels.
    extra : mapping, optional
        Further plain values (numbers, strings, lists and dicts of them).
    state : mapping, optional
        Tensors and plain values to resume training from, for :func:`load_state`; not in safetensors files.

    Returns
    -------
    Path
        The path written.

    Raises
    ------
    UsageError
        If the file cannot be written, or ``extra`` holds other than plain values.
    """
    about = {
        "dametric": FORMAT,
        "arch": arch,
        "classes": None if classes is None else [str(name) for name in classes],
        "mean": None if mean is None else [float(value) for value in mean],
        "std": None if std is None else [float(value) for value in std],
        "data": data,
        "image_size": image_size,
        "extra": _plain(dict(extra or {}), "extra"),
    }
    # clones, because a view would be written with its whole storage, and shared tensors are refused
    weights = {name: w.detach().cpu().contiguous().clone() for name, w in model.state_dict().items()}
    if Path(path).suffix == ".safetensors":
        header = {"format": "pt", "dametric": json.dumps(about)}
        return write_atomic(path, safetensors.torch.save(weights, header))

    content = BytesIO()  # not the file itself, since torch's error on a full disk does not say so
    torch.save({**about, "model": weights, **({} if state is None else {"state": dict(state)})}, content)
    return write_atomic(path, content.getvalue())


def load_state(path: str | os.PathLike[str], model: nn.Module) -> dict[str, Any] | None:
    """Load the weights that ``save_checkpoint`` wrote into a network, and return the training state.

    Parameters
    ----------
    path : path-like
    model : nn.Module
        A network of the same architecture; changed in place.

    Returns
    -------
    dict or None
        The ``state`` that was saved; None if there was none.

    Raises
    ------
    UsageError
        If the file is not one of dametric's, or the weights do not fit.
    """
    try:
        if (entry := damaged(path)) is not None:  # a flipped bit would be trained on
            raise RuntimeError(f"the file is damaged, the checksum of {entry} is wrong")
        content = torch.load(path, map_location="cpu", weights_only=True)
        model.load_state_dict(content["model"])
        result: dict[str, Any] | None = content.get("state")
        return result
    except (
        OSError,
        RuntimeError,
        LookupError,
        TypeError,
        EOFError,
        pickle.UnpicklingError,
        zipfile.BadZipFile,
    ) as error:
        raise UsageError(f"cannot resume from {path}: {one_line(error)}; remove its folder to start over") from error


def _plain(value: Any, where: str) -> Any:
    """Plain values: numbers, strings, lists and dicts; numpy's numbers become Python's."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, Mapping):
        return {str(key): _plain(item, f"{where}[{key!r}]") for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item, f"{where}[{i}]") for i, item in enumerate(value)]
    raise UsageError(f"a checkpoint keeps numbers, strings, lists and dicts; {where} is a {type(value).__name__}")
