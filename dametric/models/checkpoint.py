"""Checkpoints of all common layouts, as networks with their description."""

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
from dametric.models.registry import build, canonical, is_user_architecture
from dametric.models.weight_sets import Level, Role, listed, strip_levels

ASSUMED_SIZE = 32  # pixels, where neither the caller nor the file says
_LONGEST_NAME = 1000  # characters of a class name


@dataclass(frozen=True)
class Checkpoint:
    """A network read from a file, with the file's description of it.

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
        of the architecture has one.
    data : str or None
        Data source of the training, as dametric wrote it.
    sha256 : str
        Hash of the file, in hexadecimal; of the file and the key in it for weights that are not the usual ones.
    notes : tuple of str
        What was read, stripped and recognised, for the user; never empty.
    extra : dict
        Further content: from dametric's own files as written, from others the plain values.
    normalised_by : str
        Source of mean and std, in words.
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
    are stripped where all names have them and the architecture does not, and any other prefix where the names with it,
    and only those, are exactly those of the architecture.

    Parameters
    ----------
    path : path-like or WeightFile
        The file, or its content read before.
    arch : str, optional
        As ``build`` takes it. By default the one that dametric wrote into the file, else the one built-in
        architecture whose names and shapes fit exactly; never the file's name.
    num_classes : int, optional
        Needed only for architectures whose last layer cannot be identified; otherwise checked.
    image_size : int, optional
        Height and width in pixels; that of the file by default, else 32.
    weights : str, optional
        Which weights of a file with several sets: their key (``"state_dict_ema"``, ``"student/model"``) or the prefix
        of their names.
    role : {"teacher", "student"}, optional
        Which network of a file that holds both.

    Returns
    -------
    Checkpoint
        The network and its description.

    Raises
    ------
    UsageError
        If the file cannot be read safely or does not fit the architecture.

    Examples
    --------
    >>> import tempfile
    >>> from dametric.models import save_checkpoint
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = save_checkpoint(f"{folder}/net.pth", build("resnet8", 10, 16), arch="resnet8", image_size=16)
    ...     checkpoint = load_checkpoint(path)
    >>> checkpoint.arch, checkpoint.num_classes, checkpoint.image_size
    ('resnet8', 10, 16)
    """
    file = path if isinstance(path, WeightFile) else read_weights(path, weights, role)
    path = file.path
    requested_arch = arch
    size = trained_size(file.weights) or image_size or file.image_size
    named = arch or _declared_arch(file, path)
    arch, level = _find_network(file, named and canonical(named), size or ASSUMED_SIZE)
    arch = canonical(arch)
    levels = strip_levels(file.weights) if level is None else [level]
    count = _count_classes(arch, levels, num_classes, size or ASSUMED_SIZE, path)
    with torch.random.fork_rng(devices=[]):  # the weights drawn are overwritten, and must not advance the generator
        model = build(arch, count, size or ASSUMED_SIZE)
    level = _load_state(model, levels, arch, file)
    notes = [*file.notes, *_notes(file, level, requested_arch, arch, count, size)]
    normalisation, normalisation_notes = of_file(file.rest, file.written_by_us)
    if normalisation.mean is None and normalisation.std is None:
        normalisation = of_library(arch, count, model)
    return Checkpoint(
        model=model.float().eval(),
        arch=arch,
        num_classes=count,
        image_size=size,
        sha256=_identity(file, level),
        notes=(*notes, *normalisation_notes),
        **_description(file, count, normalisation),
    )


def _find_network(file: WeightFile, arch: str | None, size: int) -> tuple[str, Level | None]:
    """Architecture of the weights, and the part of the weights that fits it exactly, where only a part does."""
    levels = strip_levels(file.weights)
    if arch is None:
        try:
            return recognise(levels, os.fspath(file.path), file.role, file.rest.get("arch"))
        except UsageError as error:
            raise UsageError(f"{error}{_elsewhere(file)}") from error
    expected = _signature(arch, size)
    return arch, None if expected is None else fitting_level(levels, expected, file.role, os.fspath(file.path))


def _signature(arch: str, size: int) -> Signature | None:
    """Names and shapes; None where a network cannot be built without storage, as some of users' code."""
    try:
        return signature(arch, size)
    except UsageError:
        if is_user_architecture(arch):
            return None
        raise
    except Exception:
        return None


def _elsewhere(file: WeightFile) -> str:
    """Other sets of weights in the file, for an error message."""
    return (
        f"; the file also holds {listed(file.choice.others)}: {argument('weights', 'KEY')} takes that"
        if file.choice.others
        else ""
    )


