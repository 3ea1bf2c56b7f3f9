"""Checkpoints of every layout in circulation, as networks with their description."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

import torch
from torch import Tensor, nn

from dametric.base.arguments import argument
from dametric.base.files import sha256
from dametric.errors import UsageError
from dametric.models.library import trained_size
from dametric.models.normalisation import Normalisation, of_file, of_library
from dametric.models.reading import WeightFile, read_weights
from dametric.models.recognise import Signature, best_level, fitting_level, recognise, signature
from dametric.models.registry import build, canonical, is_user_code
from dametric.models.weight_sets import Level, Role, listed, strip_levels

ASSUMED_SIZE = 32  # pixels, where neither the caller nor the file says
_LONGEST_NAME = 1000  # letters of a class's name


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
        Normalisation per channel, in units of the pixel range [0, 1]; None where neither the file nor the library
        that the architecture is from says one.
    data : str or None
        Data source that it was trained on, as dametric wrote it.
    sha256 : str
        Hash of the file, in hexadecimal; of the file and the place in it for weights that are not the usual ones.
    notes : tuple of str
        What was read, stripped and recognised, for a human; never empty.
    extra : dict
        Whatever else was stored: from dametric's own files as written, from others the plain values.
    normalised_by : str
        Where mean and std come from, in words.
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
    normalised_by: str = ""

    def __repr__(self) -> str:
        size = "" if self.image_size is None else f", {self.image_size} pixels"
        return f"Checkpoint({self.arch}, {self.num_classes} classes{size}, sha256 {self.sha256[:12]})"

    def _repr_html_(self) -> str:
        notes = "".join(f"<li>{escape(note)}</li>" for note in self.notes)
        return f"<b>{escape(repr(self))}</b><ul>{notes}</ul>"


def load_checkpoint(
    path: str | os.PathLike[str] | WeightFile,
    *,
    arch: str | None = None,
    num_classes: int | None = None,
    image_size: int | None = None,
    weights: str | None = None,
    role: Role | None = None,
) -> Checkpoint:
    """Read a network from a checkpoint without running code from it.

    Bare state_dicts, those under ``model``, ``state_dict``, ``model_state_dict``, ``net`` or ``student``, the only
    weights under any other key, and safetensors files are read; the prefixes ``module.``, ``_orig_mod.`` and ``model.``
    are stripped where all names have them and the architecture does not, and any other prefix where the names that have
    it, and they alone, are exactly those of the architecture.

    Parameters
    ----------
    path : path-like or WeightFile
        The file, or what was read of it already.
    arch : str, optional
        As ``build`` takes it. Without it: what dametric wrote into the file, else the one built-in
        architecture whose names and shapes fit exactly; never the file's name.
    num_classes : int, optional
        Needed only for architectures whose last layer cannot be told; otherwise checked.
    image_size : int, optional
        Height and width in pixels; default: what the file says, else 32.
    weights : str, optional
        Which weights of a file with several sets: their key (``"state_dict_ema"``, ``"student/model"``) or the prefix
        of their names.
    role : {"teacher", "student"}, optional
        What the network is to be: of a file that holds both, that one is read.

    Returns
    -------
    Checkpoint
        The network and its description.

    Raises
    ------
    UsageError
        If the file cannot be read safely or does not fit the architecture, in one line that says why.
    """
    file = path if isinstance(path, WeightFile) else read_weights(path, weights, role)
    path = file.path
    asked = arch
    size = trained_size(file.weights) or image_size or file.image_size
    named = arch or _declared_arch(file, path)
    arch, level = _find_network(file, named and canonical(named), size or ASSUMED_SIZE)
    arch = canonical(arch)
    levels = strip_levels(file.weights) if level is None else [level]
    count = _count_classes(arch, levels, num_classes, size or ASSUMED_SIZE, path)
    with torch.random.fork_rng(devices=[]):  # the weights drawn here are overwritten; nobody's seed should notice
        model = build(arch, count, size or ASSUMED_SIZE)
    level = _load_state(model, levels, arch, file)
    notes = [*file.notes, *_notes(file, level, asked, arch, count, size)]
    own, said = of_file(file.rest, file.written_by_us)
    if own.mean is None and own.std is None:
        own = of_library(arch, count, model)
    return Checkpoint(
        model=model.float().eval(),
        arch=arch,
        num_classes=count,
        image_size=size,
        sha256=_identity(file, level),
        notes=(*notes, *said),
        **_description(file, count, own),
    )


def _find_network(file: WeightFile, arch: str | None, size: int) -> tuple[str, Level | None]:
    """The architecture, and the part of the weights that are exactly its own, where that can be told."""
    levels = strip_levels(file.weights)
    if arch is None:
        try:
            return recognise(levels, os.fspath(file.path), file.role, file.rest.get("arch"))
        except UsageError as error:
            raise UsageError(f"{error}{_elsewhere(file)}") from error
    expected = _signature(arch, size)
    return arch, None if expected is None else fitting_level(levels, expected, file.role, os.fspath(file.path))


def _signature(arch: str, size: int) -> Signature | None:
    """Names and shapes; None where a network cannot be made without storage, as some of the user's own."""
    try:
        return signature(arch, size)
    except UsageError:
        if is_user_code(arch):
            return None
        raise
    except Exception:
        return None


