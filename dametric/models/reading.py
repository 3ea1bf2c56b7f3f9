"""Checkpoint files as they circulate, read without running code from them."""

from __future__ import annotations

import json
import os
import pickle
import re
import warnings
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import torch
from torch import Tensor

from dametric.errors import UsageError
from dametric.importing import one_line

FORMAT = 1  # version of the layout written by save_checkpoint
CONTAINERS = ("model", "state_dict", "model_state_dict", "net", "student")
DEEPEST = 4  # containers in containers; a hostile file may hold itself
PREFIXES = ("module.", "_orig_mod.", "model.")
REMEDY = "save `model.state_dict()` with torch.save, or as .safetensors, where it was trained"


@dataclass(frozen=True)
class WeightFile:
    """What a file holds: weights under their names in the file, everything else, and how it was read."""

    weights: dict[str, Tensor]
    rest: dict[str, Any]
    written_by_us: bool
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Level:
    """The weights after some prefixes were stripped from all names."""

    weights: dict[str, Tensor]
    stripped: str = ""


def read_weights(path: str | os.PathLike[str]) -> WeightFile:
    """Read the weights and whatever stands beside them from a ``torch.save`` or safetensors file.

    Parameters
    ----------
    path : path-like
        The file; its name plays no part, only its content.

    Returns
    -------
    WeightFile
        Floating weights as finite float32 tensors on the CPU.

    Raises
    ------
    UsageError
        If the file cannot be read, is no checkpoint, would run code, or holds NaN or infinite weights.
    """
    file = Path(path)
    content = _read_safetensors(file) if _is_safetensors(file) else _read_torch(file)
    if not isinstance(content, Mapping):
        raise UsageError(f"{file} holds a {type(content).__name__}, not weights by name: {REMEDY}")
    ours = "dametric" in content
    if ours and content["dametric"] != FORMAT:
        raise UsageError(f"{file} has format {content['dametric']} of dametric, this version reads {FORMAT}: update")
    weights, rest, trail = _find_weights(content)
    if not weights:
        raise UsageError(f"{file} holds no weights, bare or under {', '.join(CONTAINERS)}: {REMEDY}")
    what = "'" + "/".join(trail) + "'" if trail else "bare weights"
    notes = [f"read {what} of {file.name}"]
    others = sorted({str(w.dtype) for w in weights.values() if w.is_floating_point() and w.dtype != torch.float32})
    if others:
        notes.append(f"converted {', '.join(others)} to float32".replace("torch.", ""))
    return WeightFile({k: _float32(file, k, w) for k, w in weights.items()}, rest, ours, tuple(notes))


def strip_levels(weights: dict[str, Tensor]) -> list[Level]:
    """Weights with no prefix stripped, one, two and so on; a prefix goes only where all names have it."""
    levels = [Level(weights)]
    while prefix := next((p for p in PREFIXES if all(name.startswith(p) for name in weights)), None):
        weights = {name[len(prefix) :]: weight for name, weight in weights.items()}
        levels.append(Level(weights, levels[-1].stripped + prefix))
    return levels


def _find_weights(content: Mapping[Any, Any]) -> tuple[dict[str, Tensor], dict[str, Any], list[str]]:
    """Follow the customary names of containers down to the weights; the rest is taken from all levels."""
    rest: dict[str, Any] = {}
    trail: list[str] = []
    while key := next((key for key in CONTAINERS if _holds_tensors(content.get(key), DEEPEST - len(trail))), None):
        rest |= {str(name): value for name, value in content.items() if name != key}
        trail.append(key)
        content = content[key]
    weights = {name: value for name, value in content.items() if isinstance(name, str) and isinstance(value, Tensor)}
    rest |= {str(name): value for name, value in content.items() if name not in weights}
    return weights, rest, trail


def _holds_tensors(value: Any, deep: int) -> bool:
    if not isinstance(value, Mapping) or deep <= 0:
        return False
    return any(isinstance(item, Tensor) for item in value.values()) or any(
        _holds_tensors(value.get(key), deep - 1) for key in CONTAINERS
    )


def _float32(file: Path, name: str, weight: Tensor) -> Tensor:
    if (
        weight.layout != torch.strided
        or getattr(weight, "is_quantized", False)
        or weight.is_meta
        or weight.is_complex()
    ):
        raise UsageError(
            f"{file}: '{name}' is a sparse, quantised, complex or empty tensor; dense real weights are needed"
        )
    if not weight.is_floating_point():
        return weight.detach()
    weight = weight.detach().to(torch.float32)
    if not weight.isfinite().all():
        raise UsageError(f"{file}: '{name}' holds NaN or infinite values; the training that wrote it diverged")
    return weight