def _notes(file: WeightFile, level: Level, given: str | None, arch: str, count: int, size: int | None) -> list[str]:
    """Notes for the user on how the network was recognised."""
    notes = []
    if level.stripped:
        notes.append(f"stripped prefix '{level.stripped}'")
    if level.left_out:
        notes.append(f"{len(level.left_out)} tensors are no part of it and left out: {_few(level.left_out)}")
    how = "asked for" if given else "as written in the file" if file.written_by_us else "recognised by names and shapes"
    sized = not arch.startswith(("torchvision:", "timm:"))  # most networks of libraries are made for no size
    pixels = f", for {size or ASSUMED_SIZE}-pixel images{'' if size else ' (assumed)'}" if sized else ""
    notes.append(f"{arch} ({how}), {count} classes{pixels}")
    if file.image_size not in (None, size):
        notes.append(f"WARNING: the file says that it was trained on images of {file.image_size} pixels, not {size}")
    declared = file.rest.get("arch")
    if given and file.written_by_us and declared != given:
        notes.append(f"the file says {declared}")
    return notes


def _identity(file: WeightFile, level: Level) -> str:
    """Hash of the file, and of the key in it where the file holds weights of several networks."""
    digest = sha256(file.path)
    if file.choice.usual and not level.picked:
        return digest
    return hashlib.sha256(f"{digest} {file.choice.key} {level.stripped if level.picked else ''}".encode()).hexdigest()


def _declared_arch(file: WeightFile, path: str | os.PathLike[str]) -> str | None:
    """Architecture that dametric wrote into the file; refused where it names code to import."""
    arch = file.rest.get("arch")
    if not file.written_by_us or not isinstance(arch, str):
        return None
    if is_user_architecture(arch):
        raise UsageError(
            f"{path} names user code as its architecture ({arch}), which is not run because a file says so: "
            f"pass it as {argument('arch')}, that of a student as {argument('student_arch')}"
        )
    return arch


def _count_classes(
    arch: str, levels: list[Level], num_classes: int | None, image_size: int, path: str | os.PathLike[str]
) -> int:
    """Number of classes, from the weights of the last layer."""
    try:
        expected = signature(arch, image_size)
        best = best_level(levels, set(expected.shapes))
        count = expected.classes(best)
    except Exception as error:  # some networks cannot be built without storage; their last layer is guessed
        if isinstance(error, UsageError) and not is_user_architecture(arch):
            raise
        count = None
    if count is not None:
        if num_classes is not None and num_classes != count:
            raise UsageError(f"the weights in {path} are for {count} classes, not {num_classes}")
        return count
    matrices = [weight for weight in levels[-1].weights.values() if weight.dim() == 2]
    if num_classes is None and not matrices:
        raise UsageError(f"the number of classes cannot be told from {path}: it holds no last layer that says")
    return matrices[-1].shape[0] if num_classes is None else num_classes


def _load_state(model: nn.Module, levels: list[Level], arch: str, file: WeightFile) -> Level:
    """Copy the weights into the model; refuse weights that do not fit."""
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
    differences = "; ".join(f"{len(names)} {kind}: {_few(names)}" for kind, names in faults if names)
    if differences:
        raise UsageError(f"the weights in {file.path} do not fit {arch}: {differences}{_elsewhere(file)}")
    model.load_state_dict({**expected, **weights})
    return level


def _few(names: Sequence[str], count: int = 3) -> str:
    return ", ".join(names[:count]) + (", ..." if len(names) > count else "")


def _description(file: WeightFile, num_classes: int, normalisation: Normalisation) -> dict[str, Any]:
    """Attributes of a `Checkpoint` from the file's other content, each only where it is valid."""
    extra = file.rest.get("extra") or {} if file.written_by_us else _plain_values(file.rest)
    return {
        "mean": normalisation.mean,
        "std": normalisation.std,
        "normalised_by": normalisation.source,
        "classes": _class_names(file.rest.get("classes"), num_classes),
        "data": file.data,
        "extra": extra if isinstance(extra, dict) else {},
    }


def _class_names(classes: Any, count: int) -> tuple[str, ...] | None:
    """Class names, if there is one a class; only short texts and numbers, since other objects could have any size."""
    if not isinstance(classes, (list, tuple)) or len(classes) != count:
        return None
    if not all(isinstance(name, (str, int, float)) and len(str(name)) <= _LONGEST_NAME for name in classes):
        return None
    return tuple(str(name) for name in classes) or None


def _plain_values(rest: Mapping[str, Any]) -> dict[str, Any]:
    """Numbers and texts; tensors of one number become numbers."""
    items = {key: value.item() if _is_number(value) else value for key, value in rest.items()}
    return {key: value for key, value in items.items() if isinstance(value, (bool, int, float, str))}


def _is_number(value: Any) -> bool:
    return isinstance(value, Tensor) and value.dim() == 0 and value.layout == torch.strided and not value.is_meta
