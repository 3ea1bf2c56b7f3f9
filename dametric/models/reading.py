"""Reading of checkpoint files without running code from them."""

from __future__ import annotations

import json
import os
import pickle
import re
import stat
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

from dametric.base.arguments import argument
from dametric.base.user_code import one_line
from dametric.errors import UsageError
from dametric.models.weight_sets import CONTAINERS, Choice, Role, choose, listed

FORMAT = 1  # version of the layout written by save_checkpoint
SPARE = 256 << 20  # bytes that the content of any file may take; beyond, SWOLLEN times the size of the file
SWOLLEN = 4
MOST_ENTRIES = 100_000  # entries of an archive, of which every tensor is one
REMEDY = "save `model.state_dict()` with torch.save, or as .safetensors, where it was trained"


@dataclass(frozen=True)
class WeightFile:
    """Content of a checkpoint file: weights by name, everything else, and how it was read.

    Attributes
    ----------
    path : Path
    weights : dict of str to Tensor
    rest : dict
        Everything beside the weights.
    written_by_us : bool
        Whether dametric wrote the file.
    notes : tuple of str
        Notes for the user, a line each.
    choice : Choice
        Which of the file's sets of weights these are.
    role : {"teacher", "student"} or None
        Role of the network.
    """

    path: Path
    weights: dict[str, Tensor]
    rest: dict[str, Any]
    written_by_us: bool
    notes: tuple[str, ...]
    choice: Choice
    role: Role | None = None

    @property
    def image_size(self) -> int | None:
        """Height and width of the network's images in pixels, if the file records them."""
        size = self.rest.get("image_size")
        return size if type(size) is int and size > 0 else None

    @property
    def data(self) -> str | None:
        """Data source of the network's training, if dametric wrote it."""
        data = self.rest.get("data")
        return data if self.written_by_us and isinstance(data, str) else None


def read_weights(path: str | os.PathLike[str], key: str | None = None, role: Role | None = None) -> WeightFile:
    """Read the weights and all other content of a ``torch.save`` or safetensors file.

    Parameters
    ----------
    path : path-like
        The file; its name plays no part, only its content.
    key : str, optional
        Which of several sets of weights, by its key in the file or the prefix of its names.
    role : {"teacher", "student"}, optional
        Which network of a file that holds both.

    Returns
    -------
    WeightFile
        Floating weights as finite float32 tensors on the CPU.

    Raises
    ------
    UsageError
        If the file cannot be read, is no checkpoint, would run code, holds NaN or infinite weights, or holds several
        sets of weights and the choice is ambiguous.
    """
    file = Path(path)
    if _is_safetensors(file):
        content, checked = _read_safetensors(file), False
    else:
        content, checked = _read_torch(file), zipfile.is_zipfile(file)
    if not isinstance(content, Mapping):
        raise UsageError(f"{file} holds a {type(content).__name__}, not weights by name: {REMEDY}")
    written_by_us = "dametric" in content
    if written_by_us and content["dametric"] != FORMAT:
        raise UsageError(f"{file} has format {content['dametric']} of dametric, this version reads {FORMAT}: update")
    choice = choose(content, key, role, file)
    if choice is None:
        raise UsageError(f"{file} holds no weights, bare or under {', '.join(CONTAINERS)}: {REMEDY}")
    tensors = choice.taken.weights
    _check_bulk(file, tensors)
    weights = {name: _float32(file, name, weight) for name, weight in tensors.items()}
    notes = _notes(file, choice, written_by_us, checked)
    return WeightFile(file, weights, choice.rest, written_by_us, notes, choice, role)


