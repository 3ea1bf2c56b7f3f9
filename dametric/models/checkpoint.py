"""Checkpoints: every layout in circulation in, one that carries its own description out."""

from __future__ import annotations

import json
import math
import os
import pickle
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from torch import Tensor, nn

from dametric.errors import UsageError
from dametric.files import sha256, write_atomic
from dametric.importing import one_line
from dametric.models.network import LARGEST
from dametric.models.reading import FORMAT, Level, WeightFile, damaged, read_weights, strip_levels
from dametric.models.recognise import recognise, signature
from dametric.models.registry import build, is_user_code


@dataclass(frozen=True)
class Checkpoint:
    """A network read from a file, and what the file says about it.

    Attributes
    ----------
    model : nn.Module
        Eval mode, float32, on the CPU; images (batch, 3, height, width) to logits (batch, num_classes).
    arch : str
        As ``build`` takes it.
    num_classes : int
        Number of logits.
    image_size : int or None
        Height and width in pixels; None where neither the caller nor the file says.
    classes : tuple of str or None
        Class names in the order of the logits.
    mean, std : tuple of float or None
        Normalisation per channel, in units of the pixel range [0, 1].
    data : str or None
        Data source that it was trained on, as dametric wrote it.
    sha256 : str
        Hash of the file, in hexadecimal.
    notes : tuple of str
        What was read, stripped and recognised, for a human; never empty.
    extra : dict
        Whatever else was stored: from dametric's own files as written, from others the plain values.
    """

    model: nn.Module
    arch: str
    num_classes: int
    image_size: int | None
    classes: tuple[str, ...] | None
    mean: tuple[float, ...] | None
    std: tuple[float, ...] | None
    data: str | None
    sha256: str
    notes: tuple[str, ...]
    extra: dict[str, Any] = field(default_factory=dict)


def load_checkpoint(
    path: str | os.PathLike[str],
    *,
    arch: str | None = None,
    num_classes: int | None = None,
    image_size: int | None = None,
) -> Checkpoint:
    """Read a network from a checkpoint without running code from it.

    Bare state_dicts, those under ``model``, ``state_dict``, ``model_state_dict``, ``net`` or ``student``, and
    safetensors files are read; the prefixes ``module.``, ``_orig_mod.`` and ``model.`` are stripped where all
    names have them and the architecture does not.

    Parameters
    ----------
    path : path-like
        The file.
    arch : str, optional
        As ``build`` takes it. Without it: what dametric wrote into the file, else the one built-in
        architecture whose names and shapes fit exactly; never the file's name.
    num_classes : int, optional
        Needed only for architectures whose last layer cannot be told; otherwise checked.
    image_size : int, optional
        Height and width in pixels; default: what the file says, else 32.

    Returns
    -------
    Checkpoint
        The network and its description.

    Raises
    ------
    UsageError
        If the file cannot be read safely or does not fit the architecture, in one line that says why.
    """
    file = read_weights(path)
    levels = strip_levels(file.weights)
    asked = arch
    arch = arch or _declared_arch(file, path) or recognise(levels, os.fspath(path))
    size = image_size or _integer(file.rest.get("image_size"))
    count = _count_classes(arch, levels, num_classes, size or 32, path)
    with torch.random.fork_rng(devices=[]):  # the weights drawn here are overwritten; nobody's seed should notice
        model = build(arch, count, size or 32)
    level = _load_state(model, levels, arch, path)
    how = "asked for" if asked else "as written in the file" if file.written_by_us else "recognised by names and shapes"
    notes = [*file.notes]
    if level.stripped:
        notes.append(f"stripped prefix '{level.stripped}'")
    sized = not arch.startswith(("torchvision:", "timm:"))  # those are not told the size
    pixels = f", for {size or 32}-pixel images{'' if size else ' (assumed)'}" if sized else ""
    notes.append(f"{arch} ({how}), {count} classes{pixels}")
    mean, std, said = _normalisation(file.rest)
    notes += said
    declared = file.rest.get("arch")
    if asked and file.written_by_us and declared != asked:
        notes.append(f"the file says {declared}")
    return Checkpoint(
        model=model.float().eval(),
        arch=arch,
        num_classes=count,
        image_size=size,
        sha256=sha256(path),
        notes=tuple(notes),
        mean=mean,
        std=std,
        **_description(file, count),
    )


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
        Where the file goes, whole or not at all. A name that ends in ``.safetensors`` gives that format, with
        the description as JSON in its header; any other a ``torch.save`` file.
    model : nn.Module
        The network; its state_dict is written, its device and mode do not matter.
    arch : str
        As ``build`` takes it.
    classes : iterable of str, optional
        Class names in the order of the logits.
    mean, std : iterable of float, optional
        Normalisation per channel, in units of the pixel range [0, 1].
    data : str, optional
        Data source that it was trained on.
    image_size : int, optional
        Height and width in pixels.
    extra : mapping, optional
        Plain values (numbers, strings, lists and dicts of them) to keep with it.
    state : mapping, optional
        Tensors and plain values to go on training from, for :func:`load_state`; not in safetensors files.

    Returns
    -------
    Path
        The path written.

    Raises
    ------
    UsageError
        If the file cannot be written or ``extra`` holds something other than plain values.
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
    # clones, because a view would be written with the whole storage behind it and shared ones are refused
    weights = {name: w.detach().cpu().contiguous().clone() for name, w in model.state_dict().items()}
    if Path(path).suffix == ".safetensors":
        header = {"format": "pt", "dametric": json.dumps(about)}
        return write_atomic(path, safetensors.torch.save(weights, header))

    content = BytesIO()  # and not the file itself: of a full disk torch only says that something went wrong
    torch.save({**about, "model": weights, **({} if state is None else {"state": dict(state)})}, content)
    return write_atomic(path, content.getvalue())