def _is_safetensors(file: Path) -> bool:
    """Tell safetensors by its first bytes, and report a file that cannot be opened at all."""
    if file.is_dir():
        raise UsageError(f"{file} is a folder, not a checkpoint file")
    try:
        with open(file, "rb") as handle:
            start = handle.read(9)
    except FileNotFoundError:
        raise UsageError(f"there is no checkpoint {file}") from None
    except OSError as error:
        raise UsageError(f"cannot read {file}: {error.strerror or error}") from error
    if not start:
        raise UsageError(f"{file} is empty")
    return start[8:] == b"{" or (file.suffix == ".safetensors" and not start.startswith(b"PK"))


def _read_safetensors(file: Path) -> dict[str, Any]:
    try:
        with safetensors.safe_open(file, framework="pt", device="cpu") as handle:
            weights = {name: handle.get_tensor(name) for name in handle.keys()}  # noqa: SIM118 (not a dict)
            about = (handle.metadata() or {}).get("dametric")
    except Exception as error:
        raise UsageError(f"{file} is truncated or not a safetensors file ({one_line(error, 100)})") from error
    if about is None:
        return weights
    try:
        return {**json.loads(about), "model": weights}
    except (ValueError, TypeError) as error:
        raise UsageError(f"{file}: what dametric wrote into its header is damaged") from error


def damaged(file: str | os.PathLike[str]) -> str | None:
    """Name of the first entry of a ``torch.save`` archive whose checksum is wrong: torch itself looks at none."""
    with zipfile.ZipFile(file) as archive:
        return archive.testzip()


def _read_torch(file: Path) -> Any:
    if zipfile.is_zipfile(file):
        try:
            entry = damaged(file)
        except Exception as error:  # a directory of the archive that is damaged itself can fail in any way
            raise UsageError(_unreadable(file)) from error
        if entry is not None:
            raise UsageError(f"{file} is damaged, the checksum of {entry} is wrong; copy or download it again")
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals(_stand_ins()):
            warnings.simplefilter("ignore")
            return torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        named = re.search(r"GLOBAL ([\w.]+)", str(error))
        if named:
            reason = f"it holds a pickled {named[1]}, and unpickling would run code from the file"
            raise UsageError(f"{file} is refused: {reason}; {REMEDY}") from error
        raise UsageError(_unreadable(file)) from error
    except RuntimeError as error:
        if "TorchScript" in str(error):
            raise UsageError(f"{file} is refused: it is a TorchScript program, not weights; {REMEDY}") from error
        raise UsageError(_unreadable(file)) from error
    except Exception as error:  # bytes that are no pickle can fail in any way
        raise UsageError(_unreadable(file)) from error


def _unreadable(file: Path) -> str:
    with open(file, "rb") as handle:
        is_zip = handle.read(4) == b"PK\x03\x04"
    if is_zip and not zipfile.is_zipfile(file):
        return f"{file} is truncated: its end is missing; copy or download it again"
    if is_zip:
        return f"{file} is damaged, or an archive that is no checkpoint"
    return f"{file} is not a checkpoint, or a truncated one (torch.save and safetensors files are read)"


class _Dtype:
    """Stands for ``numpy.dtype`` of a number while a file is read."""

    def __init__(self, code: str, *_: Any) -> None:
        if not re.fullmatch(r"b1|[iu][1248]|f[248]", code):
            raise pickle.UnpicklingError(f"GLOBAL numpy.dtype of {code!r}")
        self.code, self.order = code, "="

    def __setstate__(self, state: Any) -> None:
        self.order = {"<": "<", ">": ">"}.get(state[1], "=")


def _scalar(dtype: _Dtype, data: bytes) -> float | int | bool:
    """Stands for the function by which numpy unpickles one number."""
    return np.frombuffer(data, np.dtype(dtype.order + dtype.code), count=1).item()


class _Namespace:
    """Stands for ``argparse.Namespace``, the options of the training script; nobody looks inside."""

    def __setstate__(self, state: Any) -> None: ...


def _stand_ins() -> list[Callable[..., Any] | tuple[Callable[..., Any], str]]:
    """Harmless classes for what old checkpoints hold beside the weights: numpy numbers and options.

    Instead of numpy's own functions, which were not written to face hostile input, the reader is given these
    under the names that files contain (numpy 1 and 2).
    """
    return [
        (_scalar, "numpy.core.multiarray.scalar"),
        (_scalar, "numpy._core.multiarray.scalar"),
        (_Dtype, "numpy.dtype"),
        (_Namespace, "argparse.Namespace"),
    ]