def _notes(file: Path, choice: Choice, written_by_us: bool, checked: bool) -> tuple[str, ...]:
    what = f"'{choice.key}'" if choice.key else "bare weights"
    notes = [f"read {what} of {file.name}"]
    if choice.others and not written_by_us:
        first = choice.others[0].key or "KEY"
        notes.append(f"not taken: {listed(choice.others)}; {argument('weights', first)} takes that")
    if not checked:
        notes.append("files of this format have no checksum: damage that leaves them readable cannot be noticed")
    weights = choice.taken.weights.values()
    others = sorted({str(w.dtype) for w in weights if w.is_floating_point() and w.dtype != torch.float32})
    if others:
        notes.append(f"converted {', '.join(others)} to float32".replace("torch.", ""))
    return tuple(notes)


def _check_bulk(file: Path, weights: Mapping[str, Tensor]) -> None:
    """Refuse tensors that would take far more memory than the file, since views can have any shape."""
    needed = sum(weight.numel() * 4 for weight in weights.values())
    if needed > SPARE + SWOLLEN * file.stat().st_size:
        raise UsageError(_too_large(file, needed))


def _too_large(file: Path, needed: int) -> str:
    size = file.stat().st_size
    return (
        f"{file} is refused: its {size / 2**20:.3g} MiB would become {needed / 2**30:.3g} GiB; at most {SWOLLEN} times "
        f"a file's size and {SPARE >> 20} MiB are read"
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
    """Whether a file is safetensors, by its first bytes; refuse a file that cannot be opened."""
    if file.is_dir():
        raise UsageError(f"{file} is a folder, not a checkpoint file")
    try:
        if not stat.S_ISREG(file.stat().st_mode):  # reading a pipe may block, and a device may never end
            raise UsageError(f"{file} is a pipe or a device, not a checkpoint file: save what comes out of it first")
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
    """Name of the first entry of a ``torch.save`` archive with a wrong checksum, which torch does not verify."""
    with zipfile.ZipFile(file) as archive:
        return archive.testzip()


def _check_archive(file: Path) -> None:
    """Refuse an archive that would unpack to far more than its size, which torch.save's never do."""
    with zipfile.ZipFile(file) as archive:
        entries = archive.infolist()
    needed = sum(entry.file_size for entry in entries)
    if needed > SPARE + SWOLLEN * file.stat().st_size:
        raise UsageError(_too_large(file, needed))
    if len(entries) > MOST_ENTRIES:
        raise UsageError(f"{file} is refused: it has {len(entries)} entries, and at most {MOST_ENTRIES} are read")


def _read_torch(file: Path) -> Any:
    if zipfile.is_zipfile(file):
        try:
            _check_archive(file)
            entry = damaged(file)
        except UsageError:
            raise
        except Exception as error:  # a damaged archive directory can raise any error
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
    except Exception as error:  # bytes that are no pickle can raise any error
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
    """Replacement of ``numpy.dtype`` for numbers in a file."""

    def __init__(self, code: str, *_: Any) -> None:
        if not re.fullmatch(r"b1|[iu][1248]|f[248]", code):
            raise pickle.UnpicklingError(f"GLOBAL numpy.dtype of {code!r}")
        self.code, self.order = code, "="

    def __setstate__(self, state: Any) -> None:
        self.order = {"<": "<", ">": ">"}.get(state[1], "=")


def _scalar(dtype: _Dtype, data: bytes) -> float | int | bool:
    """Replacement of the function by which numpy unpickles one number."""
    result: float | int | bool = np.frombuffer(data, np.dtype(dtype.order + dtype.code), count=1).item()
    return result


class _Namespace:
    """Replacement of ``argparse.Namespace``, the options of a training script, whose content is dropped."""

    def __setstate__(self, state: Any) -> None: ...


def _stand_ins() -> list[Callable[..., Any] | tuple[Callable[..., Any], str]]:
    """Harmless replacements for what old checkpoints hold beside the weights: numpy numbers and options.

    They take the place of numpy's own functions, which are not safe on hostile input, under the names that files
    contain (numpy 1 and 2).
    """
    return [
        (_scalar, "numpy.core.multiarray.scalar"),
        (_scalar, "numpy._core.multiarray.scalar"),
        (_Dtype, "numpy.dtype"),
        (_Namespace, "argparse.Namespace"),
    ]