def load_state(path: str | os.PathLike[str], model: nn.Module) -> dict[str, Any] | None:
    """Read the weights that ``save_checkpoint`` wrote into a network, and what it kept to go on training from.

    Parameters
    ----------
    path : path-like
    model : nn.Module
        Of the same architecture; changed in place.

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
        return content.get("state")
    except (
        OSError,
        RuntimeError,
        LookupError,
        TypeError,
        EOFError,
        pickle.UnpicklingError,
        zipfile.BadZipFile,
    ) as error:
        raise UsageError(f"cannot go on from {path}: {one_line(error)}; remove its folder to start over") from error


def _declared_arch(file: WeightFile, path: str | os.PathLike[str]) -> str | None:
    """The architecture that dametric wrote into the file, unless trusting it would import code."""
    arch = file.rest.get("arch")
    if not file.written_by_us or not isinstance(arch, str):
        return None
    if is_user_code(arch):
        raise UsageError(
            f"{path} names code of its own ({arch}), which is not run on a file's word: "
            "pass it as --arch, that of a student as --student-arch"
        )
    return arch


def _count_classes(
    arch: str, levels: list[Level], asked: int | None, image_size: int, path: str | os.PathLike[str]
) -> int:
    """Class count from the weights of the last layer."""
    try:
        expected = signature(arch, image_size)
        best = _best_level(levels, set(expected.shapes))
        count = expected.classes(best)
    except Exception as error:  # some networks cannot be made without storage; their last layer is guessed instead
        if isinstance(error, UsageError) and not is_user_code(arch):
            raise
        count = None
    if count is not None:
        if asked is not None and asked != count:
            raise UsageError(f"the weights in {path} are for {count} classes, not {asked}")
        return count
    matrices = [weight for weight in levels[-1].weights.values() if weight.dim() == 2]
    if asked is None and not matrices:
        raise UsageError(f"the number of classes cannot be told from {path}: it holds no last layer that says")
    return matrices[-1].shape[0] if asked is None else asked


def _best_level(levels: list[Level], names: set[str]) -> Level:
    """The weights whose names agree best with the network's; the least stripped where several do."""
    return max(levels, key=lambda level: len(level.weights.keys() & names))