def _elsewhere(file: WeightFile) -> str:
    """What else the file holds, for a refusal."""
    return (
        f"; the file also holds {listed(file.choice.others)}: {argument('weights', 'KEY')} takes that"
        if file.choice.others
        else ""
    )


def _notes(file: WeightFile, level: Level, asked: str | None, arch: str, count: int, size: int | None) -> list[str]:
    """How the network was found, for a human."""
    notes = []
    if level.stripped:
        notes.append(f"stripped prefix '{level.stripped}'")
    if level.left_out:
        notes.append(f"{len(level.left_out)} tensors are no part of it and left out: {_few(level.left_out)}")
    how = "asked for" if asked else "as written in the file" if file.written_by_us else "recognised by names and shapes"
    sized = not arch.startswith(("torchvision:", "timm:"))  # those are not told the size
    pixels = f", for {size or ASSUMED_SIZE}-pixel images{'' if size else ' (assumed)'}" if sized else ""
    notes.append(f"{arch} ({how}), {count} classes{pixels}")
    if file.image_size not in (None, size):
        notes.append(f"WARNING: the file says that it was trained on images of {file.image_size} pixels, not {size}")
    declared = file.rest.get("arch")
    if asked and file.written_by_us and declared != asked:
        notes.append(f"the file says {declared}")
    return notes


def _identity(file: WeightFile, level: Level) -> str:
    """Hash of the file; of the place in it too, where one file holds weights of several networks."""
    own = sha256(file.path)
    if file.choice.usual and not level.picked:
        return own
    return hashlib.sha256(f"{own} {file.choice.key} {level.stripped if level.picked else ''}".encode()).hexdigest()


def _declared_arch(file: WeightFile, path: str | os.PathLike[str]) -> str | None:
    """The architecture that dametric wrote into the file, unless trusting it would import code."""
    arch = file.rest.get("arch")
    if not file.written_by_us or not isinstance(arch, str):
        return None
    if is_user_code(arch):
        raise UsageError(
            f"{path} names code of its own ({arch}), which is not run on a file's word: "
            f"pass it as {argument('arch')}, that of a student as {argument('student_arch')}"
        )
    return arch


def _count_classes(
    arch: str, levels: list[Level], asked: int | None, image_size: int, path: str | os.PathLike[str]
) -> int:
    """Class count from the weights of the last layer."""
    try:
        expected = signature(arch, image_size)
        best = best_level(levels, set(expected.shapes))
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


def _load_state(model: nn.Module, levels: list[Level], arch: str, file: WeightFile) -> Level:
    """Copy the weights into the model, or say in one line why they do not fit."""
    expected = model.state_dict()
    level = best_level(levels, set(expected))
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
        raise UsageError(f"the weights in {file.path} do not fit {arch}: {said}{_elsewhere(file)}")
    model.load_state_dict({**expected, **weights})
    return level


def _few(names: Sequence[str], count: int = 3) -> str:
    return ", ".join(names[:count]) + (", ..." if len(names) > count else "")


def _description(file: WeightFile, num_classes: int, own: Normalisation) -> dict[str, Any]:
    """Normalisation, class names, data and the rest, each only where it makes sense."""
    extra = file.rest.get("extra") or {} if file.written_by_us else _plain_values(file.rest)
    return {
        "mean": own.mean,
        "std": own.std,
        "normalised_by": own.source,
        "classes": _class_names(file.rest.get("classes"), num_classes),
        "data": file.data,
        "extra": extra if isinstance(extra, dict) else {},
    }


def _class_names(classes: Any, count: int) -> tuple[str, ...] | None:
    """As many names as there are classes; what is no word or number is no name, and could be of any size."""
    if not isinstance(classes, (list, tuple)) or len(classes) != count:
        return None
    if not all(isinstance(name, (str, int, float)) and len(str(name)) <= _LONGEST_NAME for name in classes):
        return None
    return tuple(str(name) for name in classes) or None


def _plain_values(rest: Mapping[str, Any]) -> dict[str, Any]:
    """Numbers and words, tensors of one number among them."""
    items = {key: value.item() if _is_number(value) else value for key, value in rest.items()}
    return {key: value for key, value in items.items() if isinstance(value, (bool, int, float, str))}


def _is_number(value: Any) -> bool:
    return isinstance(value, Tensor) and value.dim() == 0 and value.layout == torch.strided and not value.is_meta