def _load_state(model: nn.Module, levels: list[Level], arch: str, path: str | os.PathLike[str]) -> Level:
    """Copy the weights into the model, or say in one line why they do not fit."""
    expected = model.state_dict()
    level = _best_level(levels, set(expected))
    weights = level.weights
    missing = [n for n in expected if n not in weights and not n.endswith("num_batches_tracked")]
    surplus = [n for n in weights if n not in expected]
    shapes = [
        f"{name} {tuple(weights[name].shape)} instead of {tuple(expected[name].shape)}"
        for name in expected
        if name in weights and weights[name].shape != expected[name].shape
    ]
    faults = (("missing", missing), ("unexpected", surplus), ("of another shape", shapes))
    said = "; ".join(f"{len(names)} {kind}: {_few(names)}" for kind, names in faults if names)
    if said:
        raise UsageError(f"the weights in {path} do not fit {arch}: {said}")
    model.load_state_dict({**expected, **weights})
    return level


def _few(names: Sequence[str], count: int = 3) -> str:
    return ", ".join(names[:count]) + (", ..." if len(names) > count else "")


def _description(file: WeightFile, num_classes: int) -> dict[str, Any]:
    """Class names, data and the rest, each only where it makes sense."""
    rest = file.rest
    classes = rest.get("classes")
    named = isinstance(classes, (list, tuple)) and len(classes) == num_classes
    if file.written_by_us:
        extra = rest.get("extra") or {}
    else:
        extra = {key: value for key, value in rest.items() if isinstance(value, (bool, int, float, str))}
    return {
        "classes": tuple(str(name) for name in classes) if named and classes else None,
        "data": rest["data"] if file.written_by_us and isinstance(rest.get("data"), str) else None,
        "extra": extra if isinstance(extra, dict) else {},
    }


def _normalisation(rest: Mapping[str, Any]) -> tuple[tuple[float, ...] | None, tuple[float, ...] | None, list[str]]:
    """Mean and standard deviation in units of 0..1, where they make sense, and what is to be said of them."""
    mean, std = _floats(rest.get("mean")), _floats(rest.get("std"), positive=True)
    if max((*(mean or ()), *(std or ())), default=0.0) <= LARGEST:
        return mean, std, []
    bytes_ = mean is None or max(mean) > LARGEST or not any(mean)  # a mean of 0.5 beside an std of 58 is a riddle
    said = f"mean {list(mean or ())} and std {list(std or ())} in the file"
    if not bytes_ or max((*(mean or ()), *(std or ()))) > 255:
        return None, None, [f"{said} are in units that cannot be told and are not used: give --mean and --std in 0..1"]
    scaled = [None if values is None else tuple(value / 255 for value in values) for values in (mean, std)]
    return scaled[0], scaled[1], [f"{said} are taken for pixel values 0..255; if they are not, give --mean and --std"]


def _floats(values: Any, positive: bool = False) -> tuple[float, ...] | None:
    if isinstance(values, Tensor):
        values = values.flatten().tolist()
    if not isinstance(values, (list, tuple)) or not values:
        return None
    if not all(isinstance(v, (int, float)) and math.isfinite(v) and (v > 0 or not positive) for v in values):
        return None
    return tuple(float(value) for value in values)


def _integer(value: Any) -> int | None:
    return value if isinstance(value, int) and value > 0 else None


def _plain(value: Any, where: str) -> Any:
    """Numbers, strings, lists and dicts as they are; numpy's numbers as Python's."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, Mapping):
        return {str(key): _plain(item, f"{where}[{key!r}]") for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item, f"{where}[{i}]") for i, item in enumerate(value)]
    raise UsageError(f"a checkpoint keeps numbers, strings, lists and dicts; {where} is a {type(value).__name__}")
